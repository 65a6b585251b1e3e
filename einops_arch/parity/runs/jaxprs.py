"""Walk through a traced Flax function, and run it with some of its operations done otherwise.

A program that jax has traced is a list of operations, whoever wrote it and however it was imported. So what is looked
for here, such as a cast, and what is tried out, such as another padding, needs no layer to be of a known class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from einops_arch.parity.runs.constants import keeps_rounding, shared, written

__all__ = [
    "BODIES",
    "CALLS",
    "LIFT",
    "Rule",
    "bodies",
    "evaluate",
    "is_wide",
    "lifted",
    "operations",
    "perform",
    "written_out",
]

# Given an operation and the values that go into it: the values that come out, or None to do as it says.
Rule: TypeAlias = Callable[[Any, Sequence[Any]], Sequence[Any] | None]

BODIES = ("jaxpr", "call_jaxpr", "body_jaxpr", "cond_jaxpr", "fun_jaxpr")


def operations(program: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """Every operation, also in the bodies of others, with the names of the scopes that it stands in.

    Args:
        program: what `jax.make_jaxpr` returns, or a body of it.
        path: the scopes around it.
    """
    for operation in getattr(program, "jaxpr", program).eqns:
        here = (*path, *(name for name in str(operation.source_info.name_stack).split("/") if name))
        yield operation, here
        for body in bodies(operation):
            yield from operations(body, here)


def evaluate(program: Any, arguments: Sequence[Any], rule: Rule) -> list[Any]:
    """Run a traced program, with a rule that may replace operations.

    The bodies of loops and of calls are run by the same rule.

    Args:
        program: what `jax.make_jaxpr` returns.
        arguments: one array for each of its inputs.
        rule: asked before each operation.
    """
    return _run(program.jaxpr, program.consts, arguments, rule)


def lifted(program: Any, arguments: Sequence[Any], rule: Rule | None = None) -> list[Any]:
    """Run a traced program with every floating-point operation in float64, whatever it casts to.

    Args:
        program: what `jax.make_jaxpr` returns.
        arguments: one array for each of its inputs.
        rule: that lifts, and does more; None for `LIFT`.
    """
    return evaluate(program, [_widened(argument) for argument in arguments], rule or LIFT)


def LIFT(operation: Any, values: Sequence[Any]) -> Sequence[Any] | None:  # noqa: N802 it is used as a constant
    """The rule by which nothing is narrower than float64."""
    name = operation.primitive.name
    if name == "reduce_precision":
        return [values[0]]
    kinds = (*values, *(var.aval for var in operation.outvars))
    if bodies(operation) or not any(_is_float(kind) or _is_complex(kind) for kind in kinds):
        return None
    parameters = {key: _wide_type(value) for key, value in operation.params.items()}
    return [_widened(result) for result in _bind(operation, [_widened(value) for value in values], parameters)]


def _run(body: Any, consts: Sequence[Any], arguments: Sequence[Any], rule: Rule) -> list[Any]:
    lifts = rule is LIFT or getattr(rule, "lifts", False)
    if lifts:
        consts = [written_out(value, is_held=True) for value in consts]
    values: dict[Any, Any] = dict(zip((*body.constvars, *body.invars), (*consts, *arguments), strict=True))
    for operation in body.eqns:
        inputs = [one_input.val if hasattr(one_input, "val") else values[one_input] for one_input in operation.invars]
        if lifts:
            inputs = [
                written_out(value, is_held=_widens(operation)) if hasattr(var, "val") else value
                for value, var in zip(inputs, operation.invars, strict=True)
            ]
        results = rule(operation, inputs)
        if results is None:
            results = perform(operation, inputs, rule)
        values.update(zip(operation.outvars, results, strict=True))
    return [out.val if hasattr(out, "val") else values[out] for out in body.outvars]


def perform(operation: Any, values: Sequence[Any], rule: Rule) -> Sequence[Any]:
    """Do one operation, and what is in its bodies by a rule."""
    import jax

    name, parameters = operation.primitive.name, operation.params
    if name == "scan":
        return _scan(parameters, values, rule)
    if name == "while":
        return _while(parameters, values, rule)
    if name == "cond":
        branches = [lambda *args, body=body: _closed(body, args, rule) for body in parameters["branches"]]
        return jax.lax.switch(values[0], branches, *values[1:])
    inner = bodies(operation)
    if name in _WITH_SLOPES and _is_kept(inner[0], values, rule):
        return _bind_whole(operation, values)
    if inner and name in CALLS:
        return _closed(inner[0], values, rule)
    return _bind(operation, values, parameters)


# Operations that do what their body does, and nothing else.
CALLS = (
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "remat",
    "checkpoint",
    "remat2",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
    "custom_lin",
)

_WITH_SLOPES = ("custom_jvp_call", "custom_vjp_call")


def _is_kept(body: Any, values: Sequence[Any], rule: Rule) -> bool:
    """Whether a rule leaves a body as it is, so that the slope that was written for it can stay."""
    kinds = [var.aval.dtype for var in getattr(body, "jaxpr", body).invars]
    if any(np.dtype(value.dtype) != kind for value, kind in zip(values, kinds, strict=True) if hasattr(value, "dtype")):
        return False
    keeps = getattr(rule, "keeps", None)
    return is_wide(body) if rule is LIFT else keeps is not None and keeps(body, values)


def is_wide(body: Any) -> bool:
    """Whether nothing in a program is narrower than float64."""
    program = getattr(body, "jaxpr", body)
    inside = [program.invars, *(part for item, _ in operations(body) for part in (item.invars, item.outvars))]
    kinds = [atom.aval for atoms in inside for atom in atoms]
    return not any(
        (_is_float(kind) and kind.dtype != np.float64) or (_is_complex(kind) and kind.dtype != np.complex128)
        for kind in kinds
    )


def _bind_whole(operation: Any, values: Sequence[Any]) -> Sequence[Any]:
    """Do a call with the slope that was written for it."""
    bound = operation.primitive.get_bind_params(operation.params)
    # Of jax 0.8 the functions inside come apart from the rest.
    functions, parameters = bound if isinstance(bound, tuple) else ((), bound)
    results = operation.primitive.bind(*functions, *values, **parameters)
    return results if operation.primitive.multiple_results else [results]


def _closed(body: Any, values: Sequence[Any], rule: Rule) -> list[Any]:
    return _run(getattr(body, "jaxpr", body), getattr(body, "consts", ()), values, rule)


def _scan(parameters: Any, values: Sequence[Any], rule: Rule) -> Sequence[Any]:
    import jax

    fixed, carried = parameters["num_consts"], parameters["num_carry"]
    consts, carry, rows = values[:fixed], values[fixed : fixed + carried], values[fixed + carried :]

    def step(carry: Any, row: Any) -> Any:
        results = _closed(parameters["jaxpr"], [*consts, *carry, *row], rule)
        # A loop may not change the type of what it carries.
        return [new.astype(old.dtype) for new, old in zip(results[:carried], carry, strict=True)], results[carried:]

    last, stacked = jax.lax.scan(
        step, [jax.numpy.asarray(value) for value in carry], list(rows), parameters["length"], parameters["reverse"]
    )
    return [*last, *stacked]


def _while(parameters: Any, values: Sequence[Any], rule: Rule) -> Sequence[Any]:
    import jax

    of_test, of_body = parameters["cond_nconsts"], parameters["body_nconsts"]
    for_test, for_body = values[:of_test], values[of_test : of_test + of_body]

    def test(carry: Any) -> Any:
        return _closed(parameters["cond_jaxpr"], [*for_test, *carry], rule)[0]

    def step(carry: Any) -> Any:
        results = _closed(parameters["body_jaxpr"], [*for_body, *carry], rule)
        return [new.astype(old.dtype) for new, old in zip(results, carry, strict=True)]

    return jax.lax.while_loop(test, step, [jax.numpy.asarray(value) for value in values[of_test + of_body :]])


def written_out(value: Any, *, is_held: bool = False) -> Any:
    """A number that was rounded when it was traced, or before, as it was written down, and an array that it fills.

    Args:
        value: any array.
        is_held: it was made before it was traced, so that models of float64 have it as it is.
    """
    import jax

    if not _is_float(value) or not np.size(value) or isinstance(value, jax.core.Tracer):
        return value
    if is_held and keeps_rounding():
        return value
    number = np.asarray(value).flat[0]
    if np.any(np.asarray(value) != number):
        return value
    # By its dtype a number of float64 was not rounded, but it may be made of one that was.
    return np.full(np.shape(value), shared(float(number) if number.dtype == np.float64 else written(number)))[()]


def _widens(operation: Any) -> bool:
    """It casts to float64: what it casts was narrow before it was traced."""
    kind = operation.params.get("new_dtype")
    return operation.primitive.name == "convert_element_type" and kind is not None and np.dtype(kind) == np.float64


def _bind(operation: Any, values: Sequence[Any], parameters: Any) -> Sequence[Any]:
    primitive = operation.primitive
    results = primitive.bind(*values, **parameters)
    return results if primitive.multiple_results else [results]


def bodies(operation: Any) -> list[Any]:
    """The programs inside of an operation: of a call, a loop or a choice."""
    named = [operation.params.get(name) for name in BODIES]
    return [body for body in named if hasattr(body, "eqns")] + list(operation.params.get("branches", ()))


def _is_float(value: Any) -> bool:
    import jax

    return hasattr(value, "dtype") and bool(jax.dtypes.issubdtype(value.dtype, np.floating))


def _is_complex(value: Any) -> bool:
    import jax

    return hasattr(value, "dtype") and bool(jax.dtypes.issubdtype(value.dtype, np.complexfloating))


def _widened(value: Any) -> Any:
    if not _is_float(value) and not _is_complex(value):
        return value
    wide = _wide_type(np.dtype(value.dtype))
    return value if value.dtype == wide else value.astype(wide)


def _wide_type(value: Any) -> Any:
    import jax

    if isinstance(value, np.dtype) and jax.dtypes.issubdtype(value, np.floating):
        return np.dtype(np.float64)
    return np.dtype(np.complex128) if isinstance(value, np.dtype) and value.kind == "c" else value
