"""The command `translate`: from a PyTorch model to its Flax twin as source."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch._frameworks import require
from einops_arch._text import printable
from einops_arch.cli.output import echo, print_json, progress
from einops_arch.cli.targets import by_name, loaded, named, parsed
from einops_arch.errors import ConfigError, DestinationError

__all__ = ["TranslateOptions", "random_inputs", "translate_target"]


@dataclass(frozen=True)
class TranslateOptions:
    """What the command line says beside the model and the file."""

    inputs: Sequence[str]
    state: Path | None = None
    key: str | None = None
    weights: Path | None = None
    test: Path | None = None
    leaves: Sequence[str] = ()
    also: Sequence[str] = ()
    partial: bool = False
    force: bool = False
    as_json: bool = False


def translate_target(target: str, output: Path, options: TranslateOptions) -> bool:
    """Translate a model, write the file and say what was found.

    Returns:
        Whether everything was written and proved.

    Raises:
        ConfigError: the target cannot be imported, or an input has another form.
        DestinationError: a file is there already.
    """
    require("torch", "jax", "flax", extra="all", by="translate")
    from einops_arch.translation import TranslationError, translate

    for path in (output, options.weights, options.test):
        if path is not None and path.exists() and not options.force:
            raise DestinationError(f"{path}: there is a file of this name; likely fix: --force, which replaces it")
    if options.key is not None and options.state is None:
        raise ConfigError("translate: --key names an entry of the file of --state, received it alone")
    inputs, axes = random_inputs(options.inputs)
    make = _factory(target, options.state, options.key)
    with progress(f"translating {target}", quiet=options.as_json) as say:
        try:
            result = translate(
                make,
                inputs,
                axes=axes,
                also=[_sizes(text) for text in options.also],
                leaves=dict(_leaf(text) for text in options.leaves),
                partial=options.partial,
                progress=say,
            )
        except TranslationError as error:
            _print_refusals(target, error.refusals, as_json=options.as_json)
            return False
    written = result.passed or options.partial
    if written:
        result.save(output, weights=options.weights, test=options.test)
    _print_result(target, output, result, as_json=options.as_json, written=written)
    return bool(result.passed)


def _factory(target: str, state: Path | None, key: str | None) -> Any:
    """The module, or the function that makes it, so that construction is seen; with the weights of a checkpoint."""
    value, call = named(target)
    if call is not None:
        make: Callable[[], Any] = functools.partial(value, *call.arguments, **call.keywords)
    else:
        module = loaded(target)

        def make() -> Any:
            return module

    if state is None:
        return make

    def with_state() -> Any:
        from einops_arch.cli.states import put_state

        model = make()
        put_state(state, model, key=key)
        return model

    return with_state


def random_inputs(texts: Sequence[str]) -> tuple[Any, Any]:
    """Arrays and axes: by position, or by name where the inputs have names.

    Args:
        texts: as `--input` takes them, such as `"b 3 h w=2,3,64,64"` or `"input_ids: b t=2,7 int<50"`.

    Raises:
        ConfigError: a text has another form, or some have a name and some have none.
    """
    random = np.random.default_rng(0)
    entries = [parsed(text) for text in texts]
    arrays: list[Any] = []
    for entry in entries:
        if "int" in entry.dtype:
            arrays.append(random.integers(0, 2 if entry.high is None else entry.high, entry.shape).astype(entry.dtype))
        elif entry.dtype == "bool":
            arrays.append(random.random(entry.shape) < 0.7)
        else:
            arrays.append(random.standard_normal(entry.shape).astype(entry.dtype))
    return by_name([entry.name for entry in entries], arrays, [entry.axes for entry in entries])


def _sizes(text: str) -> dict[str, int]:
    """`h=96,w=128` as sizes."""
    try:
        return {name.strip(): int(size) for name, _, size in (part.partition("=") for part in text.split(","))}
    except ValueError as error:
        raise ConfigError(f"--also: expected sizes by letter, such as 'h=96,w=128', received {text!r}") from error


def _leaf(text: str) -> tuple[Any, Any]:
    """`my.module:Layer=my_flax.module:Layer` as a pair of classes."""
    classes = []
    for path in text.split("=", 1):
        module, _, name = path.rpartition(":" if ":" in path else ".")
        try:
            classes.append(getattr(importlib.import_module(module), name))
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"--leaf: expected my.Module=my_flax.Module, received {text!r}: {error}") from error
    if len(classes) != 2:
        raise ConfigError(f"--leaf: expected my.Module=my_flax.Module, received {text!r}")
    return classes[0], classes[1]


def _print_refusals(target: str, refusals: Sequence[Any], *, as_json: bool) -> None:
    if as_json:
        print_json({"target": target, "verdict": "refused", "refusals": [vars(item) for item in refusals]})
        return
    _say(f"refused    {target}: nothing was written")
    for item in refusals:
        _say(f"  {item}")


def _print_result(target: str, output: Path, result: Any, *, as_json: bool, written: bool) -> None:
    verdict = result.report.verdict if result.report is not None else "partial"
    lines = len(result.source.splitlines())
    parameters = sum(int(np.asarray(value).size) for value in _state_of(result).values())
    if as_json:
        print_json(
            {
                "target": target,
                "verdict": verdict,
                "file": str(output) if written else None,
                "lines": lines,
                "classes": dict(result.classes),
                "moves": result.moves,
                "modules": result.modules,
                "operations": result.operations,
                "numbers": parameters,
                "fixed": dict(result.fixed),
                "outputs": list(result.outputs),
                "comparisons": {name: item.verdict for name, item in result.report.reports.items()}
                if result.report is not None
                else {},
                "problems": list(result.report.problems) if result.report is not None else [],
                "refusals": [vars(item) for item in result.refusals],
            }
        )
        return
    modules = _count(result.modules, "module", "modules")
    operations = _count(result.operations, "operation", "operations")
    _say(f"recorded   {modules}, {operations}, eval and train, 2 sizes")
    for letter, reason in result.fixed.items():
        _say(f"           axis {letter} is fixed: {reason}")
    if written:
        _say(
            f"wrote      {output}: {_count(len(result.classes), 'class', 'classes')}, {lines} lines; "
            f"{_count(result.moves, 'pattern', 'patterns')}"
        )
    _say(f"ported     {parameters:,} numbers, bit for bit")
    _say(f"proved     {verdict}")
    if not written:
        _say("wrote      nothing, as the proof did not pass; --partial writes the file all the same")
    for item in result.refusals:
        _say(f"  {item}")
    if result.report is not None and not result.report.passed:
        echo(str(result.report))


def _say(line: str) -> None:
    echo(printable(line, ""))


def _count(number: int, singular: str, plural: str) -> str:
    return f"{number:,} {singular if number == 1 else plural}"


def _state_of(result: Any) -> dict[str, Any]:
    from einops_arch.flax.state import state_dict

    return state_dict(result.model)
