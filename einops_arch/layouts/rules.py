"""The table of layout rules: for each Flax layer type, its leaves, PyTorch's leaves, and the pattern between them.

A rule is data and names the Flax type by its path, so this file imports no framework. It applies to subclasses. A rule
speaks for its layer's whole subtree: a leaf that no row names is an error, so nothing is lost in silence.

A module with no rule holds its variables in PyTorch's names and layout, which is what one's own modules with a
class token or a position embedding do. For the layers of Flax itself there is no such guess: they need a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from einops_arch.errors import ConfigError, PatternError
from einops_arch.layouts.patterns import IDENTITY, LayoutPattern

__all__ = ["Constant", "LayoutRule", "Row", "Rows", "Sum", "find_rule", "find_rule_by_path", "register_layout"]


@dataclass(frozen=True)
class Row:
    """One PyTorch leaf and the Flax leaf that holds the same numbers.

    Args:
        torch: the name of PyTorch's leaf.
        flax: the path of the Flax leaf, or several paths: PyTorch's leaf then holds them stacked, as the first axis
            of the pattern's right side.
        pattern: from PyTorch's layout to Flax's.
        sizes: sizes that the shapes do not tell: numbers, or names of attributes of the Flax layer.
        flip: a starred axis whose direction turns round (the kernels of stock transposed convolutions).
        dtype: the integer type that PyTorch keeps, where jax without x64 has none so wide.
    """

    torch: str
    flax: str | tuple[str, ...]
    pattern: str = IDENTITY
    sizes: Mapping[str, int | str | tuple[int, ...]] = field(default_factory=dict)
    flip: str = ""
    dtype: str = ""

    def __post_init__(self) -> None:
        LayoutPattern.parse(self.pattern)


@dataclass(frozen=True)
class Sum:
    """PyTorch's two biases and the one Flax leaf that holds their sum. Loses information: the inverse is (sum, 0).

    Args:
        torch: the names of PyTorch's two leaves.
        flax: the path of the Flax leaf, or several paths that PyTorch's leaf holds one after the other.
        zero_gate: this gate, of so many, must be zero in the second leaf, because Flax has no place for it.
    """

    torch: tuple[str, str]
    flax: str | tuple[str, ...]
    zero_gate: tuple[int, int] | None = None


@dataclass(frozen=True)
class Constant:
    """A PyTorch leaf that Flax does not have: ignored when read, written as a constant. Loses information."""

    torch: str
    value: int
    dtype: str


Rows: TypeAlias = tuple[Row | Sum | Constant, ...]


@dataclass(frozen=True)
class LayoutRule:
    """The rows of one Flax layer type, or a function that makes them from a layer's settings.

    Args:
        flax_type: the type by its path, such as `flax.nnx.nn.linear.Linear`.
        rows: the rows, or a function of the layer.
        refuse: the reason why layers of this type cannot be ported at all, if so.
    """

    flax_type: str
    rows: Rows | Callable[[Any], Rows] = ()
    refuse: str = ""

    def rows_of(self, layer: Any) -> Rows:
        """The rows for one layer."""
        return self.rows(layer) if callable(self.rows) else self.rows


def register_layout(
    flax_type: type | str, rows: Iterable[Row | tuple[str, str, str]], *, replace: bool = False
) -> None:
    """Add the rule of a layer type of one's own.

    Args:
        flax_type: the class, or its path as a string.
        rows: rows, or tuples of PyTorch's leaf, Flax's leaf and the pattern between them.
        replace: put the rule in the place of the one that the type has.

    Raises:
        PatternError: a pattern does not parse.
        ConfigError: the type has a rule already.

    >>> register_layout("my_package.Affine", [("weight", "kernel", "o i -> i o"), ("bias", "bias", "o -> o")])
    """
    name = flax_type if isinstance(flax_type, str) else _path(flax_type)
    if name in _RULES and not replace:
        raise ConfigError(f"register_layout: {name} has a rule already; likely fix: replace=True")
    _RULES[name] = LayoutRule(name, tuple(_checked_row(row) for row in rows))


def find_rule(flax_type: type) -> LayoutRule | None:
    """The rule of a type or of the nearest of its base classes that has one."""
    for base in flax_type.__mro__:
        rule = find_rule_by_path(_path(base))
        if rule is not None:
            return rule
    return None


def find_rule_by_path(path: str) -> LayoutRule | None:
    """The rule of the type that has this path."""
    return _RULES.get(path)


def _checked_row(row: Row | tuple[str, str, str]) -> Row:
    if isinstance(row, Row):
        return row
    if len(row) != 3:
        raise PatternError(f"register_layout: expected (torch leaf, flax leaf, pattern), received {row!r}")
    return Row(*row)


def _path(flax_type: type) -> str:
    return f"{flax_type.__module__}.{flax_type.__qualname__}"


_O = "o -> o"
_BIAS = Row("bias", "bias", _O)
_KERNEL: Mapping[str, int | str | tuple[int, ...]] = {"k": "kernel_size"}
"""A kernel with one axis more is that of several layers, stacked by `nnx.vmap`, and not one of a higher rank."""
_GAIN = Row("gain", "gain", "o 1 1 1 -> o")


def _linear_general(layer: Any) -> Rows:
    if layer.batch_axis:
        return ()
    sizes = {"o": tuple(layer.out_features), "i": tuple(layer.in_features)}
    return (
        Row("weight", "kernel", "(*o) (*i) -> *i *o", sizes),
        Row("bias", "bias", "(*o) -> *o", {"o": tuple(layer.out_features)}),
    )


def _einsum(layer: Any) -> Rows:
    """Known where the kernel's letters are inputs that vanish and outputs that stay: a linear layer."""
    operands, _, output = (layer.einsum_str or "").replace(" ", "").partition("->")
    operand, _, kernel = operands.partition(",")
    kernel = kernel.replace("...", "")
    vanish, stay = [n for n in kernel if n not in output], [n for n in kernel if n in output]
    if not kernel or any(n not in operand for n in vanish) or any(n in operand for n in stay):
        return ()
    sizes = dict(zip(kernel, layer.kernel_shape, strict=True))
    pattern = f"({' '.join(stay)}) ({' '.join(vanish)}) -> {' '.join(kernel)}"
    rows = Row("weight", "kernel", pattern, sizes)
    if layer.bias_shape is None or list(layer.bias_shape) != [sizes[n] for n in stay]:
        return (rows,) if layer.bias_shape is None else ()
    names = " ".join(stay)
    return rows, Row("bias", "bias", f"({names}) -> {names}", {n: sizes[n] for n in stay})


