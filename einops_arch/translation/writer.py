"""Write the body of one module call: operations become expressions, arrays know where their axes lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from einops_arch.discovery.tracing.program import Node, Scope, Source, Value, values_in
from einops_arch.discovery.tracing.sizes import Axis, Comparison, Expression, Operation, Size, expression_of
from einops_arch.translation.agree import FixedFloat, FixedSize, FreeSize, RunDtype, SmallestNumber
from einops_arch.translation.layout import (
    Array,
    default_names,
    from_value,
    pattern_of,
    stored_equal,
)
from einops_arch.translation.refusals import Refusal, UnknownOperationError

__all__ = ["CHOICE", "Owner", "Statement", "Writer"]

_FLOATS = ("float16", "bfloat16", "float32", "float64")
CHOICE = "choice__"
"""Before the number of a list of variables, of which any may stand there."""


@dataclass
class Statement:
    """`target = code`, and the statement of the original that it came from; a call may change state.

    Of a tuple, `parts` is how many entries it has, where that is known.
    Without a target the code is a question whose answer has to be yes, for a reason.
    """

    target: str
    code: str
    source: Source
    call: bool = False
    reason: str = ""
    parts: int = 0
    moves_after: Statement | None = None


class Owner(Protocol):
    """What the body of a call asks of the class that it is in."""

    def state(self, writer: Writer, value: Value) -> Array:
        """A parameter or buffer."""

    def constant(self, writer: Writer, value: Value) -> Array:
        """A tensor that was there before the run."""

    def call(self, writer: Writer, node: Node) -> None:
        """A call of another module."""

    def layer(self, attribute: str, code: str, *, shared: bool = False) -> str:
        """A layer without state that a function of the original stands for; gives its name.

        Args:
            attribute: its name, if that is free.
            code: that makes it.
            shared: several functions of one module take the same one.
        """

    def run_dtype(self) -> str | None:
        """The dtype of a parameter, which is that of the run."""

    def asks(self, comparison: Comparison) -> bool:
        """Whether a question about sizes is written."""

    def refuse(self, refusal: Refusal) -> None:
        """Something cannot be written."""


@dataclass
class Writer:
    """The statements of one call of a module, as they come.

    Args:
        scope: what was recorded.
        owner: the class.
        training: whether it was recorded in training mode.
        lists: arguments that are lists, and how many entries they have.
    """

    scope: Scope
    owner: Owner
    training: bool = False
    statements: list[Statement] = field(default_factory=list)
    arrays: dict[int, Array] = field(default_factory=dict)
    sizes: dict[int, str] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)
    node: Node | None = None
    inputs: list[str] = field(default_factory=list)
    lists: dict[str, int] = field(default_factory=dict)
    count: int = 0
    choices: list[list[str]] = field(default_factory=list)
    ordered_already: dict[tuple[str, str, str], Array] = field(default_factory=dict)

    # Values

    def array(self, value: Any) -> Array:
        """The array of a recorded tensor."""
        if isinstance(value, Array):
            return value
        if id(value) not in self.arrays:
            if value.origin == "state":
                self.arrays[id(value)] = self.owner.state(self, value)
            elif value.origin == "constant":
                self.arrays[id(value)] = self.owner.constant(self, value)
            else:
                raise UnknownOperationError("it takes a tensor that was not written")
        return self.arrays[id(value)]

    def bind(self, code: str, *, call: bool = False) -> str:
        """A new variable for an expression."""
        self.count += 1
        name = f"v__{self.count}"
        source = self.node.source if self.node is not None else Source()
        self.statements.append(Statement(name, code, source, call))
        return name

    def has_parts(self, variable: str, count: int) -> None:
        """Say how many entries a variable has: names are written for them where all are used."""
        for statement in self.statements:
            if statement.target == variable:
                statement.parts = count

    def _bind_move(self, code: str, array: Array) -> str:
        """A new variable for the axes of a tensor: where the original gave it these, not where they are needed."""
        name = self.bind(code)
        if array.made_by is not None:
            statement = self.statements.pop()
            statement.source = array.made_by
            place = (
                0
                if array.after is None
                else 1 + next(n for n, item in enumerate(self.statements) if item is array.after)
            )
            while place < len(self.statements) and self.statements[place].moves_after is array.after is not None:
                place += 1
            statement.moves_after = array.after
            self.statements.insert(place, statement)
        return name

    def note_made(self, outputs: Any) -> None:
        """Remember of the arrays of a step which statement gave them their axes, and after which line."""
        last = self.statements[-1] if self.statements else None
        for value in values_in(outputs):
            array = self.arrays.get(id(value))
            if array is not None and self.node is not None and array.made_by is None:
                array.made_by, array.after = self.node.source, last

    def make(
        self,
        code: str,
        value: Value,
        order: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        *,
        call: bool = False,
    ) -> Array:
        """A new variable whose axes are PyTorch's in an order."""
        return from_value(self.bind(code, call=call), value, order, names)

    def ordered(self, value: Any, order: Sequence[int] | None = None) -> Array:
        """The tensor in a variable whose axes are PyTorch's in this order, PyTorch's own if left out."""
        array = self.array(value)
        order = tuple(range(len(array.logical))) if order is None else tuple(order)
        if stored_equal(array, order):
            return array
        pattern = pattern_of(array, order)
        if pattern is None:
            return self._reshaped(array, order)
        text, sizes, repeats = pattern
        function = "repeat" if repeats else "rearrange"
        self.imports.add(f"from einops import {function}")
        arguments = "".join(f", {name}={size}" for name, size in sizes.items())
        key = (array.code, text, arguments)
        if key not in self.ordered_already:
            code = self._bind_move(f'{function}({array.code}, "{text}"{arguments})', array)
            self.ordered_already[key] = from_value(code, array.value, order, _names_of(array))
        known = self.ordered_already[key]
        return from_value(known.code, array.value, order, _names_of(array))

    def _reshaped(self, array: Array, order: Sequence[int]) -> Array:
        raise UnknownOperationError("the size of an axis that is split is not known when it is called")

    def whole(self, value: Any) -> Array:
        """The tensor in a variable with whole axes, in whatever order it is."""
        array = self.array(value)
        return array if array.order is not None and not array.repeated else self.ordered(array)

    # Numbers

    def number(self, number: Any) -> str:
        """How a number is written: a literal, or an expression of sizes."""
        if isinstance(number, FreeSize):
            return self.expression(number.expression)
        if isinstance(number, SmallestNumber):
            return f"jnp.finfo({self.run_dtype()}).min"
        if isinstance(number, Value):
            return self.ordered(number).code
        if isinstance(number, bool) or number is None:
            return repr(number)
        if isinstance(number, FixedFloat):
            return self._live(number.expression) or _float(float(number))
        if isinstance(number, float):
            return _float(float(number))
        if isinstance(number, int):
            return repr(int.__int__(number))
        if isinstance(number, (tuple, list)):
            inner = ", ".join(self.number(item) for item in number)
            return f"({inner}{',' if len(number) == 1 else ''})"
        raise UnknownOperationError(f"an argument is a {type(number).__name__}, which is not known")

    def factor(self, number: Any) -> str:
        """How a number is written that tensors are computed with: one made from sizes as it was made."""
        return (self._live(number.expression) if isinstance(number, FixedSize) else None) or self.number(number)

    def _live(self, expression: Expression) -> str | None:
        """An expression of sizes that the weights fix, read from variables at hand; None where one is not."""
        if isinstance(expression, Axis):
            array = self.arrays.get(id(expression.value))
            if array is None or expression.axis is None or not array.code.isidentifier():
                return None
            places = [n for n, group in enumerate(array.stored) if group == array.logical[expression.axis]]
            if len(places) != 1:
                return None
            return f"{array.code}.shape[{-1 if places[0] == len(array.stored) - 1 else places[0]}]"
        if isinstance(expression, Operation):
            operands = [self._live(operand) for operand in expression.operands]
            if len(operands) != 2 or None in operands or expression.sign not in _SIGNS:
                return None
            return f"({operands[0]} {expression.sign} {operands[1]})"
        return self.number(expression)

    def expression(self, expression: Expression) -> str:
        if isinstance(expression, FreeSize):
            return self.expression(expression.expression)
        if isinstance(expression, Axis):
            return self._axis(expression)
        if isinstance(expression, Operation):
            operands = [self.expression(operand) for operand in expression.operands]
            if expression.sign in ("ceil", "floor"):
                self.imports.add("import math")
                return f"math.{expression.sign}({operands[0]})"
            if expression.sign in ("int", "round", "abs"):
                return f"{expression.sign}({operands[0]})"
            if len(operands) == 1:
                return f"({expression.sign}{operands[0]})"
            if "0" in operands and expression.sign in ("+", "-") and (expression.sign == "+" or operands[1] == "0"):
                return operands[1] if operands[0] == "0" else operands[0]
            return f"({operands[0]} {expression.sign} {operands[1]})"
        return self.number(expression)

    def _axis(self, atom: Axis) -> str:
        if atom.axis is None:
            if id(atom.value) in self.sizes:
                return self.sizes[id(atom.value)]
            if isinstance(atom.value, Size):
                return self.expression(expression_of(atom.value))
            raise UnknownOperationError("a size comes from another module", "pass it as an argument of forward")
        if id(atom.value) not in self.arrays and getattr(atom.value, "origin", "") not in ("state", "constant"):
            raise UnknownOperationError("a size comes from another module", "pass it as an argument of forward")
        return self.size_of(self.array(atom.value), atom.axis)

    def size_of(self, array: Array, axis: int) -> str:
        """How the size of one of PyTorch's axes is written."""
        group = array.logical[axis]
        codes = [part.size_code for part in group]
        if not all(codes):
            return f"{self.ordered(array).code}.shape[{axis}]"
        return "1" if not codes else codes[0] if len(codes) == 1 else f"({' * '.join(codes)})"

    # Dtypes

    def run_dtype(self) -> str:
        """An expression for the dtype in which the model runs."""
        known = [array for array in self.arrays.values() if array.value.dtype in _FLOATS and array.value.follows]
        if known and known[-1].code.isidentifier():
            names = [array.code for array in known if array.code.isidentifier()]
            # Which of them is at hand anyway is known when all lines are.
            self.choices.append(names)
            return f"{CHOICE}{len(self.choices) - 1}.dtype"
        if known:
            return f"{known[-1].code}.dtype"
        for value in _state_values(self.scope):
            if value.dtype in _FLOATS and value.follows:
                return f"{self.array(value).code}.dtype"
        held = self.owner.run_dtype()
        if held is not None:
            return held
        raise UnknownOperationError("the dtype of the run is needed where no floating-point tensor is known")

    def dtype(self, dtype: Any) -> str:
        """How a dtype is written."""
        if isinstance(dtype, RunDtype):
            return self.run_dtype()
        name = str(dtype).removeprefix("torch.")
        names = {"bool": "bool_", "long": "int64", "int": "int32", "float": "float32", "double": "float64"}
        name = names.get(name, name)
        if name == "int64":
            return "int"
        if name in ("complex64", "complex128", *_FLOATS, "bool_", "int8", "int16", "int32", "uint8"):
            return f"jnp.{name}"
        raise UnknownOperationError(f"the dtype {name} is not known to jax")

    def dtype_of(self, value: Value) -> str:
        """How the dtype of a recorded tensor is written."""
        return self.run_dtype() if value.follows else self.dtype(value.dtype)


