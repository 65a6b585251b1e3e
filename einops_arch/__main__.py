"""`python -m einops_arch` is the command `einops-arch`."""

from __future__ import annotations

import sys

from einops_arch.cli import main

if __name__ == "__main__":
    sys.exit(main())
