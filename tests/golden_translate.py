"""Write the files in golden/translate: what `translate` gives for the models of own_models.py.

Run it after a change of what is written, and read the difference: `python tests/golden_translate.py [name ...]`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from own_models import OWN_MODELS

from einops_arch import translate

FOLDER = Path(__file__).parent / "golden" / "translate"


def main(names: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in names or sorted(OWN_MODELS):
        own = OWN_MODELS[name]
        translation = translate(own.make, own.inputs(), axes=own.axes, prove=False)
        (FOLDER / f"{name}.py").write_text(translation.source, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
