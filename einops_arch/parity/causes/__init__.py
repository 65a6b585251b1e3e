"""Find which modules are wrong by themselves, and why."""
