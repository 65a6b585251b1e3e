"""The command line: its commands in their order, and one sentence for every error.

Options stand in `declarations/`, what a command does in `commands/`.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup

from einops_arch._frameworks import out_of_memory
from einops_arch._text import printable
from einops_arch._version import __version__
from einops_arch.cli.declarations.capture import capture
from einops_arch.cli.declarations.classify import classify
from einops_arch.cli.declarations.demo import demo
from einops_arch.cli.declarations.discover import discover
from einops_arch.cli.declarations.doctor import doctor
from einops_arch.cli.declarations.generate import generate
from einops_arch.cli.declarations.inspect import inspect
from einops_arch.cli.declarations.list import list_architectures
from einops_arch.cli.declarations.mutate import mutate
from einops_arch.cli.declarations.port import port
from einops_arch.cli.declarations.show import show
from einops_arch.cli.declarations.translate import translate
from einops_arch.cli.declarations.verify import verify
from einops_arch.cli.help import ExplainedCommand, print_help
from einops_arch.cli.output import PatientStream, raised
from einops_arch.errors import EinopsArchError

__all__ = ["app", "run"]

_TRACEBACK = "EINOPS_ARCH_TRACEBACK"


class _Group(TyperGroup):
    """One sentence for every error that the package raises on purpose, and for those of the system."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        del formatter
        print_help(self, ctx)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EinopsArchError as error:
            reason = str(error)
        except OSError as error:
            reason = printable(
                f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error), ""
            )
        except MemoryError:
            reason = "it does not fit the memory"
        except Exception as error:  # a model is any code at all, and exit code 1 would say that two differ
            if hasattr(error, "exit_code") or isinstance(error, typer.Abort) or os.environ.get(_TRACEBACK):
                raise
            said = printable(f"{raised(error)}; {_TRACEBACK}=1 shows the traceback", "")
            reason = "it does not fit the memory" if out_of_memory(error) else said
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        typer.echo(printable(f"error: {reason}"), err=True)
        raise typer.Exit(2) from None


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Models between PyTorch and Flax: translate their source, port their weights, prove that they agree.\n\n"
        "einops-arch COMMAND --help has examples to copy."
    ),
    epilog="Exit codes: 0 right, 1 not equal, 2 wrong usage or a bad file, 130 interrupted.",
)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code, which is the same whether or not somebody reads all that it prints."""
    with _patient_output():
        try:
            app(args=None if arguments is None else list(arguments), prog_name="einops-arch")
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    return 0


@contextlib.contextmanager
def _patient_output() -> Iterator[None]:
    """Let a command finish after its reader, such as `head`, has left; typer would exit with 1: not equal.

    Characters that a terminal has not, as one of ASCII, are written as escapes.
    """
    stdout = sys.stdout
    errors = stdout.errors if isinstance(stdout, io.TextIOWrapper) else None
    if isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(errors="backslashreplace")
    sys.stdout = cast("Any", PatientStream(stdout))
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stdout = stdout
        if isinstance(stdout, io.TextIOWrapper):
            stdout.reconfigure(errors=errors)


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


app.command("list", cls=ExplainedCommand)(list_architectures)
for _command in (
    translate,
    port,
    verify,
    inspect,
    show,
    discover,
    capture,
    mutate,
    generate,
    classify,
    demo,
    doctor,
):
    app.command(cls=ExplainedCommand)(_command)
