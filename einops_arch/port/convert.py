"""Convert a checkpoint of an architecture from one framework's names and layout to the other's, in numpy."""

from __future__ import annotations

from einops_arch import architectures
from einops_arch.architectures import Config
from einops_arch.checkpoints.checkpoint import Checkpoint

__all__ = ["convert"]


def convert(checkpoint: Checkpoint, to: str, config: Config) -> Checkpoint:
    """The same weights in the names and layout of the other framework, or checked in those of its own.

    The checkpoint must be whole: every array of the network, no other, each of the right shape.

    Args:
        checkpoint: what was read.
        to: `"torch"` or `"flax"`.
        config: the config of the network that the checkpoint belongs to.

    Raises:
        PortError: the arrays do not fit the network; the message lists every problem by path.
        MissingFrameworkError: Flax is not installed; its layers say how their arrays lie.
    """
    from einops_arch.flax.state import from_leaves, to_leaves

    architecture = architectures.of_config(config)
    model = architecture.abstract_flax_model(config)
    if checkpoint.framework == "flax":
        state = from_leaves(model, checkpoint.tensors)
    else:
        state = dict(checkpoint.tensors)
    leaves = to_leaves(model, state)
    tensors = leaves if to == "flax" else state
    return Checkpoint(tensors, to, architecture.name, config)
