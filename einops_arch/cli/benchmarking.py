"""The commands `bench` and `bench-compare`: what they print and write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from einops_arch.bench.compare import changes, changes_table, load
from einops_arch.bench.page import html_page
from einops_arch.bench.run import Options, run
from einops_arch.bench.table import growth_table, summary, table
from einops_arch.cli.output import console
from einops_arch.errors import ConfigError

__all__ = ["run_bench", "run_compare"]

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
    found = changes(before, after)
    if before["machine"] != after["machine"] or before["options"] != after["options"]:
        typer.echo("the two runs differ in machine or options; the ratios are compared all the same", err=True)
    if not found:
        typer.echo("nothing changed by more than the spread")
        return True
    console().print(changes_table(found))
    return not any(one["change"] == "slower" for one in found)
