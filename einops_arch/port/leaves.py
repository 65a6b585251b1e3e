"""Flax's names and layouts to PyTorch's without a model, by the name of each leaf and its number of axes.

This is how transformers carried its Flax files over. A kernel of three axes may be that of a convolution or of an
attention, which the name of its layer tells; kernels of transposed convolutions and of stacked layers look like others,
but for their names and for the biases and scales beside them. So a model, where there is one, is the better judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from einops_arch._text import counted
from einops_arch.checkpoints.formats.trees import framework_of_names
from einops_arch.checkpoints.reader import Reader, Span, Traced, Wrapper
from einops_arch.checkpoints.tensors import Bits, TensorInfo
from einops_arch.errors import PortError
from einops_arch.layouts.boxes import Box
from einops_arch.layouts.patterns import IDENTITY, LayoutPattern
from einops_arch.layouts.slices import part_through

__all__ = ["ByLeaf", "notes_of_leaves", "torch_leaf"]

_KERNEL = {2: "i o -> o i", 3: "k i o -> o i k", 4: "kh kw i o -> o i kh kw", 5: "kd kh kw i o -> o i kd kh kw"}
_ATTENTION = {
    ("in", "kernel", 3): "e heads k -> (heads k) e",
    ("out", "kernel", 3): "heads k e -> e (heads k)",
    ("in", "bias", 2): "heads k -> (heads k)",
}
_LEAVES = {
    **dict.fromkeys(("kernel", "w", "scale", "embedding", "embeddings"), "weight"),
    **dict.fromkeys(("bias", "b", "offset"), "bias"),
    "mean": "running_mean",
    "var": "running_var",
}
"""Those of Flax and of Haiku."""
_KERNELS = frozenset({"kernel", "w"})
_BROADCAST = ("b", "d", "h", "w")
_ONE_AXIS = frozenset({"scale", "mean", "var"})
"""Leaves of norms, which have more axes where layers are stacked."""
_TRANSPOSED = re.compile(r"(?i)transpose|deconv")
"""Such layers turn their kernels round, unless their biases tell that they do not."""
_SHOWN = 8
_IN = re.compile(r"(^|[._])(query|key|value|q|k|v)$")
_OUT = re.compile(r"(^|[._])out$")


class ByLeaf(Wrapper):
    """A checkpoint of Flax in PyTorch's names and layout.

    Args:
        inner: the checkpoint.

    Attributes:
        patterns: what became of each tensor, by its new name.
        sources: the old name by the new one.

    Raises:
        PortError: two names become one, or a leaf cannot be what its name and its number of axes say.
    """

    def __init__(self, inner: Reader) -> None:
        super().__init__(inner)
        shapes = {name: inner.info(name).shape for name in inner.names()}
        problems = [f"{name}: {reason}" for name in shapes if (reason := _doubt(name, shapes))]
        if problems:
            more = [f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
            raise PortError(
                f"{counted(len(problems), 'array')} of Flax cannot be read by name and number of axes; likely fix: "
                "--model pkg.module:make(), whose layers say how arrays lie, or --packing for stacked layers, such as "
                "'layers.** -> layers.{}.**: l ... -> ...'",
                *problems[:_SHOWN],
                *more,
            )
        self.patterns: dict[str, LayoutPattern] = {}
        self.sources: dict[str, str] = {}
        new = {}
        for name in inner.names():
            new[name], pattern = torch_leaf(name, inner.info(name).shape)
            if new[name] in self.sources:
                raise PortError(f"{new[name]}: the new name of {self.sources[new[name]]} and of {name}")
            self.sources[new[name]] = name
            self.patterns[new[name]] = LayoutPattern.parse(pattern)
        self.tensors = {new[name]: self._moved(new[name], info) for name, info in inner.tensors.items()}
        self.aliases = {new[name]: new[target] for name, target in inner.aliases.items()}
        self.metadata: dict[str, str] = {**inner.metadata, "framework": "torch"}

    def bits(self, name: str) -> Bits:
        moved: Bits = self.patterns[name].apply(self.inner.bits(self.sources[name]))
        return moved

    def blocks(self, name: str) -> Iterator[Bits]:
        if self.patterns[name].is_identity:
            return self.inner.blocks(self.sources[name])
        return Reader.blocks(self, name)

    def part(self, name: str, box: Box) -> Bits:
        source = self.sources[name]
        shape = self.inner.info(source).shape
        return part_through(self.patterns[name], shape, box, {}, lambda wanted: self.inner.part(source, wanted))

    def span(self, name: str) -> Span | None:
        return self.inner.span(self.sources[name]) if self.patterns[name].is_identity else None

    def traced(self, name: str) -> Traced:
        names, patterns = self.inner.traced(self.sources[name])
        return names, patterns if self.patterns[name].is_identity else (*patterns, str(self.patterns[name]))

    @property
    def of_attention(self) -> int:
        """How many arrays were taken for those of an attention, by the names of their layers."""
        return sum(str(pattern) in _ATTENTION.values() for pattern in self.patterns.values())

    @property
    def of_convolution(self) -> int:
        """How many kernels were taken for those of convolutions, by their numbers of axes."""
        return sum(str(pattern) in _KERNEL.values() and len(pattern.left) > 2 for pattern in self.patterns.values())

    def _moved(self, name: str, info: TensorInfo) -> TensorInfo:
        return TensorInfo(self.patterns[name].shape(info.shape), info.dtype)


def _doubt(name: str, shapes: Mapping[str, Sequence[int]]) -> str:
    """Why a leaf cannot be read by its name and its number of axes; empty if it can.

    >>> _doubt("fc.kernel", {"fc.kernel": (3, 5), "fc.bias": (5,)})
    ''
    >>> _doubt("layers.fc.kernel", {"layers.fc.kernel": (2, 3, 5), "layers.fc.bias": (2, 5)})
    'a kernel of shape (2, 3, 5) beside a bias of shape (2, 5): of stacked layers, or of no known kind'
    """
    owner, _, leaf = name.rpartition(".")
    shape = tuple(shapes[name])
    if leaf in _ONE_AXIS and len(shape) > 1 and torch_leaf(name, shape)[1] == IDENTITY:
        return f"a {leaf} of shape {shape}: of stacked layers, or of no known kind"
    if leaf not in _KERNELS or len(shape) < 2 or torch_leaf(name, shape)[1] in _ATTENTION.values():
        return ""
    if len(shape) not in _KERNEL:
        return f"a kernel of {len(shape)} axes: of no known kind"
    path = f"{owner}." if owner else ""
    bias = shapes.get(f"{path}{'bias' if leaf == 'kernel' else 'b'}")
    # Kernels of two axes lie either way round: transformers has them so in GPT-2.
    if bias is not None and (len(bias) != 1 or bias[0] not in shape[-2:]):
        return f"a kernel of shape {shape} beside a bias of shape {tuple(bias)}: of stacked layers, or of no known kind"
    turned = len(shape) > 2 and _TRANSPOSED.search(owner.rpartition(".")[2])
    # Haiku turns its kernels round although they lie the other way; Flax turns either the one or the other.
    if turned and (leaf == "w" or bias is None or bias[0] == shape[-1]):
        return f"a kernel of shape {shape} of a transposed convolution, by the name of its layer, which may be flipped"
    return ""


def torch_leaf(name: str, shape: Sequence[int]) -> tuple[str, str]:
    """PyTorch's name of a leaf of Flax or Haiku, and the pattern between them.

    >>> torch_leaf("encoder.fc.kernel", (3, 4))
    ('encoder.fc.weight', 'i o -> o i')
    >>> torch_leaf("attn.query.kernel", (12, 3, 4))
    ('attn.query.weight', 'e heads k -> (heads k) e')
    >>> torch_leaf("cls_token", (1, 1, 12))
    ('cls_token', '*axes -> *axes')
    """
    owner, _, leaf = name.rpartition(".")
    if leaf not in _LEAVES:
        return name, IDENTITY
    pattern = IDENTITY
    kind = "kernel" if leaf in _KERNELS else leaf
    side = "in" if _IN.search(owner) else "out" if _OUT.search(owner) else ""
    if (side, kind, len(shape)) in _ATTENTION:
        pattern = _ATTENTION[side, kind, len(shape)]
    elif kind == "kernel" and len(shape) in _KERNEL:
        pattern = _KERNEL[len(shape)]
    elif leaf in {"scale", "offset"} and len(shape) > 1 and set(shape[:-1]) == {1}:
        # Haiku's norms have an axis of 1 for each that they are broadcast over.
        axes = " ".join(_BROADCAST[: len(shape) - 1])
        pattern = f"{axes} c -> ({axes} c)" if len(shape) <= len(_BROADCAST) + 1 else IDENTITY
    return f"{owner}.{_LEAVES[leaf]}" if owner else _LEAVES[leaf], pattern


def notes_of_leaves(reader: Reader, leaves: ByLeaf, like: object) -> list[str]:
    """Why a file was taken for Flax's, and what was taken for what."""
    names = leaves.inner.names()
    told = framework_of_names(names, {name: len(leaves.inner.info(name).shape) for name in names}) == "flax"
    fix = "if it is PyTorch's, write it as .safetensors with the metadata framework=torch first"
    notes = []
    if reader.by_leaves:
        why = "taken for Flax's by its leaves" if told else "taken for Flax's, as its format says"
        notes.append(f"{why}; {fix}")
    against = f"held against {like}" if like else "held against no network"
    notes.append(f"names and layouts are those of Flax's leaves by their names and numbers of axes, {against}")
    if count := leaves.of_convolution:
        kind = "one of a transposed convolution looks the same, and needs --model"
        notes.append(f"{counted(count, 'kernel')} of 3 to 5 axes read as of convolutions; {kind}")
    if count := leaves.of_attention:
        notes.append(f"{count} arrays were read as those of an attention, by the names of their layers")
    return notes
