"""The command `discover`."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from einops_arch._frameworks import require
from einops_arch.cli.output import console, print_json
from einops_arch.discovery import Chain, Discovery, ModelReport, discover, discover_model
from einops_arch.errors import ConfigError, DiscoveryError

__all__ = ["discover_target", "loaded", "parsed"]

_INPUT = re.compile(r"(?P<axes>[^=@]+)=(?P<shape>[0-9, ]+)(@(?P<dtype>\w+))?")


@dataclass(frozen=True)
class Input:
    """One `--input`: axes, shape and dtype."""

    axes: str
    shape: tuple[int, ...]
    dtype: str


def discover_target(target: str, inputs: list[str], backend: str | None, *, as_json: bool, show_diff: bool) -> bool:
    """Print the pattern of a function, or those of a model.

    Returns:
        Whether there is a pattern: for a model, for each chain that keeps all elements.

    Raises:
        ConfigError: the target cannot be imported, or an input is not of the form `b c=2,3`.
    """
    given = [parsed(text) for text in inputs]
    found = loaded(target)
    if _framework(found) or show_diff:
        report = discover_model(found, tuple(_values(one, _framework(found) or backend or "torch") for one in given))
        _print_report(report, as_json=as_json, show_diff=show_diff)
        return report.counts["pure"] == report.counts["pure expressed"]
    axes = ", ".join(one.axes for one in given)
    try:
        discovery = discover(found, axes, [one.shape for one in given], backend=backend)
    except DiscoveryError as error:
        if as_json:
            print_json({"target": target, "discovery": None, "kind": error.kind, "reason": str(error)})
        else:
            typer.echo(str(error))
        return False
    _print_discovery(target, discovery, as_json=as_json)
    return True


def parsed(text: str) -> Input:
    """An `--input`, taken apart.

    Raises:
        ConfigError: it has not the form `b c h w=2,3,4,5`.
    """
    match = _INPUT.fullmatch(text.strip())
    shape = tuple(int(size) for size in match["shape"].split(",") if size.strip()) if match else ()
    if match is None or len(shape) != len(match["axes"].split()):
        raise ConfigError(f"--input: expected axes and as many sizes, such as 'b c h w=2,12,5,7', received {text!r}")
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
    if os.getcwd() not in sys.path:  # noqa: PTH109 the entry is a string
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found: Any = importlib.import_module(name)
        for part in attribute.removesuffix("()").split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{target}: cannot be imported: {error}") from error
    if not called and not inspect.isclass(found):
        return found
    arguments: dict[str, Any] = {}
    # Of the constructor: the metaclass of NNX hides its arguments from the class.
    if inspect.isclass(found) and "rngs" in inspect.signature(found.__init__).parameters:
        from flax import nnx

        arguments["rngs"] = nnx.Rngs(0)
    try:
        found = found(**arguments)
    except TypeError as error:
        fix = f"a function that makes it, as {name}:make()"
        raise ConfigError(f"{target}: cannot be made without arguments: {error}; likely fix: {fix}") from error
    if hasattr(found, "eval"):
        found.eval()
    return found


def _framework(value: Any) -> str | None:
    """Whose module this is, None if it is a function."""
    for kind in type(value).__mro__:
        if kind.__name__ == "Module":
            top = kind.__module__.partition(".")[0]
            return {"torch": "torch", "flax": "jax"}.get(top)
    return None


def _values(one: Input, framework: str) -> Any:
    import numpy as np

    random = np.random.default_rng(0)
    values = random.integers(0, 2, one.shape) if "int" in one.dtype else random.standard_normal(one.shape)
    values = values.astype(one.dtype)
    if framework == "jax":
        import jax.numpy as jnp

        return jnp.asarray(values)
    import torch

    return torch.from_numpy(values)


def _print_discovery(target: str, discovery: Discovery, *, as_json: bool) -> None:
    if as_json:
        print_json({"target": target, "discovery": discovery.to_dict()})
        return
    typer.echo(str(discovery))


def _print_report(report: ModelReport, *, as_json: bool, show_diff: bool) -> None:
    if show_diff:
        require("libcst", extra="cli", by="--diff")
        from einops_arch.discovery.rewriting.rewrite import diff

        found = diff(report.chains)
        typer.echo(found.text, nl=False)
        # Beside the diff, so that the diff alone can be saved.
        for chain, reason in found.left:
            typer.echo(f"left alone: {_place(chain)} {chain.operations}: {reason}", err=True)
        return
    if as_json:
        print_json(report.to_dict())
        return
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in ("source", "runs", "module", "operations", "einops"):
        table.add_column(column, justify="right" if column == "runs" else "left", overflow="fold")
    for chain, times in report.sites():
        said = chain.discovery.code if chain.discovery else f"no pattern: {chain.reason}"
        table.add_row(*map(Text, (_place(chain), str(times), chain.module or ".", chain.operations, said)))
    page = console()
    page.print(table)
    page.print(", ".join(f"{name}: {count}" for name, count in report.counts.items()), soft_wrap=True)


def _place(chain: Chain) -> str:
    file = Path(chain.steps[0].file)
    return file.name + chain.place.removeprefix(chain.steps[0].file)
