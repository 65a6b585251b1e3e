"""Runs of one framework, stored for a comparison elsewhere."""
