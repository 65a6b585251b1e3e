"""Diagonals, crosses, distances and further products of matrices."""

from __future__ import annotations

from typing import Any

from einops_arch.discovery.tracing.program import Node, Value
from einops_arch.translation.layout import Array, from_value
from einops_arch.translation.ops.table import elementwise, functional, input_dims, operation, plain_int
from einops_arch.translation.refusals import UnknownOperationError
from einops_arch.translation.writer import Writer

__all__: list[str] = []


@operation("diagonal", "linalg_diagonal")
def diagonal(writer: Writer, node: Node, input: Any, offset: int = 0, dim1: Any = None, dim2: Any = None) -> Array:
    """The entries whose places on two axes are the same, as the last axis."""
    first, second = (-2, -1) if node.name == "linalg_diagonal" else (0, 1)
    axes = (first if dim1 is None else dim1, second if dim2 is None else dim2)
    code = f"jnp.diagonal({writer.ordered(input).code}, {plain_int(offset)}, {axes[0]}, {axes[1]})"
    return from_value(writer.bind(code), node.outputs)


@operation("diag")
def diag(writer: Writer, node: Node, input: Any, diagonal: int = 0) -> Array:
    """A matrix of its diagonal, or the other way."""
    offset = f", {plain_int(diagonal)}" if diagonal else ""
    return from_value(writer.bind(f"jnp.diag({writer.ordered(input).code}{offset})"), node.outputs)


