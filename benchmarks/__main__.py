"""`python -m benchmarks` measures, `python -m benchmarks compare OLD.json NEW.json` says what became slower."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks.compare import changes, changes_table, load
from benchmarks.page import html_page
from benchmarks.run import Options, run
from benchmarks.table import growth_table, summary, table
from einops_arch.cli.output import console
from einops_arch.errors import ConfigError, EinopsArchError

__all__ = ["main", "run_bench", "run_compare"]

_DEVICES = ("cpu", "cuda")


def run_bench(
    names: tuple[str, ...], *, device: str, threads: int, json_file: Path | None, page: Path | None, quick: bool
) -> bool:
    """Run, print the table, write the files; gives whether all sides gave the same results."""
    if device not in _DEVICES:
        raise ConfigError(f"--device: expected one of {', '.join(_DEVICES)}, received {device!r}")
    for path in (json_file, page):
        if path is not None and not path.parent.is_dir():
            raise ConfigError(f"{path}: there is no folder {path.parent}")
    screen = Console(stderr=True, highlight=False)
    with screen.status("building the first row ...") as status:

        def show(row: dict[str, Any]) -> None:
            status.update(f"{row['name']}, {row['side']}, {row['setting']}: {row['verdict'] or 'done'}")

        result = run(Options(names, quick, device, threads), show)
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if page is not None:
        page.write_text(html_page(result), encoding="utf-8")
    _print(result)
    return all(row["verdict"] != "wrong" for row in result["rows"])


def _print(result: dict[str, Any]) -> None:
    rows, out = result["rows"], console()
    if compared := [row for row in rows if "growth" not in row]:
        out.print(table(compared))
    if any("growth" in row for row in rows):
        out.print(growth_table(rows))
    out.print(f"{summary(rows)}; {result['took'] / 60:.1f} minutes on {result['machine']['processor']}")


def run_compare(old: Path, new: Path) -> bool:
    """Print what changed; gives whether nothing became slower."""
    before, after = load(old), load(new)
    changed = changes(before, after)
    if before["machine"] != after["machine"] or before["options"] != after["options"]:
        typer.echo("the two runs differ in machine or options; the ratios are compared all the same", err=True)
    if not changed:
        typer.echo("nothing changed by more than the spread")
        return True
    console().print(changes_table(changed))
    return not any(row["change"] == "slower" for row in changed)


def _bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Words that a row has, as in 'vit torch'.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Of every library, on a CPU.")] = 2,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write every number, versions and the machine.")
    ] = None,
    page: Annotated[Path | None, typer.Option("--page", metavar="FILE", help="Write a page with charts.")] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rows and fewer samples.")] = False,
) -> None:
    """Measure cores, layers and networks beside what users would pick instead."""
    words = tuple(names or ())
    if not run_bench(words, device=device, threads=threads, json_file=json_file, page=page, quick=quick):
        raise typer.Exit(1)


def _compare(
    old: Annotated[Path, typer.Argument(metavar="OLD.json", help="What `--json` wrote before.")],
    new: Annotated[Path, typer.Argument(metavar="NEW.json", help="What it wrote after.")],
) -> None:
    """Say what became slower by more than the spread of two runs (exit code 1 if something did)."""
    if not run_compare(old, new):
        raise typer.Exit(1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, or compare two runs of it.

    Args:
        arguments: without the name of the program; those of the process if left out.

    Returns:
        The exit code: 0 right, 1 another result or slower, 2 wrong usage.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    app = typer.Typer(add_completion=False)
    if words[:1] == ["compare"]:
        app.command()(_compare)
        program, words = "python -m benchmarks compare", words[1:]
    else:
        app.command()(_bench)
        program = "python -m benchmarks"
    try:
        app(args=words, prog_name=program)
    except EinopsArchError as error:
        typer.echo(f"error: {error}", err=True)
        return 2
    except SystemExit as stop:  # how click ends, with the exit code of the command
        return int(stop.code or 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
