"""Models and inputs that the command line names: `MODULE:ATTR`, an architecture, `--input`."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from einops_arch import architectures
from einops_arch.cli.output import raised
from einops_arch.errors import ConfigError, suggestion

__all__ = ["Call", "Input", "by_name", "inputs_of", "loaded", "model_of", "named", "parsed"]

_INPUT = re.compile(
    r"(?:(?P<name>[A-Za-z_]\w*)\s*:\s*)?(?P<axes>[^=@:]+)=(?P<shape>[0-9, ]+?)"
    r"(?:\s*@(?P<dtype>\w+)|\s+int\s*<\s*(?P<high>\d+))?\s*"
)
_DTYPES = (
    *("float16", "float32", "float64", "complex64", "complex128", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


@dataclass(frozen=True)
class Input:
    """One `--input`: axes, shape and dtype; the end of the integers, and the name of the argument, if they are told."""

    axes: str
    shape: tuple[int, ...]
    dtype: str
    high: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class Call:
    """The arguments behind a name on the command line."""

    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)


def parsed(text: str) -> Input:
    """An `--input`, taken apart.

    Raises:
        ConfigError: it has not the form `b c h w=2,3,4,5` or `input_ids: b t=2,7 int<50`.
    """
    match = _INPUT.fullmatch(text.strip())
    shape = tuple(int(size) for size in match["shape"].split(",") if size.strip()) if match else ()
    if match is None or len(shape) != len(match["axes"].split()):
        raise ConfigError(
            "--input: expected axes and as many sizes, such as 'b c h w=2,12,5,7' or 'input_ids: b t=2,7 int<50', "
            f"received {text!r}"
        )
    if (match["dtype"] or "float32") not in _DTYPES:
        raise ConfigError(f"--input {text}: {suggestion(match['dtype'], _DTYPES)}, received {match['dtype']!r}")
    high = int(match["high"]) if match["high"] else None
    dtype = match["dtype"] or ("float32" if high is None else "int64")
    return Input(match["axes"].strip(), shape, dtype, high, match["name"])


def by_name(names: Sequence[str | None], arrays: Sequence[Any], axes: Sequence[str]) -> tuple[Any, Any]:
    """Arrays and axes by position, or by name where every input has one.

    Raises:
        ConfigError: some have a name and some have none.
    """
    known = [name for name in names if name is not None]
    if not known:
        return tuple(arrays), list(axes)
    if len(known) < len(names):
        raise ConfigError("--input: expected a name for each input or for none")
    return dict(zip(known, arrays, strict=True)), dict(zip(known, axes, strict=True))


def named(target: str) -> tuple[Any, Call | None]:
    """What `module:name` or `file.py:name` names, and how it is called where parentheses stand behind it.

    Raises:
        ConfigError: it cannot be imported, or is called with more than literals.
    """
    module, colon, attribute = target.partition(":")
    name, parenthesis, _ = attribute.partition("(")
    if not colon or not name:
        raise ConfigError(f"expected module:function or module:Model, received {target!r}")
    call = _call_of(target, attribute) if parenthesis else None
    try:
        value = _imported(module)
        for part in name.split("."):
            value = getattr(value, part)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's own code raises while it is imported
        raise ConfigError(f"{target}: cannot be imported: {raised(error)}") from error
    if call is not None and not callable(value):
        raise ConfigError(f"{target}: expected something that can be called, received {type(value).__name__}")
    return value, call


def loaded(target: str) -> Any:
    """What `module:name` names; a class is made, and so is what `module:make()` or `module:Net(width=8)` calls.

    Raises:
        ConfigError: it cannot be imported or made.
    """
    value, call = named(target)
    if call is None and not inspect.isclass(value):
        return value
    call = call or Call()
    keywords = dict(call.keywords)
    # Of the constructor: the metaclass of NNX hides its arguments from the class.
    if inspect.isclass(value) and "rngs" in inspect.signature(value.__init__).parameters:
        from flax import nnx

        keywords.setdefault("rngs", nnx.Rngs(0))
    try:
        made = value(*call.arguments, **keywords)
    except (Exception, SystemExit) as error:  # whatever the user's own code raises
        without = "" if call.arguments or call.keywords else " without arguments"
        fix = f"; likely fix: a function that makes it, as {target.partition(':')[0]}:make()"
        raise ConfigError(
            f"{target}: cannot be made{without}: {raised(error)}{fix if inspect.isclass(value) else ''}"
        ) from error
    if hasattr(made, "eval"):
        made.eval()
    return made


def _call_of(target: str, attribute: str) -> Call:
    """The arguments in `Net(8, norm='batch')`; `rngs=nnx.Rngs(0)` is left out, as such streams are made anyway."""
    with contextlib.suppress(SyntaxError, ValueError, TypeError):
        tree = ast.parse(attribute, mode="eval").body
        if isinstance(tree, ast.Call):
            keywords = {keyword.arg or "**": keyword.value for keyword in tree.keywords}
            keywords.pop("rngs", None)
            arguments = tuple(ast.literal_eval(argument) for argument in tree.args)
            return Call(arguments, {name: ast.literal_eval(value) for name, value in keywords.items()})
    raise ConfigError(
        f"{target}: expected arguments that are literals, as module:Net(8, norm='batch'); likely fix: a function "
        "without arguments that makes it"
    )


def _imported(module: str) -> Any:
    """A module by its name, or a file of Python by its path."""
    if os.getcwd() not in sys.path:  # noqa: PTH109 the entry is a string
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    if not module.endswith(".py"):
        return importlib.import_module(module)
    path = Path(os.path.relpath(module))
    if len(path.parts) == 1:
        return importlib.import_module(path.stem)
    # By its whole path, since both sides of a pair are often called model.py.
    name = re.sub(r"\W+", "_", str(path.with_suffix("")))
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise ConfigError(f"{module}: no such file of Python")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        sys.path.insert(1, str(path.resolve().parent))  # for files beside it
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def model_of(target: str) -> Any:
    """The model that `MODULE:ATTR` names, or PyTorch's twin of an architecture.

    Raises:
        ConfigError: it cannot be imported or made.
    """
    if target in architectures.names():
        architecture = architectures.get(target)
        return architecture.torch_class()(architecture.config.preset(architecture.config.PRESETS[0]))
    return loaded(target)


def inputs_of(texts: Sequence[str], model: Any) -> tuple[Any, Any]:
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
    names, arrays, axes = [], [], []
    for n, text in enumerate(texts):
        stated, _, file = text.partition("=")
        if file.endswith(".npy"):
            try:
                array = np.load(file, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise ConfigError(f"--input {text}: cannot be read: {error}") from error
            name, _, letters = stated.rpartition(":")
            entry = Input(letters.strip(), array.shape, str(array.dtype), name=name.strip() or None)
        else:
            entry = parsed(text)
            if entry.high is not None:
                array = np.random.default_rng(n).integers(0, entry.high, entry.shape).astype(entry.dtype)
            else:
                numbers = random_numbers(f"input {n}", entry.shape)
                array = (numbers > 0 if "int" in entry.dtype or entry.dtype == "bool" else numbers).astype(entry.dtype)
        if array.ndim != len(entry.axes.split()):
            raise ConfigError(
                f"--input {text}: expected axes of an array of shape {array.shape}, received {entry.axes!r}"
            )
        names.append(entry.name)
        arrays.append(array)
        axes.append(entry.axes)
    return by_name(names, arrays, axes)
