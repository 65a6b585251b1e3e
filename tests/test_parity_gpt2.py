"""Both twins write the same text, and both read the same folders."""

from __future__ import annotations

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from safetensors.torch import save_file

from einops_arch.architectures import GPT2Config, ViTConfig, get
from einops_arch.cli.app import run
from einops_arch.errors import CheckpointError, ShapeError
from einops_arch.flax import from_pretrained as flax_from_pretrained
from einops_arch.flax import gpt2 as flax_side
from einops_arch.flax import state_dict
from einops_arch.parity import randomize
from einops_arch.port import to_flax
from einops_arch.port.models.transformers_names import VIT_FILES
from einops_arch.torch import from_pretrained as torch_from_pretrained
from einops_arch.torch import gpt2 as torch_side


def _model(config, spread=1.0):
    model = get("gpt2").torch_class()(config)
    randomize(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(spread if parameter.ndim > 1 else 1.0)
    return model.eval()


def _folder(path, fields, state):
    path.mkdir()
    (path / "config.json").write_text(json.dumps(fields))
    save_file({name: value.detach().clone().contiguous() for name, value in state.items()}, path / "model.safetensors")
    return path


@pytest.fixture(scope="module")
def gpt2_folder(tmp_path_factory):
    """As OpenAI's weights are on the hub."""
    model = _model(GPT2Config.tiny(), spread=3.0)
    state = model.transformer.state_dict()
    masks = {f"h.{layer}.attn.bias": torch.ones(1, 1, 13, 13).tril() for layer in range(2)}
    config = {"n_embd": 10, "n_layer": 2, "n_head": 2, "n_inner": 14, "n_positions": 13, "vocab_size": 17}
    dropout = {"embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return _folder(
        tmp_path_factory.mktemp("hub") / "gpt2", {"model_type": "gpt2", **config, **dropout}, state | masks
    ), model


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.2, "top_k": 12, "top_p": 0.8}])
def test_both_write_the_same_tokens_from_the_same_numbers(settings):
    model = _model(GPT2Config.tiny(), spread=2.0).double()
    twin = to_flax(model)
    rng = np.random.default_rng(4)
    prompt, uniform = rng.integers(0, 17, (5, 3)), rng.random((5, 11))
    expected = torch_side.generate(model, torch.from_numpy(prompt), 11, uniform=torch.from_numpy(uniform), **settings)
    words = flax_side.generate(twin, jnp.asarray(prompt), 11, uniform=jnp.asarray(uniform), **settings)
    np.testing.assert_array_equal(words, expected)
    assert len(np.unique(words)) > 3, "one word for ever shows nothing"


def test_a_text_is_continued_from_a_state_with_the_same_tokens():
    model = _model(GPT2Config.tiny(), spread=2.0).double()
    twin = to_flax(model)
    prompt = np.random.default_rng(4).integers(0, 17, (3, 6))
    expected = torch_side.generate(model, torch.from_numpy(prompt), 8)
    _, state = model.extend(torch.from_numpy(prompt[:, :4]))
    _, flax_state = twin.extend(jnp.asarray(prompt[:, :4]))
    rest = torch.from_numpy(prompt[:, 4:])
    np.testing.assert_array_equal(torch_side.generate(model, rest, 8, state=state), expected)
    np.testing.assert_array_equal(flax_side.generate(twin, jnp.asarray(rest), 8, state=flax_state), expected)
    # Thirteen positions hold the 14 tokens of this text, whose last is not read; those of one more they do not.
    for generate, network, tokens, before in (
        (torch_side.generate, model, rest, state),
        (flax_side.generate, twin, jnp.asarray(rest), flax_state),
    ):
        with pytest.raises(ShapeError, match="t=6 and 8 steps - 1 more"):
            generate(network, tokens, 9, state=before)


def test_both_have_the_same_state():
    model = _model(GPT2Config.tiny_untied()).double()
    tokens = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    logits, state = model.extend(torch.from_numpy(tokens))
    others, flax_state = nnx.jit(lambda model, tokens: model.extend(tokens))(to_flax(model), jnp.asarray(tokens))
    np.testing.assert_allclose(others, logits.detach(), rtol=1e-12, atol=1e-12)
    for pair, flax_pair in zip(state, flax_state, strict=True):
        for one, other in zip(pair, flax_pair, strict=True):
            np.testing.assert_allclose(other, one.detach(), rtol=1e-12, atol=1e-12)


