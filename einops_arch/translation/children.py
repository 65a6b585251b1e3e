"""How modules are made, and how they are reached from each other."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping
from typing import Any

from einops_arch.translation.constants import variable_code
from einops_arch.translation.draft import Draft
from einops_arch.translation.droppath import counterpart
from einops_arch.translation.layers import Layer, is_sequence
from einops_arch.translation.refusals import Refusal

__all__ = ["Children", "is_attribute"]


def is_attribute(name: str) -> bool:
    """Whether a name can stand after a dot: `add_module` takes any, such as `block1-0`."""
    return name.isidentifier() and not keyword.iskeyword(name)


class Children:
    """How the modules of a model are made and reached in the twin.

    Args:
        model: of PyTorch.
        leaves: counterparts of the user's own.
    """

    def __init__(self, model: Any, leaves: Mapping[type, Any]) -> None:
        self.model = model
        self.leaves = dict(leaves)
        self.modules = dict(model.named_modules())
        self.paths = {id(module): path for path, module in self.modules.items()}
        self.kept = _kept_identities(model, self.leaves)
        self.drafts: dict[int, Draft] = {}
        self.refusals: list[Refusal] = []
        self.arrays: dict[str, Any] = {}
        self._spatial: dict[int, bool] = {}

    def layer(self, module: Any) -> Layer | None:
        if id(module) in self.kept:
            return Layer("Identity")
        return counterpart(module, self.leaves)

    def refuse(self, refusal: Refusal) -> None:
        if refusal not in self.refusals:
            self.refusals.append(refusal)

    def vanishes(self, module: Any) -> bool:
        """A module without state and without children is written where it is called."""
        layer = self.layer(module)
        if layer is not None:
            return layer.axes == "nothing"
        return (
            not any(True for _ in module.children())
            and not any(True for _ in module.parameters(recurse=False))
            and not any(True for _ in module.buffers(recurse=False))
            and not is_sequence(module)
            and type(module).__name__ not in ("ModuleList", "ModuleDict", "ParameterList")
        )

    def is_spatial(self, module: Any) -> bool:
        """Whether a module takes images: what is inside of it wants channels last."""
        if id(module) not in self._spatial:
            layers = (layer for item in module.modules() if (layer := self.layer(item)) is not None)
            # An activation or a dropout takes any order, and says nothing about what comes after it.
            first = next((layer for layer in layers if layer.axes not in ("any", "nothing")), None)
            self._spatial[id(module)] = first is not None and (
                first.spatial == 2 or type(module).__name__.endswith("2d")
            )
        return self._spatial[id(module)]

    def variable(self, owner_path: str, path: str) -> str | None:
        """How a parameter is reached from a module."""
        holder, _, leaf = path.rpartition(".")
        code = self.expression(owner_path, holder)
        layer = self.layer(self.modules[holder]) if holder != owner_path else None
        attribute = layer.parameters.get(leaf, (leaf, ()))[0] if layer is not None else leaf
        return None if code is None or not is_attribute(attribute) else f"{code}.{attribute}"

    def make_attributes(self, draft: Draft) -> None:
        draft.attributes = list(self.attributes_of(draft.module, draft.path, draft))
        draft.attributes += list(draft.layers.items())

    def attributes_of(self, module: Any, path: str, draft: Draft) -> Iterator[tuple[str, str]]:
        for name, parameter in module._parameters.items():  # noqa: SLF001 no public name keeps their order
            if parameter is not None:
                draft.imports.add("import jax.numpy as jnp")
                yield name, variable_code(parameter, trained=True)
        saved = module.state_dict(keep_vars=True)
        for name, buffer in module._buffers.items():  # noqa: SLF001
            if buffer is not None and name in saved:
                draft.imports |= {"import jax.numpy as jnp", "from einops_arch.flax import functional"}
                yield name, self._table(module, name, path, draft) or variable_code(buffer, trained=False)
        for name, child in module.named_children():
            code = self.construct(child, f"{path}.{name}" if path else name, draft)
            if code is not None:
                yield name, code

    def keep(self, name: str, array: Any) -> str:
        """The key under which a tensor stands in the file beside; what many modules hold alike stands there once."""
        known = next((key for key, item in self.arrays.items() if _same_array(item, array)), name)
        self.arrays[known] = array
        return known

    def _table(self, module: Any, name: str, path: str, draft: Draft) -> str | None:
        """A buffer of integers that no code says, such as an index: from the file beside, as no weights are trained."""
        buffer = module._buffers[name]  # noqa: SLF001 no public name for one of them
        kind = {"torch.int64": "int", "torch.int32": "jnp.int32", "torch.bool": "bool"}.get(str(buffer.dtype))
        if kind is None or "jnp.zeros(" not in variable_code(buffer, trained=False) or not bool(buffer.any()):
            return None
        others = [getattr(item, name, None) for item in self.modules.values() if type(item) is type(module)]
        if any(other is None or other.shape != buffer.shape or bool((other != buffer).any()) for other in others):
            # Modules of one class that hold other numbers keep one class; their weights bring them.
            return None
        draft.imports.add("import numpy as np")
        key = self.keep(f"{path}_{name}".strip("_").replace(".", "_"), buffer.detach().cpu().numpy())
        dtype = ', torch_dtype="int64"' if kind == "int" else ""
        return f'nnx.Variable(jnp.asarray(_CONSTANTS["{key}"], {kind}){dtype})'

    def construct(self, module: Any, path: str, draft: Draft) -> str | None:
        """How a child is made, or None where it leaves no trace."""
        layer = self.layer(module)
        if layer is not None:
            if layer.axes == "nothing":
                return None
            draft.imports |= {f"from {layer.home} import {layer.name}", *layer.imports}
            return layer.code
        if id(module) in self.drafts:
            return f"__draft_{self.drafts[id(module)].number}__(rngs=rngs)"
        container = self._container(module, path, draft)
        if container is not None or is_sequence(module) or type(module).__name__ in ("ModuleList", "ModuleDict"):
            return container
        if not module.state_dict():
            return None
        # Never called: kept because the state has its names.
        idle = Draft(module, path, len(self.drafts))
        self.drafts[id(module)] = idle
        self.make_attributes(idle)
        return f"__draft_{idle.number}__(rngs=rngs)"

    def _container(self, module: Any, path: str, draft: Draft) -> str | None:
        """How a list, a dict or a sequence of modules is made."""
        kind = type(module).__name__
        if kind == "ModuleList":
            items = []
            for name, child in module.named_children():
                code = self.construct(child, f"{path}.{name}", draft)
                if code is None:
                    draft.imports.add("from einops_arch.flax.layers import Identity")
                items.append(code or "Identity()")
            return f"nnx.List([{', '.join(items)}])"
        if is_sequence(module):
            named = self.sequence(module, path, draft)
            if not named:
                return None
            draft.imports.add("from einops_arch.flax.layers import Sequential")
            return _sequential(named)
        if kind == "ModuleDict":
            made = {name: self.construct(child, f"{path}.{name}", draft) for name, child in module.named_children()}
            inner = ", ".join(f'"{name}": {code}' for name, code in made.items() if code is not None)
            return f"nnx.Dict({{{inner}}})"
        if kind == "ParameterList":
            draft.imports.add("import jax.numpy as jnp")
            return f"nnx.List([{', '.join(variable_code(item, trained=True) for item in module)}])"
        return None

    def sequence(self, module: Any, path: str, draft: Draft) -> dict[str, str]:
        """The children of a Sequential that leave a trace, by name."""
        named = {}
        for name, child in module.named_children():
            code = self.construct(child, f"{path}.{name}" if path else name, draft)
            if code is not None:
                named[name] = code
        return named

    def expression(self, owner_path: str, path: str) -> str | None:
        """How a module, or what it holds, is reached from another: `self.layers[0].conv`."""
        if owner_path and path != owner_path and not path.startswith(f"{owner_path}."):
            return None
        names = path[len(owner_path) :].strip(".")
        code, at = "self", self.modules[owner_path]
        for name in names.split(".") if names else []:
            kind = type(at).__name__
            if kind in ("ModuleList", "ParameterList"):
                code += f"[{name}]"
            elif is_sequence(at) and not is_attribute(name):
                kept = [key for key, child in at.named_children() if not self.vanishes(child)]
                code += f"[{kept.index(name) if name in kept else name}]"
            elif kind == "ModuleDict":
                code += f'["{name}"]'
            elif is_attribute(name):
                code += f".{name}"
            else:
                code = f'getattr({code}, "{name}")'
            at = getattr(at, name) if not isinstance(at, (list, tuple)) else at[int(name)]
        return code


def _kept_identities(model: Any, leaves: Mapping[type, Any]) -> set[int]:
    """Children that do nothing where other modules of the class have a child that does something."""
    children: dict[tuple[type, str], list[Any]] = {}
    for module in model.modules():
        for name, child in module.named_children():
            children.setdefault((type(module), name), []).append(child)
    kept: set[int] = set()
    for (kind, _), modules in children.items():
        if kind.__module__.startswith("torch.nn.modules.container"):
            continue
        layers = [counterpart(module, dict(leaves)) for module in modules]
        idle = [layer is not None and layer.axes == "nothing" for layer in layers]
        if any(idle) and not all(idle):
            kept.update(id(module) for module, nothing in zip(modules, idle, strict=True) if nothing)
    return kept


def _sequential(named: Mapping[str, str]) -> str:
    if list(named) == [str(n) for n in range(len(named))]:
        return f"Sequential({', '.join(named.values())})"
    inner = ", ".join(f'"{name}": {code}' for name, code in named.items())
    return f"Sequential({{{inner}}})"


def _same_array(left: Any, right: Any) -> bool:
    return left.dtype == right.dtype and left.shape == right.shape and bool((left == right).all())
