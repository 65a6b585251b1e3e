"""The arguments and options of `einops-arch port`; what it does stands in `commands/port.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from einops_arch.cli.declarations.options import AsJson, ConfigFile, Drop, Framework, Key, Kind, Only, Preset

__all__ = ["port"]


def port(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A checkpoint of any format.")],
    destination: Annotated[
        Path, typer.Argument(metavar="DESTINATION", help="A new file or folder; its ending is the format.")
    ],
    to: Annotated[
        Framework, typer.Option("--to", metavar="torch|flax", help="Whose names and layout the destination has.")
    ],
    arch: Annotated[
        str | None, typer.Option("--arch", metavar="NAME", help="The network or its size, if no file says it.")
    ] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--rename",
            metavar="REGEX=REPLACEMENT",
            help="New names: of the source, or of the result where it fits without.",
        ),
    ] = None,
    packing: Annotated[
        list[str] | None,
        typer.Option(
            "--packing",
            metavar="PATTERN",
            help="'q.* k.* -> qk.*: q ..., k ... -> (q + k) ...': pack, split or stack; repeatable.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODULE:MAKE()", help="A Flax model of your own.")
    ] = None,
    merge_lora: Annotated[
        Path | None, typer.Option("--merge-lora", metavar="FILE", help="Add an adapter's products to the weights.")
    ] = None,
    like: Annotated[
        Path | None, typer.Option("--like", metavar="FILE", help="Hold names and shapes against this file or index.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", metavar="DTYPE", help="Round floating-point tensors, to bfloat16 for example."),
    ] = None,
    key: Key = None,
    only: Only = None,
    drop: Drop = None,
    kind: Annotated[
        Kind | None,
        typer.Option(
            "--format", metavar="|".join(Kind), help="The format of the destination, unless its name says it."
        ),
    ] = None,
    max_shard_size: Annotated[
        str | None, typer.Option("--max-shard-size", metavar="SIZE", help="5GB for example: a folder of shards.")
    ] = None,
    *,
    fold: Annotated[
        bool, typer.Option("--fold", help="Fold weight norms and spectral norms into plain weights.")
    ] = False,
    allow_overflow: Annotated[
        bool, typer.Option("--allow-overflow", help="With --dtype: let finite numbers become infinite.")
    ] = False,
    untie: Annotated[
        bool, typer.Option("--untie", help="Write tied tensors under each name, for readers that know no aliases.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read it again and compare each tensor with the source.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the destination.")] = False,
    as_json: AsJson = False,
) -> None:
    """Carry a checkpoint of any size to the other framework, bit for bit.

    PyTorch's state goes to .safetensors, .pt or .dcp, Flax's to .safetensors or an Orbax folder (a name without an
    ending); either goes to a Hugging Face folder (.hf). The destination is whole or untouched, and has the
    weights alone: no epoch and no optimizer.
    """
    from einops_arch.cli.commands.port import PortOptions, port_file

    options = PortOptions(
        arch=arch,
        preset=preset,
        config=config,
        model=model,
        rename=tuple(rename or ()),
        packing=tuple(packing or ()),
        fold=fold,
        merge_lora=merge_lora,
        like=like,
        dtype=dtype,
        allow_overflow=allow_overflow,
        untie=untie,
        key=key,
        only=only,
        drop=tuple(drop or ()),
        kind=str(kind) if kind else None,
        max_shard_size=max_shard_size,
        check=check,
        dry_run=dry_run,
        force=force,
        as_json=as_json,
    )
    port_file(source, destination, str(to), options)