def _conv_transpose(layer: Any) -> Rows:
    if layer.transpose_kernel:
        kernel = Row("weight", "kernel", "i o *k -> *k o i", _KERNEL)
    else:
        kernel = Row("weight", "kernel", "i o *k -> *k i o", _KERNEL, flip="*k")
    return kernel, _BIAS


def _attention(layer: Any) -> Rows:
    kernels, biases = (tuple(f"{name}.{leaf}" for name in ("query", "key", "value")) for leaf in ("kernel", "bias"))
    sizes: dict[str, int | str | tuple[int, ...]] = {"n": 3, "heads": "num_heads"}
    if layer.in_kv_features == layer.in_features:
        projections = [Row("in_proj_weight", kernels, "(n heads k) e -> n e heads k", sizes)]
    else:
        projections = [
            Row(f"{name}_proj_weight", leaf, "(heads k) e -> e heads k", {"heads": "num_heads"})
            for name, leaf in zip("qkv", kernels, strict=True)
        ]
    return (
        *projections,
        Row("in_proj_bias", biases, "(n heads k) -> n heads k", sizes),
        Row("out_proj.weight", "out.kernel", "e (heads k) -> heads k e", {"heads": "num_heads"}),
        Row("out_proj.bias", "out.bias", "e -> e"),
    )


