"""States across frameworks: every layer of Flax that has parameters, every dtype, every bit, every error."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

from einops_arch.errors import PortError
from einops_arch.flax.state import load_state_dict, named_modules, state_dict
from einops_arch.layouts.arrays import same_bits, to_numpy, to_tensor
from einops_arch.layouts.rules import _RULES, find_rule
from einops_arch.port import register_layout, to_flax, to_torch, transfer
from einops_arch.port.transfer import model_state
from einops_arch.torch import ConvNet


def rngs():
    return nnx.Rngs(0)


def lstm_cells():
    # The dtype of the loop's first state is the cell's param_dtype, not that of its parameters.
    cells = (kind(3, 4, param_dtype=jnp.float64, rngs=rngs()) for kind in (nnx.LSTMCell, nnx.OptimizedLSTMCell))
    forward, backward = (nnx.RNN(cell, time_major=True) for cell in cells)
    return forward, backward


# A PyTorch layer, the stock Flax layer, and a call of each on the same numbers (Flax's axes last) to compare.
LAYERS = {
    "linear": (lambda: nn.Linear(3, 5), lambda: nnx.Linear(3, 5, rngs=rngs()), (2, 3)),
    "linear without bias": (
        lambda: nn.Linear(3, 5, bias=False),
        lambda: nnx.Linear(3, 5, use_bias=False, rngs=rngs()),
        (2, 3),
    ),
    "conv 1d": (lambda: nn.Conv1d(3, 5, 2), lambda: nnx.Conv(3, 5, (2,), padding="VALID", rngs=rngs()), (2, 3, 7)),
    "conv 2d grouped": (
        lambda: nn.Conv2d(4, 6, (3, 2), groups=2),
        lambda: nnx.Conv(4, 6, (3, 2), padding="VALID", feature_group_count=2, rngs=rngs()),
        (2, 4, 5, 7),
    ),
    "conv 3d": (
        lambda: nn.Conv3d(2, 3, (3, 2, 1)),
        lambda: nnx.Conv(2, 3, (3, 2, 1), padding="VALID", rngs=rngs()),
        (2, 2, 5, 4, 3),
    ),
    "conv transpose": (
        lambda: nn.ConvTranspose2d(4, 6, (3, 2)),
        lambda: nnx.ConvTranspose(4, 6, (3, 2), padding="VALID", transpose_kernel=True, rngs=rngs()),
        (2, 4, 5, 7),
    ),
    "conv transpose, flipped kernel": (
        lambda: nn.ConvTranspose2d(4, 6, (3, 2)),
        lambda: nnx.ConvTranspose(4, 6, (3, 2), padding="VALID", rngs=rngs()),
        (2, 4, 5, 7),
    ),
    "batch norm": (
        lambda: nn.BatchNorm2d(5).eval(),
        lambda: nnx.BatchNorm(5, use_running_average=True, rngs=rngs()),
        (2, 5, 3, 4),
    ),
    "layer norm": (lambda: nn.LayerNorm(5), lambda: nnx.LayerNorm(5, epsilon=1e-5, rngs=rngs()), (2, 5)),
    "rms norm": (lambda: nn.RMSNorm(5, eps=1e-5), lambda: nnx.RMSNorm(5, epsilon=1e-5, rngs=rngs()), (2, 5)),
    "group norm": (
        lambda: nn.GroupNorm(2, 6),
        lambda: nnx.GroupNorm(6, num_groups=2, epsilon=1e-5, rngs=rngs()),
        (2, 6, 3, 4),
    ),
    "instance norm": (
        lambda: nn.InstanceNorm2d(5, affine=True),
        lambda: nnx.InstanceNorm(5, epsilon=1e-5, rngs=rngs()),
        (2, 5, 3, 4),
    ),
    "linear general": (
        lambda: nn.Linear(6, 20),
        lambda: nnx.LinearGeneral((2, 3), (4, 5), axis=(-2, -1), rngs=rngs()),
        None,
    ),
    "einsum": (
        lambda: nn.Linear(12, 10),
        lambda: nnx.Einsum("...ab,cabd->...cd", (2, 3, 4, 5), (2, 5), rngs=rngs()),
        None,
    ),
    "prelu": (nn.PReLU, nnx.PReLU, (2, 3)),
}


def randomized(module):
    """Every value different, none zero, statistics positive."""
    generator = torch.Generator().manual_seed(0)
    for tensor in module.state_dict(keep_vars=True).values():
        if tensor.is_floating_point():
            tensor.data = torch.rand(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype) + 0.1
    return module


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_of_flax_computes_what_the_layer_of_pytorch_does_after_the_transfer(name):
    make_torch, make_flax, shape = LAYERS[name]
    source, target = randomized(make_torch()).double(), make_flax()
    transfer(source, target)
    x = np.random.default_rng(0).normal(size=shape or (2, source.in_features))
    expected = to_numpy(source(torch.from_numpy(x)))
    if name == "linear general":
        received = target(jnp.asarray(x.reshape(2, 2, 3))).reshape(2, 20)
    elif name == "einsum":
        received = target(jnp.asarray(x.reshape(2, 3, 4))).reshape(2, 10)
    else:
        received = np.moveaxis(np.asarray(target(jnp.asarray(np.moveaxis(x, 1, -1)))), -1, 1)
    rms = np.sqrt(np.mean(expected**2))
    assert np.sqrt(np.mean((np.asarray(received) - expected) ** 2)) <= 1e-13 * rms


@pytest.mark.parametrize("name", LAYERS)
def test_a_round_trip_keeps_every_bit(name):
    make_torch, make_flax, _ = LAYERS[name]
    source, middle, target = randomized(make_torch()), make_flax(), make_torch()
    before = {key: value.clone() for key, value in source.state_dict().items()}
    transfer(source, middle)
    transfer(middle, target)
    after = target.state_dict()
    assert list(after) == list(before)
    for key, value in before.items():
        assert same_bits(to_numpy(source.state_dict()[key]), to_numpy(value)), "the source was changed"
        assert same_bits(to_numpy(after[key]), to_numpy(value)), key


@pytest.mark.parametrize("kv_features", [None, 4])
def test_attention(kv_features):
    source = nn.MultiheadAttention(6, 2, kdim=kv_features, vdim=kv_features, batch_first=True).double()
    source = randomized(source)
    target = nnx.MultiHeadAttention(2, 6, in_kv_features=kv_features, decode=False, rngs=rngs())
    transfer(source, target)
    generator = np.random.default_rng(0)
    query, key = generator.normal(size=(2, 5, 6)), generator.normal(size=(2, 7, kv_features or 6))
    expected = to_numpy(source(*(torch.from_numpy(a) for a in (query, key, key)))[0])
    # Sowing the weights takes the path whose softmax is not cast to float32.
    attend = nnx.capture(target, nnx.Intermediate) if hasattr(nnx, "capture") else lambda *a, **k: (target(*a, **k), 0)
    received, _ = attend(*(jnp.asarray(a) for a in (query, key, key)), sow_weights=True)
    nnx.pop(target, nnx.Intermediate)
    np.testing.assert_allclose(received, expected, rtol=1e-12)
    back = nn.MultiheadAttention(6, 2, kdim=kv_features, vdim=kv_features)
    transfer(target, back)
    assert all(same_bits(to_numpy(v), to_numpy(back.state_dict()[k])) for k, v in source.state_dict().items())


@pytest.mark.parametrize("cell", ["LSTMCell", "OptimizedLSTMCell", "SimpleCell", "GRUCell"])
def test_stock_recurrent_cells_hold_the_sum_of_both_biases(cell):
    source = randomized({"SimpleCell": nn.RNNCell, "GRUCell": nn.GRUCell}.get(cell, nn.LSTMCell)(3, 4)).double()
    options = {"dtype": jnp.float64} if cell == "SimpleCell" else {}
    target = getattr(nnx, cell)(3, 4, rngs=rngs(), **options)
    if cell == "GRUCell":
        with pytest.raises(PortError, match=r"bias_hh: expected gate 2 of 3 to be zero"):
            transfer(source, target)
        source.bias_hh.data[8:] = 0
    transfer(source, target)
    x, h = np.random.default_rng(0).normal(size=(2, 2, 4))
    x = x[:, :3]
    state = torch.from_numpy(h)
    if "LSTM" in cell:
        expected = source(torch.from_numpy(x), (state, 2 * state))[0]
        received = target((jnp.asarray(2 * h), jnp.asarray(h)), jnp.asarray(x))[1]
    else:
        expected = source(torch.from_numpy(x), state)
        received = target(jnp.asarray(h), jnp.asarray(x))[1]
    np.testing.assert_allclose(received, to_numpy(expected), rtol=1e-13)
    state = state_dict(target)
    assert not state["bias_hh"].any()
    np.testing.assert_array_equal(state["bias_ih"], to_numpy(source.bias_ih + source.bias_hh))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_stock_recurrent_layers(bidirectional):
    source = randomized(nn.LSTM(3, 4, bidirectional=bidirectional)).double()
    forward, backward = lstm_cells()
    layer = nnx.Bidirectional(forward, backward, time_major=True) if bidirectional else forward
    transfer(source, layer)
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    expected = to_numpy(source(torch.from_numpy(x))[0])
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, rtol=1e-12)


def test_every_layer_of_flax_with_parameters_has_a_rule():
    without = {"LoRA", "RNNCellBase"}  # PyTorch has no such layer; a base class
    layers = {
        name: kind
        for name, kind in vars(nnx).items()
        if isinstance(kind, type) and issubclass(kind, nnx.Module) and kind.__module__.startswith("flax.nnx.nn.")
    }
    assert len(layers) > 15
    no_parameters = {"Dropout"}
    assert {name for name, kind in layers.items() if find_rule(kind) is None} == without | no_parameters


def test_layers_that_overwrite_their_kernel_are_refused():
    layer = nnx.SpectralNorm(nnx.Linear(2, 3, rngs=rngs()), rngs=rngs())
    with pytest.raises(PortError, match=r"the model \(SpectralNorm\): cannot be ported: it overwrites"):
        state_dict(layer)


DTYPES = ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_bit_pattern_of_every_dtype_survives_the_round_trip(dtype):
    """NaN payloads, -0 and denormals included: nothing may compute with them on the way."""
    kind = getattr(torch, dtype)
    generator = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 256, (7, 3 * kind.itemsize), generator=generator, dtype=torch.uint8)
    weight = raw.view(kind)
    weight[0, 0], weight[0, 1] = -0.0, float("nan")
    raw[1, :] = 0
    raw[1, 0] = 1  # the smallest denormal
    source, target, back = nn.Linear(3, 7), nnx.Linear(3, 7, rngs=rngs()), nn.Linear(3, 7)
    source.weight.data, source.bias.data = weight, torch.zeros(7, dtype=kind)
    transfer(source, target)
    assert target.kernel[...].dtype.name == dtype
    transfer(target, back)
    assert back.weight.dtype == kind
    assert torch.equal(back.weight.data.view(torch.uint8), raw)


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "bool"])
def test_integer_buffers_of_ones_own_modules_survive(dtype):
    class Torch(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("index", torch.tensor([[0, 1, 1], [1, 0, 1]]).to(getattr(torch, dtype)))

    class Flax(nnx.Module):
        def __init__(self):
            self.index = nnx.Variable(jnp.zeros((2, 3), dtype))

    source, target = Torch(), Flax()
    transfer(source, target)
    assert same_bits(state_dict(target)["index"], to_numpy(source.index))


def test_tensors_keep_their_bits_and_get_memory_of_their_own():
    array = np.arange(6.0).reshape(2, 3).T
    tensor = to_tensor(array)
    tensor[0, 0] = 9
    assert array[0, 0] == 0
    assert tensor.tolist() == [[9, 3], [1, 4], [2, 5]]


def test_models_share_no_memory_after_a_transfer():
    """jax can take a numpy array's memory for its own, and the numpy array is PyTorch's."""
    source, target, back = nn.Linear(31, 37), nnx.Linear(31, 37, rngs=rngs()), nn.Linear(31, 37)
    transfer(source, target)
    transfer(target, back)
    before = np.array(target.kernel[...])
    with torch.no_grad():
        source.weight.fill_(5)
        back.weight.fill_(7)
    assert same_bits(np.array(target.kernel[...]), before)


class Block(nnx.Module):
    def __init__(self, *, rngs):
        self.norm = nnx.LayerNorm(3, rngs=rngs)
        self.token = nnx.Param(jnp.ones((1, 1, 3)))
        self.mlp = nnx.Sequential(nnx.Linear(3, 5, rngs=rngs), jax.nn.relu, nnx.Linear(5, 3, rngs=rngs))
        self.branches = nnx.List([nnx.Linear(3, 2, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)])


class TorchBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(3)
        self.token = nn.Parameter(torch.ones(1, 1, 3))
        self.mlp = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 3))
        self.branches = nn.ModuleList([nn.Linear(3, 2), nn.Dropout(0.5)])


def test_paths_of_ones_own_modules_are_those_of_pytorch():
    source, target = randomized(TorchBlock()), Block(rngs=rngs())
    transfer(source, target)
    state = state_dict(target)
    assert set(state) == set(source.state_dict())
    assert all(same_bits(state[name], to_numpy(value)) for name, value in source.state_dict().items())
    flax_paths = {path for path, _ in named_modules(target)}
    assert flax_paths <= {path for path, _ in source.named_modules()}


def test_tied_parameters_have_every_name_and_must_agree():
    class Tied(nnx.Module):
        def __init__(self):
            self.encoder = nnx.Linear(3, 3, rngs=rngs())
            self.decoder = self.encoder

    class TorchTied(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(3, 3)
            self.decoder = self.encoder

    source, target = randomized(TorchTied()), Tied()
    transfer(source, target)
    state = state_dict(target)
    assert list(state) == ["encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"]
    state["decoder.weight"] = state["decoder.weight"] + 1
    for model in (target, source):
        with pytest.raises(PortError, match=r"decoder.weight: expected the same values as encoder.weight"):
            transfer(state, model)


def test_a_rule_of_ones_own_layer():
    class Transposed(nnx.Module):
        def __init__(self):
            self.kernel = nnx.Param(jnp.zeros((3, 5)))

    register_layout(Transposed, [("weight", "kernel", "o i -> i o")])
    try:
        source, target = nn.Linear(3, 5, bias=False), Transposed()
        transfer(source, target)
        np.testing.assert_array_equal(target.kernel[...], to_numpy(source.weight).T)
    finally:
        del _RULES[f"{Transposed.__module__}.{Transposed.__qualname__}"]


def snapshot(model):
    return {name: np.array(value) for name, value in model_state(model).items()}


def assert_unchanged(model, before):
    after = model_state(model)
    assert all(same_bits(after[name], before[name]) for name in before)


def test_all_problems_are_reported_together_and_nothing_is_changed():
    state = {
        "norm.weight": np.ones(3, np.int64),
        "token": np.ones((1, 3, 1), np.float32),
        "mlp.0.weight": np.ones((3, 5), np.float32),
        "mlp.2.weights": np.ones((3, 5), np.float32),
    }
    expected = (
        ": 10 problems, nothing was changed\n"
        "  norm.bias: missing, expected shape (3,)\n"
        "  mlp.0.bias: missing, expected shape (5,)\n"
        "  mlp.2.weight: missing, expected shape (3, 5)\n"
        "  mlp.2.bias: missing, expected shape (3,)\n"
        "  branches.0.weight: missing, expected shape (2, 3)\n"
        "  branches.0.bias: missing, expected shape (2,)\n"
        "  mlp.2.weights: not in the model; did you mean mlp.2.weight?\n"
        "  norm.weight: expected floating-point numbers, received int64\n"
        "  token: expected shape (1, 1, 3), received (1, 3, 1); the axes are permuted: a state is in PyTorch's layout\n"
        "  mlp.0.weight: expected shape (5, 3), received (3, 5); the axes are permuted: a state is in PyTorch's layout"
    )
    for model, what in ((Block(rngs=rngs()), "load_state_dict into Block"), (TorchBlock(), "transfer into TorchBlock")):
        before = snapshot(model)
        with pytest.raises(PortError) as caught:
            transfer(state, model)
        received = str(caught.value)
        assert sorted(received.splitlines()) == sorted((what + expected).splitlines())
        assert_unchanged(model, before)


def test_without_strict_the_names_that_do_not_fit_are_returned():
    model = nnx.Linear(3, 5, rngs=rngs())
    before = snapshot(model)
    result = load_state_dict(model, {"weight": np.ones((5, 3), np.float32), "scale": np.ones(1)}, strict=False)
    assert result == (["bias"], ["scale"])
    after = state_dict(model)
    np.testing.assert_array_equal(after["weight"], 1)
    assert same_bits(after["bias"], before["bias"])
    with pytest.raises(PortError, match="weight: expected shape"):
        load_state_dict(model, {"weight": np.ones((5, 4), np.float32)}, strict=False)


def test_values_that_jax_would_narrow_in_silence_are_an_error():
    model = nnx.Linear(3, 5, rngs=rngs())
    state = {name: value.astype(np.float64) for name, value in state_dict(model).items()}
    with jax.enable_x64(False), pytest.raises(PortError) as caught:
        load_state_dict(model, state)
    assert "weight: float64 would become float32 in silence; likely fix: jax.config.update('jax_enable_x64'" in str(
        caught.value
    )


def test_a_layer_of_flax_without_a_rule_names_the_way_out():
    class Adapter(nnx.Module):
        def __init__(self):
            self.lora = nnx.LoRA(3, 2, 5, rngs=rngs())

    with pytest.raises(PortError) as caught:
        state_dict(Adapter())
    assert str(caught.value) == (
        "layout of Adapter: 1 problem, nothing was changed\n"
        "  lora (LoRA): no layout rule; add one with einops_arch.port.register_layout"
    )


def test_a_variable_without_a_row_is_not_lost_in_silence():
    layer = nnx.MultiHeadAttention(2, 6, decode=False, normalize_qk=True, rngs=rngs())
    with pytest.raises(PortError, match=r"query_ln.scale: the layout rule of .*MultiHeadAttention has no row for it"):
        state_dict(layer)


def test_to_flax_names_from_state_for_a_model_with_the_names_and_shapes_of_a_network():
    model = ConvNet()
    model.config = None
    with pytest.raises(PortError) as caught:
        to_flax(model)
    fix = "einops_arch.flax.from_state(ConvNetConfig.mnist(), model.state_dict())"
    assert f"received ConvNet; likely fix: {fix}, as the names" in str(caught.value)


@pytest.mark.parametrize("put", [load_state_dict, lambda model, state: transfer(state, model)])
def test_a_state_of_flax_in_the_place_of_pytorchs_is_one_line_that_names_load(put):
    # A square kernel fits a weight by its shape, and would compute another function.
    target = nnx.Linear(3, 3, rngs=rngs())
    before = np.asarray(target.kernel[...])
    with pytest.raises(PortError) as caught:
        put(target, {"kernel": np.ones((3, 3), np.float32), "bias": np.ones(3, np.float32)})
    _, *lines = str(caught.value).split("\n  ")
    assert len(lines) == 1
    assert lines[0].startswith("1 name of Flax, such as kernel, expected PyTorch's names and layout; likely fix: ")
    assert "einops_arch.checkpoints.load(FILE, model)" in lines[0]
    assert (np.asarray(target.kernel[...]) == before).all()


def test_to_flax_and_to_torch_take_registered_models_of_the_right_framework():
    with pytest.raises(PortError) as caught:
        to_flax(nn.Linear(2, 3))
    assert "to_flax: expected a model of a registered architecture (convnet, " in str(caught.value)
    assert str(caught.value).endswith(
        "received Linear; likely fix: einops_arch.translate(model, inputs), which writes the Flax model, or build it "
        "yourself and use transfer(source, target)"
    )
    with pytest.raises(PortError, match=r"received Linear; likely fix: build the other model yourself and use"):
        to_torch(nnx.Linear(2, 3, rngs=rngs()))
    with pytest.raises(PortError, match="to_torch: expected a flax model, received a torch model"):
        to_torch(nn.Linear(2, 3))
    with pytest.raises(PortError, match=r"expected a torch.nn.Module or a flax.nnx.Module, received int"):
        transfer(nn.Linear(2, 3), 5)
