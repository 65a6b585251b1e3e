"""Locate faulty modules by running each alone on PyTorch's recorded inputs.

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

from einops_arch.parity.causes.case import Case
from einops_arch.parity.causes.explain import explain
from einops_arch.parity.causes.stub_outputs import StubOutputs, replaced
from einops_arch.parity.report.verdicts import Array, wide
from einops_arch.parity.runs.axes import Layout, plain
from einops_arch.parity.runs.run import Run
from einops_arch.parity.runs.values import in_order
from einops_arch.parity.teacher import in_flax_form, is_certain

__all__ = ["LocatedFault", "Recorded", "search"]

# No report is read to the end that has more; and a search must come to its end.
_MOST = 64
_PATIENCE = 40.0


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What the search looks at.

    Args:
        torch_modules: PyTorch's modules by path.
        flax_side: Flax's side, whose modules are copied one by one.
        run: PyTorch's in float64, with the inputs of the modules that differ.
        layouts: of their outputs.
        input_layouts: that their inputs may have.
        forms: the arguments of Flax's modules, whatever numbers are in them.
        values: Flax's own inputs, for a module whose arguments do not correspond.
        lifted: casts are lifted.
        rounding: what noise of a few roundoffs does to PyTorch's module at a path, given its arguments and the paths of
            the modules inside that give what they give without.
    """

    torch_modules: Mapping[str, Any]
    flax_side: Any
    run: Run
    layouts: Mapping[tuple[str, int, int], Layout]
    input_layouts: Mapping[tuple[str, int], Sequence[Sequence[Layout]]]
    forms: Mapping[tuple[str, int], Any]
    values: Callable[[str], Mapping[tuple[str, int], Any]]
    lifted: bool
    rounding: Callable[[str, Any, Sequence[str]], Sequence[float]] = lambda path, nest, fixed: ()


@dataclasses.dataclass(frozen=True)
class LocatedFault:
    """A module that is wrong by itself.

    Args:
        path: of the module.
        cause: a sentence.
        before: the module inside of it before which its own code goes wrong; None where that is not known.
    """

    path: str
    cause: str
    before: str | None = None


def search(what: Recorded, wrong: Mapping[str, int], say: Callable[[str], None]) -> tuple[list[LocatedFault], bool]:
    """The modules that are wrong by themselves, in the order in which they go wrong.

    If there are none, and each that differs could be tried, the network as well, then all do the same with the same
    inputs, and what differs is rounding that the network magnifies.

    Args:
        what: the runs.
        wrong: by path of the modules over the limit, the place of their first call that is, in call order.
        say: told what is being tried.

    Returns:
        What was found, and whether all that differ were seen to be right.
    """
    seeker = FaultSearch(what, wrong, say)
    faults = seeker.inside("")
    if "" in wrong:
        faults += seeker.itself("", faults)
    order = {fault.path: wrong.get(fault.path if fault.before is None else fault.before, 0) for fault in faults}
    faults.sort(key=lambda fault: (order[fault.path], fault.before is None))
    all_right = not faults and set(wrong) <= seeker.seen_right
    return faults + ([LocatedFault("", seeker.given_up)] if seeker.given_up else []), all_right


