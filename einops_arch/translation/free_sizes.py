"""Second sizes of the axes that have a letter, and which of them cannot stay free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from einops_arch.translation.agree import is_guarded
from einops_arch.translation.calls import copy_of
from einops_arch.translation.inputs import another_size, far_size, resized
from einops_arch.translation.recordings import Recorder

__all__ = ["FreeSizes"]


class FreeSizes:
    """The search for second sizes, and for the axes that cannot stay free.

    Args:
        recorder: runs and records the original.

    Attributes:
        fixed: letters of axes that could not stay free, and why.
        not_one: letters of axes that are never one, and why.
        third: sizes to compare at that were not recorded.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.model = recorder.model
        self.arguments = recorder.arguments
        self.fixed: dict[str, str] = {}
        self.not_one: dict[str, str] = {}
        self.third: dict[str, int] = {}
        self.looked_up: dict[str, str] = {}

    def second(self) -> dict[str, int]:
        """Another size for each letter that is free."""
        return self._told_sizes(self._agreeing_sizes(self._free_sizes()))

    def _free_sizes(self) -> dict[str, int]:
        """Another size for each free axis at which the original runs."""
        letters = self.arguments.letters
        chosen = {letter: another_size(letter, size) for letter, size in letters.items() if letter != "c"}
        if self.recorder.runs(chosen) is None:
            return chosen
        kept: dict[str, int] = {}
        for letter, size in chosen.items():
            problem = self.recorder.runs({**kept, letter: size})
            if problem is None:
                kept[letter] = size
            else:
                self.fixed[letter] = problem
        square = {letter: size for letter, size in chosen.items() if letter in ("h", "w")}
        if (
            len(square) == 2
            and not any(letter in kept for letter in square)
            and self.recorder.runs({**kept, **square}) is None
        ):
            kept |= square
            for letter in square:
                self.fixed.pop(letter, None)
        return kept

    def _agreeing_sizes(self, sizes: dict[str, int]) -> dict[str, int]:
        """Those free axes at which the original does the same; the others are fixed, and said."""
        if not sizes or not self.recorder.differences(sizes)[0]:
            return sizes
        kept: dict[str, int] = {}
        for letter, size in sizes.items():
            notes, _ = self.recorder.differences({**kept, letter: size})
            if notes:
                self.fixed[letter] = _reason_of(notes[0])
            else:
                kept[letter] = size
        return kept

    def _told_sizes(self, sizes: dict[str, int]) -> dict[str, int]:
        """Second sizes at which everything differs that depends on them; letters where there are none are fixed.

        The original is recorded at further sizes: odd and far away, and at one. What differs there must be a question
        that the twin asks as well, or the letter cannot be free; an axis whose size differs there must differ between
        both recordings, or it would pass for a fixed one.
        """
        while sizes:
            notes, varied = self.recorder.differences(sizes)
            if notes:
                return sizes
            clean: list[tuple[dict[str, int], frozenset[Any]]] = [(sizes, varied)]
            asked: list[tuple[dict[str, int], frozenset[Any]]] = []
            bad: dict[str, str] = {}
            probes = self._probes(sizes)
            bad.update({letter: problem for letter, problem in self.looked_up.items() if letter in sizes})
            for probe in probes:
                notes, other = self.recorder.differences(probe)
                changed = [letter for letter in probe if letter in sizes and probe[letter] != self._size(letter)]
                if not notes:
                    clean.append((probe, other))
                elif is_guarded(notes):
                    asked.append((probe, other))
                elif all(probe[letter] == 1 for letter in changed):
                    self.not_one.update(dict.fromkeys(changed, _reason_of(notes[0])))
                elif not bad.keys() & changed:
                    alone = {next(iter(item)) for item, _ in clean if len(item) == 1}
                    blamed = [letter for letter in changed if letter not in alone] or changed
                    bad.update(dict.fromkeys(blamed, _reason_of(notes[0])))
            everything = frozenset().union(*(seen for _, seen in [*clean, *asked]))
            whole = [
                (probe, seen) for probe, seen in clean if set(probe) == set(sizes) and not self._is_farthest(probe)
            ]
            whole = whole or [clean[0]]
            best, seen = max(whole, key=lambda item: len(item[1]))
            if not bad and everything - seen:
                bad = self._hidden(sizes, [*clean, *asked], everything - seen)
            if not bad:
                # The farthest are for recording only: a comparison there would take long.
                far = [item for item, _ in clean if item is not best and not self._is_farthest(item)]
                self.third = max(far, key=lambda probe: (len(probe), sum(probe.values())), default={})
                if self.third and {"b": 1} in far and self.recorder.runs({**self.third, "b": 1}) is None:
                    self.third = {**self.third, "b": 1}
                return best
            self.fixed.update(bad)
            sizes = {letter: size for letter, size in sizes.items() if letter not in bad}
        return sizes

    def _hidden(
        self, sizes: Mapping[str, int], clean: Sequence[tuple[dict[str, int], frozenset[Any]]], hidden: frozenset[Any]
    ) -> dict[str, str]:
        """The letters on which an axis depends that has one size in both recordings."""
        reason = "an axis that depends on it has the same size in both recordings"
        singles = {next(iter(probe)): seen for probe, seen in clean if len(probe) == 1}
        letters = [letter for letter, seen in singles.items() if seen & hidden]
        return dict.fromkeys(letters or sizes, reason)

    def _is_farthest(self, probe: Mapping[str, int]) -> bool:
        return any(size > 3 * max(self._size(letter), 32) for letter, size in probe.items())

    def _size(self, letter: str) -> int:
        return self.arguments.letters[letter]

    def _probes(self, sizes: Mapping[str, int]) -> list[dict[str, int]]:
        """Further sizes at which the original runs: all letters at once and one by one, far away and at one."""
        far: dict[str, int] = {}
        for letter in sizes:
            for odd in (True, False):
                size = far_size(self._size(letter), odd=odd)
                if self.recorder.runs({letter: size}) is None:
                    far[letter] = size
                    break
        probes = [{letter: size} for letter, size in far.items()]
        for letter in sizes:
            # Tables and windows that all smaller sizes stay within.
            size = 129
            if letter not in ("b", "d", "h", "w") and self._size(letter) <= 32:
                problem = self.recorder.runs({letter: size})
                if problem is None:
                    probes.append({letter: size})
                elif problem.startswith(("IndexError: list", "IndexError: tuple", "IndexError: string", "KeyError")):
                    self.looked_up[letter] = f"at {size} the original raises {problem}"
        joint = [{letter: far_size(self._size(letter), odd=odd) for letter in sizes} for odd in (True, False)]
        together = {**sizes, **far}
        runs = next((probe for probe in (together, *joint) if self.recorder.runs(probe) is None), None)
        if runs is not None and (len(sizes) > 1 or not far):
            probes.append(runs)
        probes += [
            {letter: 1} for letter in sizes if self._size(letter) > 1 and self.recorder.runs({letter: 1}) is None
        ]
        return probes

    def fine_at_one(self, sizes: Mapping[str, int]) -> set[tuple[int, int]]:
        """The sizes of the batch, if the recorded steps are right for a batch of one, whatever the original asks.

        Then the twin need not ask: it is compared there, too.
        """
        from einops_arch.discovery.tracing.torch_replay import holds

        letters = self.arguments.letters
        if "b" not in sizes or [letters[letter] for letter in sizes].count(letters["b"]) > 1:
            return set()
        other = resized(self.arguments, {**sizes, "b": 1}, seed=7)
        if not holds(self.recorder.first(), copy_of(self.model).eval(), other.args, other.kwargs):
            return set()
        self.third = {**(self.third or sizes), "b": 1}
        return {(letters["b"], sizes["b"])}

    def guards(self) -> list[tuple[int, int, str, int, str]]:
        """Which axis of which input has to have which size, and why: whatever was not varied."""
        guards = []
        for number, (names, tensor) in enumerate(zip(self.arguments.axes, self.arguments.tensors, strict=True)):
            for axis, (name, size) in enumerate(zip(names, tensor.shape, strict=True)):
                if name in self.fixed:
                    guards.append((number, axis, "==", size, f"axis {name!r} is fixed: {self.fixed[name]}"))
                elif name.isdigit() or name == "c":
                    guards.append((number, axis, "==", size, f"axis {name!r} was not varied"))
                elif name in self.not_one:
                    guards.append((number, axis, "!=", 1, f"axis {name!r} of one: {self.not_one[name]}"))
        return guards


def _reason_of(note: Any) -> str:
    """Why an axis cannot be free, and in which line."""
    place = f"{Path(note.source.file).name}:{note.source.line}" if note.source.file else note.module or "the model"
    return f"{note.reason} ({place})"
