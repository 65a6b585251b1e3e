"""Put a checkpoint that the command line names into models of the user's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from einops_arch._log import LOG, Lines
from einops_arch.errors import PortError

__all__ = ["put_state"]


_WEIGHTS = re.compile(r"(a state dict of|weights beside|\d+ arrays? beside) .*which was taken")
"""Why an entry was left out that may be the weights that were meant."""


def put_state(
    file: Path,
    torch_model: Any,
    flax_model: Any = None,
    paths: Mapping[str, str] | None = None,
    key: str | None = None,
) -> None:
    """Put a checkpoint of any format into a PyTorch model, with wrappers taken off its names.

    The model keeps the dtypes in which it computes, whatever those of the file.

    Args:
        file: PyTorch's names and layout; or Flax's, where there is a Flax model that says how these lie.
        torch_model: the model, changed in place.
        flax_model: its twin, which has the weights of a file of Flax afterwards, and is unchanged after any other.
        paths: the path of a module in Flax by its path in PyTorch, where they differ.
        key: the entry that holds the weights, as `open_checkpoint` takes it. Other entries that could be meant are
            named in a warning of the logger `einops_arch`.

    Raises:
        CheckpointError: the file cannot be read, has no such entry, or several that could be meant.
        PortError: names or shapes do not fit; all of them are in the message, and nothing was changed.
    """
    from einops_arch.checkpoints import load, open_checkpoint, read_checkpoint
    from einops_arch.port import transfer

    with open_checkpoint(file, key=key) as reader:
        left_out = reader.left_out.items()
    others = [f"{name}: left out: {reason}" for name, reason in left_out if _WEIGHTS.fullmatch(reason)]
    if others:
        LOG.warning("%s:%s", file, Lines(others))
    checkpoint = read_checkpoint(file, key=key)
    tensors = {name: value for name, value in torch_model.state_dict().items() if hasattr(value, "dtype")}
    dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
    try:
        if checkpoint.framework == "torch":
            transfer(checkpoint.tensors, torch_model)
        elif flax_model is not None:
            load(open_checkpoint(file, key=key), flax_model)
            transfer(flax_model, torch_model, paths={other: path for path, other in (paths or {}).items()})
        else:
            raise PortError(
                "its arrays have Flax's names and layout, and a PyTorch model does not say how these lie; likely fix: "
                "the checkpoint it was ported from, or einops-arch port FILE OTHER --to torch --model MODULE:TWIN"
            )
    except PortError as error:
        raise PortError(*error.within(file)) from error
    state = torch_model.state_dict(keep_vars=True)
    for name, dtype in dtypes.items():
        state[name].data = state[name].data.to(dtype)
