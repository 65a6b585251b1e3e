"""The arguments and options of `einops-arch verify`; what it does stands in `commands/verify.py`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from einops_arch.cli.declarations.options import AsJson, ConfigFile, Inputs, Key, Mode, Preset
from einops_arch.cli.reports import Rows
from einops_arch.errors import ConfigError

__all__ = ["verify"]


def verify(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET...", help="Architectures, checkpoints, or MODULE:ATTR or a capture and its Flax twin."
        ),
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", metavar="NAME", help="The architecture of a checkpoint, unless it says it.")
    ] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    mode: Annotated[
        Mode | None, typer.Option("--mode", metavar="eval|train", help="One mode only; both if left out.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="MODULE:ATTR", help="The Flax model; or name it second."),
    ] = None,
    inputs: Inputs = None,
    layouts: Annotated[
        list[str] | None,
        typer.Option("--layout", metavar="PATH=PATTERN", help="Such as 'stem=b c h w -> b h w c'; with --against."),
    ] = None,
    paths: Annotated[
        list[str] | None, typer.Option("--path", metavar="PATH=OTHER", help="A module's path in Flax; with --against.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", metavar="FILE", help="A checkpoint of any format for both models.")
    ] = None,
    key: Key = None,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write an HTML page.")] = None,
    *,
    transfer: Annotated[
        bool, typer.Option("--transfer", help="Carry the weights of the first over before; with --against.")
    ] = False,
    randomize: Annotated[
        bool, typer.Option("--randomize", help="The same, with weights in which a mistake shows; with --against.")
    ] = False,
    gradients: Annotated[
        bool, typer.Option("--gradients/--no-gradients", help="Compare the gradients of every parameter.")
    ] = True,
    probes: Annotated[
        bool, typer.Option("--probes", help="Further inputs and random weights, in which hidden differences show.")
    ] = False,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="Also give each module the same inputs on both sides.")
    ] = False,
    training: Annotated[
        bool, typer.Option("--training", help="Also take three steps of SGD with momentum, in float64.")
    ] = False,
    lift_casts: Annotated[
        bool, typer.Option("--lift-casts", help="Keep float64 where a model casts to less; with --against.")
    ] = False,
    rows: Annotated[
        Rows, typer.Option("--rows", metavar="wrong|all", help="Those that are wrong by themselves, or all.")
    ] = Rows.WRONG,
    every: Annotated[bool, typer.Option("--all", help="All architectures.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare both twins, or two models of one's own, module by module; exit code 1 if they differ.

    The verdict is made in float64; float32 shows how well it is rounded.
    A name stands for its preset `tiny` with random weights; --preset and --config choose other sizes.
    """
    if against is None and targets and ":" in targets[0] and len(targets) == 2:
        targets, against = targets[:1], targets[1]
    modes = (str(mode),) if mode else ("eval", "train")
    if against is not None:
        from einops_arch.cli.commands.verify_against import PairOptions, verify_pair

        if every or arch or preset or config or teacher or training or len(targets or []) != 1:
            raise ConfigError("verify: expected one model and --against, received more, or options of an architecture")
        pair = PairOptions(
            inputs=inputs or (),
            layouts=layouts or (),
            paths=paths or (),
            modes=modes,
            gradients=gradients,
            probes=probes,
            state=state,
            key=key,
            transfer=transfer,
            randomize=randomize,
            report=report,
            as_json=as_json,
            rows=rows,
            lift_casts=lift_casts,
        )
        if not verify_pair((targets or [""])[0], against, pair):
            raise typer.Exit(1)
        return
    from einops_arch.cli.commands.verify import Options, verify_all

    if inputs or layouts or paths or state or key or transfer or randomize or lift_casts:
        raise ConfigError(
            "verify: --input, --layout, --path, --state, --key, --transfer, --randomize, --lift-casts go with two "
            "models, as nets:Net flax_nets:Net"
        )
    options = Options(arch, preset, config, modes, gradients=gradients, as_json=as_json, report=report)
    options = dataclasses.replace(options, probes=probes, teacher=teacher, training=training, rows=rows)
    if not verify_all(targets or [], options, every=every):
        raise typer.Exit(1)
