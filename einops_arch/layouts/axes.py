"""The names of the axes of every weight, from the layout rules, and what is split where on a mesh."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from einops_arch.errors import ConfigError, suggestion
from einops_arch.layouts.patterns import LayoutPattern
from einops_arch.layouts.plan import Move
from einops_arch.layouts.rules import Row, find_rule_by_path

__all__ = ["Names", "Spec", "flax_axes", "specs_of", "torch_axes"]

Names: TypeAlias = tuple[tuple[str, ...], ...]
"""The name of each axis; several where a parenthesis makes one axis of them, none where nothing says it."""

Spec: TypeAlias = tuple[str | None, ...]
"""For each axis of an array the axis of the mesh that splits it, if one does."""

_KERNEL = ("kd", "kh", "kw")
_STARRED = re.compile(r"(?P<name>\w+)_\d+")

# PyTorch's layers, and the layer of Flax whose rule has PyTorch's layout on its left side.
_TWINS = {
    "torch.nn.modules.linear.Linear": "flax.nnx.nn.linear.Linear",
    "torch.nn.modules.conv._ConvNd": "flax.nnx.nn.linear.Conv",
    "torch.nn.modules.conv._ConvTransposeNd": "einops_arch.flax.layers.conv.ConvTranspose",
    "torch.nn.modules.sparse.Embedding": "flax.nnx.nn.linear.Embed",
    "torch.nn.modules.batchnorm._NormBase": "flax.nnx.nn.normalization.BatchNorm",
    "torch.nn.modules.activation.PReLU": "einops_arch.flax.layers.activation.PReLU",
    "torch.nn.modules.linear.Bilinear": "einops_arch.flax.layers.bilinear.Bilinear",
    "torchvision.ops.misc.FrozenBatchNorm2d": "einops_arch.flax.layers.batch_norm.FrozenBatchNorm",
    "torch.nn.modules.normalization.LayerNorm": "flax.nnx.nn.normalization.LayerNorm",
    "torch.nn.modules.normalization.RMSNorm": "flax.nnx.nn.normalization.RMSNorm",
    "torch.nn.modules.normalization.GroupNorm": "flax.nnx.nn.normalization.GroupNorm",
    "einops_arch.torch.layers.transformer.Conv1D": "einops_arch.flax.layers.transformer.Conv1D",
    "einops_arch.torch.layers.transformer.PatchLinear": "einops_arch.flax.layers.transformer.PatchLinear",
}
# Those whose rules are made from the settings of a layer of Flax.
_LEAVES = {
    "torch.nn.modules.rnn.RNNBase": {"weight_": "o i", "bias_": "o"},
    "torch.nn.modules.rnn.RNNCellBase": {"weight_": "o i", "bias_": "o"},
    "torch.nn.modules.activation.MultiheadAttention": {
        "in_proj_weight": "(n heads k) e",
        "in_proj_bias": "(n heads k)",
        "q_proj_weight": "(heads k) e",
        "k_proj_weight": "(heads k) e",
        "v_proj_weight": "(heads k) e",
    },
    # The last layer of an attention, and of nothing else.
    "torch.nn.modules.linear.NonDynamicallyQuantizableLinear": {"weight": "e (heads k)", "bias": "e"},
}


def flax_axes(steps: Iterable[tuple[Any, Any]]) -> dict[str, Names]:
    """The names of the axes of every leaf of a Flax model, by its path.

    Args:
        steps: what `port_steps` gives.
    """
    names: dict[str, Names] = {}
    for step, _ in steps:
        for leaf in step.leaves:
            names[leaf.path] = ((),) * len(leaf.shape)
            if isinstance(step, Move):
                ((shape, _),) = step.expected.values()
                expanded, _ = step.pattern.bind(shape, step.sizes)
                names[leaf.path] = _named(expanded.right[1:] if step.stacked else expanded.right)
    return names


def torch_axes(model: Any) -> dict[str, Names]:
    """The names of the axes of every tensor of a PyTorch model, by its name; what has no rule has no names."""
    axes_by_name: dict[str, Names] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        texts = _texts(type(module))
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in own:
            text = next((text for start, text in texts.items() if name.startswith(start)), "*axes")
            pattern = LayoutPattern.parse(f"{text} -> {text}").written_out(len(tensor.shape))
            axes_by_name[f"{path}.{name}" if path else name] = _named(pattern.left)
    return axes_by_name


def specs_of(
    tensors: Mapping[str, tuple[Sequence[int], Sequence[Names]]],
    shardings: Mapping[str, str],
    mesh: Mapping[str, int],
) -> tuple[dict[str, Spec], list[str]]:
    """What is split where.

    Args:
        tensors: the shape of each, and the names of its axes under each of its own names.
        shardings: the axis of the mesh by the name of an axis.
        mesh: the size of each axis of the mesh.

    Returns:
        The axes of the mesh for each tensor, and the problems, each a line.

    Raises:
        ConfigError: the mesh has no such axis, or no tensor has.
    """
    for axis, part in shardings.items():
        if part not in mesh:
            raise ConfigError(f"shardings: {axis!r} goes to {part!r}, which the mesh has not: {suggestion(part, mesh)}")
    known = {name for _, all_names in tensors.values() for names in all_names for group in names for name in group}
    for axis in shardings:
        if axis not in known:
            raise ConfigError(f"shardings: no layout of the model has an axis {axis!r}: {_offer(axis, known)}")
    specs: dict[str, Spec] = {}
    problems: list[str] = []
    for name, (shape, all_names) in tensors.items():
        spec: list[str | None] = [None] * len(shape)
        wrong: list[str] = []
        for at, axis, group in ((a, n, g) for names in all_names for a, g in enumerate(names) for n in g):
            if axis not in shardings:
                continue
            part = shardings[axis]
            if len(group) > 1:
                wrong.append(f"axis {axis} is a part of ({' '.join(group)}), and only a whole axis can be split")
            elif spec[at] not in {None, part}:
                wrong.append(f"axis {axis} is under another name on {spec[at]}, and cannot be on {part}")
            elif part in spec[:at] or part in spec[at + 1 :]:
                wrong.append(f"two of its axes are on {part}")
            elif shape[at] % mesh[part]:
                wrong.append(f"expected axis {axis} to be divisible by {part}={mesh[part]}, received {shape[at]}")
            spec[at] = part
        specs[name] = tuple(spec)
        problems += [f"{name}: {line}" for line in dict.fromkeys(wrong)]
    return specs, problems


def _offer(axis: str, known: set[str]) -> str:
    # One letter is like any other.
    return suggestion(axis if len(axis) > 2 else "", sorted(known))


def _texts(kind: type) -> dict[str, str]:
    for base in kind.__mro__:
        path = f"{base.__module__}.{base.__qualname__}"
        if path in _LEAVES:
            return _LEAVES[path]
        rule = find_rule_by_path(_TWINS.get(path, ""))
        if rule is not None and not callable(rule.rows):
            return {row.torch: row.pattern.partition("->")[0] for row in rule.rows if isinstance(row, Row)}
    return {}


def _named(side: Sequence[str | tuple[str, ...]]) -> Names:
    groups = [(item,) if isinstance(item, str) else item for item in side]
    flat = [name for group in groups for name in group]
    new = {}
    for name in flat:
        match = _STARRED.fullmatch(name)
        same = [other for other in flat if match and other.startswith(f"{match['name']}_")]
        if match is None:
            new[name] = name
        elif match["name"] == "axes":
            new[name] = ""
        elif match["name"] == "k" and len(same) <= len(_KERNEL):
            new[name] = _KERNEL[len(_KERNEL) - len(same) + same.index(name)]
        else:
            new[name] = match["name"] if len(same) == 1 else name
    return tuple(tuple(new[name] for name in group if new[name]) for group in groups)
