"""The loop of the recurrent layers over time, and what each does in one step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

__all__ = ["Carry", "Step", "gru_step", "lstm_step", "relu_step", "scan", "tanh_step"]

Carry: TypeAlias = tuple[jax.Array, ...]
Gates: TypeAlias = tuple[jax.Array, ...]
# The state after one step, from the one before and, for each gate, the products b hidden with their biases: of the
# input, and of the hidden state.
Step: TypeAlias = Callable[[Carry, Gates, Gates], Carry]


@functools.partial(jax.jit, static_argnames=("step", "reverse"))
def scan(
    step: Step, x: jax.Array, carry: Carry, leaves: dict[str, jax.Array], valid: jax.Array | None, *, reverse: bool
) -> tuple[jax.Array, Carry]:
    """One layer in one direction: `t b i -> t b hidden` and its final state.

    Compiled once for all equal shapes, so that a call outside of `jax.jit` does not compile again.
    """
    count = 4 if step is lstm_step else 3 if step is gru_step else 1
    projected = x @ leaves["weight_ih"]
    if "bias_ih" in leaves:
        projected = projected + leaves["bias_ih"]
    bias_hh = leaves.get("bias_hh")
    if bias_hh is not None and step is not gru_step:
        # Only a GRU needs it apart: elsewhere neither it nor its gradient has to be summed at every step.
        projected, bias_hh = projected + bias_hh, None
    # Taken apart before the loop and not in each step: measured on a CPU, 0.6 to 0.9 of the time without gradients.
    gates = tuple(jnp.split(projected, count, axis=-1))

    def body(before: Carry, now: tuple[Gates, jax.Array | None]) -> tuple[Carry, jax.Array]:
        inputs, keep = now
        hidden = before[0] @ leaves["weight_hh"]
        if bias_hh is not None:
            hidden = hidden + bias_hh
        after = step(before, inputs, tuple(jnp.split(hidden, count, axis=-1)))
        if "weight_hr" in leaves:  # the projection of a hidden state that is smaller than the cell's
            after = (after[0] @ leaves["weight_hr"], *after[1:])
        if keep is None:
            return after, after[0]
        # The state stands still beyond a sequence's end; in reverse it has not started to move there.
        after = tuple(jnp.where(keep, new, old) for new, old in zip(after, before, strict=True))
        return after, jnp.where(keep, after[0], jnp.zeros_like(after[0]))

    final, output = jax.lax.scan(body, carry, (gates, valid), reverse=reverse)
    return output, final


def lstm_step(before: Carry, inputs: Gates, hidden: Gates) -> Carry:
    """The state (h, c): PyTorch's gates in PyTorch's order."""
    i, f, g, o = map(jnp.add, inputs, hidden)
    c = jax.nn.sigmoid(f) * before[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_step(before: Carry, inputs: Gates, hidden: Gates) -> Carry:
    """The state (h,): the bias of the new gate's hidden part is inside the reset, as PyTorch has it."""
    reset_inputs, update_inputs, new_inputs = inputs
    reset_hidden, update_hidden, new_hidden = hidden
    reset = jax.nn.sigmoid(reset_inputs + reset_hidden)
    update = jax.nn.sigmoid(update_inputs + update_hidden)
    new = jnp.tanh(new_inputs + reset * new_hidden)
    return (new + update * (before[0] - new),)


def tanh_step(_: Carry, inputs: Gates, hidden: Gates) -> Carry:
    """The state (h,), with tanh."""
    return (jnp.tanh(inputs[0] + hidden[0]),)


def relu_step(_: Carry, inputs: Gates, hidden: Gates) -> Carry:
    """The state (h,), with relu."""
    return (jax.nn.relu(inputs[0] + hidden[0]),)
