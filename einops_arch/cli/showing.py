"""The command `show`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from einops_arch import architectures
from einops_arch._frameworks import require
from einops_arch.architectures import Architecture, Config
from einops_arch.cli.models import abstract_torch_model, chosen_config, count_parameters, installed
from einops_arch.cli.output import console, print_json, progress

__all__ = ["print_architecture"]


def print_architecture(name: str, preset: str | None, file: Path | None, *, as_json: bool) -> None:
    """Print the config, both module trees, and the pattern of each parameter of one architecture.

    What is not installed leaves its column empty.

    Raises:
        UnknownArchitectureError: no architecture of that name.
        ConfigError: the options name a config that does not exist or does not fit.
        MissingFrameworkError: neither framework is installed.
    """
    architecture = architectures.get(name)
    config = chosen_config(architecture, preset, file) or architecture.config.preset(architecture.config.PRESETS[0])
    if not installed("torch") and not installed("flax"):
        require("torch", "jax", "flax", extra="all", by="show")
    with progress(f"Building {name} without memory"):
        found = {
            "name": name,
            "summary": architecture.summary,
            "source": architecture.source,
            "config": config.to_dict(),
            "parameters": count_parameters(architecture, config),
            **_trees(architecture, config),
        }
    if as_json:
        print_json(found)
    else:
        _print(found, type(config).__name__)


def _trees(architecture: Architecture, config: Config) -> dict[str, Any]:
    torch_modules: dict[str, str] = {}
    flax_modules: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    if installed("torch"):
        model = abstract_torch_model(architecture, config)
        torch_modules = {path: type(one).__name__ for path, one in model.named_modules(remove_duplicate=False)}
        shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
        rows = [{"name": n, "torch_shape": s, "pattern": None, "flax": []} for n, s in shapes.items()]
    if installed("flax"):
        from einops_arch.flax.state import named_modules, port_steps

        twin = architecture.abstract_flax_model(config)
        flax_modules = {path: type(one).__name__ for path, one in named_modules(twin)}
        rows = []
        for step, _ in port_steps(twin):
            leaves = [{"path": leaf.path, "shape": list(leaf.shape)} for leaf in step.leaves]
            for name, (shape, _kind) in step.expected.items():
                rows.append({"name": name, "torch_shape": list(shape), "pattern": step.layout, "flax": leaves})
    paths = list(dict.fromkeys([*torch_modules, *flax_modules]))
    modules = [{"path": p, "torch": torch_modules.get(p), "flax": flax_modules.get(p)} for p in paths]
    return {"modules": modules, "state": rows}


def _print(found: dict[str, Any], config: str) -> None:
    from rich.table import Table
    from rich.text import Text

    page = console()

    def table(title: str, columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
        one = Table(title=title, title_justify="left")
        for column in columns:
            one.add_column(column, overflow="fold")
        for row in rows:
            one.add_row(*map(Text, row))
        page.print(one)

    page.print(f"[bold]{found['name']}[/]: {found['summary']}", soft_wrap=True)
    page.print(f"source: {found['source']}", markup=False, soft_wrap=True)
    page.print(f"{found['parameters']:,} parameters", soft_wrap=True)
    table(config, ("field", "value"), [(name, repr(value)) for name, value in found["config"].items()])
    modules = [(m["path"] or "(network)", m["torch"] or "", m["flax"] or "") for m in found["modules"]]
    table("modules", ("path", "PyTorch", "Flax"), modules)
    rows = [
        (
            row["name"],
            _shape(row["torch_shape"]),
            row["pattern"] or "",
            "\n".join(leaf["path"] for leaf in row["flax"]),
            "\n".join(_shape(leaf["shape"]) for leaf in row["flax"]),
        )
        for row in found["state"]
    ]
    table("parameters and buffers", ("PyTorch", "shape", "pattern", "Flax", "shape"), rows)


def _shape(shape: list[int]) -> str:
    return " ".join(map(str, shape)) or "scalar"
