"""The demo from beginning to end; it writes a folder of files to look at."""

from __future__ import annotations

import contextlib
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from einops_arch._frameworks import require
from einops_arch._version import __version__
from einops_arch.architectures import ConvNetConfig, SuperResolutionConfig
from einops_arch.cli.demo.data import HELD_OUT, TRAINED_ON, Array, Photograph, digits, photographs, resized
from einops_arch.cli.demo.denoise import noisy, train_denoiser, unet
from einops_arch.cli.demo.train import train_convnet, train_super_resolution
from einops_arch.errors import DestinationError

__all__ = ["Settings", "Stage", "run"]

Stage: TypeAlias = Callable[[str, int], contextlib.AbstractContextManager[Callable[[], None]]]
"""A stage of the work: what it is and how many steps it has; within it, a function to call after each step."""


@dataclass(frozen=True)
class Settings:
    """How long to train.

    Args:
        digit_steps: steps of the ConvNet.
        photograph_steps: steps of the super-resolution network.
        denoiser_steps: steps of the U-Net that is translated.
        width: channels of the U-Net at full size.
        hidden: channels of the super-resolution network, half of the published ones so that it trains in seconds.
        factor: how many times it enlarges.
    """

    digit_steps: int = 1000
    photograph_steps: int = 3000
    denoiser_steps: int = 500
    width: int = 8
    hidden: tuple[int, int, int] = (32, 32, 16)
    factor: int = 3

    @staticmethod
    def quick() -> Settings:
        """Hardly trained: to see the moves, not the results."""
        return Settings(digit_steps=60, photograph_steps=20, denoiser_steps=15, width=3, hidden=(8, 8, 4))


def run(folder: Path, settings: Settings, stage: Stage) -> dict[str, Any]:
    """Train, port, compare, write.

    Args:
        folder: where the files go; it is made if it is not there.
        settings: how long to train.
        stage: shows how far the work is.

    Returns:
        What was measured, as `report.json` has it.

    Raises:
        DestinationError: the folder cannot be made or written.
        MissingFrameworkError: something that the demo needs is not installed.
    """
    needed = ("torch", "jax", "flax", "sklearn", "skimage", "matplotlib")
    require(*needed, extra="all", by="the demo")
    start = time.perf_counter()
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    seen = _digits(settings, stage) | _photograph(settings, stage)
    with stage("Carry both checkpoints to Flax and back, through files", 1), _writing(folder):
        files = {name: _files(seen[name], folder, name) for name in ("convnet", "super_resolution")}
    seen |= _translated(settings, stage)
    report = _report(seen, files, settings)
    report["seconds"] = round(time.perf_counter() - start, 1)
    with stage("Draw the pictures and the page", 1), _writing(folder):
        from einops_arch.cli.demo.page import write_page
        from einops_arch.cli.demo.pictures import draw_denoised, draw_digits, draw_upscaled

        draw_digits(folder / "digits.png", seen["digits"])
        draw_upscaled(folder / "upscaled.png", seen["photograph"])
        draw_denoised(folder / "denoised.png", seen["denoised"])
        seen["denoised"]["translation"].save(folder / "unet.py", weights=folder / "unet.safetensors")
        (folder / "report.json").write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        write_page(folder / "index.html", report, seen)
    return report


def _digits(settings: Settings, stage: Stage) -> dict[str, Any]:
    import torch

    from einops_arch.parity import compare
    from einops_arch.port import to_flax

    data = digits()
    with stage(f"Train the ConvNet in PyTorch on {len(data.train):,} handwritten digits", settings.digit_steps) as tick:
        model = train_convnet(data, ConvNetConfig.digits(), settings.digit_steps, tick)
    with stage("Port it to Flax and read the test digits in both", 1):
        twin = to_flax(model)
        with torch.no_grad():
            torch_logits = model(torch.from_numpy(data.test)).numpy()
        flax_logits = _flax(twin, data.test.transpose(0, 2, 3, 1))
    with stage("Compare the two ConvNets module by module, in float64", 1):
        parity = compare(model, twin, data.test[:32], gradients=True)
    result = {
        "images": data.test[:, 0],
        "labels": data.test_labels,
        "torch": torch_logits.argmax(axis=1),
        "flax": flax_logits.argmax(axis=1),
        "difference": float(np.abs(torch_logits - flax_logits).max()),
        "largest": float(np.abs(torch_logits).max()),
        "trained_on": len(data.train),
        "parity": parity,
    }
    return {"convnet": (model, twin), "digits": result}


def _photograph(settings: Settings, stage: Stage) -> dict[str, Any]:
    import torch

    from einops_arch.parity import compare
    from einops_arch.port import to_flax

    train, held_out = photographs(settings.factor)
    config = SuperResolutionConfig(factor=settings.factor, hidden=settings.hidden)
    what = f"Train super-resolution in PyTorch on {len(train)} photographs"
    with stage(what, settings.photograph_steps) as tick:
        model = train_super_resolution(train, config, settings.photograph_steps, tick)
    with stage("Port it to Flax and enlarge the photograph that it has not seen", 1):
        twin = to_flax(model)
        small = np.ascontiguousarray(held_out.small)
        with torch.no_grad():
            torch_image = model(torch.from_numpy(small)[None, None])[0].numpy()
        flax_image = _flax(twin, small[None, ..., None])[0]
    with stage("Compare the two networks module by module, in float64", 1):
        parity = compare(model, twin, small[None, None, :48, :64], gradients=True)
    bicubic = resized(held_out.small, *held_out.bright.shape)
    result = {
        "photograph": held_out,
        "bicubic": bicubic,
        "torch": torch_image,
        "flax": flax_image,
        "psnr": {
            name: _psnr(image, held_out, settings.factor)
            for name, image in (("bicubic", bicubic), ("torch", torch_image), ("flax", flax_image))
        },
        "difference": float(np.abs(torch_image - flax_image).max()),
        "parity": parity,
    }
    return {"super_resolution": (model, twin), "photograph": result}


