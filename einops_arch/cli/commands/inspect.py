"""The command `inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from einops_arch._text import cut, printable
from einops_arch.checkpoints.checkpoint import describe
from einops_arch.checkpoints.files import open_checkpoint
from einops_arch.checkpoints.finite import count_not_finite
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.tensors import FLOATS
from einops_arch.cli.models import installed
from einops_arch.cli.output import byte_count, bytes_bar, console, print_json
from einops_arch.port.models.fit import find_fits
from einops_arch.port.suggested import suggestions

__all__ = ["inspect_file"]


def inspect_file(
    path: Path,
    *,
    key: str | None = None,
    only: str | None = None,
    drop: Sequence[str] = (),
    values: bool,
    as_json: bool,
) -> None:
    """Print what is in a checkpoint.

    Args:
        path: the file or folder.
        key: the entry that holds the weights.
        only: what the names must begin with.
        drop: regular expressions of names that are left out.
        values: look at the numbers, and count those that are not finite.
        as_json: print JSON.

    Raises:
        CheckpointError: it is damaged, or holds more than weights.
    """
    with open_checkpoint(path, key=key, only=only, drop=drop) as reader:
        total = sum(info.nbytes for info in reader.tensors.values())
        counts: dict[str, tuple[int, int]] = {}
        if values:
            with bytes_bar(f"Reading {path.name}", total) as advance:
                for name, info in reader.tensors.items():
                    counts[name] = _not_finite(reader, name)
                    advance(info.nbytes)
        contents = {
            "path": str(path),
            "facts": {name: value for name, value in reader.metadata.items() if name != "aliases"},
            "tensors": [
                {
                    "name": name,
                    "shape": list(info.shape),
                    "dtype": info.dtype,
                    "bytes": info.nbytes,
                    **({"nan": counts[name][0], "inf": counts[name][1]} if name in counts else {}),
                }
                for name, info in reader.tensors.items()
            ],
            "aliases": reader.aliases,
            "left_out": dict(reader.left_out),
            "parameters": sum(info.size for info in reader.tensors.values()),
            "bytes": total,
            "taken": reader.taken or None,
            **_fitting(reader),
        }
    if as_json:
        print_json(contents)
    else:
        _print(contents, counts)


def _fitting(reader: Reader) -> dict[str, Any]:
    """The networks whose tensors have these names and shapes, and the prefix that had to be taken off for it."""
    known = describe(reader.metadata)
    if known.architecture is not None and known.config is not None:
        return {"fits": [f"{known.architecture} (it says so)"], "wrapper": None}
    if not installed("flax"):
        return {"fits": [], "wrapper": None}
    shapes = {name: reader.info(name).shape for name in reader.names()}
    fits = find_fits(shapes, known.framework)
    if not fits:
        return {"fits": [], "wrapper": None, "hints": suggestions(shapes, known.framework)}
    return {"fits": [str(fit) for fit in fits], "wrapper": fits[0].wrapper or None}


def _not_finite(reader: Reader, name: str) -> tuple[int, int]:
    dtype = reader.tensors[name].dtype
    counts = [count_not_finite(block, dtype) for block in reader.blocks(name)] if dtype in FLOATS else []
    return sum(nan for nan, _ in counts), sum(inf for _, inf in counts)


def _print(contents: dict[str, Any], counts: dict[str, tuple[int, int]]) -> None:
    from rich.table import Table
    from rich.text import Text

    page = console()
    bad = sum(map(sum, counts.values()))
    columns = ["name", "shape", "dtype", "bytes", *(["NaN", "inf"] if bad else [])]
    table = Table(title=Text(contents["path"]), title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in {"name", "shape", "dtype"} else "right", overflow="fold")
    for tensor in contents["tensors"]:
        shape = " ".join(map(str, tensor["shape"])) or "scalar"
        numbers = [f"{tensor['nan']:,}", f"{tensor['inf']:,}"] if bad else []
        table.add_row(
            *map(Text, [printable(tensor["name"], ""), shape, tensor["dtype"], f"{tensor['bytes']:,}", *numbers])
        )
    page.print(table)
    lines = [cut(f"{name}: {value}") for name, value in contents["facts"].items()]
    lines += [f"{name}: tied to {target}" for name, target in contents["aliases"].items()]
    lines += [f"{name}: left out: {reason}" for name, reason in contents["left_out"].items()]
    lines.append(
        f"{len(contents['tensors'])} tensors, {contents['parameters']:,} numbers, {byte_count(contents['bytes'])}"
    )
    lines += [f"{bad:,} numbers are not finite"] if counts else []
    lines += [f"taken: the entry {contents['taken']}"] if contents["taken"] else []
    lines += [f"wrapper: {contents['wrapper']}"] if contents["wrapper"] else []
    lines.append(f"fits: {', '.join(contents['fits']) or 'no architecture that is known here'}")
    lines += contents.get("hints", [])
    for line in lines:
        page.print(printable(line, ""), markup=False, soft_wrap=True)
