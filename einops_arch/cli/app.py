"""The commands and their options; what they do is in the files beside this one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from einops_arch import __version__
from einops_arch.errors import EinopsArchError

__all__ = ["app", "run"]


class _Group(TyperGroup):
    """One clean message for every error that the package raises on purpose."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EinopsArchError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None


class Framework(StrEnum):
    """Where a port goes."""

    TORCH = "torch"
    FLAX = "flax"


class Mode(StrEnum):
    """The modes of a network."""

    EVAL = "eval"
    TRAIN = "train"


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Deep-learning architectures written with einops, the same in PyTorch and Flax.",
    epilog="Exit codes: 0 right, 1 not equal, 2 wrong usage or a bad file.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Preset = Annotated[str | None, typer.Option("--preset", help="A named size, see `list`.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A JSON file with the fields of the config.")
]


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="einops-arch")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"einops-arch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=lambda v: _print_version(wanted=v)
        ),
    ] = False,
) -> None:
    pass


@app.command("list")
def list_architectures(*, as_json: AsJson = False) -> None:
    """List the architectures: parameters, presets, inputs and outputs, source."""
    from einops_arch.cli.listing import print_list

    print_list(as_json=as_json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="An architecture, see `list`.")],
    preset: Preset = None,
    config: ConfigFile = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show an architecture: its config, both module trees, and the pattern of each parameter."""
    from einops_arch.cli.showing import print_architecture

    print_architecture(name, preset, config, as_json=as_json)


@app.command()
def port(
    source: Annotated[Path, typer.Argument(help="A .safetensors or .pt file, or an Orbax folder.")],
    destination: Annotated[Path, typer.Argument(help="A new .safetensors or .pt file, or an Orbax folder.")],
    to: Annotated[Framework, typer.Option("--to", help="Whose names and layout the destination has.")],
    arch: Annotated[str | None, typer.Option("--arch", help="The architecture, unless the file says it.")] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the destination.")] = False,
    as_json: AsJson = False,
) -> None:
    """Carry a checkpoint to the other framework, bit for bit.

    PyTorch's state goes to .safetensors or .pt, Flax's to .safetensors or an Orbax folder (a name without an ending).
    """
    from einops_arch.cli.porting import port_file

    port_file(source, destination, str(to), arch, preset, config, force=force, as_json=as_json)


@app.command()
def verify(
    targets: Annotated[
        list[str] | None, typer.Argument(metavar="NAME|FILE...", help="Architectures, or checkpoints.")
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", help="The architecture of a checkpoint, unless it says it.")
    ] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    mode: Annotated[Mode | None, typer.Option("--mode", help="One mode only; both if left out.")] = None,
    *,
    gradients: Annotated[
        bool, typer.Option("--gradients/--no-gradients", help="Compare the gradients of every parameter.")
    ] = True,
    every: Annotated[bool, typer.Option("--all", help="All architectures.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare both twins module by module, in float64 and in their own dtype; exit code 1 if they differ."""
    from einops_arch.cli.verifying import Options, verify_all

    modes = (str(mode),) if mode else ("eval", "train")
    options = Options(arch, preset, config, modes, gradients=gradients, as_json=as_json)
    if not verify_all(targets or [], options, every=every):
        raise typer.Exit(1)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the results.")] = Path("demo-output"),
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Train very little: a look at the moves, not the results.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train in PyTorch on real images, port to Flax, get the same answers."""
    from einops_arch.cli.showcase import run_demo

    if not run_demo(output, quick=quick, as_json=as_json):
        raise typer.Exit(1)
