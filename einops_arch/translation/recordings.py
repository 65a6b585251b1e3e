"""The recordings of a model: in evaluation and in training, at the first sizes and at others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from einops_arch._frameworks import out_of_memory
from einops_arch.translation.calls import copy_of, is_of, notes_of_calls
from einops_arch.translation.inputs import Arguments, is_range, resized
from einops_arch.translation.refusals import Refusal, TranslationError

__all__ = ["Recorder"]


class Recorder:
    """Records a model in both modes and at several sizes.

    Args:
        model: of PyTorch; copies of it are run.
        fresh: as it was before its first call.
        settings: what the first call changed, by path.
        arguments: what it is called with.
        leaves: counterparts of the user's own.
    """

    def __init__(
        self,
        model: Any,
        fresh: Any,
        settings: dict[str, tuple[Any, Any]],
        arguments: Arguments,
        leaves: dict[type, Any],
    ) -> None:
        self.model = model
        self.fresh = fresh
        self.settings = settings
        self.arguments = arguments
        self.leaves = leaves
        self._bases: dict[bool, Any] = {}
        self._first: Any = None
        self.memories: frozenset[str] = frozenset()
        self.compared: dict[tuple[tuple[str, int], ...], tuple[list[Any], frozenset[Any]]] = {}

    def recordings(self, second: Arguments) -> tuple[dict[str, Any], list[Any], bool]:
        """One recording for each mode, what is against it, and whether those of both sizes differ."""
        from einops_arch.parity.runs.free_memory import trim_memory
        from einops_arch.translation.agree import agree

        recordings, notes = {}, []
        differs = False
        for mode in ("eval", "train"):
            with _trains() if mode == "train" else contextlib.nullcontext():
                first = self.record(self.arguments, mode, double=False)
                notes_of_mode, memories = self._kept(mode)
                self.memories |= memories
                other = self.record(second, mode, double=True)
            differences = agree(first.root, other.root)
            differs = differs or bool(differences)
            told = [note for note in (*first.notes, *other.notes) if not is_of(note, memories)]
            notes += [*notes_of_mode, *told, *differences]
            recordings[mode] = first.root
            trim_memory(self)
        return recordings, notes, differs

    def is_leaf(self, module: Any) -> bool:
        from einops_arch.translation.droppath import counterpart

        layer = counterpart(module, self.leaves)
        return layer is not None and layer.name != "Identity"

    def _kept(self, mode: str) -> tuple[list[Any], frozenset[str]]:
        """What one call leaves behind for the next: two calls of one copy, and all that it holds before and after."""
        model = copy_of(self._base(double=False), shared=True).train(mode == "train")
        return notes_of_calls(model, self.arguments, self.is_leaf, training=mode == "train")

    def record(self, arguments: Arguments, mode: str, *, double: bool) -> Any:
        with _unchecked_distributions():
            return self._record(arguments, mode, double=double)

    def _record(self, arguments: Arguments, mode: str, *, double: bool) -> Any:
        import torch

        from einops_arch.discovery.tracing.torch_program import record_program
        from einops_arch.discovery.tracing.torch_promotion import promoting
        from einops_arch.parity.runs.casts import torch_watch
        from einops_arch.parity.runs.wide import widened_tensor
        from einops_arch.translation.trees import all_scopes

        def fresh() -> Any:
            return copy_of(self._base(double=double), shared=True).train(mode == "train")

        args, kwargs = arguments.args, arguments.kwargs
        if double:

            def wide(item: Any) -> Any:
                return widened_tensor(item) if isinstance(item, torch.Tensor) else item

            args = tuple(wide(item) for item in args)
            kwargs = {name: wide(item) for name, item in kwargs.items()}

        try:
            recording = record_program(fresh(), args, kwargs, self.is_leaf)
        except Exception as error:
            if not double and mode == "eval" and not out_of_memory(error):
                self._check_copies(error, arguments)
            if not double or not isinstance(error, RuntimeError) or out_of_memory(error):
                raise
            # What the model makes by itself does not go together with float64; as a rule it has a dtype of its own.
            with _default_dtype(torch.float64), _in_double(error):
                try:
                    recording = record_program(fresh(), args, kwargs, self.is_leaf)
                except RuntimeError:
                    with torch.no_grad(), torch_watch(str, [], lift=True):  # as it is proved then
                        fresh()(*args, **kwargs)
                    with promoting():
                        recording = record_program(fresh(), args, kwargs, self.is_leaf)
        modules = dict(self.model.named_modules())
        for scope in all_scopes(recording.root):
            scope.module = modules[scope.path]
        return recording

    def _check_copies(self, error: Exception, arguments: Arguments) -> None:
        """Refuse a model that runs while a copy of it, whose inputs need gradients, does not."""
        import torch

        modes = [(module, module.training) for module in self.model.modules()]
        try:
            with torch.no_grad():
                self.model.eval()(*arguments.args, **arguments.kwargs)
        except Exception:  # noqa: BLE001 the original does not run either, which its own error says
            return
        finally:
            for module, training in modes:
                module.training = training
        text = str(error).splitlines()[0] if str(error) else ""
        if "not differentiable with respect to" in text:
            fix = ".detach() on that argument, where the model passes it"
            raise TranslationError([Refusal("", "the model", "backward", text, fix)]) from error
        reason = f"a copy of the model raises {type(error).__name__}: {text}"
        fix = "hooks and functions that take the module they are called with, and do not hold the model itself"
        raise TranslationError([Refusal("", "the model", "copy.deepcopy", reason, fix)]) from error

    def _base(self, *, double: bool) -> Any:
        """The weights that all recordings share; no run is of the model itself, should one overwrite them."""
        from einops_arch.parity.runs.wide import widened

        if double not in self._bases:
            base = copy_of(self.model)
            self._bases[double] = widened(base) if double else base
        return self._bases[double]

    def differences(self, sizes: Mapping[str, int]) -> tuple[list[Any], frozenset[Any]]:
        """What differs between the first sizes and others, and the axes whose size does, as far as they go together."""
        from einops_arch.translation.agree import agree

        key = tuple(sorted(sizes.items()))
        if key not in self.compared:
            first = self.first()
            for value in _values(first):
                value.sizes = ()
            other = self.record(resized(self.arguments, sizes), "eval", double=True).root
            self.compared[key] = agree(first, other, write=False), frozenset(_varied(first))
        return self.compared[key]

    def first(self) -> Any:
        """The recording in evaluation at the first sizes that others are held against; nothing is written into it."""
        if self._first is None:
            self._first = self.record(self.arguments, "eval", double=False).root
        return self._first

    def needs_range(self) -> bool:
        """Whether the original raises, or gives what is not finite, for numbers beyond the range of its inputs alone.

        A logarithm of an input, or a loss of probabilities, has nothing to compare for normal numbers.
        """
        import torch

        if not any(map(is_range, self.arguments.tensors)):
            return False
        finite = []
        for arguments in (self.arguments, resized(self.arguments, {})):
            try:
                with torch.no_grad():
                    result = copy_of(self._base(double=False), shared=True).eval()(*arguments.args, **arguments.kwargs)
                finite.append(all(bool(tensor.isfinite().all()) for tensor in _floats_of(result)))
            except Exception as error:
                if out_of_memory(error):
                    raise
                finite.append(False)
        return finite == [True, False]

    def runs(self, sizes: Mapping[str, int]) -> str | None:
        import torch

        from einops_arch.discovery.tracing.torch_first_call import same_tensors

        other = resized(self.arguments, sizes)
        try:
            with torch.no_grad():
                result = copy_of(self._base(double=False), shared=True).eval()(*other.args, **other.kwargs)
                if self.settings and not same_tensors(result, copy_of(self.fresh).eval()(*other.args, **other.kwargs)):
                    return f"a first call at another size sets another {next(iter(self.settings))}"
        except Exception as error:
            if out_of_memory(error):
                raise
            # Whatever else it is, this size is not for this model.
            return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return None


def _floats_of(result: Any) -> Iterator[Any]:
    import torch
    from torch.utils import _pytree as pytree

    for leaf in pytree.tree_leaves(result):
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
            yield leaf


@contextlib.contextmanager
def _unchecked_distributions() -> Iterator[None]:
    """A context in which distributions of PyTorch do not look at values to check them."""
    from torch.distributions import Distribution

    before = Distribution._validate_args  # noqa: SLF001 there is a way to set it, and none to read it
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


@contextlib.contextmanager
def _trains() -> Iterator[None]:
    """A model that runs in evaluation and not in training is refused at this size."""
    try:
        yield
    except TranslationError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        reason = f"in training the original raises {type(error).__name__}: {str(error).splitlines()[0]}"
        raise TranslationError([Refusal("", "the model", "train()", reason, "inputs at which it trains")]) from error


@contextlib.contextmanager
def _in_double(error: Exception) -> Iterator[None]:
    """A model that does not run in float64 is refused; nothing could be proved about it."""
    try:
        yield
    except RuntimeError as again:
        if out_of_memory(again):
            raise
        reason = f"it does not run in float64, in which twins are proved: {str(error).splitlines()[0]}"
        fix = "another implementation of this operation, such as config._experts_implementation = 'eager'"
        if "Float and Double" in str(error) or "dtype" in str(error):
            fix = (
                "tensors that forward makes with the dtype of its input, as x.new_zeros(...) has it, not torch.float32"
            )
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


def _varied(root: Any) -> Iterator[tuple[int, int]]:
    """The axes that have two sizes: the number of the value in the order of the recording, and the place."""
    for number, value in enumerate(_values(root)):
        yield from ((number, axis) for axis, (first, second) in enumerate(value.sizes) if first != second)


def _values(root: Any) -> Iterator[Any]:
    """All tensors of a recording, in its order."""
    from einops_arch.discovery.tracing.program import values_in
    from einops_arch.translation.trees import all_scopes

    for scope in all_scopes(root):
        for tree in [scope.args, scope.kwargs, *(node.outputs for node in scope.nodes)]:
            yield from values_in(tree)
