"""The command `verify`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einops_arch import architectures
from einops_arch._frameworks import require
from einops_arch._text import printable
from einops_arch.architectures import Architecture, Config
from einops_arch.cli.models import chosen_config, identify, read
from einops_arch.cli.output import console, print_json, progress
from einops_arch.cli.reports import Rows, print_lines, print_reports
from einops_arch.errors import ConfigError, DestinationError, PortError, UnknownArchitectureError

__all__ = ["Options", "verify_all", "write_report"]

_DEFAULT = "tiny"
"""The preset of a name: every part of the network in seconds; the published sizes are a matter of minutes."""
_IMAGE = {"h": 64, "w": 96}
"""For networks with batch statistics. A small image leaves their deep layers a handful of numbers in each channel, and
batch norm in train mode, of numbers that are nearly equal, makes of float64's rounding what looks like a difference:
2e-8 in ShuffleNet at 4x5 pixels, where float32 has no right digit left; 3e-14 at 64x96."""


@dataclass(frozen=True)
class Options:
    """What the command line said.

    Args:
        arch: the architecture of a checkpoint.
        preset: the name of a size.
        config: a file with a config.
        modes: `"eval"`, `"train"`, or both.
        gradients: compare gradients as well.
        probes: compare with further inputs and states as well.
        teacher: also give each module the same inputs on both sides.
        training: also take three steps of an optimiser.
        as_json: print JSON.
        report: the HTML file to write.
        rows: which rows of a single target to print.
    """

    arch: str | None
    preset: str | None
    config: Path | None
    modes: Sequence[str]
    gradients: bool
    as_json: bool
    report: Path | None = None
    probes: bool = False
    teacher: bool = False
    training: bool = False
    rows: Rows = Rows.WRONG


@dataclass(frozen=True)
class _Verified:
    target: str
    architecture: str
    config: Config
    tensors: int
    changed: list[str]
    reports: list[Any]
    parts: list[str]

    @property
    def passed(self) -> bool:
        return not self.changed and all(report.passed for report in self.reports)

    def to_dict(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "architecture": self.architecture,
            "config": self.config.to_dict(),
            "passed": self.passed,
            "round_trip": {"tensors": self.tensors, "changed": self.changed},
            "reports": [report.to_dict() for report in self.reports],
        }


def verify_all(targets: Sequence[str], options: Options, *, every: bool) -> bool:
    """Compare the twins of each target and print what was found.

    Returns:
        Whether all of them are the same function.

    Raises:
        EinopsArchError: one of its children, for whatever is wrong with the options or the files.
    """
    if every == bool(targets):
        raise ConfigError("verify: expected names, files, or --all" + (", received both" if every else ""))
    targets = list(targets) or list(architectures.names())
    require("torch", "jax", "flax", extra="all", by="verify")
    results = []
    for target in targets:
        with progress(f"Comparing {target} in PyTorch and Flax", quiet=options.as_json) as say:
            results.append(_verify(target, options, say))
    if options.report is not None:
        write_report(options.report, [(result.target, report) for result in results for report in result.reports])
    if options.as_json:
        print_json(
            {"passed": all(result.passed for result in results), "results": [result.to_dict() for result in results]}
        )
    elif len(results) == 1:
        _print_result(results[0], options.rows)
    else:
        _print_summary(results, options.rows)
    return all(result.passed for result in results)


def write_report(path: Path, reports: Sequence[tuple[str, Any]]) -> None:
    """Write the HTML page of some reports.

    Raises:
        DestinationError: it cannot be written.
    """
    from einops_arch.parity.report.html import html_pages

    try:
        path.write_text(html_pages(reports), encoding="utf-8")
    except OSError as error:
        raise DestinationError(f"{path}: the report cannot be written: {error.strerror}") from error


def _verify(target: str, options: Options, say: Callable[[str], None]) -> _Verified:
    from einops_arch.parity import compare, compare_training, example_inputs
    from einops_arch.port.optimizer import specs as optimizers

    architecture, config, torch_model, flax_model = _twins(target, options)
    statistics = any(name.endswith("running_var") for name in torch_model.state_dict())
    inputs = example_inputs(config, sizes=_IMAGE if statistics else None)
    reports = [
        compare(
            torch_model,
            flax_model,
            inputs,
            mode=mode,
            gradients=options.gradients,
            probes=options.probes,
            steps=3 if mode == "train" else 1,
            progress=say,
        )
        for mode in options.modes
    ]
    parts = [f"{mode} mode" for mode in options.modes]
    if options.teacher:
        parts.append("each module with the same inputs")
        reports.append(compare(torch_model, flax_model, inputs, teacher=True, progress=say))
    if options.training:
        parts.append("training")
        description = optimizers.SGD(lr=0.01, momentum=0.9, nesterov=True)
        reports.append(compare_training(torch_model, flax_model, inputs, description, steps=3))
    tensors, changed = _round_trip(torch_model, flax_model)
    return _Verified(target, architecture.name, config, tensors, changed, reports, parts)


def _twins(target: str, options: Options) -> tuple[Architecture, Config, Any, Any]:
    from einops_arch.parity import randomize
    from einops_arch.port import to_flax, transfer

    if target in architectures.names():
        architecture = architectures.get(target)
        if options.arch is not None:
            raise ConfigError(f"verify: --arch is for files, received it with {target}")
        named = chosen_config(architecture, options.preset, options.config)
        config = named or architecture.config.preset(_DEFAULT)
        torch_model = architecture.torch_class()(config)
        randomize(torch_model)
        return architecture, config, torch_model, to_flax(torch_model)

    path = Path(target)
    if not path.exists() and not path.suffix and path.name == target:
        # Neither a file nor like one: a name with a slip.
        try:
            architectures.get(target)
        except UnknownArchitectureError as error:
            raise UnknownArchitectureError(f"{error} There is no file of that name either.") from error
    checkpoint = read(path)
    architecture, config = identify(path, checkpoint, options.arch, options.preset, options.config)
    from einops_arch.port.convert import convert

    torch_model = architecture.torch_class()(config)
    try:
        transfer(convert(checkpoint, "torch", config).tensors, torch_model)
        return architecture, config, torch_model, to_flax(torch_model)
    except PortError as error:
        raise PortError(*error.within(path)) from error


def _round_trip(torch_model: Any, flax_model: Any) -> tuple[int, list[str]]:
    """How many tensors there are, and the names of those that the way to Flax and back has changed."""
    from einops_arch.layouts.arrays import same_bits
    from einops_arch.port.transfer import model_state

    before, back = model_state(torch_model), model_state(flax_model)
    return len(before), [name for name in before if name not in back or not same_bits(before[name], back[name])]


def _print_result(result: _Verified, rows: Rows) -> None:
    page = console()
    print_lines(page, [f"{result.target}: {result.config}", _round_trip_words(result)])
    print_reports(page, list(zip(result.parts, result.reports, strict=True)), rows)


def _round_trip_words(result: _Verified) -> str:
    if result.changed:
        return f"round trip: {len(result.changed)} of {result.tensors} tensors changed: {', '.join(result.changed)}"
    return f"round trip: {result.tensors} tensors, bit for bit"


def _print_summary(results: Sequence[_Verified], rows: Rows) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title="PyTorch and Flax", title_justify="left")
    for column in ("target", "part", "rows", "largest float64 difference", "verdict"):
        table.add_column(column, justify="right" if column in ("rows", "largest float64 difference") else "left")
    for result in results:
        for part, report in zip(result.parts, result.reports, strict=True):
            every = [row for section in report.sections.values() for row in section]
            largest = max((row.difference for row in every if row.difference is not None), default=0.0)
            style = "green" if report.passed else "bold red"
            cells = (printable(result.target, ""), part, str(len(every)), f"{largest:.1e}")
            table.add_row(*map(Text, cells), Text(str(report.verdict), style))
    page = console()
    page.print(table)
    for result in results:
        if not result.passed:
            print_lines(page, [f"{result.target}: {_round_trip_words(result)}"])
            parts = zip(result.parts, result.reports, strict=True)
            print_reports(
                page, [(f"{result.target}, {part}", report) for part, report in parts if not report.passed], rows
            )
