"""How hard XLA tries: programs that are run once are compiled quickly."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

__all__ = ["known_options", "quick_options"]

# Without fusion emitters it takes a third of the time that level 0 alone takes; jax 0.11 no longer has them.
_QUICKLY = {
    "xla_backend_optimization_level": 0,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


@functools.cache
def quick_options() -> dict[str, Any]:
    """Options of `jax.jit` with which XLA compiles quickly; what is computed does not depend on them."""
    return known_options(_QUICKLY)


def known_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that this version of XLA has; it raises for others, and they come and go.

    Args:
        options: by name.

    >>> known_options({"xla_backend_optimization_level": 0, "xla_of_nobody": 1})
    {'xla_backend_optimization_level': 0}
    """
    import jax

    def is_known(name: str, value: Any) -> bool:
        try:
            jax.jit(lambda x: x, compiler_options={name: value}).lower(0.0).compile()
        except jax.errors.JaxRuntimeError as error:
            if name in str(error):
                return False
            raise
        return True

    return {name: value for name, value in options.items() if is_known(name, value)}
