"""The networks in Flax under `jax.jit`, beside the same network with Flax's own layers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.case import Bar, Case, Work
from benchmarks.jax_programs import nearly, program_text
from benchmarks.networks import NETWORKS, Network, inputs
from benchmarks.plain_nnx import plain
from einops_arch import architectures
from einops_arch.architectures import Config

__all__ = ["cases", "compiled_call"]

_PEER = "plain NNX"


def cases(device: str) -> Iterator[Case]:
    """All rows; jax puts its arrays on the device that the process was started for."""
    del device
    for network in NETWORKS:
        size = "x".join(map(str, network.sizes.values()))
        for batch, backward in ((1, False), (8, False), (8, True)):
            setting = f"jit, batch {batch}, {'forward + backward' if backward else 'forward'}"
            setting += ", fewer blocks" if backward and network.shallow else ""
            make = partial(_work, network, batch, backward=backward)
            if network.name == "vit" and batch > 1:
                name = f"{setting}, against norms with Flax's one-pass variance"
                fast = partial(_work, network, batch, backward=backward, layers=partial(plain, fast_variance=True))
                yield Case(network.name, "jax", f"{network.preset}, {size}", name, fast)
            quick = batch == 1 and network.name in {"convnet", "shufflenet"}
            yield Case(
                network.name,
                "jax",
                f"{network.preset}, {size}" if size else network.preset,
                setting,
                make,
                _bar(network, batch, backward=backward),
                quick=quick,
            )


def _bar(network: Network, batch: int, *, backward: bool) -> Bar:
    if network.name == "shufflenet" and not backward:
        return Bar(0.6 if batch == 1 else 0.55, (_PEER,))
    return Bar(1.0, (_PEER,))


def _work(network: Network, batch: int, *, backward: bool, layers: Any = plain) -> Work:
    config = network.config(shallow=backward)
    call = partial(compiled_call, network, config, batch, backward=backward, model=_model(config))
    compiled = {"ours": call(), _PEER: call(layers=layers)}
    calls: dict[str, Callable[[], Any]] = {name: call for name, (call, _) in compiled.items()}
    mine = calls.pop("ours")
    return Work(mine, calls, partial(nearly, limit=2e-3), program=lambda name: program_text(compiled[name][1]))


def _model(config: Config) -> Any:
    return architectures.of_config(config).flax_class()(config, rngs=nnx.Rngs(0))


def compiled_call(
    network: Network,
    config: Config,
    batch: int,
    *,
    backward: bool = False,
    model: Any = None,
    layers: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> tuple[Callable[[], Any], Any]:
    """A call of the compiled network, and its program.

    Args:
        network: what to run.
        config: its config.
        batch: size of the axis `b`.
        backward: also the gradients of the outputs' sum by every parameter, in train mode.
        model: the network, so that two programs read the same memory; a new one if left out.
        layers: a context in which the network is traced.
    """
    model = model or _model(config)
    model.train() if backward else model.eval()
    arrays = [jnp.asarray(array) for array in inputs(network, config, batch, channels_last=True)]
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)

    def forward(parameters: Any, rest: Any, *arrays: jax.Array) -> Any:
        return jax.tree.leaves(nnx.merge(graph, parameters, rest, copy=True)(*arrays))

    def both(parameters: Any, rest: Any, *arrays: jax.Array) -> Any:
        def total(parameters: Any) -> Any:
            model = nnx.merge(graph, parameters, rest, copy=True)
            outputs = jax.tree.leaves(model(*arrays))
            statistics = nnx.state(model, nnx.BatchStat)
            return sum(output.sum() for output in outputs), (outputs, statistics)

        gradients, (outputs, statistics) = jax.grad(total, has_aux=True)(parameters)
        return outputs, gradients, statistics

    with layers():
        program = jax.jit(both if backward else forward).lower(parameters, rest, *arrays).compile()

    def call() -> Any:
        results = jax.block_until_ready(program(parameters, rest, *arrays))
        return results[0] if backward else results

    return call, program