def _translated(settings: Settings, stage: Stage) -> dict[str, Any]:
    """A network that has no Flax twin: trained, translated, and the same photograph through both."""
    import torch

    from einops_arch.translation import translate

    learned, held_out = photographs(4)
    what = f"Train a U-Net of plain PyTorch to take noise out of {len(learned)} photographs"
    with stage(what, settings.denoiser_steps) as tick:
        model = train_denoiser(learned, settings.denoiser_steps, tick, settings.width)
    with stage("Translate it: write its Flax twin as source, and prove it", 1):
        sample = torch.from_numpy(held_out.bright[None, None, :16, :24])

        def make() -> Any:
            made = unet(settings.width)
            made.load_state_dict(model.state_dict())
            return made.eval()

        translation = translate(make, torch.cat([sample, sample.flip(-1)]), axes="b 1 h w")
        translation.model.eval()
    image = noisy(held_out.bright)
    with stage("Take the noise out of the photograph that neither has seen, in both", 1):
        with torch.no_grad():
            torch_image = model(torch.from_numpy(image)[None, None])[0, 0].numpy()
        flax_image = _flax(translation.model, image[None, ..., None])[0, ..., 0]
    images = {"noisy": image, "torch": torch_image, "flax": flax_image}
    result = images | {
        "photograph": held_out,
        "psnr": {name: _psnr(item, held_out, 4) for name, item in images.items()},
        "difference": float(np.abs(torch_image - flax_image).max()),
        "translation": translation,
    }
    return {"denoised": result}


def _flax(model: Any, inputs: Array) -> Array:
    """What the Flax model makes of the inputs, compiled."""
    from flax import nnx

    return np.asarray(nnx.jit(lambda network, x: network(x))(model, np.ascontiguousarray(inputs)))


def _psnr(image: Array, photograph: Photograph, border: int) -> float:
    """Peak signal-to-noise ratio of the brightness in dB, without the border, as is the custom."""
    inner = (slice(border, -border), slice(border, -border))
    error = np.clip(image[inner], 0, 1).astype(np.float64) - photograph.bright[inner]
    return float(-10 * np.log10(np.mean(error**2)))


def _files(models: tuple[Any, Any], folder: Path, name: str) -> dict[str, Any]:
    """Write both checkpoints, and hold what comes back from Flax against what went there, bit by bit."""
    from einops_arch.checkpoints import Checkpoint, read_checkpoint, write_checkpoint
    from einops_arch.layouts.arrays import same_bits
    from einops_arch.port.convert import convert
    from einops_arch.port.transfer import model_state

    model, twin = models
    paths = {kind: folder / f"{name}.{kind}.safetensors" for kind in ("torch", "flax")}
    state = model_state(model)
    write_checkpoint(paths["torch"], Checkpoint(state, "torch", name, model.config), force=True)
    there = convert(read_checkpoint(paths["torch"]), "flax", model.config)
    write_checkpoint(paths["flax"], there, force=True)
    back = convert(read_checkpoint(paths["flax"]), "torch", model.config).tensors
    ported = model_state(twin)
    changed = [key for key in state if not (same_bits(state[key], back[key]) and same_bits(state[key], ported[key]))]
    return {"files": [path.name for path in paths.values()], "tensors": len(state), "changed": changed}


def _report(seen: dict[str, Any], files: dict[str, Any], settings: Settings) -> dict[str, Any]:
    read, enlarged = seen["digits"], seen["photograph"]
    equal = int((read["torch"] == read["flax"]).sum())
    right = {side: int((read[side] == read["labels"]).sum()) for side in ("torch", "flax")}
    count = len(read["labels"])
    passed = (
        equal == count
        and read["parity"].passed
        and enlarged["parity"].passed
        and seen["denoised"]["translation"].passed
        and not any(file["changed"] for file in files.values())
    )
    names = ("numpy", "torch", "jax", "flax", "einops")
    return {
        "passed": bool(passed),
        "digits": {
            "architecture": "convnet",
            "config": seen["convnet"][0].config.to_dict(),
            "steps": settings.digit_steps,
            "trained_on": read["trained_on"],
            "tested_on": count,
            "equal_predictions": equal,
            "accuracy": {side: right[side] / count for side in right},
            "largest_float32_difference": read["difference"],
            "largest_output": read["largest"],
            "round_trip": files["convnet"],
            "parity": read["parity"].to_dict(),
        },
        "photograph": {
            "architecture": "super_resolution",
            "config": seen["super_resolution"][0].config.to_dict(),
            "steps": settings.photograph_steps,
            "trained_on": list(TRAINED_ON),
            "tested_on": HELD_OUT,
            "psnr": enlarged["psnr"],
            "largest_float32_difference": enlarged["difference"],
            "round_trip": files["super_resolution"],
            "parity": enlarged["parity"].to_dict(),
        },
        "translated": {
            "steps": settings.denoiser_steps,
            "tested_on": HELD_OUT,
            "psnr": seen["denoised"]["psnr"],
            "largest_float32_difference": seen["denoised"]["difference"],
            "classes": dict(seen["denoised"]["translation"].classes),
            "proof": str(seen["denoised"]["translation"].report).splitlines(),
            "files": ["unet.py", "unet.safetensors"],
        },
        "versions": {"einops-arch": __version__, "python": platform.python_version()}
        | {name: version(name) for name in names},
    }


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except DestinationError:
        raise
    except OSError as error:
        raise DestinationError(f"{folder} cannot be written: {error.strerror or error}") from error
