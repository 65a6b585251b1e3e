"""From a PyTorch model to its Flax twin: record, agree, write, merge, build, prove."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from einops_arch.errors import ConfigError
from einops_arch.translation.agree import is_guarded
from einops_arch.translation.calls import copy_of, notes_of_calls
from einops_arch.translation.inputs import Arguments, another_size, arguments_of, far_size, input_order, resized
from einops_arch.translation.refusals import Refusal, TranslationError, refusals_of

__all__ = ["Translation", "register_op", "translate"]


@dataclass
class Translation:
    """What `translate` gives.

    Args:
        source: the text of the file.
        model: the twin, with the original's weights; None where it is partial.
        module: the imported file.
        report: the proof.
        refusals: what could not be written.
        outputs: the axes of each output.
        classes: names of the generated classes and how many modules each stands for.
        constants: tensors that stand in a file beside.
        fixed: letters of axes that could not stay free, and why.
        moves: how many patterns the file has.
        modules: how many modules were recorded.
        operations: how many operations were recorded.
    """

    source: str
    model: Any
    module: Any
    report: Any
    refusals: tuple[Refusal, ...] = ()
    outputs: tuple[str, ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    moves: int = 0
    modules: int = 0
    operations: int = 0
    name: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything was written and proved."""
        return not self.refusals and self.report is not None and bool(self.report.passed)

    def save(self, path: Any, weights: Any = None, test: Any = None) -> None:
        """Write the file, and if asked for the weights and a test that loads them.

        Args:
            path: of the file; tensors that are no part of the state stand in a `.npz` beside it.
            weights: of a safetensors file with PyTorch's names and layout.
            test: of a pytest file that builds the twin and loads the weights.
        """
        path = Path(path)
        path.write_text(_renamed_table(self.source, path.stem), encoding="utf-8")
        if self.constants:
            np.savez(path.with_suffix(".npz"), **self.constants)
        if weights is not None:
            from safetensors.numpy import save_file

            from einops_arch.flax.state import state_dict

            save_file({key: np.ascontiguousarray(item) for key, item in state_dict(self.model).items()}, weights)
        if test is not None:
            Path(test).write_text(_test_text(path, self.name, weights), encoding="utf-8")


