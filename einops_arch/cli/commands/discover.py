"""The command `discover`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from einops_arch._frameworks import require
from einops_arch._text import printable
from einops_arch.cli.output import console, echo, print_json
from einops_arch.cli.targets import Input, loaded, parsed
from einops_arch.discovery import Chain, Discovery, ModelReport, discover, discover_model
from einops_arch.errors import DiscoveryError

__all__ = ["discover_target"]


def discover_target(target: str, inputs: list[str], backend: str | None, *, as_json: bool, show_diff: bool) -> bool:
    """Print the pattern of a function, or those of a model.

    Returns:
        Whether there is a pattern: for a model, for each chain that keeps all elements.

    Raises:
        ConfigError: the target cannot be imported, or an input is not of the form `b c=2,3`.
    """
    wanted = [parsed(text) for text in inputs]
    value = loaded(target)
    if _framework(value) or show_diff:
        report = discover_model(
            value, tuple(_values(entry, _framework(value) or backend or "torch") for entry in wanted)
        )
        _print_report(report, as_json=as_json, show_diff=show_diff)
        return report.counts["pure"] == report.counts["pure expressed"]
    axes = ", ".join(entry.axes for entry in wanted)
    try:
        discovery = discover(value, axes, [entry.shape for entry in wanted], backend=backend)
    except DiscoveryError as error:
        if as_json:
            print_json({"target": target, "discovery": None, "kind": error.kind, "reason": str(error)})
        else:
            echo(str(error))
        return False
    _print_discovery(target, discovery, as_json=as_json)
    return True


def _framework(value: Any) -> str | None:
    """Whose module this is, None if it is a function."""
    for kind in type(value).__mro__:
        if kind.__name__ == "Module":
            top = kind.__module__.partition(".")[0]
            return {"torch": "torch", "flax": "jax"}.get(top)
    return None


def _values(entry: Input, framework: str) -> Any:
    import numpy as np

    random = np.random.default_rng(0)
    integers = "int" in entry.dtype
    high = 2 if entry.high is None else entry.high
    values = random.integers(0, high, entry.shape) if integers else random.standard_normal(entry.shape)
    values = values.astype(entry.dtype)
    if framework == "jax":
        import jax.numpy as jnp

        return jnp.asarray(values)
    import torch

    return torch.from_numpy(values)


def _print_discovery(target: str, discovery: Discovery, *, as_json: bool) -> None:
    if as_json:
        print_json({"target": target, "discovery": discovery.to_dict()})
        return
    echo(str(discovery))


def _print_report(report: ModelReport, *, as_json: bool, show_diff: bool) -> None:
    if show_diff:
        require("libcst", extra="cli", by="--diff")
        from einops_arch.discovery.rewriting.rewrite import diff

        patch = diff(report.chains)
        echo(patch.text, nl=False)
        # Beside the diff, so that the diff alone can be saved.
        for chain, reason in patch.left:
            echo(f"left alone: {_place(chain)} {chain.operations}: {reason}", err=True)
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
        pattern = chain.discovery.code if chain.discovery else f"no pattern: {chain.reason}"
        table.add_row(
            *map(Text, (_place(chain), str(times), printable(chain.module, "") or ".", chain.operations, pattern))
        )
    page = console()
    page.print(table)
    page.print(", ".join(f"{name}: {count}" for name, count in report.counts.items()), soft_wrap=True)


def _place(chain: Chain) -> str:
    file = Path(chain.steps[0].file)
    return file.name + chain.place.removeprefix(chain.steps[0].file)