_SIGNS = ("+", "-", "*", "/", "//", "%", "**")


def is_floating(value: Any) -> bool:
    """Whether a recorded tensor is floating-point."""
    return isinstance(value, Value) and (value.dtype in _FLOATS or value.dtype.startswith("complex"))


def _float(number: float) -> str:
    if number != number:  # noqa: PLR0124 only NaN differs from itself
        return "jnp.nan"
    if number in (float("inf"), float("-inf")):
        return "jnp.inf" if number > 0 else "-jnp.inf"
    for power in (0.5, -0.5):
        # Scales of attention are roots of sizes.
        base = round(abs(number) ** (1 / power)) if 1e-3 < abs(number) < 1e3 else 0
        if base > 2 and base**power == number and not float(number).is_integer() and base**0.5 % 1:
            return f"{base}**{power}"
    return repr(number)


def _names_of(array: Array) -> list[str]:
    """Merged groups go by the name of their first axis; unit axes by the place that they have."""
    plain = default_names(len(array.logical))
    return [group[0].name if group else plain[n] for n, group in enumerate(array.logical)]


def _state_values(scope: Scope) -> list[Value]:
    return [value for value in scope.values.values() if value.origin == "state"]


def arguments_of(arguments: Sequence[Any], keywords: Mapping[str, Any]) -> str:
    """Arguments as they stand in a call."""
    return ", ".join([*map(str, arguments), *(f"{name}={value}" for name, value in keywords.items())])
