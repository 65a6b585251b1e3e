"""The command `mutate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from einops_arch import architectures
from einops_arch.cli.models import chosen_config
from einops_arch.cli.output import echo, print_json, progress

__all__ = ["mutate_twin"]


def mutate_twin(name: str, preset: str | None, file: Path | None, *, every: bool, as_json: bool) -> bool:
    """Put faults into the Flax twin of an architecture, one at a time, and print what caught each.

    Returns:
        Whether all were caught and located.

    Raises:
        UnknownArchitectureError: no architecture of that name.
        ConfigError: the options name a config that does not exist or does not fit.
    """
    from einops_arch.parity import example_inputs, randomize
    from einops_arch.parity.mutate import catch_mutants
    from einops_arch.port import to_flax

    architecture = architectures.get(name)
    config = chosen_config(architecture, preset, file) or architecture.config.preset("tiny")
    model = architecture.torch_class()(config)
    randomize(model)
    with progress(f"Putting faults into {name}", quiet=as_json) as say:
        caught_mutants = catch_mutants(model, to_flax(model), example_inputs(config), every=every, progress=say)
    if as_json:
        catches = [
            dataclasses.asdict(catch) | {"caught": catch.caught, "found": catch.is_located}
            for catch in caught_mutants.catches
        ]
        print_json({"architecture": name, "all_caught": caught_mutants.all_caught, "mutants": catches})
    else:
        caught = sum(catch.is_located for catch in caught_mutants.catches)
        echo(f"{caught_mutants}\n\n{caught} of {len(caught_mutants.catches)} faults were caught and located")
    return caught_mutants.all_caught
