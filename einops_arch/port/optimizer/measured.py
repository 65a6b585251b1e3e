"""Read the settings of an optax transformation by running it on small arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from einops_arch.port.optimizer.formulas import RELATIVES
from einops_arch.port.optimizer.formulas import step as _step
from einops_arch.port.optimizer.optax import map_leaves, map_state, trained_steps
from einops_arch.port.optimizer.settings import OFFSETS, Settings
from einops_arch.port.optimizer.state import OptimizerState

__all__ = ["flax_settings"]

_Path: TypeAlias = tuple[str, ...]
_Array: TypeAlias = np.ndarray[Any, Any]
_Response: TypeAlias = dict[_Path, dict[str, _Array]]
"""By parameter: its `"update"`, and its moments after the step."""

# Each axis of a parameter is cut to so many entries: a mask may look at the number of axes, hardly at their lengths.
_LENGTH = 2
_TOLERANCE = 1e-5
# Names are told from formulas alone, with nothing in float32 but a common rate.
_EXACT = 1e-9
_SMALL = 1e-6


def flax_settings(model: Any, optimizer: Any, state: OptimizerState) -> dict[str, Settings]:
    """How an `nnx.Optimizer` changes each parameter, by PyTorch's names.

    Args:
        model: the model whose parameters it changes.
        optimizer: an `nnx.Optimizer`; of the bare state of a transformation only hyperparameters can be read.
        state: what it keeps, and where its counts stand or will stand.
    """
    import jax

    if not hasattr(optimizer, "tx"):
        values = _injected(getattr(optimizer, "opt_state", optimizer))
        names = state.names if values else []
        rate = values.pop("lr", None)
        return {name: Settings(state.family, rates=() if rate is None else (rate,), values=values) for name in names}
    with jax.enable_x64(new_val=True):
        measure = _Measure(model, optimizer, state)
        try:
            # Settings that are not those of the algorithm divide by zero, and fit nothing.
            with np.errstate(all="ignore"):
                by_path = measure.settings()
        except Exception:  # noqa: BLE001 a transformation is any code at all, and may not bear small arrays
            return {}
    return {
        name: by_path[paths[0]]
        for step, paths in trained_steps(model)
        if paths and paths[0] in by_path
        for name in step.expected
    }


class _Measure:
    """Runs of the transformation of an `nnx.Optimizer` with numbers that are chosen."""

    def __init__(self, model: Any, optimizer: Any, state: OptimizerState) -> None:
        import jax
        from flax import nnx

        self.state, self.transformation = state, optimizer.tx
        parameters = nnx.as_pure(nnx.state(model, optimizer.wrt))
        kept = nnx.as_pure(optimizer.opt_state)
        self.kinds = sorted(state.moments)
        self._shapes: dict[_Path, tuple[int, ...]] = {}
        self._tree = map_leaves(parameters, self._noted)
        self._kept = map_state(kept, lambda kind, path, leaf: leaf)
        self._run = jax.jit(self.transformation.update)

    def _noted(self, path: _Path, leaf: Any) -> Any:
        self._shapes[path] = tuple(min(length, _LENGTH) for length in leaf.shape)
        return np.zeros(self._shapes[path])

    def response(self, numbers: Callable[[str, tuple[int, ...]], _Array | float], offset: int = 0) -> _Response:
        """One step with the parameters, gradients and moments that `numbers` tells by kind and shape."""
        import jax.numpy as jnp

        steps = (self.state.steps or 0) + offset
        at = (self.state.schedule if self.state.schedule is not None else self.state.steps or 0) + offset

        def filled(kind: str, path: _Path) -> Any:
            shape = self._shapes[path]
            return jnp.asarray(np.broadcast_to(np.asarray(numbers(kind, shape), np.float64), shape))

        def slot(kind: str, path: _Path, leaf: Any) -> Any:
            if kind in ("steps", "schedule"):
                return jnp.asarray(steps if kind == "steps" else at, leaf.dtype)
            return filled(kind, path)

        parameters = map_leaves(self._tree, lambda path, _: filled("parameter", path))
        gradients = map_leaves(self._tree, lambda path, _: filled("gradient", path))
        updates, after = self._run(gradients, map_state(self._kept, slot), parameters)
        response: _Response = {}

        def note(kind: str, path: _Path, leaf: Any) -> Any:
            response.setdefault(path, {})[kind] = np.asarray(leaf, np.float64)
            return leaf

        map_leaves(updates, lambda path, leaf: note("update", path, leaf))
        map_state(after, lambda kind, path, leaf: leaf if kind in ("steps", "schedule") else note(kind, path, leaf))
        return response

    def chosen(self, offset: int = 0, **numbers: float) -> _Response:
        """A step in which all is zero but what is told."""
        return self.response(lambda kind, shape: numbers.get(kind, 0.0), offset)

    def settings(self) -> dict[_Path, Settings]:
        """Of every parameter that the transformation knows."""
        by_offset = [self._read(offset) for offset in OFFSETS]
        drawn = [self.response(_drawn, offset) for offset in OFFSETS]
        by_path, strangers = {}, []
        for path, shape in self._shapes.items():
            # A rate of zero, as at the start of a warm-up, shows nothing of the other settings.
            rates = [np.nan_to_num(of_offset[path][0]) for of_offset in by_offset]
            moves = [n for n in range(len(OFFSETS)) if np.any(drawn[n][path]["update"])]
            at = next((n for n in moves if rates[n]), 0)
            rate, values = by_offset[at][path]
            algorithm = self.state.family
            if moves and 0 not in shape:
                received = drawn[at][path]
                expected = _step(self.state.family, values, _numbers(shape, received), self._count(at))
                expected["update"] = expected["update"] * -rate
                steady = self.state.schedule is not None or np.ptp(rates) <= _TOLERANCE * max(map(abs, rates))
                if not (steady and _agree(received, expected)):
                    strangers.append(path)
            by_path[path] = Settings(algorithm, bool(moves), tuple(map(float, rates)), values)
        name = self._relative(strangers, by_path, drawn)
        return {
            path: dataclasses.replace(settings, algorithm=name) if path in strangers else settings
            for path, settings in by_path.items()
        }

    def _count(self, at: int) -> int:
        return (self.state.steps or 0) + OFFSETS[at]

    def _relative(self, paths: Sequence[_Path], known: Mapping[_Path, Settings], drawn: Sequence[_Response]) -> str:
        """The name of the well-known relative whose steps these are, all of them times one rate."""
        scheduled = self.state.schedule is not None
        for name, direction, own in RELATIVES[self.state.family]:
            varies = own or scheduled
            if all(self._follows(path, direction, known[path].values, drawn, varies=varies) for path in paths):
                return name
        return f"another than {self.state.family}, with the same moments"

    def _follows(
        self, path: _Path, direction: Any, values: Mapping[str, Any], drawn: Sequence[_Response], *, varies: bool
    ) -> bool:
        ratios = []
        for at in range(len(OFFSETS)):
            received = drawn[at][path]
            numbers = _numbers(self._shapes[path], received)
            ratios.append(received["update"] / direction(values, numbers, self._count(at)))
        return all(
            np.ptp(group) <= _EXACT * abs(float(np.mean(group))) for group in (ratios if varies else [np.stack(ratios)])
        )

    def _read(self, offset: int) -> dict[_Path, tuple[float, dict[str, Any]]]:
        """The learning rate and the settings of each parameter, if the algorithm is what it seems to be."""
        return {"Adam": self._adam, "RMSprop": self._rmsprop, "SGD": self._sgd}[self.state.family](offset)

    def _sgd(self, offset: int) -> dict[_Path, tuple[float, dict[str, Any]]]:
        kept, pushed = self.chosen(offset, momentum=1.0), self.chosen(offset, gradient=_SMALL)
        decayed = self.chosen(offset, parameter=1.0)
        settings = {}
        for path, answer in pushed.items():
            momentum = _number(kept[path].get("momentum"))
            push = -_number(answer["update"]) / _SMALL
            # With Nesterov's the gradient counts once more, and what is kept counts by the momentum.
            nesterov = bool(momentum) and not _close(-_number(kept[path]["update"]), momentum * push)
            rate = push / (1 + momentum) if nesterov else push
            coupled = _number(decayed[path].get("momentum"))
            rest = -_number(decayed[path]["update"]) - push * coupled
            apart = rest / rate if rate else 0.0
            if not momentum:
                coupled, apart = coupled + apart, 0.0
            settings[path] = rate, _decays(coupled, apart) | {"momentum": momentum, "nesterov": nesterov}
        return settings

    def _adam(self, offset: int) -> dict[_Path, tuple[float, dict[str, Any]]]:
        count = (self.state.steps or 0) + offset + 1
        kept = self.chosen(offset, mean=1.0, square=1.0)
        flat = self.chosen(offset, gradient=_SMALL, mean=_SMALL)
        steep = self.chosen(offset, gradient=_SMALL, mean=_SMALL, square=1.0)
        decayed = self.chosen(offset, parameter=1.0, square=1.0)
        settings = {}
        for path, answer in kept.items():
            b1, b2 = _number(answer.get("mean")), _number(answer.get("square"))
            mean_part, square_part = 1 - b1**count, 1 - np.float64(b2) ** count
            near = _SMALL * np.sqrt((1 - b2) / square_part)
            far = np.sqrt((b2 + (1 - b2) * _SMALL**2) / square_part)
            push, eps = _quotient(steep[path], flat[path], near, far)
            rate = push / _SMALL * mean_part
            coupled = _number(decayed[path].get("mean")) / (1 - b1)
            root = np.sqrt((b2 + (1 - b2) * coupled**2) / square_part)
            moved = (1 - b1) * coupled / mean_part / (root + eps)
            apart = -_number(decayed[path]["update"]) / rate - moved
            settings[path] = rate, _decays(coupled, apart) | {"beta1": b1, "beta2": b2, "eps": eps}
        return settings

    def _rmsprop(self, offset: int) -> dict[_Path, tuple[float, dict[str, Any]]]:
        kept = self.chosen(offset, square=1.0, momentum=1.0)
        flat = self.chosen(offset, gradient=_SMALL)
        steep = self.chosen(offset, gradient=_SMALL, square=1.0)
        decayed = self.chosen(offset, parameter=1.0)
        settings = {}
        for path, answer in steep.items():
            alpha, momentum = _number(kept[path].get("square")), _number(kept[path].get("momentum"))
            centered = (1 - alpha) ** 2 if "mean" in answer else 0.0
            near = _SMALL * np.sqrt(1 - alpha - centered)
            far = np.sqrt(alpha + _SMALL**2 * (1 - alpha - centered))
            push, eps = _quotient(answer, flat[path], near, far)
            rate = push / _SMALL
            coupled = np.sqrt(_number(decayed[path].get("square")) / (1 - alpha))
            moved = coupled / (coupled * np.sqrt(1 - alpha - centered) + eps) if coupled else 0.0
            apart = -_number(decayed[path]["update"]) / rate - moved
            settings[path] = rate, _decays(coupled, apart) | {"alpha": alpha, "eps": eps, "momentum": momentum}
        return settings


def _drawn(kind: str, shape: tuple[int, ...]) -> _Array:
    """Numbers that no symmetry hides anything of; gradients are small, so that what clips them does nothing."""
    random = np.random.default_rng([*kind.encode(), *shape])
    values = random.normal(size=shape)
    return 1e-3 * (1 + values**2) if kind == "square" else values if kind == "parameter" else 1e-2 * values


def _numbers(shape: tuple[int, ...], received: Mapping[str, _Array]) -> dict[str, _Array]:
    """What was drawn for a parameter, with the moments that it has."""
    return {kind: _drawn(kind, shape) for kind in ("parameter", "gradient", *received) if kind != "update"}


def _quotient(steep: Mapping[str, _Array], flat: Mapping[str, _Array], near: float, far: float) -> tuple[float, float]:
    """Rate times direction, and eps, from two steps of one direction: over `near` + eps, and over `far` + eps."""
    far_step, near_step = -_number(steep["update"]), -_number(flat["update"])
    share = far_step / near_step if near_step else np.nan
    eps = (far * share - near) / (1 - share)
    return far_step * (far + eps), 0.0 if abs(eps) < 1e-14 else eps


def _decays(coupled: float, apart: float) -> dict[str, Any]:
    return {
        "weight_decay of the gradient": 0.0 if abs(coupled) < 1e-9 else coupled,
        "weight_decay of the parameter": 0.0 if abs(apart) < 1e-9 else apart,
    }


def _agree(received: Mapping[str, _Array], expected: Mapping[str, _Array]) -> bool:
    """Both give the same step and keep the same."""
    return all(
        bool(np.all(np.abs(received[kind] - expected[kind]) <= _TOLERANCE * np.max(np.abs(expected[kind]))))
        for kind in received
    )


def _close(value: float, other: float) -> bool:
    return abs(value - other) <= _TOLERANCE * max(abs(value), abs(other))


def _number(values: _Array | None) -> Any:
    """The number that all entries are, as numpy's, whose division by zero is no exception."""
    return np.float64(0.0 if values is None or not values.size else values.flat[0])


def _injected(state: Any) -> dict[str, Any]:
    """The hyperparameters that the one `optax.inject_hyperparams` of a state keeps in it, by PyTorch's names."""
    import jax

    def is_injected(node: Any) -> bool:
        return hasattr(node, "hyperparams")

    nodes = [node for node in jax.tree.leaves(state, is_leaf=is_injected) if is_injected(node)]
    names = {"learning_rate": "lr", "b1": "beta1", "b2": "beta2", "eps": "eps", "momentum": "momentum"}
    values = nodes[0].hyperparams if len(nodes) == 1 else {}
    return {names[name]: float(value) for name, value in values.items() if name in names}