@operation("diag_embed")
def diag_embed(writer: Writer, node: Node, input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Array:
    """Matrices whose diagonals these are."""
    rank = len(node.outputs.shape)
    if offset != 0 or (dim1 % rank, dim2 % rank) != (rank - 2, rank - 1):
        raise UnknownOperationError("another diagonal than that of the last two axes", "permute")
    array = writer.ordered(input).code
    return from_value(
        writer.bind(f"({array}[..., None] * jnp.eye({array}.shape[-1], dtype={array}.dtype))"), node.outputs
    )


@operation("trace")
def trace(writer: Writer, node: Node, input: Any) -> Array:
    """The sum of the diagonal."""
    return from_value(writer.bind(f"jnp.trace({writer.ordered(input).code})"), node.outputs)


@operation("tril_indices", "triu_indices")
def triangle_indices(writer: Writer, node: Node, row: Any, col: Any, offset: Any = 0, **kwargs: Any) -> Array:
    """Where one side of the diagonal lies: rows above columns."""
    numbers = f"{writer.number(row)}, {writer.number(offset)}, {writer.number(col)}"
    return from_value(writer.bind(f"jnp.stack(jnp.{node.name}({numbers}))"), node.outputs)


@operation("cross", "linalg_cross")
def cross(writer: Writer, node: Node, input: Any, other: Any, dim: Any = None) -> Array:
    """The cross product of vectors of three."""
    if dim is None and node.name == "cross":
        raise UnknownOperationError("a cross product along the first axis of three", "name it: dim=-1")
    axis = -1 if dim is None else int(dim)
    codes = ", ".join(writer.ordered(tensor).code for tensor in (input, other))
    return from_value(writer.bind(f"jnp.cross({codes}, axis={axis})"), node.outputs)


@operation("cdist")
def cdist(writer: Writer, node: Node, x1: Any, x2: Any, p: float = 2.0, compute_mode: Any = None) -> Array:
    """The distance of each vector to each."""
    codes = ", ".join(writer.ordered(tensor).code for tensor in (x1, x2))
    order = "" if p == 2 else f", {p!r}"
    return from_value(writer.bind(functional(writer, f"cdist({codes}{order})")), node.outputs)


@operation("pairwise_distance")
def pairwise_distance(
    writer: Writer, node: Node, x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Array:
    """The distance of each vector to its counterpart."""
    inner = Value(node.outputs.shape, node.outputs.dtype, sizes=node.outputs.sizes, follows=node.outputs.follows)
    codes = [writer.ordered(tensor).code for tensor in (x1, x2)]
    settings = (f", p={p!r}" if p != 2 else "") + (", keepdims=True" if keepdim else "")
    code = functional(writer, f"norm({codes[0]} - {codes[1]} + {eps!r}, axis=-1{settings})")
    return from_value(writer.bind(code), inner)


@operation("inner", "kron", "vdot")
def product(writer: Writer, node: Node, input: Any, other: Any) -> Array:
    """Products over the last axes, or of each entry with each."""
    codes = ", ".join(writer.ordered(tensor).code for tensor in (input, other))
    return from_value(writer.bind(f"jnp.{node.name}({codes})"), node.outputs)


@operation("tensordot")
def tensordot(writer: Writer, node: Node, a: Any, b: Any, dims: Any = 2, out: Any = None) -> Array:
    """Products summed over several axes."""
    if isinstance(dims, Value):
        raise UnknownOperationError("axes that are a tensor", "numbers")
    codes = ", ".join(writer.ordered(tensor).code for tensor in (a, b))
    axes = repr(dims if isinstance(dims, int) else [list(part) for part in dims])
    return from_value(writer.bind(f"jnp.tensordot({codes}, {axes})"), node.outputs)


@operation("addmv")
def addmv(writer: Writer, node: Node, input: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> Array:
    """`beta * input + alpha * mat @ vec`."""
    result = from_value(writer.bind(f"({writer.ordered(mat).code} @ {writer.ordered(vec).code})"), node.outputs)
    if alpha != 1:
        result = elementwise(writer, node.outputs, "({} * {})", alpha, result)
    return elementwise(writer, node.outputs, "({} * {} + {})", beta, input, result)


@operation("linalg_inv", "inverse", "linalg_det", "det", "linalg_matrix_power", "matrix_power", "linalg_cholesky")
def of_matrix(writer: Writer, node: Node, input: Any, *power: Any) -> Array:
    """Functions of whole matrices."""
    name = {"inverse": "inv"}.get(node.name, node.name.removeprefix("linalg_"))
    numbers = "".join(f", {plain_int(number)}" for number in power)
    return from_value(writer.bind(f"jnp.linalg.{name}({writer.ordered(input).code}{numbers})"), node.outputs)


@operation("linalg_solve")
def solve(writer: Writer, node: Node, A: Any, B: Any, *, left: bool = True) -> Array:  # noqa: N803 torch's names
    """What a matrix takes to the right-hand side."""
    if not left or len(B.shape) != len(A.shape):
        raise UnknownOperationError("a system whose right-hand side is no matrix", "unsqueeze(-1)")
    codes = ", ".join(writer.ordered(tensor).code for tensor in (A, B))
    return from_value(writer.bind(f"jnp.linalg.solve({codes})"), node.outputs)


@operation("slogdet", "linalg_slogdet")
def slogdet(writer: Writer, node: Node, input: Any) -> list[Array]:
    """The sign of the determinant, and the logarithm of its absolute value."""
    parts = writer.bind(f"jnp.linalg.slogdet({writer.ordered(input).code})")
    return [from_value(f"{parts}[{n}]", output) for n, output in enumerate(node.outputs)]


@operation("logdet")
def logdet(writer: Writer, node: Node, input: Any) -> Array:
    """The logarithm of the determinant, which a negative one does not have."""
    parts = writer.bind(f"jnp.linalg.slogdet({writer.ordered(input).code})")
    return from_value(writer.bind(f"jnp.where({parts}[0] < 0, jnp.nan, {parts}[1])"), node.outputs)


@operation("linalg_solve_triangular")
def solve_triangular(
    writer: Writer,
    node: Node,
    A: Any,  # noqa: N803 torch's names
    B: Any,  # noqa: N803 as above
    *,
    upper: bool,
    left: bool = True,
    unitriangular: bool = False,
) -> Array:
    """What a triangular matrix takes to the right-hand side."""
    if A.sizes[:-2] != B.sizes[:-2]:
        raise UnknownOperationError("a triangular system with other batch axes than its right-hand side", "expand")
    codes = ", ".join(writer.ordered(tensor).code for tensor in (A, B))
    settings = f"left_side={left}, lower={not upper}, unit_diagonal={unitriangular}"
    return from_value(writer.bind(f"jax.lax.linalg.triangular_solve({codes}, {settings})"), node.outputs)


@operation("bilinear")
def bilinear(writer: Writer, node: Node, input1: Any, input2: Any, weight: Any, bias: Any = None) -> Array:
    """`input1 @ weight[o] @ input2` for each feature."""
    left, middle, right = (writer.ordered(tensor).code for tensor in (input1, weight, input2))
    code = f'jnp.einsum("...i,oij,...j->...o", {left}, {middle}, {right})'
    if bias is not None:
        code += f" + {writer.ordered(bias).code}"
    return from_value(writer.bind(f"({code})"), node.outputs)


@operation("block_diag")
def block_diag(writer: Writer, node: Node, *tensors: Any) -> Array:
    """Matrices along the diagonal of a larger one."""
    codes = ", ".join(writer.ordered(tensor).code for tensor in tensors)
    return from_value(writer.bind(f"jax.scipy.linalg.block_diag({codes})"), node.outputs)


@operation("matrix_exp", "linalg_matrix_exp")
def matrix_exp(writer: Writer, node: Node, input: Any) -> Array:
    """The exponential of matrices."""
    return from_value(writer.bind(f"jax.scipy.linalg.expm({writer.ordered(input).code})"), node.outputs)


@operation("rot90")
def rot90(writer: Writer, node: Node, input: Any, k: int = 1, dims: Any = (0, 1)) -> Array:
    """Turned by quarters in the plane of two axes."""
    axes = tuple(input_dims(tuple(dims), len(input.shape)))
    return from_value(writer.bind(f"jnp.rot90({writer.ordered(input).code}, {plain_int(k)}, {axes})"), node.outputs)
