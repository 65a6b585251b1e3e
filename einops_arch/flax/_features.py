"""What happens inside of a Flax model: the outputs of its modules by their paths."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import Any

from flax import nnx

from einops_arch.errors import ConfigError, suggestion
from einops_arch.flax.state import named_modules

__all__ = ["return_features"]

_PATCHING = threading.RLock()


def return_features(model: nnx.Module, paths: Iterable[str]) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """Have a model give the outputs of some of its modules beside its own.

    It works in `jax.jit`, `nnx.grad` and their like where it is called inside of them. `nnx.capture` with
    `method_outputs=` sees the same for a class that defines its own `__call__`; this one sees every module, as
    torchvision's `create_feature_extractor` and timm's `features_only` do in PyTorch.

    Args:
        model: a network, or any other module.
        paths: dotted paths of modules, which are those of the PyTorch twin: `"layer4.0"`, `"blocks.3.attn"`.

    Returns:
        A function of the model's arguments that gives the model's output and the outputs of the modules by path; that
        of a module which ran several times is a list of them all.

    Raises:
        ConfigError: the model has no module of that path; when called, the module did not run, or ran inside of
            `nnx.remat`, `nnx.scan` or another transformation, from which no value comes out.

    >>> import jax
    >>> from einops_arch.flax import create_model
    >>> model = create_model("resnet18", stem_channels=4, widths=(4, 5, 6, 7), rngs=nnx.Rngs(0))
    >>> logits, features = return_features(model, ["layer2", "layer4.0"])(jax.numpy.zeros((1, 64, 64, 3)))
    >>> {path: value.shape for path, value in features.items()}
    {'layer2': (1, 8, 8, 5), 'layer4.0': (1, 2, 2, 7)}
    """
    wanted = list(dict.fromkeys([paths] if isinstance(paths, str) else paths))
    modules = dict(named_modules(model))
    for path in wanted:
        if path not in modules:
            raise ConfigError(f"return_features: {type(model).__name__} has no module {path!r}: {_near(path, modules)}")
    network: Any = model
    names: dict[int, list[str]] = {}
    for path in wanted:
        names.setdefault(id(modules[path]), []).append(path)
    # Whoever defines the call: `nnx.capture` looks at the module's own class, which may inherit it.
    owners: dict[Any, Any] = {
        base: vars(base)["__call__"]
        for path in wanted
        for base in type(modules[path]).__mro__
        if "__call__" in vars(base)
    }

    def call(*arguments: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
        outputs: dict[str, list[Any]] = {path: [] for path in wanted}
        running: list[int] = []
        with _PATCHING:
            try:
                for owner, original in owners.items():
                    owner.__call__ = _kept(original, names, outputs, running)
                result = network(*arguments, **options)
            finally:
                for owner, original in owners.items():
                    owner.__call__ = original
        silent = [path for path, values in outputs.items() if not values]
        if silent:
            raise ConfigError(
                f"return_features: no output of {', '.join(silent)} of {type(model).__name__} was seen: the module did "
                "not run, or ran inside of a transformation such as nnx.remat; likely fix: remat=False, or a module "
                "around it"
            )
        return result, {path: values[0] if len(values) == 1 else values for path, values in outputs.items()}

    return call


def _kept(original: Any, names: dict[int, list[str]], outputs: dict[str, list[Any]], running: list[int]) -> Any:
    """A `__call__` that keeps what it gives; one that hands on to that of its base class is still one call."""

    @functools.wraps(original)
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        if id(self) not in names or id(self) in running:
            return original(self, *arguments, **options)
        running.append(id(self))
        try:
            output = original(self, *arguments, **options)
        finally:
            running.remove(id(self))
        for path in names[id(self)]:
            outputs[path].append(output)
        return output

    return call


def _near(path: str, modules: dict[str, Any]) -> str:
    return suggestion(path, [name for name in modules if name])