# Our layer has PyTorch's leaves as they are, but for its output projection.
_OWN_ATTENTION: Rows = (
    Row("in_proj_weight", "in_proj_weight", "o i -> o i"),
    *(Row(f"{name}_proj_weight", f"{name}_proj_weight", "o i -> o i") for name in "qkv"),
    Row("in_proj_bias", "in_proj_bias", _O),
    *(Row(f"bias_{name}", f"bias_{name}", "1 1 o -> 1 1 o") for name in "kv"),
    Row("out_proj.weight", "out_proj.kernel", "o i -> i o"),
    Row("out_proj.bias", "out_proj.bias", _O),
)

_LSTM_CELL: Rows = (
    Row(
        "weight_ih",
        ("ii.kernel", "if_.kernel", "ig.kernel", "io.kernel"),
        "(gate h) i -> gate i h",
        {"gate": 4},
    ),
    Row(
        "weight_hh",
        ("hi.kernel", "hf.kernel", "hg.kernel", "ho.kernel"),
        "(gate h) i -> gate i h",
        {"gate": 4},
    ),
    Sum(("bias_ih", "bias_hh"), ("hi.bias", "hf.bias", "hg.bias", "ho.bias")),
)

_OPTIMIZED_LSTM_CELL: Rows = (
    Row("weight_ih", "dense_i.kernel", "o i -> i o"),
    Row("weight_hh", "dense_h.kernel", "o i -> i o"),
    Sum(("bias_ih", "bias_hh"), "dense_h.bias"),
)

_GRU_CELL: Rows = (
    Row("weight_ih", "dense_i.kernel", "o i -> i o"),
    Row("weight_hh", "dense_h.kernel", "o i -> i o"),
    # PyTorch multiplies the last gate of bias_hh by the reset gate; this cell has no place for it.
    Sum(("bias_ih", "bias_hh"), "dense_i.bias", zero_gate=(2, 3)),
)

_SIMPLE_CELL: Rows = (
    Row("weight_ih", "dense_i.kernel", "o i -> i o"),
    Row("weight_hh", "dense_h.kernel", "o i -> i o"),
    Sum(("bias_ih", "bias_hh"), "dense_i.bias"),
)


def _recurrent(prefix: str, cell: Any, suffix: str) -> Rows:
    """The rows of a cell inside a loop: PyTorch's leaves carry the layer and direction, Flax's the cell's path."""

    def inside(path: str | tuple[str, ...]) -> str | tuple[str, ...]:
        return f"{prefix}.{path}" if isinstance(path, str) else tuple(f"{prefix}.{part}" for part in path)

    rule = find_rule(type(cell))
    rows: list[Row | Sum | Constant] = []
    for row in rule.rows_of(cell) if rule else ():
        if isinstance(row, Row):
            rows.append(Row(row.torch + suffix, inside(row.flax), row.pattern, row.sizes))
        elif isinstance(row, Sum):
            first, second = row.torch
            rows.append(Sum((first + suffix, second + suffix), inside(row.flax), row.zero_gate))
    return tuple(rows)


def _rnn(layer: Any) -> Rows:
    return _recurrent("cell", layer.cell, "_l0")


def _bidirectional(layer: Any) -> Rows:
    forward = _recurrent("forward_rnn.cell", layer.forward_rnn.cell, "_l0")
    return forward + _recurrent("backward_rnn.cell", layer.backward_rnn.cell, "_l0_reverse")


def _own_recurrent(layer: Any) -> Rows:
    """Our layers have PyTorch's names, one for each layer and direction, in PyTorch's order."""
    return tuple(
        Row(name, name, "o i -> i o" if name.startswith("weight") else _O)
        for name in vars(layer)
        if name.startswith(("weight_", "bias_")) and getattr(layer, name) is not None
    )


def _reparametrized(layer: Any, kernel: Any) -> tuple[LayoutPattern, Rows]:
    """The pattern of the weight of the layer inside, and the rows of all its other leaves."""
    rule = find_rule(type(layer.layer))
    pattern, rows = LayoutPattern.parse(IDENTITY), []
    for row in rule.rows_of(layer.layer) if rule else ():
        if isinstance(row, Row) and row.torch == "weight":
            pattern = LayoutPattern.parse(row.pattern)
        elif isinstance(row, Row) and isinstance(row.flax, str):
            rows.append(Row(row.torch, f"layer.{row.flax}", row.pattern, row.sizes))
    return pattern.written_out(len(kernel.shape)), tuple(rows)


