"""A Flax network from a state: the same as building it and loading, with no weight drawn and no memory for two."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from golden_flax import build

from einops_arch import architectures
from einops_arch.architectures import ConvNetConfig, LanguageModelConfig
from einops_arch.errors import PortError
from einops_arch.flax import from_state, state_dict
from einops_arch.flax.convnet import ConvNet
from einops_arch.flax.state import named_modules
from einops_arch.layouts.arrays import same_bits


@pytest.mark.parametrize("name", architectures.names())
def test_the_same_as_to_build_and_to_load(name):
    built, _ = build(name, "tiny", "float32")
    made = from_state(built.config, state_dict(built))
    ours, other = state_dict(made), state_dict(built)
    assert list(ours) == list(other)
    for key, value in other.items():
        assert same_bits(ours[key], value), key
    assert [path for path, _ in named_modules(made)] == [path for path, _ in named_modules(built)]


def test_layers_with_dropout_have_streams_of_their_own():
    config = dataclasses.replace(ConvNetConfig.tiny(), dropout=0.5)
    state = state_dict(ConvNet(config, rngs=nnx.Rngs(0)))
    image = jnp.ones((2, *config.image_size, config.in_channels))
    run = nnx.jit(lambda model, image: model(image))
    first, again, other = (from_state(config, state, rngs=nnx.Rngs(seed)) for seed in (1, 1, 2))
    outputs = [run(model, image) for model in (first, again, other)]
    assert jnp.array_equal(outputs[0], outputs[1])
    assert not jnp.array_equal(outputs[0], outputs[2])
    assert not jnp.array_equal(run(first, image), outputs[0])
    keys = [jax.random.key_data(stream.key[...]).tolist() for stream in (first.conv2_drop.rngs, first.fc1_drop.rngs)]
    assert keys[0] != keys[1]


def test_recurrent_layers_with_dropout_have_streams_too():
    config = dataclasses.replace(LanguageModelConfig.tiny(), dropout=0.5)
    model = architectures.get("language_model").flax_class()(config, rngs=nnx.Rngs(0))
    made = from_state(config, state_dict(model))
    (tokens,) = (jnp.zeros((4, 3), "int32"),)
    assert not jnp.array_equal(made(tokens)[0], made(tokens)[0])


def test_a_state_that_does_not_fit_is_refused():
    state = state_dict(ConvNet(ConvNetConfig.tiny(), rngs=nnx.Rngs(0)))
    del state["fc1.bias"]
    with pytest.raises(PortError, match=r"fc1\.bias"):
        from_state(ConvNetConfig.tiny(), state)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
def test_it_takes_the_memory_of_the_weights_and_no_more(tmp_path):
    """135 MB, half of them in one weight, which must not be there twice."""
    code = """
        import gc
        from pathlib import Path
        import numpy as np
        from einops_arch import architectures
        from einops_arch.architectures import VGGConfig
        from einops_arch.flax import VGG, from_state
        from einops_arch.flax._build import abstract_model
        from einops_arch.flax.state import port_steps

        def state_of(config):
            model = abstract_model(config)
            shapes = {key: spec[0] for step, _ in port_steps(model) for key, spec in step.expected.items()}
            return {key: np.ones(shape, np.float32) for key, shape in shapes.items()}

        def resident(kind):
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith(kind))

        from_state(VGGConfig.tiny(), state_of(VGGConfig.tiny()))
        config = VGGConfig(convolutions=(1,), widths=(64,))
        state = state_of(config)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        before = resident("VmRSS")
        model = from_state(config, state)
        size = sum(value.nbytes for value in state.values())
        print((resident("VmHWM") - before) / size)

        model.save_pretrained("saved")
        VGG.from_pretrained("saved")
        del state
        for _ in range(3):
            del model
            gc.collect()
            Path("/proc/self/clear_refs").write_text("5")
            before = resident("VmRSS")
            model = VGG.from_pretrained("saved")
            print((resident("VmHWM") - before) / size)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    of_a_state, *of_a_folder = map(float, done.stdout.split())
    # Pages that the process had before are used again; far below the weights' size nothing would be measured.
    assert 0.6 < of_a_state < 1.2
    # By when pages come back, a load was seen to take 0.88 or 1.24, under each version of Python and jax; the largest
    # weight there twice would take 1.5.
    assert max(of_a_folder) > 0.6
    assert min(of_a_folder) < 1.35


def test_the_weights_are_copies():
    state = {key: np.array(value) for key, value in state_dict(ConvNet(ConvNetConfig.tiny(), rngs=nnx.Rngs(0))).items()}
    model = from_state(ConvNetConfig.tiny(), state)
    before = np.array(model.conv1.bias[...])
    state["conv1.bias"] += 1
    assert np.array_equal(model.conv1.bias[...], before)
