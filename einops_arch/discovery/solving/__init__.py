"""Find the pattern of what was recorded."""
