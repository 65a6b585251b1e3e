"""Which modules are wrong by themselves, and why: each is given what PyTorch's was given, one after the other.

The search begins at the network and looks only into modules that are wrong when they are given PyTorch's inputs. What
was found in a module is replaced by what PyTorch's gives, and the module around it is tried again: so a second fault
is found behind the first, and a fault in the code between modules behind those in them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from einops_arch.parity import limits
from einops_arch.parity.answers import Answers, replaced
from einops_arch.parity.causes import Case, explain
from einops_arch.parity.layouts import Layout, plain
from einops_arch.parity.teacher import in_flax_form
from einops_arch.parity.torch_run import Run
from einops_arch.parity.values import in_order
from einops_arch.parity.verdicts import Array

__all__ = ["Found", "Recorded", "search"]

# No report is read to the end that has more; and a search must come to its end.
_MOST = 64
_PATIENCE = 40.0


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What the search looks at.

    Args:
        ours: PyTorch's modules by path.
        theirs: Flax's side, whose modules are copied one by one.
        run: PyTorch's in float64, with the inputs of the modules that differ.
        layouts: of their outputs.
        input_layouts: of their inputs.
        forms: the arguments of Flax's modules, whatever numbers are in them.
        values: Flax's own inputs, for a module whose arguments do not correspond.
        lifted: casts are lifted.
    """

    ours: Mapping[str, Any]
    theirs: Any
    run: Run
    layouts: Mapping[tuple[str, int, int], Layout]
    input_layouts: Mapping[tuple[str, int], Sequence[Layout | None]]
    forms: Mapping[tuple[str, int], Any]
    values: Callable[[str], Mapping[tuple[str, int], Any]]
    lifted: bool


@dataclasses.dataclass(frozen=True)
class Found:
    """A module that is wrong by itself.

    Args:
        path: of the module.
        cause: a sentence.
        before: the module inside of it before which its own code goes wrong; None where that is not known.
    """

    path: str
    cause: str
    before: str | None = None


def search(what: Recorded, wrong: Mapping[str, int], say: Callable[[str], None]) -> list[Found]:
    """The modules that are wrong by themselves, in the order in which they go wrong.

    Args:
        what: the runs.
        wrong: by path of the modules over the limit, the place of their first call that is, in call order.
        say: told what is being tried.
    """
    seeker = _Seeker(what, wrong, say)
    found = seeker.inside("")
    if "" in wrong:
        found += seeker.itself("", found)
    order = {one.path: wrong.get(one.path if one.before is None else one.before, 0) for one in found}
    found.sort(key=lambda one: (order[one.path], one.before is None))
    return found + ([Found("", seeker.given_up)] if seeker.given_up else [])


