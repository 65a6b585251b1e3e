"""Load models and their published weights."""
