"""Folders of public weights in PyTorch: in memory once, and refused where they do not fit. Other tests read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file, save_file

from einops_arch.architectures import GPT2Config
from einops_arch.errors import PortError
from einops_arch.torch import GPT2, from_pretrained

SIZES = {"vocab_size": 17, "n_positions": 13, "n_embd": 10, "n_layer": 2, "n_head": 2, "n_inner": 14}


def write(folder, state):
    save_file({name: value.clone() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", **SIZES}), encoding="utf-8")


def test_weights_that_are_tied_may_be_written_twice_and_must_agree(tmp_path):
    state = GPT2(GPT2Config.tiny()).state_dict()
    write(tmp_path, state)
    model = from_pretrained(tmp_path)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())

    write(tmp_path, {**state, "lm_head.weight": state["lm_head.weight"] + 1})
    with pytest.raises(PortError, match=r"lm_head\.weight: expected the same values as transformer\.wte\.weight"):
        from_pretrained(tmp_path)


def test_every_problem_is_named_before_anything_is_read(tmp_path):
    state = GPT2(GPT2Config.tiny()).state_dict()
    del state["transformer.h.0.ln_1.bias"]
    state["transformer.ln_f.weight"] = torch.ones(11)
    write(tmp_path, state)
    with pytest.raises(PortError) as raised:
        from_pretrained(tmp_path)
    assert "transformer.h.0.ln_1.bias: missing" in str(raised.value)
    assert "transformer.ln_f.weight: expected shape (10,), received (11,)" in str(raised.value)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_they_are_in_memory_once(tmp_path):
    """160 MB, most of them in two tensors of one size, neither of which may be there twice."""
    code = """
        import json
        from pathlib import Path
        import numpy as np
        from safetensors.numpy import save_file
        from einops_arch.torch import from_pretrained
        from einops_arch.torch._build import without_values
        from einops_arch.architectures import GPT2Config

        def resident(kind):
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith(kind))

        def write(folder, **sizes):
            fields = {"model_type": "gpt2", "n_layer": 1, "n_head": 1, "tie_word_embeddings": False, **sizes}
            config = GPT2Config(
                vocabulary=sizes["vocab_size"], positions=sizes["n_positions"], embedding=sizes["n_embd"],
                layers=1, heads=1, hidden=sizes["n_inner"], tied=False,
            )
            Path(folder).mkdir()
            shapes = {name: tuple(value.shape) for name, value in without_values(config).state_dict().items()}
            state = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
            save_file(state, f"{folder}/model.safetensors")
            Path(folder, "config.json").write_text(json.dumps(fields))

        write("small", vocab_size=5, n_positions=5, n_embd=2, n_inner=3)
        write("large", vocab_size=50_000, n_positions=10, n_embd=400, n_inner=10)
        from_pretrained("small")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        before = resident("VmRSS")
        model = from_pretrained("large")
        print((resident("VmHWM") - before) / Path("large/model.safetensors").stat().st_size)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )
    assert 0.9 < float(done.stdout) < 1.1


def test_bfloat16_is_read_written_and_rounded_with_pytorch_alone(tmp_path):
    numbers = torch.linspace(-3, 3, 15).reshape(3, 5)
    save_file({"weight": numbers.to(torch.bfloat16)}, tmp_path / "x.safetensors")
    code = """
        import sys
        import torch
        from einops_arch.checkpoints import open_checkpoint, write_tensors
        from einops_arch.checkpoints.reader_views import Cast
        from einops_arch.layouts.arrays import to_tensor
        with open_checkpoint("x.safetensors") as reader:
            weight = to_tensor(reader.read("weight"))
            write_tensors("y.pt", reader)
            write_tensors("z.safetensors", Cast(reader, "float8_e5m2"))
        torch.save(weight, "read.pt")
        assert not {"jax", "jaxlib", "flax"} & set(sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    expected = numbers.to(torch.bfloat16)
    assert torch.equal(torch.load(tmp_path / "read.pt", weights_only=True), expected)
    assert torch.equal(torch.load(tmp_path / "y.pt", weights_only=True)["weight"], expected)
    rounded = load_file(tmp_path / "z.safetensors")["weight"]
    assert rounded.dtype == torch.float8_e5m2
    assert torch.equal(rounded.float(), expected.to(torch.float8_e5m2).float())
