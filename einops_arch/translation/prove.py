"""The proof: the twin against the original, module by module, at random weights and at the real ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from einops_arch._text import counted, printable
from einops_arch.translation.batches import PLENTY, enough_for_statistics
from einops_arch.translation.calls import copy_of
from einops_arch.translation.inputs import Arguments
from einops_arch.translation.weights import (
    Pair,
    moved_pair,
    quiet,
    random_pair,
    within_magnified_rounding,
    without_randomness,
)

__all__ = ["Proof", "prove"]

_OWN = "own weights"
_CANCELED = 1e-7
"""Of a result that is no more than its weights' rounding, as the logarithm of an orthogonal matrix's determinant."""
_MOVED = "at its own weights moved by a tenth"


@dataclass(frozen=True)
class Proof:
    """Comparisons and what they were of.

    Args:
        reports: by a name for each.
        problems: why there is no proof, where a comparison could not be run.
    """

    reports: Mapping[str, Any]
    problems: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Whether every comparison was run and found the same function.

        Weights of the model's own with which no output changes, as where its last layer starts at 0, tell nothing for
        and nothing against: then those at random weights decide.
        """
        return self.verdict == "same function"

    @property
    def verdict(self) -> str:
        """`"same function"`, or the first verdict that is another."""
        deciding = [item for name, item in self.reports.items() if not self._says_nothing(name)]
        if self.problems or not deciding:
            return "not proved"
        return next((item.verdict for item in deciding if not item.passed), "same function")

    def _says_nothing(self, name: str) -> bool:
        return name == _OWN and self.reports[name].verdict == "no evidence"

    def __str__(self) -> str:
        lines = [
            f"{name}: {item.verdict}" + (": with these no output changes with the inputs" * self._says_nothing(name))
            for name, item in self.reports.items()
        ]
        return "\n".join(printable(line, "") for line in (*lines, *self.problems))


def prove(
    model: Any,
    make: Callable[[Any], Any],
    runs: Mapping[str, Arguments],
    layouts: Mapping[str, Mapping[str, str]],
    say: Callable[[str], None],
    *,
    train: bool = True,
) -> Proof:
    """Compare a PyTorch model and its twin.

    Args:
        model: of PyTorch; it is not changed.
        make: builds the twin from random streams.
        runs: inputs by a name for their sizes. The first two, which were recorded, are run in train mode too, with a
            larger batch where batch norms would see few numbers. The first is run with gradients and in the model's
            own dtype as well: how it rounds does not depend on the size.
        layouts: of outputs, by mode and module path.
        say: told what is being done.
        train: whether it was recorded in training mode.
    """
    from einops_arch.flax._build import filled
    from einops_arch.translation.droppath import droppers_that_differ

    reports, problems = _at_new_weights(model, make, runs, layouts, say, train=train)
    twin = filled(make, model.state_dict())
    problems += droppers_that_differ(model, twin)
    say("comparing with the model's own weights")
    try:
        own = Pair(without_randomness(copy_of(model)), quiet(twin))
        first = partial(_compared, arguments=next(iter(runs.values())), layouts=layouts.get("eval", {}))
        title, report = _OWN, first(own, causes=False)
        if within_magnified_rounding(report, _CANCELED):
            moved = moved_pair(model, make)
            near = first(moved, causes=False)
            if near.passed and not moved.problem:
                title, report = f"{_OWN}, {_MOVED} (at these {_over(report)})", near
        reports[title] = report if report.passed else first(own, causes=True)
    except Exception as error:  # noqa: BLE001 whatever it is, there is no proof
        problems.append(f"{_OWN}: {type(error).__name__}: {error}")
    return Proof(reports, problems)


def _at_new_weights(
    model: Any,
    make: Callable[[Any], Any],
    runs: Mapping[str, Arguments],
    layouts: Mapping[str, Mapping[str, str]],
    say: Callable[[str], None],
    *,
    train: bool,
) -> tuple[dict[str, Any], list[str]]:
    """The reports at random weights, or near the model's own where the network magnifies rounding; and problems."""
    reports: dict[str, Any] = {}
    pair, moved = random_pair(model, make), None
    problems = [pair.problem] if pair.problem else []
    for number, (name, arguments) in enumerate(runs.items()):
        modes = ("eval", "train") if number < 2 and train else ("eval",)
        for mode in modes:
            more, inputs = enough_for_statistics(pair.model, arguments) if mode == "train" else ("", arguments)
            title = f"{name}{more}, {mode}" + (" and gradients" if number == 0 else "")
            compared = partial(
                _compared,
                arguments=inputs,
                layouts=layouts.get(mode, {}),
                mode=mode,
                gradients=number == 0,
                own_dtype=number == 0,
            )
            say(f"comparing {title}")
            try:
                report = compared(pair, causes=False)
                if mode == "train" and within_magnified_rounding(report):
                    batch, plenty = enough_for_statistics(pair.model, inputs, PLENTY)
                    if batch:
                        say(f"comparing {title},{batch}")
                        larger = compared(pair, arguments=plenty, causes=False)
                        if larger.passed:
                            title, report = f"{title},{batch} (at that size {_over(report)})", larger
                if within_magnified_rounding(report):
                    say(f"comparing {title}, near its own weights")
                    moved = moved or moved_pair(model, make)
                    near = compared(moved, causes=False)
                    if near.passed and not moved.problem:
                        title, report = f"{title}, {_MOVED} (at random ones {_over(report)})", near
                reports[title] = report if report.passed else compared(pair, causes=True)
            except Exception as error:  # noqa: BLE001 whatever it is, there is no proof
                problems.append(f"{title}: {type(error).__name__}: {error}")
    return reports, problems


def _compared(pair: Pair, arguments: Arguments, layouts: Mapping[str, str], **options: Any) -> Any:
    from einops_arch.parity.compare import compare

    with _no_dropout():
        return compare(
            pair.model,
            pair.twin,
            arguments.compare_inputs,
            axes=arguments.compare_axes,
            layouts=layouts,
            **options,
        )


def _over(report: Any) -> str:
    """What is over a limit, in words."""
    over = [row for rows in report.sections.values() for row in rows if not row.verdict.passed]
    most = max(row.difference for row in over)
    return f"{counted(len(over), 'result')} off by up to {most:.1e}"


@contextlib.contextmanager
def _no_dropout() -> Iterator[None]:
    """The functions that drop something drop nothing."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Off(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            name = getattr(func, "__name__", "")
            if name.removeprefix("feature_") in ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"):
                return args[0] if args else kwargs["input"]
            if name == "scaled_dot_product_attention":
                kwargs["dropout_p"] = 0.0
                args = (*args[:4], *((0.0,) if len(args) > 4 else ()), *args[5:])
                if len(args) > 4:
                    kwargs.pop("dropout_p")
            return func(*args, **kwargs)

    with Off():
        yield
    del torch
