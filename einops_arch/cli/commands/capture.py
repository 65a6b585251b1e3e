"""The commands about models of the user's own: `verify --against`, `capture` and `mutate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from einops_arch import architectures
from einops_arch.cli.commands.discover import loaded, parsed
from einops_arch.cli.models import chosen_config
from einops_arch.cli.output import console, print_json, progress
from einops_arch.errors import ConfigError, DestinationError

__all__ = ["PairOptions", "capture_target", "mutate_twin", "verify_pair", "write_report"]


@dataclasses.dataclass(frozen=True)
class PairOptions:
    """What the command line said about two models.

    Args:
        inputs: axes and sizes, or axes and a file of numpy.
        layouts: `PATH=b c h w -> b h w c`, for outputs whose axes cannot be known.
        paths: `PATH=OTHER`, where modules have other paths in Flax.
        modes: `"eval"`, `"train"`, or both.
        gradients: compare them as well.
        probes: compare with further inputs and states as well.
        transfer: carry the weights of the first into the second before.
        randomize: fill the first with weights in which a mistake shows, before.
        report: the HTML file to write.
        as_json: print JSON.
    """

    inputs: Sequence[str] = ()
    layouts: Sequence[str] = ()
    paths: Sequence[str] = ()
    modes: Sequence[str] = ("eval",)
    gradients: bool = True
    probes: bool = False
    transfer: bool = False
    randomize: bool = False
    report: Path | None = None
    as_json: bool = False


def verify_pair(target: str, against: str, options: PairOptions) -> bool:
    """Compare two models, or captures of them, and print what was found.

    Args:
        target: PyTorch's: `MODULE:ATTR`, the name of an architecture, or a capture.
        against: Flax's: `MODULE:ATTR` or a capture.
        options: the rest.

    Returns:
        Whether they are the same function.

    Raises:
        EinopsArchError: one of its children, for whatever is wrong with the models or the options.
    """
    from einops_arch.parity import compare

    ours, theirs = _side(target), _side(against)
    recorded = isinstance(ours, str) or isinstance(theirs, str)
    if recorded and (options.transfer or options.randomize or options.inputs or options.probes):
        raise ConfigError(
            "verify: a capture has its weights and inputs, received --transfer, --randomize, --probes or --input"
        )
    if options.randomize:
        from einops_arch.parity import randomize

        randomize(ours)
    if options.transfer or options.randomize:
        from einops_arch.port import transfer

        transfer(ours, theirs)
    settings: dict[str, Any] = {
        "layouts": _pairs(options.layouts, "--layout"),
        "paths": _pairs(options.paths, "--path") or None,
    }
    with progress(f"Comparing {target} with {against}", quiet=options.as_json) as say:
        settings["progress"] = say
        if recorded:
            from einops_arch.parity import compare_captures

            reports = [compare_captures(ours, theirs, **settings)]
        else:
            inputs, axes = _inputs(options.inputs, ours)
            reports = [
                compare(
                    ours,
                    theirs,
                    inputs,
                    axes=axes,
                    mode=mode,
                    gradients=options.gradients,
                    probes=options.probes,
                    steps=3 if mode == "train" else 1,
                    **settings,
                )
                for mode in options.modes
            ]
    title = f"{target} and {against}"
    if options.report is not None:
        write_report(options.report, [(title, report) for report in reports])
    if options.as_json:
        print_json({"passed": all(one.passed for one in reports), "reports": [one.to_dict() for one in reports]})
    else:
        _print(reports)
    return all(report.passed for report in reports)


def capture_target(target: str, output: Path, options: PairOptions, *, like: Path | None, force: bool) -> None:
    """Capture a model and say what was written.

    Raises:
        EinopsArchError: one of its children, for whatever is wrong with the model, the inputs or the files.
    """
    from einops_arch.parity import capture

    if (like is None) == (not options.inputs):
        raise ConfigError("capture: expected --input or --like, received " + ("both" if like else "neither"))
    model = _model(target)
    inputs, axes = (str(like), None) if like is not None else _inputs(options.inputs, model)
    mode = options.modes[0]
    with progress(f"Running {target}", quiet=options.as_json):
        try:
            made = capture(
                model,
                inputs,
                output,
                axes=axes,
                mode=mode,
                steps=3 if mode == "train" else 1,
                gradients=options.gradients,
                force=force,
            )
        except FileExistsError as error:
            raise DestinationError(str(error).replace("force=True, which replaces it", "--force")) from error
    files = [f"{output}.safetensors", f"{output}.json"]
    if options.as_json:
        calls = len(made.runs["float64"].calls)
        facts = {"framework": made.framework, "model": made.model, "mode": made.mode, "calls": calls}
        print_json({**facts, "weights": made.digest, "files": files})
    else:
        typer.echo(f"{made!r}\nwritten to {files[0]} and {files[1]}")


def mutate_twin(name: str, preset: str | None, file: Path | None, *, every: bool, as_json: bool) -> bool:
    """Put faults into the Flax twin of an architecture, one at a time, and print what caught each.

    Returns:
        Whether all were caught and located.

    Raises:
        UnknownArchitectureError: no architecture of that name.
        ConfigError: the options name a config that does not exist or does not fit.
    """
    from einops_arch.parity import example_inputs, randomize
    from einops_arch.parity.mutate import catch_mutants
    from einops_arch.port import to_flax

    architecture = architectures.get(name)
    config = chosen_config(architecture, preset, file) or architecture.config.preset("tiny")
    model = architecture.torch_class()(config)
    randomize(model)
    with progress(f"Putting faults into {name}", quiet=as_json) as say:
        found = catch_mutants(model, to_flax(model), example_inputs(config), every=every, progress=say)
    if as_json:
        catches = [dataclasses.asdict(one) | {"caught": one.caught, "found": one.found} for one in found.catches]
        print_json({"architecture": name, "all_caught": found.all_caught, "mutants": catches})
    else:
        caught = sum(one.found for one in found.catches)
        typer.echo(f"{found}\n\n{caught} of {len(found.catches)} faults were caught and located")
    return found.all_caught


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


def _side(target: str) -> Any:
    """A model, or the path of a capture."""
    stem = Path(target.removesuffix(".json").removesuffix(".safetensors"))
    if ":" not in target and Path(f"{stem}.json").exists():
        return str(stem)
    return _model(target)


def _model(target: str) -> Any:
    if target in architectures.names():
        architecture = architectures.get(target)
        return architecture.torch_class()(architecture.config.preset(architecture.config.PRESETS[0]))
    return loaded(target)


def _inputs(texts: Sequence[str], model: Any) -> tuple[Any, list[str] | None]:
    """Arrays and their axes: those that were named, or those of a twin."""
    import numpy as np

    from einops_arch.parity import example_inputs
    from einops_arch.parity.probes import random_numbers

    if not texts:
        config = getattr(model, "config", None)
        if isinstance(config, architectures.Config):
            return example_inputs(config), None
        raise ConfigError("expected --input for a model of one's own, such as --input 'b c h w=2,3,32,32'")
    arrays, axes = [], []
    for n, text in enumerate(texts):
        names, _, file = text.partition("=")
        if file.endswith(".npy"):
            try:
                array = np.load(file, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise ConfigError(f"--input {text}: cannot be read: {error}") from error
        else:
            one = parsed(text)
            names = one.axes
            numbers = random_numbers(f"input {n}", one.shape)
            array = (numbers > 0 if "int" in one.dtype or one.dtype == "bool" else numbers).astype(one.dtype)
        if array.ndim != len(names.split()):
            raise ConfigError(f"--input {text}: expected axes of an array of shape {array.shape}, received {names!r}")
        arrays.append(array)
        axes.append(names.strip())
    return tuple(arrays), axes


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    found = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{option}: expected PATH=..., received {text!r}")
        found[path.strip()] = value.strip()
    return found


def _print(reports: Sequence[Any]) -> None:
    from einops_arch.parity.report.table import rich_tables
    from einops_arch.parity.report.text import describe

    page = console()
    for report in reports:
        for table in rich_tables(report):
            page.print(table)
        maps = report.maps.reading if report.maps is not None else ()
        for line in (*report.notes, *report.casts, *maps):
            page.print(line, markup=False, soft_wrap=True)
    for report in reports:
        first = report.first_divergence
        said = f"{report.mode} mode: {report.verdict}" + (f"; {describe(first)}" if first else "")
        page.print(said, markup=False, soft_wrap=True)
        for cause in report.causes:
            page.print(cause, markup=False, soft_wrap=True)
