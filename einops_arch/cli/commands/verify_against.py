"""The command `verify` with `--against`: two models of the user's own, or captures of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einops_arch.cli.commands.verify import write_report
from einops_arch.cli.output import console, print_json, progress
from einops_arch.cli.reports import Rows, print_reports
from einops_arch.cli.states import put_state
from einops_arch.cli.targets import inputs_of, model_of
from einops_arch.errors import ConfigError

__all__ = ["PairOptions", "verify_pair"]


@dataclass(frozen=True)
class PairOptions:
    """What the command line said about two models.

    Args:
        inputs: axes and sizes, or axes and a file of numpy.
        layouts: `PATH=b c h w -> b h w c`, for outputs whose axes cannot be known.
        paths: `PATH=OTHER`, where modules have other paths in Flax.
        modes: `"eval"`, `"train"`, or both.
        gradients: compare them as well.
        probes: compare with further inputs and states as well.
        state: a checkpoint for both.
        key: the entry of it that holds the weights.
        transfer: carry the weights of the first into the second before.
        randomize: fill the first with weights in which a mistake shows, before.
        report: the HTML file to write.
        as_json: print JSON.
        rows: which rows to print.
        lift_casts: keep float64 where a model casts to less.
    """

    inputs: Sequence[str] = ()
    layouts: Sequence[str] = ()
    paths: Sequence[str] = ()
    modes: Sequence[str] = ("eval",)
    gradients: bool = True
    probes: bool = False
    state: Path | None = None
    key: str | None = None
    transfer: bool = False
    randomize: bool = False
    report: Path | None = None
    as_json: bool = False
    rows: Rows = Rows.WRONG
    lift_casts: bool = False


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
    from einops_arch._frameworks import require
    from einops_arch.parity import compare
    from einops_arch.parity.sides import two_models

    torch_side, flax_side = _side(target), _side(against)
    recorded = isinstance(torch_side, str) or isinstance(flax_side, str)
    if not recorded:
        require("torch", "jax", "flax", extra="all", by="verify")
        torch_side, flax_side = two_models(torch_side, flax_side, "verify")
    weights = options.transfer or options.randomize or options.state is not None
    if recorded and (weights or options.inputs or options.probes):
        raise ConfigError(
            "verify: a capture has its weights and inputs, received --transfer, --randomize, --state, --probes or "
            "--input"
        )
    if options.key is not None and options.state is None:
        raise ConfigError("verify: --key names an entry of the file of --state, received it alone")
    if weights:
        _give_weights(torch_side, flax_side, options)
    settings: dict[str, Any] = {
        "layouts": _pairs(options.layouts, "--layout"),
        # Nothing after the sign leaves a module out.
        "paths": {path: other or None for path, other in _pairs(options.paths, "--path").items()} or None,
    }
    with progress(f"Comparing {target} with {against}", quiet=options.as_json) as say:
        settings["progress"] = say
        if recorded:
            from einops_arch.parity import compare_captures

            reports = [compare_captures(torch_side, flax_side, **settings)]
        else:
            inputs, axes = inputs_of(options.inputs, torch_side)
            reports = [
                compare(
                    torch_side,
                    flax_side,
                    inputs,
                    axes=axes,
                    mode=mode,
                    gradients=options.gradients,
                    probes=options.probes,
                    steps=3 if mode == "train" else 1,
                    lift_casts=options.lift_casts or None,
                    **settings,
                )
                for mode in options.modes
            ]
    passed = all(report.passed for report in reports)
    title = f"{target} and {against}"
    if options.report is not None:
        write_report(options.report, [(title, report) for report in reports])
    if options.as_json:
        print_json({"passed": passed, "reports": [report.to_dict() for report in reports]})
    else:
        print_reports(console(), [(f"{report.mode} mode", report) for report in reports], options.rows)
    return passed


def _give_weights(torch_model: Any, flax_model: Any, options: PairOptions) -> None:
    """The weights that the options name, in both models."""
    from einops_arch.port import transfer

    stated = {path: other for path, other in _pairs(options.paths, "--path").items() if other}
    names = list(torch_model.state_dict())
    # Paths of modules without weights are for the comparison alone.
    paths = {path: other for path, other in stated.items() if any(f"{name}.".startswith(f"{path}.") for name in names)}
    if options.state is not None:
        if options.randomize:
            raise ConfigError("verify: --state has the weights that --randomize would draw, received both")
        put_state(options.state, torch_model, flax_model, paths, options.key)
    elif options.randomize:
        from einops_arch.parity import randomize

        randomize(torch_model)
    transfer(torch_model, flax_model, paths=paths)


def _side(target: str) -> Any:
    """A model, or the path of a capture."""
    stem = Path(target.removesuffix(".json").removesuffix(".safetensors"))
    if ":" not in target and Path(f"{stem}.json").exists():
        return str(stem)
    return model_of(target)


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    pairs = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{option}: expected PATH=..., received {text!r}")
        pairs[path.strip()] = value.strip()
    return pairs