def _weight_norm(layer: Any) -> Rows:
    pattern, rows = _reparametrized(layer, layer.v)
    lengths = IDENTITY
    if layer.dim is not None:  # one along an axis, which has another place here
        kept = pattern.left[layer.dim]
        sides = (
            " ".join(str(name) if name == kept else "1" for name in side) for side in (pattern.left, pattern.right)
        )
        lengths = " -> ".join(sides)
    names = ("weight_g", "weight_v") if layer.legacy else (f"parametrizations.weight.original{n}" for n in range(2))
    length, direction = names
    return Row(length, "g", lengths), Row(direction, "v", str(pattern)), *rows


def _spectral_norm(layer: Any) -> Rows:
    pattern, rows = _reparametrized(layer, layer.weight_orig)
    kept = pattern.left[layer.dim]
    # The columns of PyTorch's matrix have the order of its weight, those here the order of the kernel.
    left, right = (" ".join(str(name) for name in side if name != kept) for side in (pattern.left, pattern.right))
    sizes = {str(n): size for n, size in zip(pattern.right, layer.weight_orig.shape, strict=True) if n != kept}
    prefix = "weight" if layer.legacy else "parametrizations.weight"
    names = ("_orig", "_u", "_v") if layer.legacy else (".original", ".0._u", ".0._v")
    weight, u, v = (prefix + name for name in names)
    columns = Row(v, "v", f"({left}) -> ({right})" if left else IDENTITY, sizes)
    return Row(weight, "weight_orig", str(pattern)), Row(u, "u"), columns, *rows


def _normalized_axes(layer: Any) -> Rows:
    """PyTorch's order of the normalized axes on the left, that of the layer's input on the right."""
    axes = getattr(layer, "axis", (-1,))
    names = [f"c{n}" for n in range(len(axes))]
    left, right = " ".join(names), " ".join(name for _, name in sorted(zip(axes, names, strict=True)))
    pattern = f"{left} -> {right}" if left != right else "*c -> *c"
    return Row("weight", "scale", pattern), Row("bias", "bias", pattern)


_AFFINE: Rows = (Row("weight", "scale", "*c -> *c"), Row("bias", "bias", "*c -> *c"))
_STATISTICS: Rows = (Row("running_mean", "mean", "c -> c"), Row("running_var", "var", "c -> c"))
_COUNTER: Rows = (Row("num_batches_tracked", "num_batches_tracked", dtype="int64"),)
_REWRITES_KERNEL = "it overwrites its layer's kernel when called, so PyTorch's leaves cannot be had back"

