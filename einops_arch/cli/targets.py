"""Models and inputs that the command line names: `MODULE:ATTR`, an architecture, `--input`."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from einops_arch import architectures
from einops_arch.cli.output import raised
from einops_arch.errors import ConfigError, suggestion

__all__ = ["Input", "inputs_of", "loaded", "model_of", "parsed"]

_INPUT = re.compile(r"(?P<axes>[^=@]+)=(?P<shape>[0-9, ]+)(@(?P<dtype>\w+))?")
_DTYPES = (
    *("float16", "float32", "float64", "complex64", "complex128", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


@dataclass(frozen=True)
class Input:
    """One `--input`: axes, shape and dtype."""

    axes: str
    shape: tuple[int, ...]
    dtype: str


def parsed(text: str) -> Input:
    """An `--input`, taken apart.

    Raises:
        ConfigError: it has not the form `b c h w=2,3,4,5`.
    """
    match = _INPUT.fullmatch(text.strip())
    shape = tuple(int(size) for size in match["shape"].split(",") if size.strip()) if match else ()
    if match is None or len(shape) != len(match["axes"].split()):
        raise ConfigError(f"--input: expected axes and as many sizes, such as 'b c h w=2,12,5,7', received {text!r}")
    if (match["dtype"] or "float32") not in _DTYPES:
        raise ConfigError(f"--input {text}: {suggestion(match['dtype'], _DTYPES)}, received {match['dtype']!r}")
    return Input(match["axes"].strip(), shape, match["dtype"] or "float32")


def loaded(target: str) -> Any:
    """What `module:name` names; a class is made, and so is what `module:make()` calls.

    Raises:
        ConfigError: it cannot be imported or made.
    """
    name, colon, attribute = target.partition(":")
    called = attribute.endswith("()")
    if not colon or not attribute:
        raise ConfigError(f"expected module:function or module:Model, received {target!r}")
    if "(" in attribute.removesuffix("()"):
        raise ConfigError(f"{target}: nothing but () can stand behind a name; likely fix: a function without arguments")
    if os.getcwd() not in sys.path:  # noqa: PTH109 the entry is a string
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        value: Any = importlib.import_module(name)
        for part in attribute.removesuffix("()").split("."):
            value = getattr(value, part)
    except (Exception, SystemExit) as error:  # whatever the user's own code raises while it is imported
        raise ConfigError(f"{target}: cannot be imported: {raised(error)}") from error
    if not called and not inspect.isclass(value):
        return value
    arguments: dict[str, Any] = {}
    if not callable(value):
        raise ConfigError(f"{target}: expected something that can be called, received {type(value).__name__}")
    # Of the constructor: the metaclass of NNX hides its arguments from the class.
    if inspect.isclass(value) and "rngs" in inspect.signature(value.__init__).parameters:
        from flax import nnx

        arguments["rngs"] = nnx.Rngs(0)
    try:
        value = value(**arguments)
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        fix = f"; likely fix: a function that makes it, as {name}:make()" if inspect.isclass(value) else ""
        raise ConfigError(f"{target}: cannot be made without arguments: {raised(error)}{fix}") from error
    if hasattr(value, "eval"):
        value.eval()
    return value


def model_of(target: str) -> Any:
    """The model that `MODULE:ATTR` names, or PyTorch's twin of an architecture.

    Raises:
        ConfigError: it cannot be imported or made.
    """
    if target in architectures.names():
        architecture = architectures.get(target)
        return architecture.torch_class()(architecture.config.preset(architecture.config.PRESETS[0]))
    return loaded(target)


def inputs_of(texts: Sequence[str], model: Any) -> tuple[Any, list[str] | None]:
    """Arrays and their axes: those that `--input` names, or those of a twin.

    Raises:
        ConfigError: none are named for a model of one's own, or an array does not fit its axes.
    """
    import numpy as np

    from einops_arch.parity import example_inputs
    from einops_arch.parity.probes import random_numbers

    if not texts:
        config = getattr(model, "config", None)
        if isinstance(config, architectures.Config):
            return example_inputs(config), None
        raise ConfigError("expected --input for a model of one's own, such as --input 'b c h w=2,3,32,32'")
    arrays, axes = [], []
    for n, text in enumerate(texts):
        names, _, file = text.partition("=")
        if file.endswith(".npy"):
            try:
                array = np.load(file, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise ConfigError(f"--input {text}: cannot be read: {error}") from error
        else:
            entry = parsed(text)
            names = entry.axes
            numbers = random_numbers(f"input {n}", entry.shape)
            array = (numbers > 0 if "int" in entry.dtype or entry.dtype == "bool" else numbers).astype(entry.dtype)
        if array.ndim != len(names.split()):
            raise ConfigError(f"--input {text}: expected axes of an array of shape {array.shape}, received {names!r}")
        arrays.append(array)
        axes.append(names.strip())
    return tuple(arrays), axes
