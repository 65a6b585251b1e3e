"""Steps of optimizers as formulas: PyTorch's, and those of relatives that keep the same moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

__all__ = ["RELATIVES", "step"]

_Numbers: TypeAlias = Mapping[str, np.ndarray[Any, Any]]
_Direction: TypeAlias = Callable[[Mapping[str, Any], _Numbers, int], Any]


def step(family: str, values: Mapping[str, Any], numbers: _Numbers, count: int) -> dict[str, Any]:
    """What is subtracted from a parameter, before the learning rate, and the moments after the step.

    Args:
        family: `"SGD"`, `"Adam"` or `"RMSprop"`.
        values: the settings.
        numbers: the `"parameter"`, its `"gradient"`, and the moments.
        count: the steps before this one.

    >>> decays = {"weight_decay of the gradient": 0.0, "weight_decay of the parameter": 0.0}
    >>> numbers = {"parameter": np.array(5.0), "gradient": np.array(1.0), "momentum": np.array(2.0)}
    >>> after = step("SGD", decays | {"momentum": 0.5, "nesterov": True}, numbers, 0)
    >>> float(after["momentum"]), float(after["update"])
    (2.0, 2.0)
    """
    parameter = numbers["parameter"]
    gradient = numbers["gradient"] + values["weight_decay of the gradient"] * parameter
    after: dict[str, Any] = {}
    if family == "Adam":
        b1, b2 = values["beta1"], values["beta2"]
        after["mean"] = b1 * numbers["mean"] + (1 - b1) * gradient
        after["square"] = b2 * numbers["square"] + (1 - b2) * gradient**2
        root = np.sqrt(after["square"] / (1 - b2 ** (count + 1)))
        direction = after["mean"] / (1 - b1 ** (count + 1)) / (root + values["eps"])
    elif family == "RMSprop":
        direction = gradient / (np.sqrt(_spread(values, numbers, gradient, after)) + values["eps"])
    else:
        direction = gradient
    if "momentum" in numbers:
        after["momentum"] = values["momentum"] * numbers["momentum"] + direction
        nesterov = values.get("nesterov", False)
        direction = direction + values["momentum"] * after["momentum"] if nesterov else after["momentum"]
    after["update"] = direction + values["weight_decay of the parameter"] * parameter
    return after


def _spread(values: Mapping[str, Any], numbers: _Numbers, gradient: Any, after: dict[str, Any]) -> Any:
    """What RMSprop takes the root of."""
    alpha = values["alpha"]
    after["square"] = alpha * numbers["square"] + (1 - alpha) * gradient**2
    if "mean" not in numbers:
        return after["square"]
    after["mean"] = alpha * numbers["mean"] + (1 - alpha) * gradient
    return after["square"] - after["mean"] ** 2


def _nadam(values: Mapping[str, Any], numbers: _Numbers, count: int) -> Any:
    after = step("Adam", values, numbers, count)
    b1, t = values["beta1"], count + 1
    gradient = numbers["gradient"] + values["weight_decay of the gradient"] * numbers["parameter"]
    mean = b1 * after["mean"] / (1 - b1 ** (t + 1)) + (1 - b1) * gradient / (1 - b1**t)
    return mean / (np.sqrt(after["square"] / (1 - values["beta2"] ** t)) + values["eps"])


def _radam(values: Mapping[str, Any], numbers: _Numbers, count: int) -> Any:
    """Source: Liu et al., 2020, "On the Variance of the Adaptive Learning Rate and Beyond", algorithm 2."""
    b1, b2, t = values["beta1"], values["beta2"], count + 1
    after = step("Adam", values, numbers, count)
    longest = 2 / (1 - b2) - 1
    length = longest - 2 * t * b2**t / (1 - b2**t)
    if length < 5:
        return after["mean"] / (1 - b1**t)
    factor = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    # The eps that was measured may be that of a step without a second moment; the usual one is next to nothing.
    root = np.sqrt(after["square"] / (1 - b2**t))
    return np.sqrt(factor) * after["mean"] / (1 - b1**t) / (root + 1e-8)


def _adamax(values: Mapping[str, Any], numbers: _Numbers, count: int) -> Any:
    after = step("Adam", {**values, "eps": 0.0}, numbers, count)
    largest = np.maximum(values["beta2"] * numbers["square"], np.abs(numbers["gradient"]) + 1e-8)
    return after["mean"] / (1 - values["beta1"] ** (count + 1)) / largest


def _yogi(b2: float, eps: float, values: Mapping[str, Any], numbers: _Numbers, count: int) -> Any:
    after = step("Adam", {**values, "eps": 0.0, "beta2": b2}, numbers, count)
    gradient, square = numbers["gradient"], numbers["square"]
    square = square - (1 - b2) * np.sign(square - gradient**2) * gradient**2
    mean = after["mean"] / (1 - values["beta1"] ** (count + 1))
    return mean / (np.sqrt(square / (1 - b2 ** (count + 1))) + eps)


def _trusted(values: Mapping[str, Any], numbers: _Numbers, count: int) -> Any:
    """A step of Adam in which each array has a factor of its own."""
    return step("Adam", values, numbers, count)["update"]


def _root_of_adam(eps: float, values: Mapping[str, Any], numbers: _Numbers, count: int) -> Any:
    after = step("Adam", {**values, "eps": 0.0}, numbers, count)
    b1, b2, t = values["beta1"], values["beta2"], count + 1
    return after["mean"] / (1 - b1**t) / (np.sqrt(after["square"] / (1 - b2**t) + eps) + 1e-8)


def _root_of_rmsprop(eps: float, values: Mapping[str, Any], numbers: _Numbers, count: int) -> Any:
    del count
    gradient = numbers["gradient"] + values["weight_decay of the gradient"] * numbers["parameter"]
    direction = gradient / np.sqrt(_spread(values, numbers, gradient, {}) + eps)
    return direction if "momentum" not in numbers else values["momentum"] * numbers["momentum"] + direction


def _made(make: Any, *settings: float) -> _Direction:
    return lambda values, numbers, count: make(*settings, values, numbers, count)


_EPSILONS = (1e-8, 1e-5, 1e-6, 1e-7, 1e-10, 1e-3, 1e-2)

RELATIVES: Mapping[str, Sequence[tuple[str, _Direction, bool]]] = {
    "Adam": [
        ("NAdam", _nadam, False),
        ("RAdam", _radam, False),
        ("Adamax", _adamax, False),
        ("Yogi", _made(_yogi, 0.999, 1e-3), False),
        ("Yogi", _made(_yogi, 0.999, 1e-8), False),
        ("Adam scaled by a trust ratio, as LAMB does", _trusted, True),
        *((f"Adam with eps_root={eps:g}", _made(_root_of_adam, eps), False) for eps in _EPSILONS),
    ],
    "RMSprop": [(f"RMSprop with eps={eps:g} in the root", _made(_root_of_rmsprop, eps), False) for eps in _EPSILONS],
    "SGD": [("signSGD", lambda values, numbers, count: np.sign(numbers["gradient"]), False)],
}
"""By family: a name, the direction of the step without its rate, and whether the rate is another at each step."""
