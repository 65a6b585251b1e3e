"""From a PyTorch model to its Flax twin: record, agree, write, merge, build, prove."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from einops_arch.errors import ConfigError
from einops_arch.translation.arguments import cap_words
from einops_arch.translation.building import imported, maker
from einops_arch.translation.construction import check_hooks, check_model, made
from einops_arch.translation.flax_class import FlaxClass
from einops_arch.translation.free_sizes import FreeSizes
from einops_arch.translation.header import header
from einops_arch.translation.inputs import arguments_of, input_order, resized
from einops_arch.translation.other_arguments import fixed_arguments, with_literals
from einops_arch.translation.recordings import Recorder
from einops_arch.translation.refusals import TranslationError, refusals_of
from einops_arch.translation.result import Translation

__all__ = ["register_op", "translate"]

_PATTERNS = re.compile(r"(?<![.\w])(?:rearrange|repeat)\(")


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
            the arguments of constructors. Each of the whole model's that has a number is tried with others, and is a
            literal where names or shapes of the original's state would then not be the twin's. The proof is of the
            model as it was made: the outputs of a twin that is made with other arguments were not compared.
        inputs: a tensor or array, a tuple of arguments, or a dict by name.
        axes: the axes of each input, such as `"b c h w"`: letters are free, numbers are fixed. The twin takes
            an input channels last where its pattern has `c` before the last axis, or a number right between `b` and `h`
            or `d`, as in `"b 3 h w"`; any other input in PyTorch's order, `"b 40 t"` too.
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
    import torch

    from einops_arch.discovery.tracing.torch_first_call import settled

    say = progress or (lambda text: None)
    finished = isinstance(model, torch.nn.Module)
    built: dict[int, dict[str, Any]] = {}
    model = made(model, built)
    # What a finished model was made with is known in part alone.
    known = {} if finished else dict(built.get(id(model), {}))
    check_model(model)
    check_hooks(model)
    arguments = arguments_of(inputs, axes)
    settled_model, settings = settled(model, arguments.args, arguments.kwargs)
    built |= {
        id(copied): built[id(module)]
        for module, copied in zip(model.modules(), settled_model.modules(), strict=True)
        if id(module) in built
    }
    recorder = Recorder(settled_model, model, settings, arguments, dict(leaves or {}))
    return _Translator(recorder, built, known, say).run(also=also or (), partial=partial, name=name, prove=prove)


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
        recorder: Recorder,
        built: Mapping[int, Mapping[str, Any]],
        known: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self.recorder = recorder
        self.free = FreeSizes(recorder)
        self.model = recorder.model
        self.arguments = recorder.arguments
        self.built = dict(built)
        self.known = known
        self.say = say

    def run(self, *, also: Sequence[Mapping[str, int]], partial: bool, name: str | None, prove: bool) -> Translation:
        from einops_arch.translation.calls import HALF
        from einops_arch.translation.drafts import Drafts
        from einops_arch.translation.merge import merge
        from einops_arch.translation.ties import tie
        from einops_arch.translation.trees import all_scopes

        self.say("recording")
        self.arguments.within = self.recorder.needs_range()
        sizes = self.free.second()
        second = resized(self.arguments, sizes)
        recordings, notes, differs = self.recorder.recordings(second)
        half = [note for note in notes if note.operation in HALF]
        refusals = refusals_of(note for note in notes if note not in half)
        if differs:
            raise TranslationError(refusals)
        guards, fine_at_one = self.free.guards(), self.free.fine_at_one(sizes)
        orders = [input_order(names, len(names)) for names in self.arguments.axes]
        self.say("writing")
        plain: set[type] = set()
        for _ in range(2):
            drafts = Drafts(self.model, recordings["train"], self.recorder.leaves)
            drafts.guards, drafts.fine_at_one, drafts.half, drafts.plain = guards, fine_at_one, half, plain
            drafts.partial = partial
            root = drafts.draft(recordings["eval"], orders, [_letters(names) for names in self.arguments.axes])
            plain = drafts.torn()
            # Modules of one class take and give the same order of axes: PyTorch's, where they would not otherwise.
            if not plain:
                break
        refusals += [item for item in (*drafts.refusals, *tie(drafts, root)) if item not in refusals]
        if refusals and not partial:
            raise TranslationError(refusals)
        classes = merge(drafts, root, self.built, name or _name_of(type(self.model)))
        # Another class of the file, or a layer, may go by the name that was meant.
        class_name = next(item.name for item in classes if root in item.drafts)
        file = _File(self, drafts, sizes, class_name)
        source, module, remove = file.with_true_arguments(classes, {} if refusals else self.known)
        scopes = list(all_scopes(recordings["eval"]))
        body = next(iter(root.bodies.values()))
        result = Translation(
            source,
            None,
            module,
            None,
            refusals=tuple(refusals),
            outputs=tuple(
                " ".join(names[n] for n in order)
                for order, names in zip(body.orders, body.names, strict=True)
                if order is not None
            ),
            classes={item.name: len(item.drafts) for item in classes},
            constants=drafts.arrays,
            fixed=self.free.fixed,
            moves=len(_PATTERNS.findall(source)),
            modules=len(scopes),
            operations=sum(len(scope.nodes) for scope in scopes),
            name=class_name,
        )
        self.say("building")
        weakref.finalize(result, remove)
        make = maker(getattr(result.module, class_name))
        from einops_arch.flax._build import filled

        result.model = filled(make, self.model.state_dict())
        (result.model.train if self.model.training else result.model.eval)()
        if prove and not refusals:
            from einops_arch.translation.prove import prove as run_proof

            runs = {"first size": self.arguments, "second size": second}
            if self.free.third:
                runs["a size that was not recorded"] = resized(self.arguments, self.free.third, seed=len(also) + 2)
            for number, extra in enumerate(also):
                runs[f"also {number + 1}"] = resized(self.arguments, {**sizes, **extra}, seed=number + 2)
            result.report = run_proof(self.model, make, runs, _layouts(drafts, recordings), self.say)
        return result


@dataclass(frozen=True)
class _File:
    """What the text of the file needs beside its classes."""

    translator: _Translator
    drafts: Any
    sizes: Mapping[str, int]
    class_name: str

    def with_true_arguments(self, classes: list[FlaxClass], known: Mapping[str, Any]) -> tuple[str, Any, Any]:
        """The text, the module and what removes its folder, once arguments that hold for one number are literals."""
        source, module, remove = self.imported(classes, {})
        literals = fixed_arguments(self.translator.model, known, classes[-1], getattr(module, self.class_name))
        if not literals:
            return source, module, remove
        remove()
        return self.imported([*classes[:-1], with_literals(classes[-1], literals)], literals)

    def imported(self, classes: Sequence[FlaxClass], literals: Mapping[str, str]) -> tuple[str, Any, Any]:
        """The text with these arguments as literals, the module, and what removes the module's folder."""
        from einops_arch.translation import emit

        stem = self.class_name.lower()
        source = emit.format_source(
            emit.source_of(
                classes,
                header(self.class_name, self.translator.recorder, self.translator.free, self.sizes, literals),
                {line for draft in self.drafts.drafts.values() for line in draft.imports},
                constants=bool(self.drafts.arrays),
                stem=stem,
                records=self.drafts.records.source(),
            )
        )
        return source, *imported(source, stem, self.drafts.arrays)


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


def _layouts(drafts: Any, recordings: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """How the outputs of each module lie, for parity: by mode, since some are called in one of the modes alone."""
    from einops_arch.translation.trees import all_scopes

    called = {mode: {scope.path for scope in all_scopes(root)} for mode, root in recordings.items() if root is not None}
    anywhere = set().union(*called.values())
    layouts = _all_layouts(drafts)
    return {
        mode: {path: layout for path, layout in layouts.items() if path not in anywhere - paths}
        for mode, paths in called.items()
    }


def _all_layouts(drafts: Any) -> dict[str, str]:
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


def _name_of(kind: type) -> str:
    """The class of the whole model goes by its original; one of torch itself would go by the name of a layer."""
    return "Model" if kind.__module__.startswith("torch.nn.") else cap_words(kind.__name__)
