"""Write the golden values of every architecture: python tests/golden/make.py [NAME...].

Run it when an architecture is new or when what it computes changes on purpose, and look at the difference.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from golden_torch import compute
from golden_values import CASES, path_of

if __name__ == "__main__":
    for name, preset in CASES:
        if not sys.argv[1:] or name in sys.argv[1:]:
            values = compute(name, preset)
            np.savez_compressed(path_of(name, preset), **values)
            print(f"{path_of(name, preset).name}: {len(values)} arrays")  # noqa: T201 - a script
