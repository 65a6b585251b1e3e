"""The command `classify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange

from einops_arch.architectures import Config
from einops_arch.architectures.images import ImagePreprocessing
from einops_arch.checkpoints.metadata import read_json
from einops_arch.cli.images import read_image
from einops_arch.cli.models import framework_module, identify, installed, read
from einops_arch.cli.output import console, print_json, progress
from einops_arch.errors import ConfigError
from einops_arch.port.convert import convert
from einops_arch.port.models.folder import read_pretrained

__all__ = ["ClassifyOptions", "class_names", "classify_image", "preprocessing_of"]

_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"


@dataclass(frozen=True)
class ClassifyOptions:
    """What the command line said.

    Args:
        arch: the architecture, unless the checkpoint says it.
        preset: its size, likewise.
        config: a JSON file with the config, likewise.
        framework: `"torch"` or `"flax"`; PyTorch where both are installed, if left out.
        labels: a text file with the name of one class on each line.
        top: how many classes to print.
        as_json: print JSON.
    """

    arch: str | None = None
    preset: str | None = None
    config: Path | None = None
    framework: str | None = None
    labels: Path | None = None
    top: int = 5
    as_json: bool = False


def classify_image(image: Path, checkpoint: Path, options: ClassifyOptions) -> None:
    """Print the likeliest classes of an image.

    Raises:
        EinopsArchError: one of its children, for whatever is wrong with the options or a file.
    """
    framework = options.framework or ("torch" if installed("torch") else "flax")
    with progress(f"Reading {checkpoint}"):
        config, state = _weights(checkpoint, options)
        preprocessing = preprocessing_of(checkpoint, config)
        names, source = class_names(checkpoint, config, options.labels)
        model = framework_module(framework).from_state(config, state)
        model.eval()
    with progress(f"Classifying {image}"):
        logits = _logits(model, read_image(image, preprocessing), framework)
    exponents = np.exp(logits - logits.max())
    probabilities = exponents / exponents.sum()
    best = np.argsort(-probabilities, kind="stable")[: options.top]
    classes = [
        {"class": int(index), "name": names[index] if names else None, "probability": float(probabilities[index])}
        for index in best
    ]
    if options.as_json:
        print_json({"framework": framework, "config": config.to_dict(), "names": source, "classes": classes})
        return
    screen = console()
    for row in classes:
        name = f"  {row['name']}" if row["name"] else ""
        screen.print(f"{row['probability']:7.2%}  class {row['class']:>4}{name}", markup=False)
    if not names:
        screen.print(f"The classes have no names here: {source}", markup=False)


def preprocessing_of(checkpoint: Path, config: Config) -> ImagePreprocessing:
    """What the weights expect of an image: as the folder says, or else as the architecture does.

    Raises:
        ConfigError: it is no network that classifies photographs.
        CheckpointError: a file of the folder says something unknown.
    """
    if config.IMAGES is None or getattr(config, "in_channels", None) != 3 or not getattr(config, "classes", None):
        raise ConfigError(
            f"classify: expected a network that classifies colour photographs, received {type(config).__name__}"
        )
    if (checkpoint / _PREPROCESSOR).is_file():
        return ImagePreprocessing.of_transformers(read_json(checkpoint / _PREPROCESSOR))
    trained = _fields(checkpoint).get("pretrained_cfg")
    preprocessing = ImagePreprocessing.of_timm(trained) if isinstance(trained, Mapping) else config.IMAGES
    size = getattr(config, "image_size", None)
    if size is None or size == (preprocessing.size, preprocessing.size):
        return preprocessing
    if size[0] != size[1]:
        raise ConfigError(f"classify: expected a network for square images, received image_size={size}")
    return preprocessing.at(size[0])


def class_names(checkpoint: Path, config: Any, labels: Path | None) -> tuple[Sequence[str] | None, str]:
    """The names of the classes, and where they are from; None, and why, where there are none.

    They are those of a file of the user's, or of the folder's `config.json`: `id2label` as transformers writes it, or
    `label_names` and `label_descriptions` as timm does.

    Raises:
        ConfigError: the user's file cannot be read or has another number of names.
    """
    if labels is not None:
        try:
            names = labels.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{labels}: cannot be read as a list of names: {error}") from error
        if len(names) != config.classes:
            raise ConfigError(
                f"{labels}: expected one name on each of {config.classes} lines, received {len(names)} lines"
            )
        return names, str(labels)
    fields = _fields(checkpoint)
    by_index = fields.get("id2label")
    if isinstance(by_index, Mapping) and set(by_index) == {str(index) for index in range(config.classes)}:
        return [str(by_index[str(index)]) for index in range(config.classes)], _CONFIG
    listed, described = fields.get("label_names"), fields.get("label_descriptions")
    if isinstance(listed, list) and len(listed) == config.classes:
        described = described if isinstance(described, Mapping) else {}
        return [str(described.get(name, name)) for name in listed], _CONFIG
    return None, "the checkpoint has none; likely fix: --labels FILE, with the name of one class on each line"


def _weights(checkpoint: Path, options: ClassifyOptions) -> tuple[Config, Mapping[str, Any]]:
    if options.arch is None and (checkpoint / _CONFIG).is_file():
        return read_pretrained(checkpoint)
    loaded = read(checkpoint)
    _, config = identify(checkpoint, loaded, options.arch, options.preset, options.config)
    return config, loaded.tensors if loaded.framework == "torch" else convert(loaded, "torch", config).tensors


def _logits(model: Any, image: np.ndarray[Any, Any], framework: str) -> np.ndarray[Any, Any]:
    """In float64 from the network's own dtype on, so that both frameworks print the same digits."""
    if framework == "torch":
        import torch

        dtype = next(model.parameters()).dtype
        with torch.no_grad():
            logits = model(torch.from_numpy(image).to(dtype)).double().numpy()
    else:
        import jax
        from flax import nnx

        dtype = jax.tree.leaves(nnx.state(model, nnx.Param))[0].dtype
        logits = np.asarray(
            nnx.jit(lambda model, x: model(x))(model, rearrange(image, "b c h w -> b h w c").astype(dtype))
        )
    return np.asarray(logits[0], np.float64)


def _fields(checkpoint: Path) -> dict[str, Any]:
    path = checkpoint / _CONFIG
    return read_json(path) if path.is_file() else {}
