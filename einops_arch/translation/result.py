"""What `translate` gives: the file, the twin with its weights, the proof, and what could not be written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch.translation.refusals import Refusal

__all__ = ["Translation"]


@dataclass
class Translation:
    """What `translate` gives.

    Args:
        source: the text of the file.
        model: the twin, with the original's weights and in its mode; None where it is partial.
        module: the imported file.
        report: the proof.
        refusals: what could not be written.
        outputs: the axes of each output.
        classes: names of the generated classes and how many modules each stands for.
        constants: tensors that stand in a file beside.
        fixed: letters of axes that could not stay free, and why.
        moves: how many patterns the file has.
        modules: how many modules were recorded.
        operations: how many operations were recorded.
        name: of the root class.
    """

    source: str
    model: Any
    module: Any
    report: Any
    refusals: tuple[Refusal, ...] = ()
    outputs: tuple[str, ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    moves: int = 0
    modules: int = 0
    operations: int = 0
    name: str = ""

    def __repr__(self) -> str:
        """In one line; the file itself is `source`, the proof `report`."""
        verdict = "refused in part" if self.report is None else str(self.report.verdict)
        classes = "1 class" if len(self.classes) == 1 else f"{len(self.classes)} classes"
        return f"<Translation of {self.name or 'a model'}: {classes}, {len(self.source.splitlines())} lines; {verdict}>"

    @property
    def passed(self) -> bool:
        """Whether everything was written and proved."""
        return not self.refusals and self.report is not None and bool(self.report.passed)

    def save(self, path: Any, weights: Any = None, test: Any = None) -> None:
        """Write the file, and if asked for the weights and a test that loads them.

        Args:
            path: of the file; tensors that are no part of the state stand in a `.npz` beside it.
            weights: of a safetensors file with PyTorch's names and layout.
            test: of a pytest file that builds the twin and loads the weights.
        """
        path = Path(path)
        if weights is not None:
            from einops_arch.checkpoints.files import write_tensors
            from einops_arch.checkpoints.reader import MemoryReader
            from einops_arch.flax.state import state_dict

            # Not `ascontiguousarray`, which makes an axis for a number without one, such as a counter of batches.
            arrays = {key: np.asarray(item, order="C") for key, item in state_dict(self.model).items()}
            # Each name of a tied weight has its numbers, so that PyTorch finds all of them.
            arrays |= {key: arrays[key].copy() for key in MemoryReader(arrays, {}).aliases}
            write_tensors(weights, MemoryReader(arrays, {}), force=True, kind="safetensors")
        path.write_text(_renamed_table(self.source, path.stem), encoding="utf-8")
        if self.constants:
            np.savez(path.with_suffix(".npz"), **self.constants)
        if test is not None:
            Path(test).write_text(_test_text(path, self.name, weights), encoding="utf-8")


def _renamed_table(source: str, stem: str) -> str:
    """The file, reading its constants from the table that is written beside it."""
    return re.sub(r'with_name\("[^"]+\.npz"\)', f'with_name("{stem}.npz")', source)


def _test_text(path: Path, name: str, weights: Any) -> str:
    lines = [
        f'"""The twin in {path.name} can be built and takes its weights."""',
        "",
        "from flax import nnx",
        f"from {path.stem} import {name}",
        "",
        "",
        f"def test_{path.stem}_is_built() -> None:",
        f"    model = {name}(rngs=nnx.Rngs(0))",
    ]
    if weights is not None:
        lines[2:2] = [
            "from einops_arch.checkpoints import read_checkpoint",
            "from einops_arch.flax import load_state_dict",
        ]
        lines.append(f'    load_state_dict(model, read_checkpoint("{weights}").tensors)')
    return "\n".join([*lines, ""])