def test_a_folder_of_gpt2_makes_both_twins(gpt2_folder):
    folder, model = gpt2_folder
    ours, other = torch_from_pretrained(folder), flax_from_pretrained(folder)
    assert ours.config == other.config == model.config
    assert not ours.training
    assert ours.lm_head.weight is ours.transformer.wte.weight
    received = state_dict(other)
    for name, value in model.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
        assert received[name].tobytes() == value.numpy().tobytes(), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_folder_of_vit_makes_both_twins(dtype, tmp_path):
    config = dataclasses.replace(ViTConfig.tiny(), epsilon=1e-12, antialias=False)
    model = get("vit").torch_class()(config)
    randomize(model)
    model = model.to(dtype).eval()
    fields = {"hidden_size": 10, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 14}
    fields |= {"model_type": "vit", "image_size": [6, 8], "patch_size": 2, "hidden_dropout_prob": 0.1}
    labels = {str(number): f"label {number}" for number in range(7)}
    state = VIT_FILES.from_canonical(model.state_dict())
    folder = _folder(tmp_path / "vit", {**fields, "id2label": labels}, state)
    ours, other = torch_from_pretrained(folder), flax_from_pretrained(folder)
    assert ours.config == other.config == config
    received = state_dict(other)
    for name, value in model.state_dict().items():
        assert ours.state_dict()[name].dtype == dtype
        assert torch.equal(ours.state_dict()[name], value), name
        assert received[name].tobytes() == value.view(torch.uint8).numpy().tobytes(), name


def test_folders_that_are_none(tmp_path, gpt2_folder):
    with pytest.raises(CheckpointError) as caught:
        torch_from_pretrained(tmp_path)
    assert str(caught.value) == f"{tmp_path}: expected a folder with config.json, as the hub has them"
    torch.save({"weight": torch.ones(2)}, file := tmp_path / "ported.pt")
    for path in (file, tmp_path):
        for read in (torch_from_pretrained, flax_from_pretrained):
            with pytest.raises(CheckpointError) as caught:
                read(path)
            fix = f"likely fix: build the network, and einops_arch.checkpoints.load({str(path)!r}, model)"
            assert str(caught.value) == f"{path}: expected a folder with config.json, as the hub has them; {fix}"
    folder = _folder(tmp_path / "other", {"model_type": "bert"}, gpt2_folder[1].state_dict())
    with pytest.raises(CheckpointError) as caught:
        flax_from_pretrained(folder)
    assert (
        str(caught.value)
        == f"{folder}: config.json: model_type='bert' is none of ours: expected one of vit, deit, resnet, gpt2; "
        "likely fix: einops-arch translate, which writes the Flax twin of other models"
    )


# The command line


def test_the_command_prints_the_same_in_both_frameworks(gpt2_folder, capsys):
    folder, model = gpt2_folder
    answers = {}
    for framework in ("torch", "flax"):
        arguments = ["generate", "--checkpoint", str(folder), "--prompt-tokens", "5 1, 3", "--steps", "9"]
        assert run([*arguments, "--temperature", "1.3", "--top-p", "0.9", "--seed", "2", "--framework", framework]) == 0
        answers[framework] = capsys.readouterr().out
    assert answers["torch"] == answers["flax"]
    assert len(answers["torch"].split()) == 9
    assert run([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    greedy = torch_side.generate(model, torch.tensor([[5, 1, 3]]), 9)[0].tolist()
    assert (found["tokens"], found["prompt_tokens"], found["text"]) == (greedy, [5, 1, 3], None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: generate: expected --prompt or --prompt-tokens, one of them\n"),
        (["--prompt-tokens", "five"], "error: generate: expected --prompt-tokens such as '5 17 3', received 'five'\n"),
        (
            ["--prompt", "Once"],
            (
                "error: {folder}: --prompt needs its tokenizer.json and the package tokenizers "
                "(pip install tokenizers); likely fix: --prompt-tokens\n"
            ),
        ),
    ],
)
def test_the_command_says_what_it_needs(arguments, message, gpt2_folder, capsys):
    folder, _ = gpt2_folder
    assert run(["generate", "--checkpoint", str(folder), *arguments]) == 2
    assert capsys.readouterr().err == message.format(folder=folder)


def test_a_folder_is_ported_by_what_it_is_recognised_as(gpt2_folder, tmp_path, capsys):
    folder, model = gpt2_folder
    assert run(["port", str(folder), str(tmp_path / "out.safetensors"), "--to", "flax", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["architecture"], found["to"]) == ("gpt2", "flax")
    assert found["recognised_by"] == "model_type='gpt2' of transformers, 2 layers of 10"
    assert found["config"] == model.config.to_dict()
