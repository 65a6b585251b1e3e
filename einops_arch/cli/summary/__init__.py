"""The tree of modules that `einops-arch show` prints."""