_RULES: dict[str, LayoutRule] = {
    rule.flax_type: rule
    for rule in (
        LayoutRule("flax.nnx.nn.linear.Linear", (Row("weight", "kernel", "o i -> i o"), _BIAS)),
        LayoutRule("flax.nnx.nn.linear.LinearGeneral", _linear_general),
        LayoutRule("flax.nnx.nn.linear.Einsum", _einsum),
        LayoutRule("flax.nnx.nn.linear.Conv", (Row("weight", "kernel", "o i *k -> *k i o", _KERNEL), _BIAS)),
        LayoutRule("flax.nnx.nn.linear.ConvTranspose", _conv_transpose),
        LayoutRule("flax.nnx.nn.linear.Embed", (Row("weight", "embedding", "token e -> token e"),)),
        LayoutRule(
            "flax.nnx.nn.normalization.BatchNorm",
            _AFFINE + _STATISTICS + (Constant("num_batches_tracked", 0, "int64"),),
        ),
        LayoutRule("flax.nnx.nn.normalization.LayerNorm", _AFFINE),
        LayoutRule("flax.nnx.nn.normalization.RMSNorm", _AFFINE),
        LayoutRule("flax.nnx.nn.normalization.GroupNorm", _AFFINE),
        LayoutRule("flax.nnx.nn.normalization.InstanceNorm", _AFFINE),
        LayoutRule("flax.nnx.nn.normalization.WeightNorm", refuse=_REWRITES_KERNEL),
        LayoutRule("flax.nnx.nn.normalization.SpectralNorm", refuse=_REWRITES_KERNEL),
        LayoutRule("flax.nnx.nn.activations.PReLU", (Row("weight", "negative_slope", "1 -> "),)),
        LayoutRule("einops_arch.flax.layers.activation.PReLU", (Row("weight", "negative_slope", "c -> c"),)),
        LayoutRule("flax.nnx.nn.attention.MultiHeadAttention", _attention),
        LayoutRule("flax.nnx.nn.recurrent.LSTMCell", _LSTM_CELL),
        LayoutRule("flax.nnx.nn.recurrent.OptimizedLSTMCell", _OPTIMIZED_LSTM_CELL),
        LayoutRule("flax.nnx.nn.recurrent.GRUCell", _GRU_CELL),
        LayoutRule("flax.nnx.nn.recurrent.SimpleCell", _SIMPLE_CELL),
        LayoutRule("flax.nnx.nn.recurrent.RNN", _rnn),
        LayoutRule("flax.nnx.nn.recurrent.Bidirectional", _bidirectional),
        LayoutRule("einops_arch.flax.layers.batch_norm.BatchNorm", _AFFINE + _STATISTICS + _COUNTER),
        LayoutRule("einops_arch.flax.layers.batch_norm.InstanceNorm", _AFFINE + _STATISTICS + _COUNTER),
        LayoutRule("einops_arch.flax.layers.norm.LayerNorm", _normalized_axes),
        LayoutRule("einops_arch.flax.layers.norm.RMSNorm", _normalized_axes),
        LayoutRule("einops_arch.flax.layers.batch_norm.FrozenBatchNorm", _AFFINE + _STATISTICS),
        LayoutRule(
            "einops_arch.flax.layers.conv.ConvTranspose",
            (Row("weight", "kernel", "i o *k -> *k o i", _KERNEL), _BIAS),
        ),
        # GPT-2's: PyTorch's side keeps its weights as `i o` too.
        LayoutRule("einops_arch.flax.layers.transformer.Conv1D", (Row("weight", "kernel", "i o -> i o"), _BIAS)),
        LayoutRule(
            "einops_arch.flax.layers.transformer.PatchLinear",
            (Row("weight", "weight", "o c p1 p2 -> o c p1 p2"), _BIAS),
        ),
        LayoutRule("einops_arch.flax.layers.tied.TiedLinear", (Row("weight", "weight", "o i -> o i"), _BIAS)),
        LayoutRule("einops_arch.flax.layers.attention.MultiheadAttention", _OWN_ATTENTION),
        LayoutRule("einops_arch.flax.layers.weights.WeightNorm", _weight_norm),
        LayoutRule("einops_arch.flax.layers.weights.SpectralNorm", _spectral_norm),
        LayoutRule(
            "einops_arch.flax.layers.weights.ScaledStdConv",
            (Row("weight", "kernel", "o i *k -> *k i o"), _BIAS, _GAIN),
        ),
        LayoutRule("einops_arch.flax.layers.bilinear.Bilinear", (Row("weight", "kernel", "o i j -> i j o"), _BIAS)),
        LayoutRule("einops_arch.flax.layers.recurrent_cells.LSTMCell", _own_recurrent),
        LayoutRule("einops_arch.flax.layers.recurrent_cells.GRUCell", _own_recurrent),
        LayoutRule("einops_arch.flax.layers.recurrent_cells.RNNCell", _own_recurrent),
        LayoutRule("einops_arch.flax.layers.recurrent.LSTM", _own_recurrent),
        LayoutRule("einops_arch.flax.layers.recurrent.GRU", _own_recurrent),
        LayoutRule("einops_arch.flax.layers.recurrent.RNN", _own_recurrent),
    )
}