def translate(
    model: Any,
    inputs: Any,
    *,
    axes: Any = None,
    also: Sequence[Mapping[str, int]] | None = None,
    leaves: Mapping[type, Any] | None = None,
    partial: bool = False,
    name: str | None = None,
    prove: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Translation:
    """Write the Flax NNX twin of a PyTorch model, and prove that both compute the same.

    Args:
        model: a `torch.nn.Module`, or a function that makes one; construction is recorded then, which gives names to
            the arguments of constructors.
        inputs: a tensor or array, a tuple of arguments, or a dict by name.
        axes: the axes of each input, such as `"b c h w"`: letters are free, numbers are fixed. Where `c` stands before
            the last axis the twin takes the input channels last.
        also: further sizes to compare at, by letter.
        leaves: Flax classes of one's own for PyTorch classes: `{MyLayer: MyFlaxLayer}`.
        partial: write what can be written; the rest raises NotImplementedError when it is called.
        name: of the class of the whole model; that of the original, or `Model` for one of `torch.nn`, if left out.
        prove: compare both; without it there is no report.
        progress: told in a few words what is being done.

    Returns:
        The translation.

    Raises:
        TranslationError: something cannot be written; every reason is in the message.
        MissingFrameworkError: torch, jax or flax is not installed.

    >>> import torch
    >>> twin = translate(torch.nn.Linear(3, 5), torch.ones(2, 3), axes="b 3", name="Net")
    >>> twin.passed
    True
    """
    from einops_arch._frameworks import require

    require("torch", "jax", "flax", extra="all", by="einops_arch.translation")
    from einops_arch.discovery.tracing.torch_settle import settled

    say = progress or (lambda text: None)
    built: dict[int, dict[str, Any]] = {}
    model = _made(model, built)
    _check_model(model)
    _check_hooks(model)
    arguments = arguments_of(inputs, axes)
    translator = _Translator(model, arguments, dict(leaves or {}), built, say)
    translator.model, translator.settings = settled(model, arguments.args, arguments.kwargs)
    translator.built |= {
        id(copied): built[id(module)]
        for module, copied in zip(model.modules(), translator.model.modules(), strict=True)
        if id(module) in built
    }
    return translator.run(also=also or (), partial=partial, name=name, prove=prove)


def register_op(torch_function: Callable[..., Any], row: Callable[..., Any] | str, *, replace: bool = False) -> None:
    """Add an operation of one's own to the table.

    Args:
        torch_function: such as `torch.special.i0`.
        row: an expression with `{}` for each operand, element by element, such as `"jax.scipy.special.i0({})"`; or a
            function of the writer, the node and the operation's arguments, as the rows in `translation/ops/` are.
        replace: put it in the place of the row that the function has.

    Raises:
        ValueError: the function has a row already.

    >>> import torch
    >>> register_op(torch.special.i0, "jax.scipy.special.i0({})", replace=True)
    """
    from einops_arch.translation.ops.table import CUSTOM, elementwise

    if torch_function in CUSTOM and not replace:
        raise ConfigError(f"register_op: {torch_function} has a row already; likely fix: replace=True")
    if isinstance(row, str):
        template = row

        def written(writer: Any, node: Any, *operands: Any) -> Any:
            return elementwise(writer, node.outputs, template, *operands)

        CUSTOM[torch_function] = written
    else:
        CUSTOM[torch_function] = row


class _Translator:
    def __init__(
        self,
        model: Any,
        arguments: Arguments,
        leaves: dict[type, Any],
        built: Mapping[int, Mapping[str, Any]],
        say: Callable[[str], None],
    ) -> None:
        self.model = self.fresh = model
        self.settings: dict[str, tuple[Any, Any]] = {}
        self.arguments = arguments
        self.leaves = leaves
        self.built = dict(built)
        self.say = say
        self.fixed: dict[str, str] = {}
        self.not_one: dict[str, str] = {}
        self.third: dict[str, int] = {}
        self.looked_up: dict[str, str] = {}

    def run(self, *, also: Sequence[Mapping[str, int]], partial: bool, name: str | None, prove: bool) -> Translation:
        from einops_arch.translation import emit
        from einops_arch.translation.calls import HALF
        from einops_arch.translation.drafts import Drafts, all_scopes
        from einops_arch.translation.merge import merge
        from einops_arch.translation.ties import tie

        self.say("recording")
        sizes = self._told_sizes(self._agreeing_sizes(self._free_sizes()))
        second = resized(self.arguments, sizes)
        recordings, notes, differs = self._recordings(second)
        half = [note for note in notes if note.operation in HALF]
        refusals = refusals_of(note for note in notes if note not in half)
        if differs:
            raise TranslationError(refusals)
        drafts = Drafts(self.model, recordings["train"], self.leaves)
        drafts.guards, drafts.fine_at_one, drafts.half = self._guards(), self._fine_at_one(sizes), half
        drafts.partial = partial
        orders = [input_order(names, len(names)) for names in self.arguments.axes]
        self.say("writing")
        root = drafts.draft(recordings["eval"], orders, [_letters(names) for names in self.arguments.axes])
        refusals += [item for item in (*drafts.refusals, *tie(drafts, root)) if item not in refusals]
        if refusals and not partial:
            raise TranslationError(refusals)
        class_name = name or _name_of(type(self.model))
        classes = merge(drafts, root, self.built, class_name)
        stem = class_name.lower()
        source = emit.format_source(
            emit.source_of(
                classes,
                self._header(class_name, sizes),
                {line for draft in drafts.drafts.values() for line in draft.imports},
                constants=bool(drafts.arrays),
                stem=stem,
                records=drafts.records.source(),
            )
        )
        scopes = list(all_scopes(recordings["eval"]))
        body = next(iter(root.bodies.values()))
        result = Translation(
            source,
            None,
            None,
            None,
            refusals=tuple(refusals),
            outputs=tuple(
                " ".join(names[n] for n in order)
                for order, names in zip(body.orders, body.names, strict=True)
                if order is not None
            ),
            classes={item.name: len(item.drafts) for item in classes},
            constants=drafts.arrays,
            fixed=self.fixed,
            moves=drafts.moves,
            modules=len(scopes),
            operations=sum(len(scope.nodes) for scope in scopes),
            name=class_name,
        )
        self.say("building")
        result.module = _imported(source, stem, drafts.arrays)
        make = _maker(getattr(result.module, class_name))
        from einops_arch.flax._build import filled

        result.model = filled(make, self.model.state_dict())
        if prove and not refusals:
            from einops_arch.translation.prove import prove as run_proof

            runs = {"first size": self.arguments, "second size": second}
            if self.third:
                runs["a size that was not recorded"] = resized(self.arguments, self.third, seed=len(also) + 2)
            for number, extra in enumerate(also):
                runs[f"also {number + 1}"] = resized(self.arguments, {**sizes, **extra}, seed=number + 2)
            result.report = run_proof(self.model, make, runs, _layouts(drafts), self.say)
        return result

    def _recordings(self, second: Arguments) -> tuple[dict[str, Any], list[Any], bool]:
        """One recording for each mode, what is against it, and whether those of both sizes differ."""
        from einops_arch.translation.agree import agree

        recordings, notes = {}, []
        differs = False
        for mode in ("eval", "train"):
            first = self._record(self.arguments, mode, double=False)
            notes += self._kept(mode)
            other = self._record(second, mode, double=True)
            differences = agree(first.root, other.root)
            differs = differs or bool(differences)
            notes += [*first.notes, *other.notes, *differences]
            recordings[mode] = first.root
        return recordings, notes, differs

    def _is_leaf(self, module: Any) -> bool:
        from einops_arch.translation.droppath import counterpart

        layer = counterpart(module, self.leaves)
        return layer is not None and layer.name != "Identity"

    def _kept(self, mode: str) -> list[Any]:
        """What one call leaves behind for the next: two calls of one copy, and all that it holds before and after."""
        return notes_of_calls(
            copy_of(self.model).train(mode == "train"), self.arguments, self._is_leaf, training=mode == "train"
        )

    def _record(self, arguments: Arguments, mode: str, *, double: bool) -> Any:
        import torch

        from einops_arch.discovery.tracing.torch_program import record_program
        from einops_arch.translation.drafts import all_scopes

        model = copy_of(self.model).train(mode == "train")
        args, kwargs = arguments.args, arguments.kwargs
        if double:
            model = model.double()

            def widened(item: Any) -> Any:
                return item.double() if isinstance(item, torch.Tensor) and item.is_floating_point() else item

            args = tuple(widened(item) for item in args)
            kwargs = {name: widened(item) for name, item in kwargs.items()}

        try:
            recording = record_program(copy_of(model), args, kwargs, self._is_leaf)
        except RuntimeError as error:
            if not double:
                raise
            # What the model makes by itself does not go together with float64; as a rule it has a dtype of its own.
            with _default_dtype(torch.float64), _in_double(error):
                recording = record_program(model, args, kwargs, self._is_leaf)
        modules = dict(self.model.named_modules())
        for scope in all_scopes(recording.root):
            scope.module = modules[scope.path]
        return recording

    def _free_sizes(self) -> dict[str, int]:
        """Another size for each free axis at which the original runs."""
        letters = self.arguments.letters
        chosen = {letter: another_size(letter, size) for letter, size in letters.items() if letter != "c"}
        if self._runs(chosen) is None:
            return chosen
        kept: dict[str, int] = {}
        for letter, size in chosen.items():
            problem = self._runs({**kept, letter: size})
            if problem is None:
                kept[letter] = size
            else:
                self.fixed[letter] = problem
        square = {letter: size for letter, size in chosen.items() if letter in ("h", "w")}
        if len(square) == 2 and not any(letter in kept for letter in square) and self._runs({**kept, **square}) is None:
            kept |= square
            for letter in square:
                self.fixed.pop(letter, None)
        return kept

    def _agreeing_sizes(self, sizes: dict[str, int]) -> dict[str, int]:
        """Those free axes at which the original does the same; the others are fixed, and said."""
        if not sizes or not self._differences(sizes)[0]:
            return sizes
        kept: dict[str, int] = {}
        for letter, size in sizes.items():
            notes, _ = self._differences({**kept, letter: size})
            if notes:
                self.fixed[letter] = _told(notes[0])
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
            notes, varied = self._differences(sizes)
            if notes:
                return sizes
            clean: list[tuple[dict[str, int], frozenset[Any]]] = [(sizes, varied)]
            asked: list[tuple[dict[str, int], frozenset[Any]]] = []
            bad: dict[str, str] = {}
            probes = self._probes(sizes)
            bad.update({letter: problem for letter, problem in self.looked_up.items() if letter in sizes})
            for probe in probes:
                notes, other = self._differences(probe)
                changed = [letter for letter in probe if letter in sizes and probe[letter] != self._size(letter)]
                if not notes:
                    clean.append((probe, other))
                elif is_guarded(notes):
                    asked.append((probe, other))
                elif all(probe[letter] == 1 for letter in changed):
                    self.not_one.update(dict.fromkeys(changed, _told(notes[0])))
                elif not bad.keys() & changed:
                    alone = {next(iter(item)) for item, _ in clean if len(item) == 1}
                    blamed = [letter for letter in changed if letter not in alone] or changed
                    bad.update(dict.fromkeys(blamed, _told(notes[0])))
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
                if self.third and {"b": 1} in far and self._runs({**self.third, "b": 1}) is None:
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
                if self._runs({letter: size}) is None:
                    far[letter] = size
                    break
        probes = [{letter: size} for letter, size in far.items()]
        for letter in sizes:
            # Tables and windows that all smaller sizes stay within.
            size = 129
            if letter not in ("b", "d", "h", "w") and self._size(letter) <= 32:
                problem = self._runs({letter: size})
                if problem is None:
                    probes.append({letter: size})
                elif problem.startswith(("IndexError: list", "IndexError: tuple", "IndexError: string", "KeyError")):
                    self.looked_up[letter] = f"at {size} the original raises {problem}"
        joint = [{letter: far_size(self._size(letter), odd=odd) for letter in sizes} for odd in (True, False)]
        together = {**sizes, **far}
        runs = next((probe for probe in (together, *joint) if self._runs(probe) is None), None)
        if runs is not None and (len(sizes) > 1 or not far):
            probes.append(runs)
        probes += [{letter: 1} for letter in sizes if self._size(letter) > 1 and self._runs({letter: 1}) is None]
        return probes

    def _fine_at_one(self, sizes: Mapping[str, int]) -> set[tuple[int, int]]:
        """The sizes of the batch, if the recorded steps are right for a batch of one, whatever the original asks.

        Then the twin need not ask: it is compared there, too.
        """
        from einops_arch.discovery.tracing.torch_replay import holds

        letters = self.arguments.letters
        if "b" not in sizes or [letters[letter] for letter in sizes].count(letters["b"]) > 1:
            return set()
        other = resized(self.arguments, {**sizes, "b": 1}, seed=7)
        root = self._record(self.arguments, "eval", double=False).root
        if not holds(root, copy_of(self.model).eval(), other.args, other.kwargs):
            return set()
        self.third = {**(self.third or sizes), "b": 1}
        return {(letters["b"], sizes["b"])}

    def _differences(self, sizes: Mapping[str, int]) -> tuple[list[Any], frozenset[Any]]:
        """What differs between the first sizes and others, and the axes whose size does, as far as they go together."""
        from einops_arch.translation.agree import agree

        first = self._record(self.arguments, "eval", double=False)
        notes = agree(first.root, self._record(resized(self.arguments, sizes), "eval", double=True).root)
        return notes, frozenset(_varied(first.root))

    def _guards(self) -> list[tuple[int, int, str, int, str]]:
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

    def _runs(self, sizes: Mapping[str, int]) -> str | None:
        import torch

        from einops_arch.discovery.tracing.torch_settle import same_tensors

        other = resized(self.arguments, sizes)
        try:
            with torch.no_grad():
                result = copy_of(self.model).eval()(*other.args, **other.kwargs)
                if self.settings and not same_tensors(result, copy_of(self.fresh).eval()(*other.args, **other.kwargs)):
                    return f"a first call at another size sets another {next(iter(self.settings))}"
        except Exception as error:  # noqa: BLE001 whatever it is, this size is not for this model
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return None

    def _header(self, name: str, sizes: Mapping[str, int]) -> str:
        import importlib.metadata
        import textwrap

        kind = type(self.model)
        package = kind.__module__.partition(".")[0]
        try:
            version = f" {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            version = ""
        shapes = ", ".join(
            " ".join(
                f"{axis}={size}" if not axis.isdigit() else axis for axis, size in zip(names, tensor.shape, strict=True)
            )
            for names, tensor in zip(self.arguments.axes, self.arguments.tensors, strict=True)
        )
        others = ", ".join(f"{letter}={size}" for letter, size in sizes.items())
        recorded = (
            f"The original is {kind.__module__}.{kind.__qualname__}, recorded at {shapes}, and at "
            f"{others or 'no other size'}. The weights of the PyTorch model load with "
            "`einops_arch.flax.load_state_dict`. This file derives from its source, whose license applies to it."
        )
        return (
            f"{name} in Flax NNX, translated by einops_arch from {package}{version}.\n\n"
            f"{textwrap.fill(recorded, 118, break_long_words=False, break_on_hyphens=False)}\n"
            f"{self._limits()}{self._frozen()}{self._settled()}"
        )

    def _limits(self) -> str:
        """Why axes that have a letter are fixed all the same."""
        import textwrap

        lines = [f"Axis {letter} is fixed: {reason}." for letter, reason in self.fixed.items()]
        lines += [f"Axis {letter} is never 1: {reason}." for letter, reason in self.not_one.items()]
        return "".join("\n" + textwrap.fill(line, 118) + "\n" for line in lines)

    def _settled(self) -> str:
        """What the first call changed."""
        if not self.settings:
            return ""
        import textwrap

        changes = ", ".join(f"{path} from {old!r} to {new!r}" for path, (old, new) in self.settings.items())
        return "\n" + textwrap.fill(f"A first call at this size changes {changes}; so it is here.", 118) + "\n"

    def _frozen(self) -> str:
        """Parameters that PyTorch does not train; the twin has them as any other."""
        names = [name for name, item in self.model.named_parameters() if not item.requires_grad]
        if not names:
            return ""
        import textwrap

        text = f"PyTorch does not train {', '.join(names)} (requires_grad=False); leave them out of the optimizer here."
        return "\n" + textwrap.fill(text, 118) + "\n"


@contextlib.contextmanager
def _in_double(error: Exception) -> Iterator[None]:
    """A model that does not run in float64 is refused; nothing could be proved about it."""
    try:
        yield
    except RuntimeError:
        reason = f"it does not run in float64, in which twins are proved: {str(error).splitlines()[0]}"
        fix = "another implementation of this operation, such as config._experts_implementation = 'eager'"
        raise TranslationError([Refusal("", "the model", "float64", reason, fix)]) from error


@contextlib.contextmanager
def _default_dtype(dtype: Any) -> Iterator[None]:
    """What the model makes by itself has this dtype, as what goes in."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _told(note: Any) -> str:
    """Why an axis cannot be free, and in which line."""
    place = f"{Path(note.source.file).name}:{note.source.line}" if note.source.file else note.module or "the model"
    return f"{note.reason} ({place})"


def _varied(root: Any) -> Iterator[tuple[int, int]]:
    """The axes that have two sizes: the number of the value in the order of the recording, and the place."""
    from einops_arch.discovery.tracing.program import values_in
    from einops_arch.translation.drafts import all_scopes

    number = 0
    for scope in all_scopes(root):
        for tree in [scope.args, scope.kwargs, *(node.outputs for node in scope.nodes)]:
            for value in values_in(tree):
                yield from ((number, axis) for axis, (first, second) in enumerate(value.sizes) if first != second)
                number += 1


def _letters(names: Sequence[str]) -> list[str]:
    from einops_arch.translation.layout import default_names

    plain = default_names(len(names))
    letters = list(names)
    for n, name in enumerate(names):
        if name.isdigit():
            # Numbers are features as a rule: the last of them, or the one before space.
            space = plain[n] in ("h", "w", "d") and (names[1].isdigit() or "c" in letters)
            options = [plain[n], "c", *"nmkij"] if space else ["c", plain[n], *"nmkij"]
            options = options if n or len(names) == 1 else [plain[0], *"nmkij"]
            letters[n] = next(option for option in options if option not in letters)
    return letters


def _layouts(drafts: Any) -> dict[str, str]:
    """How the outputs of each module lie, for parity."""
    layouts = {path: _layout(order) for path, order in drafts.layouts.items()}
    for draft in drafts.drafts.values():
        body = draft.bodies.get("eval") or draft.bodies.get("train")
        orders = [order for order in body.orders if order is not None] if body else []
        if orders and len(orders[0]) >= 3 and len({len(order) for order in orders}) == 1:
            layouts[draft.path] = _layout(orders[0])
    return layouts


def _layout(order: Sequence[int]) -> str:
    letters = [f"a{n}" for n in range(len(order))]
    return f"{' '.join(letters)} -> {' '.join(letters[n] for n in order)}"


def _made(model: Any, built: dict[int, dict[str, Any]]) -> Any:
    import torch

    if isinstance(model, torch.nn.Module):
        return model
    if not callable(model):
        raise ConfigError(f"translate: expected a torch.nn.Module or a function that makes one, received {type(model)}")
    with _construction(built):
        return model()


@contextlib.contextmanager
def _construction(built: dict[int, dict[str, Any]]) -> Iterator[None]:
    """Keep the arguments with which each module is constructed."""
    import torch

    original = torch.nn.Module.__init__

    def watched(self: Any, *args: Any, **kwargs: Any) -> None:
        frame: Any = sys._getframe(1)  # noqa: SLF001 the only way to see a constructor's arguments
        while frame is not None and frame.f_code.co_name == "__init__":
            code = frame.f_code
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            if names and frame.f_locals.get(names[0]) is self:
                built[id(self)] = {name: frame.f_locals.get(name) for name in names[1:]}
            frame = frame.f_back
        original(self, *args, **kwargs)

    torch.nn.Module.__init__ = watched
    try:
        yield
    finally:
        torch.nn.Module.__init__ = original


def _check_model(model: Any) -> None:
    import torch

    problems = []
    if hasattr(model, "_orig_mod"):
        problems.append(("it is compiled", "translate model._orig_mod"))
    if isinstance(model, torch.jit.ScriptModule):
        problems.append(("it is scripted", "translate the module that was scripted"))
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_meta:
            problems.append((f"{name} is on the meta device", "materialize it"))
            break
        if tensor.is_sparse or tensor.is_quantized or type(tensor).__name__ == "DTensor":
            problems.append((f"{name} is sparse, quantized or sharded", "plain dense parameters"))
            break
    if problems:
        raise TranslationError(Refusal("", "the model", type(model).__name__, *problem) for problem in problems)


def _check_hooks(model: Any) -> None:
    from einops_arch.discovery.tracing.torch_state import hook_notes

    refusals = refusals_of(hook_notes(model))
    if refusals:
        raise TranslationError(refusals)


def _imported(source: str, stem: str, constants: Mapping[str, Any]) -> Any:
    folder = Path(tempfile.mkdtemp(prefix="einops_arch_translate_"))
    path = folder / f"{stem}.py"
    path.write_text(source, encoding="utf-8")
    if constants:
        np.savez(folder / f"{stem}.npz", **constants)
    spec = importlib.util.spec_from_file_location(f"translated_{stem}_{abs(hash(source))}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"the translated file {path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _name_of(kind: type) -> str:
    """The class of the whole model goes by its original; one of torch itself would go by the name of a layer."""
    return "Model" if kind.__module__.startswith("torch.nn.") else kind.__name__


def _maker(flax_class: Any) -> Callable[[Any], Any]:
    return lambda rngs: flax_class(rngs=rngs)


def _renamed_table(source: str, stem: str) -> str:
    import re

    return re.sub(r'with_name\("[^"]+\.npz"\)', f'with_name("{stem}.npz")', source)


def _test_text(path: Path, name: str, weights: Any) -> str:
    lines = [
        f'"""The twin in {path.name} can be built and takes its weights."""',
        "",
        "from flax import nnx",
        f"from {path.stem} import {name}",
        "",
        "",
        f"def test_{path.stem}_is_built() -> None:",
        f"    model = {name}(rngs=nnx.Rngs(0))",
    ]
    if weights is not None:
        lines.insert(2, "from einops_arch.flax import load_state_dict")
        lines += [
            "    from safetensors.numpy import load_file",
            "",
            f'    load_state_dict(model, load_file("{weights}"))',
        ]
    return "\n".join([*lines, ""])
