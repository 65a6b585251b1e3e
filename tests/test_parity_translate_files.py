"""The files of a translation: where they stand while it is used, and that nothing is left of them."""

from __future__ import annotations

import gc
import inspect
import subprocess
import sys
from pathlib import Path

import torch
from flax import nnx

from einops_arch import translate


class Table(torch.nn.Module):
    """Holds numbers that are no part of its state, too many to be written out."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.randn(7, 19, generator=torch.Generator().manual_seed(3))
        self.fc = torch.nn.Linear(19, 5)

    def forward(self, x):
        return self.fc(x * self.table[:, 2]) if x.shape[-1] == 7 else self.fc(x + self.table[3])


def _translated():
    return translate(Table, torch.ones(2, 19), axes="b 19", prove=False)


def test_the_folder_of_a_translation_goes_with_it_and_its_lines_stay():
    translation = _translated()
    folder = Path(translation.module.__file__).parent
    model = translation.model
    assert sorted(path.name for path in folder.glob("*.*")) == ["table.npz", "table.py"]
    del translation
    gc.collect()
    assert not folder.exists()
    assert "class Table(nnx.Module):" in inspect.getsource(type(model))
    assert type(model)(rngs=nnx.Rngs(0)).fc.kernel.shape == (19, 5)


def test_nothing_is_left_when_the_process_ends():
    code = (
        "import torch; from einops_arch import translate; "
        "twin = translate(torch.nn.Sequential(torch.nn.Linear(3, 5)), torch.ones(2, 3), axes='b 3', prove=False); "
        "print(twin.module.__file__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    path = Path(run.stdout.strip().splitlines()[-1])
    assert path.name == "model.py"
    assert not path.parent.exists()