class FaultSearch:
    def __init__(self, what: Recorded, wrong: Mapping[str, int], say: Callable[[str], None]) -> None:
        self.what, self.wrong, self.say = what, wrong, say
        self.given_up = ""
        # Those that give the same with PyTorch's inputs; so do then all inside of them.
        self.seen_right: set[str] = set()
        self._right: dict[str, bool | None] = {}
        self._outputs: dict[str, tuple[Any, list[str]]] = {}
        self._cases: dict[str, Case] = {}
        self._end = time.process_time() + _PATIENCE
        self._count = 0
        # Of PyTorch's outputs of a module, those that Flax's has too, where it has fewer.
        self._fitting: dict[str, list[int]] = {}
        # The calls of whose arguments the order of axes was guessed, also of those that an axis was split into.
        self._guessed: set[tuple[str, int]] = set()

    def inside(self, path: str) -> list[LocatedFault]:
        """Locate faults in the modules inside of one, at any depth."""
        faults: list[LocatedFault] = []
        for child in self._children(path):
            if self._is_over():
                break
            right = self._is_right(child)
            if right is None:
                # PyTorch's inputs cannot be given to it. As long as nothing was wrong before, Flax's own will do.
                deeper = self.inside(child)
                faults += deeper or ([] if faults else self.itself(child, deeper))
            elif not right:
                deeper = self.inside(child)
                faults += deeper + self.itself(child, deeper)
        return faults

    def itself(self, path: str, inside: Sequence[LocatedFault]) -> list[LocatedFault]:
        """Locate a fault in the code of a module itself, with all inside of it stubbed."""
        if self.given_up:
            return []
        # With its modules replaced what is left is its own code, and where that goes wrong can be seen.
        case = self._with_answers(path) or (None if inside else self._with_any_inputs(path))
        self._cases.pop(path, None)
        if case is None:
            return []
        if case.is_right:
            self.seen_right.add(path)
            return []
        self._count += 1
        before = min(case.wrongly_fed(), key=lambda name: self.wrong[name], default=None)
        return [LocatedFault(path, explain(case), before)]

    def _is_over(self) -> bool:
        if not self.given_up and self._count and (self._count >= _MOST or time.process_time() > self._end):
            self.given_up = f"after {self._count} causes no further ones were looked for"
        return bool(self.given_up)

    def _children(self, path: str) -> list[str]:
        """The modules over the limit that are directly inside of one, in call order."""
        within = [name for name in self.wrong if name and (name.startswith(f"{path}.") or not path) and name != path]
        direct = [name for name in within if not any(name.startswith(f"{other}.") for other in within)]
        return sorted(direct, key=lambda name: self.wrong[name])

    def _is_right(self, path: str) -> bool | None:
        """Whether a module is right in every call on PyTorch's inputs; None where it cannot take them."""
        if path not in self._right:
            self.say(f"looking at {path}")
            is_right: bool | None = None
            for index in self._calls(path):
                case = self._made(path, index, self._inputs((path, index)), ())
                if case is not None:
                    self._outputs[path] = case.form, case.output_places
                    is_right = case.is_right
                    if not is_right and (path, index) in self._guessed:
                        # A guess can prove a module right alone.
                        is_right = None
                        del self._outputs[path]
                        break
                    if not is_right:
                        self._cases[path] = case
                        break
            self._right[path] = is_right
            if is_right:
                inside = (name for name in self.wrong if name.startswith(f"{path}."))
                self.seen_right |= {path, *inside}
        return self._right[path]

    def _with_any_inputs(self, path: str) -> Case | None:
        """The module as it is, with PyTorch's inputs or with Flax's own."""
        if path in self._cases:
            return self._cases[path]
        case = self._made(path, 0, self._inputs((path, 0)), ()) or self._with_its_own_inputs(path)
        if case is not None:
            self._outputs[path] = case.form, case.output_places
        return case

    def _calls(self, path: str) -> list[int]:
        return [call.index for call in self.what.run.calls if call.path == path]

    def _inputs(self, key: tuple[str, int]) -> Any:
        nest, form = self.what.run.inputs.get(key), self.what.forms.get(key)
        if nest is None or form is None:
            return None
        layouts = self.what.input_layouts.get(key, [])
        moved = in_flax_form(nest, form, layouts)
        if isinstance(moved, str):
            moved = in_flax_form(nest, form, layouts, split=True)
            self._guessed.add(key)
        elif not is_certain(nest, form, layouts):
            self._guessed.add(key)
        return None if isinstance(moved, str) else moved

    def _with_its_own_inputs(self, path: str) -> Case | None:
        values = self.what.values(path)
        index = next((number for number in self._calls(path) if (path, number) in values), None)
        return None if index is None else self._made(path, index, values[path, index], ())

    def _with_answers(self, path: str) -> Case | None:
        """The module with those inside that differ replaced by what PyTorch's give; None without any."""
        index = self._cases[path].index if path in self._cases else 0
        stubs = [self._stub(child, path, index) for child in self._replaceable(path)]
        if None in stubs or not stubs:
            return None
        return self._made(path, index, self._inputs((path, index)), [stub for stub in stubs if stub is not None])

    def _replaceable(self, path: str) -> list[str]:
        """The outermost modules inside that differ and could be run by themselves."""
        return [
            inner
            for child in self._children(path)
            for inner in ([child] if child in self._outputs else self._replaceable(child))
        ]

    def _stub(self, path: str, outer: str, index: int) -> StubOutputs | None:
        """For the calls of a module that returned in one call of the module around it."""
        form, places = self._outputs[path]
        calls = self._calls_within(path, outer, index)
        if not calls:
            return None
        arrays = [dict(zip(places, self._target(path, n) or [], strict=True)) for n in calls]
        nests = [self._inputs((path, n)) for n in calls]
        inputs = [] if any(nest is None for nest in nests) else [in_order(nest, _is_array) for nest in nests]
        return StubOutputs(path, self.what.flax_side.modules[path], form, arrays, inputs)

    def _calls_within(self, path: str, outer: str, index: int) -> list[int]:
        """The calls of a module that returned in one call of the module around it."""
        indices, now = [], 0
        for call in self.what.run.calls:
            if call.path == outer:
                now += 1
            elif call.path == path and now == index:
                indices.append(call.index)
        return indices

    def _target(self, path: str, index: int) -> list[Array] | None:
        call = next((call for call in self.what.run.calls if (call.path, call.index) == (path, index)), None)
        if call is None:
            return None
        arrays = [
            array.transpose(self.what.layouts.get((path, index, n), plain(array.ndim)))
            for n, array in enumerate(call.arrays)
        ]
        return [arrays[n] for n in self._fitting.get(path, range(len(arrays)))]

    def _made(self, path: str, index: int, nest: Any, stubs: Sequence[StubOutputs]) -> Case | None:
        """A case whose module runs; None where it does not."""
        from einops_arch.parity.runs.flax_run import precise

        target = self._target(path, index)
        if nest is None or target is None:
            return None
        module = self.what.flax_side.copy_of(path)
        inside = self.what.flax_side.paths_inside(path)
        if not all(replaced(module, inside.get(stub.path, ""), stub) for stub in stubs):
            return None
        target += [array for stub in stubs for array in stub.wanted]
        case = Case(
            path,
            self.what.torch_modules[path],
            module,
            nest,
            target,
            self.what.lifted,
            index,
            stubs,
            self.say,
            rounding=lambda: self.what.rounding(
                path, self.what.run.inputs.get((path, index)), [stub.path for stub in stubs]
            ),
        )
        try:
            with precise(double=True):
                self._fit(case)
                case.before  # noqa: B018 it is computed here, and may not be possible
        except Exception:  # noqa: BLE001 the module is any code at all, and may not bear to be called by itself
            return None
        return case

    def _fit(self, case: Case) -> None:
        """Leave out what only PyTorch's gives, such as the weights of attention, as the comparison does."""
        count = len(case.output_places) if case.outputs else 0
        size = len(case.target) - sum(len(stub.wanted) for stub in case.stubs)
        own, wanted = case.target[:size], case.target[size:]
        if not 0 < count < len(own):
            return
        free, fitting = list(range(len(own))), []
        for output in case.outputs[:count]:
            fits = [n for n in free if own[n].shape == np.shape(output)]
            if not fits:
                return
            gaps = {n: float(np.mean(np.abs(wide(own[n]) - wide(np.asarray(output))))) for n in fits}
            fitting.append(min(fits, key=lambda n: gaps[n]))
            free.remove(fitting[-1])
        self._fitting[case.path] = fitting
        case.target = [*(own[n] for n in fitting), *wanted]


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)
