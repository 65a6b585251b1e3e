"""Whole models of transformers, translated and held against the originals in float64 at sizes not recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import oracle_checks
import pytest
import torch
import transformers
from flax import nnx

from einops_arch.flax import load_state_dict, state_dict
from einops_arch.parity import randomize
from einops_arch.translation import translate

_ROWS = Path(__file__).parents[1] / "benchmarks" / "models.jsonl"
# Model: sizes that were not recorded, and a line that the file has.
CASES: dict[str, tuple[dict[str, int], str]] = {
    "distilbert": ({"b": 3, "t": 11}, "class BaseModelOutput:"),
    "llama": ({"b": 1, "t": 12}, "is_causal=True"),
    "t5": ({"b": 3, "t": 6, "u": 8}, "self.encoder.embed_tokens.embedding = self.shared.embedding"),
    "clip": ({"b": 3, "t": 11}, "class CLIPOutput:"),
}


def _model(name: str) -> tuple[Any, dict[str, str]]:
    rows = map(json.loads, _ROWS.read_text(encoding="utf-8").splitlines())
    row = next(row for row in rows if row["model"] == name and row["set"] == "transformers")
    model = eval(row["make"], {"transformers": transformers, "config": row["config"]})
    # The decoder has a length of its own.
    patterns = {key: text.replace("t=", "u=") if "decoder" in key else text for key, text in row["inputs"].items()}
    return model.eval(), patterns


def _input(pattern: str, sizes: dict[str, int] | None = None) -> torch.Tensor:
    letters, _, rest = pattern.partition("=")
    numbers, _, kind = rest.partition(" ")
    shape = [
        (sizes or {}).get(letter, int(size)) for letter, size in zip(letters.split(), numbers.split(","), strict=True)
    ]
    if kind:
        return torch.from_numpy(oracle_checks.tokens(*shape, high=int(kind.removeprefix("int<"))))
    return torch.from_numpy(oracle_checks.images(*shape))


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_model_of_transformers_is_the_same_function_at_sizes_that_were_not_recorded(name: str) -> None:
    torch.manual_seed(0)
    model, patterns = _model(name)
    sizes, line = CASES[name]
    axes = {key: text.partition("=")[0] for key, text in patterns.items()}
    twin = translate(model, {key: _input(text) for key, text in patterns.items()}, axes=axes, prove=False)
    assert line in twin.source
    randomize(model)
    model = model.double()
    load_state_dict(twin.model, model.state_dict())
    inputs = {key: _input(text, sizes) for key, text in patterns.items()}
    inputs = {key: value.double() if value.is_floating_point() else value for key, value in inputs.items()}
    with torch.no_grad():
        expected = _tensors(model(**inputs))
    twin.model.eval()
    graph, state = nnx.split(twin.model)
    arrays = {
        key: jnp.asarray(value.permute(0, 2, 3, 1).numpy() if value.ndim == 4 else value.numpy())
        for key, value in inputs.items()
    }
    run = jax.jit(lambda state, arrays: nnx.merge(graph, state)(**arrays), compiler_options=oracle_checks.QUICKLY)
    received = jax.tree.leaves(run(state, arrays))
    # Llama and T5 cast to float32 inside.
    limit = 1e-6 if name in ("llama", "t5") else oracle_checks.FLOAT64
    assert len(received) == len(expected)
    for array, tensor in zip(received, expected, strict=True):
        assert array.shape == tensor.shape
        difference = oracle_checks.rms(np.asarray(array) - tensor.numpy())
        assert oracle_checks.rms(tensor.numpy()) > 0
        assert difference <= limit * oracle_checks.rms(tensor.numpy())
    back = state_dict(twin.model)
    assert all(back[key].tobytes() == value.numpy().tobytes() for key, value in model.state_dict().items())


def _tensors(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree]
    parts = tree.to_tuple() if hasattr(tree, "to_tuple") else tree
    return [tensor for part in parts if part is not None for tensor in _tensors(part)]


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_a_mask_of_padding_is_taken_where_transformers_would_look_at_its_values(name: str) -> None:
    torch.manual_seed(0)
    model, _ = _model(name)
    inputs = {"input_ids": _input("b t=2,7 int<50"), "attention_mask": torch.ones(2, 7, dtype=torch.long)}
    twin = translate(model, inputs, axes=dict.fromkeys(inputs, "b t"), prove=False)
    load_state_dict(twin.model, model.state_dict())
    twin.model.eval()
    mask = torch.ones(3, 11, dtype=torch.long)
    mask[0, 6:], mask[2, 1:] = 0, 0
    for other in (mask, torch.ones_like(mask)):
        inputs = {"input_ids": _input("b t=3,11 int<50"), "attention_mask": other}
        with torch.no_grad():
            expected = model(**inputs).last_hidden_state.numpy()
        received = twin.model(**{key: jnp.asarray(value.numpy()) for key, value in inputs.items()}).last_hidden_state
        np.testing.assert_allclose(np.asarray(received), expected, rtol=1e-4, atol=1e-4)