class _Seeker:
    def __init__(self, what: Recorded, wrong: Mapping[str, int], say: Callable[[str], None]) -> None:
        self.what, self.wrong, self.say = what, wrong, say
        self.given_up = ""
        self._cases: dict[str, Case | None] = {}
        self._end = time.monotonic() + _PATIENCE
        self._count = 0

    def inside(self, path: str) -> list[Found]:
        """What is wrong in the modules inside of one, which may hold others in turn."""
        found: list[Found] = []
        for one in self._children(path):
            if self._is_over():
                break
            case = self._case(one)
            if case is None:
                # PyTorch's inputs cannot be given to it. As long as nothing was wrong before, Flax's own will do.
                deeper = self.inside(one)
                found += deeper or ([] if found else self.itself(one, deeper))
            elif case.before > limits.FLOAT64:
                deeper = self.inside(one)
                found += deeper + self.itself(one, deeper)
        return found

    def itself(self, path: str, inside: Sequence[Found]) -> list[Found]:
        """What is wrong in the code of a module, when all inside of it is right."""
        if self.given_up:
            return []
        case = self._case(path) if not inside else self._with_answers(path, inside)
        if case is None and not inside:
            case = self._cases[path] = self._with_its_own_inputs(path)
        if case is None or case.before <= limits.FLOAT64:
            return []
        self._count += 1
        right = [one for one in self.wrong if (inner := self._cases.get(one)) and inner.before <= limits.FLOAT64]
        right = [one for one in right if one.startswith(f"{path}.") or not path]
        before = min([*right, *case.given_wrongly()], key=lambda one: self.wrong[one], default=None)
        return [Found(path, explain(case), before)]

    def _is_over(self) -> bool:
        if not self.given_up and self._count and (self._count >= _MOST or time.monotonic() > self._end):
            self.given_up = f"after {self._count} causes no further ones were looked for"
        return bool(self.given_up)

    def _children(self, path: str) -> list[str]:
        """The modules over the limit that are directly inside of one, in call order."""
        within = [one for one in self.wrong if one and (one.startswith(f"{path}.") or not path) and one != path]
        direct = [one for one in within if not any(one.startswith(f"{other}.") for other in within)]
        return sorted(direct, key=lambda one: self.wrong[one])

    def _case(self, path: str) -> Case | None:
        """The module with PyTorch's inputs: of its first call that differs, or else of its first."""
        if path not in self._cases:
            self.say(f"looking at {path or 'the network'}")
            first: Case | None = None
            for index in self._calls(path):
                case = self._made(path, index, self._inputs((path, index)), ())
                if first is None or (case is not None and case.before > limits.FLOAT64):
                    first = case
                if first is not None and first.before > limits.FLOAT64:
                    break
            self._cases[path] = first
        return self._cases[path]

    def _calls(self, path: str) -> list[int]:
        return [one.index for one in self.what.run.calls if one.path == path]

    def _inputs(self, key: tuple[str, int]) -> Any:
        nest, form = self.what.run.inputs.get(key), self.what.forms.get(key)
        if nest is None or form is None:
            return None
        found = in_flax_form(nest, form, self.what.input_layouts.get(key, []))
        return None if isinstance(found, str) else found

    def _with_its_own_inputs(self, path: str) -> Case | None:
        values = self.what.values(path)
        index = next((one for one in self._calls(path) if (path, one) in values), None)
        return None if index is None else self._made(path, index, values[path, index], ())

    def _with_answers(self, path: str, inside: Sequence[Found]) -> Case | None:
        """The module with what was found in it replaced by what PyTorch's gives."""
        whole = self._case(path)
        if whole is None:
            return None
        index = whole.index
        answers = []
        paths = {found.path for found in inside}
        # What is in a module that is replaced is not there any more.
        for one in sorted(path for path in paths if not any(path.startswith(f"{other}.") for other in paths)):
            case = self._cases.get(one)
            calls = self._calls_within(one, path, index)
            if case is None or not calls:
                return None
            arrays = [dict(zip(case.output_places, self._target(one, n) or [], strict=True)) for n in calls]
            nests = [self._inputs((one, n)) for n in calls]
            given = (
                [] if None in nests else [in_order(nest, lambda value: isinstance(value, np.ndarray)) for nest in nests]
            )
            answers.append(Answers(one, case.flax_module, case.form, arrays, given))
        return self._made(path, index, whole.nest, answers)

    def _calls_within(self, path: str, outer: str, index: int) -> list[int]:
        """The calls of a module that returned in one call of the module around it."""
        found, now = [], 0
        for call in self.what.run.calls:
            if call.path == outer:
                now += 1
            elif call.path == path and now == index:
                found.append(call.index)
        return found

    def _target(self, path: str, index: int) -> list[Array] | None:
        call = next((one for one in self.what.run.calls if (one.path, one.index) == (path, index)), None)
        if call is None:
            return None
        return [
            array.transpose(self.what.layouts.get((path, index, n), plain(array.ndim)))
            for n, array in enumerate(call.arrays)
        ]

    def _made(self, path: str, index: int, nest: Any, answers: Sequence[Answers]) -> Case | None:
        """A case that was run; None where it cannot be."""
        from einops_arch.parity.flax_run import precise

        target = self._target(path, index)
        if nest is None or target is None:
            return None
        module = self.what.theirs.copy_of(path)
        inside = self.what.theirs.paths_inside(path)
        if not all(replaced(module, inside.get(one.path, ""), one) for one in answers):
            return None
        target += [array for one in answers for array in one.wanted]
        case = Case(
            path,
            self.what.ours[path],
            module,
            nest,
            target,
            self.what.lifted,
            index,
            answers,
            self.say,
        )
        try:
            with precise(double=True):
                case.before  # noqa: B018 it is computed here, and may not be possible
        except Exception:  # noqa: BLE001 the module is any code at all, and may not bear to be called by itself
            return None
        return case
