"""Run a model and record what its modules take and give."""
