"""Write the pattern into the source."""
