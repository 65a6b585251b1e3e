"""What mypy says to a user's file: networks are known, a slip in a name is an error; `nox -s types` runs it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from mypy import api

TEXT = """\
from einops_arch.torch import ConvNet, create_model, generate
from einops_arch.torch import ConvNt
from einops_arch.flax import ResNet, Linear
from einops_arch.flax import ResNot
reveal_type(ConvNet)
"""

if __name__ == "__main__":
    cache = str(Path(".mypy_cache").resolve())
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mine.py").write_text(TEXT, encoding="utf-8")
        os.environ["MYPYPATH"] = str(Path(__file__).resolve().parent.parent)
        os.chdir(folder)
        output, errors, _ = api.run(["--strict", "--no-error-summary", "--cache-dir", cache, "mine.py"])
    if errors:
        sys.exit(errors)
    lines = [line.removeprefix("mine.py:") for line in output.splitlines() if line.startswith("mine.py:")]
    slips = [line for line in lines if "error" in line]
    assert [line.partition(":")[0] for line in slips] == ["2", "4"], output
    assert 'has no attribute "ConvNt"' in slips[0]
    assert 'has no attribute "ResNot"' in slips[1]
    assert any(line.startswith("5: note") and "einops_arch.torch.convnet.ConvNet" in line for line in lines), output
