"""One file per command of `einops-arch`, by its name."""
