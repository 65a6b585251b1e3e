"""The command `demo`: progress while it runs, and what came out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from einops_arch.cli.demo import Settings, run
from einops_arch.cli.output import console, print_json, screen

__all__ = ["run_demo"]


def run_demo(folder: Path, *, quick: bool, as_json: bool) -> bool:
    """Run the demo and print what was measured.

    Returns:
        Whether both frameworks gave the same.

    Raises:
        EinopsArchError: one of its children, if the folder cannot be written or something is not installed.
    """
    settings = Settings.quick() if quick else Settings()
    with _stages() as stage:
        report = run(folder, settings, stage)
    if as_json:
        print_json(report)
    else:
        for line in _lines(report, folder):
            console().print(line, markup=False, soft_wrap=True)
    return bool(report["passed"])


@contextlib.contextmanager
def _stages() -> Iterator[Callable[[str, int], contextlib.AbstractContextManager[Callable[[], None]]]]:
    """Progress on stderr: bars on a terminal, else a line when a stage begins."""
    page = screen()
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    start = time.perf_counter()
    with Progress(*columns, console=page, disable=not page.is_terminal) as bars:

        @contextlib.contextmanager
        def stage(text: str, steps: int) -> Iterator[Callable[[], None]]:
            if not page.is_terminal:
                page.print(f"{time.perf_counter() - start:5.1f} s  {text}", markup=False, soft_wrap=True)
            task = bars.add_task(text, total=steps)
            yield lambda: bars.advance(task)
            bars.update(task, completed=steps)

        yield stage


def _lines(report: dict[str, Any], folder: Path) -> Iterator[str]:
    digits, photograph = report["digits"], report["photograph"]
    accuracy, psnr = digits["accuracy"], photograph["psnr"]
    yield f"digits: {digits['equal_predictions']} of {digits['tested_on']} test digits read alike in both frameworks"
    yield f"  accuracy {accuracy['torch']:.1%} in PyTorch, {accuracy['flax']:.1%} in Flax"
    yield f"photograph '{photograph['tested_on']}', enlarged {photograph['config']['factor']} times:"
    yield f"  PSNR {psnr['torch']:.2f} dB in PyTorch, {psnr['flax']:.2f} dB in Flax, {psnr['bicubic']:.2f} dB bicubic"
    for name, part in (("digits", digits), ("photograph", photograph)):
        changed = len(part["round_trip"]["changed"])
        trip = f"{part['round_trip']['tensors']} weights" + (f", {changed} changed" if changed else " bit for bit")
        yield (
            f"{name}: largest float32 difference {part['largest_float32_difference']:.1e}; float64: "
            f"{part['parity']['verdict']}; to Flax and back: {trip}"
        )
    yield f"{report['seconds']:.0f} seconds; look at {folder / 'index.html'}"
