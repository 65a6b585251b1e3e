"""The command `show`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from einops_arch import architectures
from einops_arch._frameworks import require
from einops_arch.architectures import Architecture, Config
from einops_arch.cli.models import abstract_torch_model, chosen_config, installed
from einops_arch.cli.output import byte_count, console, print_json, progress
from einops_arch.cli.summary.module import Summary
from einops_arch.cli.summary.summary import summarize
from einops_arch.cli.summary.tree import print_tree, shape_text, short
from einops_arch.errors import ConfigError

__all__ = ["ShowOptions", "print_architecture"]


@dataclasses.dataclass(frozen=True)
class ShowOptions:
    """What the command line said.

    Args:
        preset: a size, unless the name says it.
        config: a JSON file with the config, likewise.
        framework: `"torch"` or `"flax"`, whose classes and axes are shown; PyTorch's, if installed, if left out.
        sizes: of axes that the config leaves free, such as `"h=96"`.
        depth: how deep the tree goes; all of it if left out.
        parameters: print the pattern of each parameter too.
        as_json: print JSON.
    """

    preset: str | None = None
    config: Path | None = None
    framework: str | None = None
    sizes: Sequence[str] = ()
    depth: int | None = None
    parameters: bool = False
    as_json: bool = False


def print_architecture(name: str, options: ShowOptions) -> None:
    """Print what an architecture of a size is: its modules as a tree, what they take, give and cost, and its config.

    What is not installed is left out.

    Raises:
        UnknownArchitectureError: no architecture or preset of that name.
        ConfigError: the options name a config or a size that does not exist or does not fit.
        MissingFrameworkError: the framework is not installed, or neither is.
    """
    architecture, preset = architectures.resolve(name)
    if preset is not None and (options.preset is not None or options.config is not None):
        option = f"--preset {options.preset}" if options.preset is not None else f"--config {options.config}"
        raise ConfigError(f"{name} says the preset {preset} of {architecture.name} already, received {option} too")
    config = chosen_config(architecture, options.preset or preset, options.config)
    config = config or architecture.config.preset(architecture.config.PRESETS[0])
    if not installed("torch") and not installed("flax"):
        require("torch", "jax", "flax", extra="all", by="show")
    framework = options.framework or ("torch" if installed("torch") else "flax")
    if not installed(framework):
        require(*{"torch": ("torch",), "flax": ("jax", "flax")}[framework], extra=framework, by="show")
    with progress(f"Following {name} without memory"):
        summary = summarize(architecture, config, framework, _sizes(options.sizes))
        shown = {
            "name": architecture.name,
            "summary": architecture.summary,
            "source": architecture.source,
            "config": config.to_dict(),
            "parameters": summary.modules[0].parameters,
            "multiply_adds": summary.modules[0].multiply_adds,
            "framework": framework,
        }
        if options.as_json or options.parameters:
            shown |= _twins(architecture, config, summary)
    if options.as_json:
        print_json(shown)
    else:
        _print(shown, config, summary, options)


def _sizes(texts: Sequence[str]) -> dict[str, int]:
    sizes = {}
    for text in texts:
        name, _, number = text.partition("=")
        if not number.isdecimal() or int(number) < 1:
            raise ConfigError(f"expected --size such as h=96, received {text!r}")
        sizes[name] = int(number)
    return sizes


def _twins(architecture: Architecture, config: Config, summary: Summary) -> dict[str, Any]:
    """Every module of either framework, and the pattern of each parameter and buffer."""
    torch_modules: dict[str, str] = {}
    flax_modules: dict[str, str] = {}
    rows: list[dict[str, Any]] = []
    if installed("torch"):
        model = abstract_torch_model(config)
        torch_modules = {path: type(module).__name__ for path, module in model.named_modules(remove_duplicate=False)}
        shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
        rows = [{"name": n, "torch_shape": s, "pattern": None, "flax": []} for n, s in shapes.items()]
    if installed("flax"):
        from einops_arch.flax._build import abstract_model
        from einops_arch.flax.state import named_modules, port_steps

        twin = abstract_model(config)
        flax_modules = {path: type(module).__name__ for path, module in named_modules(twin)}
        rows = []
        for step, _ in port_steps(twin):
            leaves = [{"path": leaf.path, "shape": list(leaf.shape)} for leaf in step.leaves]
            for name, (shape, _kind) in step.expected.items():
                rows.append({"name": name, "torch_shape": list(shape), "pattern": step.layout, "flax": leaves})
    followed = {module.path: module for module in summary.modules}
    modules = []
    for path in dict.fromkeys([*torch_modules, *flax_modules]):
        row: dict[str, Any] = {"path": path, "torch": torch_modules.get(path), "flax": flax_modules.get(path)}
        if path in followed:
            row |= {
                "calls": followed[path].calls,
                "inputs": [_array(array) for array in followed[path].inputs],
                "outputs": [_array(array) for array in followed[path].outputs],
                "parameters": followed[path].parameters,
                "multiply_adds": followed[path].multiply_adds,
            }
        modules.append(row)
    return {"modules": modules, "state": rows}


def _array(array: Sequence[tuple[str | None, int]]) -> dict[str, Any]:
    return {"axes": [name for name, _ in array], "shape": [size for _, size in array]}


def _print(shown: dict[str, Any], config: Config, summary: Summary, options: ShowOptions) -> None:
    page = console()
    page.print(f"[bold]{shown['name']}[/]: {shown['summary']}", soft_wrap=True)
    page.print(f"source: {shown['source']}", markup=False, soft_wrap=True)
    page.print(repr(config), markup=False, soft_wrap=True)
    page.print()

    title = {"torch": "PyTorch module", "flax": "Flax module"}[summary.framework]
    print_tree(page, title, summary.modules, options.depth)
    page.print()

    size = byte_count(4 * shown["parameters"])
    inputs = ", ".join(" ".join(f"{name}={size}" for name, size in array) for array in summary.modules[0].inputs)
    total = f"{shown['parameters']:,} parameters ({size} in float32), {short(shown['multiply_adds'])} multiply-adds"
    page.print(f"{total} for {inputs}", markup=False, soft_wrap=True)
    if options.parameters:
        _print_parameters(page, shown["state"])


def _print_parameters(page: Any, state: Sequence[Mapping[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="parameters and buffers", title_justify="left")
    for column in ("PyTorch", "shape", "pattern", "Flax", "shape"):
        table.add_column(column, overflow="fold")
    for row in state:
        leaves = row["flax"]
        cells = (
            row["name"],
            shape_text(row["torch_shape"]),
            row["pattern"] or "",
            "\n".join(leaf["path"] for leaf in leaves),
            "\n".join(shape_text(leaf["shape"]) for leaf in leaves),
        )
        table.add_row(*map(Text, cells))
    page.print()
    page.print(table)
