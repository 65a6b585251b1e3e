"""What a comparison says, and that it leaves the models alone."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from einops_arch.architectures.convnet import ConvNetConfig
from einops_arch.errors import ParityError, ShapeError
from einops_arch.flax import layers as ours
from einops_arch.flax.convnet import ConvNet as FlaxConvNet
from einops_arch.layouts.arrays import to_numpy
from einops_arch.parity import Verdict, compare, example_inputs, randomize
from einops_arch.parity.probes import random_numbers
from einops_arch.parity.report.table import rich_tables
from einops_arch.port import transfer
from einops_arch.port.transfer import model_state
from einops_arch.torch.convnet import ConvNet as TorchConvNet

NN = torch.nn
IMAGE = random_numbers("image", (2, 3, 4, 5)).astype(np.float32)


class TorchNet(NN.Module):
    """One of each: a norm with statistics, dropout, a functional sum, an activation in place."""

    def __init__(self):
        super().__init__()
        self.conv = NN.Conv2d(3, 3, 3, padding=1)
        self.bn = NN.BatchNorm2d(3)
        self.drop = NN.Dropout(0.5)
        self.act = NN.ReLU(inplace=True)
        self.head = NN.Linear(3, 6)

    def forward(self, x):
        x = self.act(x + self.drop(self.bn(self.conv(x))))
        return {"pooled": x.mean((2, 3)), "logits": (self.head(x.mean((2, 3))), x)}


class FlaxNet(nnx.Module):
    def __init__(self, *, rngs):
        self.conv = ours.Conv(3, 3, (3, 3), padding=1, rngs=rngs)
        self.bn = ours.BatchNorm(3, rngs=rngs)
        self.drop = ours.Dropout(0.5, rngs=rngs)
        self.act = ours.ReLU()
        self.head = ours.Linear(3, 6, rngs=rngs)

    def __call__(self, x):
        x = self.act(x + self.drop(self.bn(self.conv(x))))
        return {"logits": (self.head(x.mean((1, 2))), x), "pooled": x.mean((1, 2))}


def pair(torch_model=None, flax_model=None):
    torch_model = torch_model or TorchNet()
    flax_model = flax_model or FlaxNet(rngs=nnx.Rngs(0))
    randomize(torch_model)
    transfer(torch_model, flax_model)
    return torch_model, flax_model


@pytest.fixture(scope="module")
def trained():
    return compare(*pair(), IMAGE, axes="b c h w", mode="train", gradients=True, steps=3)


def test_every_part_passes_in_train_mode(trained):
    trained.assert_same_function()
    assert trained.passed
    assert [row.path for row in trained.rows] == ["conv", "bn", "drop", "act", "head", ""]
    names = ["output logits.0", "output logits.1", "output pooled"]
    assert [row.path for row in trained.outputs] == [*names, *(f"{name} of step 3" for name in names)]
    assert trained.seen.evidence == tuple(names)
    assert [(row.path, row.detail) for row in trained.rates] == [("drop", "")]
    assert [row.path for row in trained.gradients][-1] == "input 0"
    assert len(trained.gradients) == 7
    assert [row.path for row in trained.statistics] == [
        "bn.running_mean",
        "bn.running_var",
        "bn.num_batches_tracked",
    ]
    assert all(row.difference <= 1e-14 for rows in trained.sections.values() for row in rows)
    # The values that passed were measured: float32 has errors, and they are known on both sides.
    assert all(1e-9 < row.torch_error < 1e-6 for row in trained.rows)


def test_what_a_functional_sum_gives_takes_its_layout_from_what_is_around_it(trained):
    (act,) = (row for row in trained.rows if row.path == "act")
    assert act.shape == (2, 3, 4, 5)


def test_a_report_is_text_json_and_tables(trained):
    text = str(trained)
    assert text.splitlines()[0] == "verdict: same function"
    assert "modules (train mode)" in trained.to_text(rows="all").splitlines()
    data = json.loads(trained.to_json())
    assert data["passed"] is True
    assert data["modules"][0]["path"] == "conv"
    assert data["limits"]["FLOAT64"] == 1e-12
    tables = rich_tables(trained)
    assert [table.row_count for table in tables] == [6, 6, 7, 3, 1]


def test_our_twins_say_their_axes_and_names():
    config = ConvNetConfig.tiny()
    models = pair(TorchConvNet(config), FlaxConvNet(config, rngs=nnx.Rngs(0)))
    report = compare(*models, example_inputs(config))
    report.assert_same_function()
    assert [row.path for row in report.outputs] == [config.outputs()[0].name]
    assert report.rows[-1].torch_type == report.rows[-1].flax_type == "ConvNet"


def snapshot(torch_model, flax_model):
    """Everything about both models that a run could change, as values that compare with `==`."""
    torch_modules, flax_modules = list(torch_model.modules()), [m for _, m in nnx.iter_modules(flax_model)]
    return {
        "torch values": {
            name: (id(value), bits(value)) for name, value in torch_model.state_dict(keep_vars=True).items()
        },
        "torch gradients": [value.grad for value in torch_model.parameters()],
        "torch modes": [(module.training, getattr(module, "p", None)) for module in torch_modules],
        "torch hooks": [(list(m._forward_hooks), list(m._forward_pre_hooks)) for m in torch_modules],
        "torch random stream": bits(torch.get_rng_state()),
        "torch precision": (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32),
        "flax values": {path: bits(leaf.get_value()) for path, leaf in nnx.to_flat_state(nnx.state(flax_model))},
        "flax settings": [
            {name: value for name, value in vars(module).items() if isinstance(value, bool | float | str | None)}
            for module in flax_modules
        ],
        "flax methods": {base: vars(base).get("__call__") for m in flax_modules for base in type(m).__mro__},
        "jax settings": (jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision),
    }


def bits(value):
    if not isinstance(value, torch.Tensor) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = to_numpy(value)
    return array.dtype, array.shape, array.tobytes()


def differences(before, models):
    after = snapshot(*models)
    return [name for name in before if before[name] != after[name]]


def test_the_models_are_left_alone():
    models = pair()
    models[0].conv.register_forward_hook(lambda *_: None)
    models[0].bn.eval()
    models[1].drop.deterministic = True
    before = snapshot(*models)
    compare(*models, IMAGE, axes="b c h w", mode="train", gradients=True, steps=2)
    assert differences(before, models) == []


def test_the_models_are_left_alone_where_causes_are_looked_for():
    models = pair()
    models[1].bn.epsilon = 1e-3
    models[1].head.bias[...] = -models[1].head.bias[...]
    modules = [id(one) for _, one in nnx.iter_modules(models[1])]
    before = snapshot(*models)
    report = compare(*models, IMAGE, axes="b c h w", mode="train")
    assert [one.partition(":")[0] for one in report.causes] == ["bn", "head"]
    assert differences(before, models) == []
    # Where modules were replaced, that was in copies.
    assert [id(one) for _, one in nnx.iter_modules(models[1])] == modules


class TorchFails(TorchNet):
    def forward(self, x):
        super().forward(x)
        raise RuntimeError("no further")


class FlaxFails(FlaxNet):
    def __call__(self, x):
        super().__call__(x)
        raise RuntimeError("no further")


@pytest.mark.parametrize("fails", [(TorchFails, FlaxNet), (TorchNet, FlaxFails)], ids=["torch", "flax"])
@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
def test_the_models_are_left_alone_after_an_exception(fails, jit):
    models = pair(fails[0](), fails[1](rngs=nnx.Rngs(0)))
    before = snapshot(*models)
    report = compare(*models, IMAGE, axes="b c h w", mode="train", jit=jit)
    assert differences(before, models) == []
    # What ran before is still in the report.
    assert [row.path for row in report.rows if row.verdict.passed] == ["conv", "bn", "drop", "act", "head"]
    assert report.verdict is Verdict.MISSING
    side = "PyTorch" if fails[0] is TorchFails else "Flax"
    assert report.outputs[0].detail == f"RuntimeError in the network: no further (raised by {side}'s model)"


def test_two_models_that_do_not_run_are_an_error_that_names_both_modules():
    models = pair()
    before = snapshot(*models)
    with pytest.raises(ParityError) as caught:
        compare(*models, IMAGE[:, :2], axes="b c h w")
    first, second, message = str(caught.value).splitlines()
    assert first.startswith("RuntimeError in conv: Given groups=1, weight of size [3, 3, 3, 3]")
    assert first.endswith("(raised by PyTorch's model)")
    assert second.startswith("ShapeError in conv: Conv: expected 3 input channels")
    assert second.endswith("(raised by Flax's model)")
    assert message == "compare: expected a model that runs with these inputs, received two that do not"
    assert differences(before, models) == []


def test_a_change_would_have_been_noticed():
    models = pair()
    before = snapshot(*models)
    models[0].train()(torch.from_numpy(IMAGE))
    assert differences(before, models) == ["torch values", "torch random stream"]
    models = pair()
    before = snapshot(*models)
    models[1](jnp.asarray(IMAGE.transpose(0, 2, 3, 1)))
    assert differences(before, models) == ["flax values"]


def test_float64_does_not_need_x64_in_the_process():
    with jax.enable_x64(new_val=False):
        models = pair(NN.LayerNorm(5), ours.LayerNorm(5, rngs=nnx.Rngs(0)))
        report = compare(*models, random_numbers("x", (7, 5)), mode="train", gradients=True)
        assert not jax.config.jax_enable_x64
    assert report.passed
    assert report.rows[0].difference < 1e-14
    assert model_state(models[1])["weight"].dtype == np.float32


def test_without_jit_the_result_is_the_same():
    models = pair(NN.Linear(5, 3), ours.Linear(5, 3, rngs=nnx.Rngs(0)))
    x = random_numbers("x", (7, 5))
    reports = [compare(*models, x, gradients=True, jit=jit) for jit in (True, False)]
    assert all(report.passed for report in reports)
    assert [row.path for row in reports[1].gradients] == ["weight", "bias", "input 0"]


def test_models_of_float64_are_compared_in_float64_alone():
    torch_model, flax_model = pair(NN.Linear(5, 3), ours.Linear(5, 3, rngs=nnx.Rngs(0)))
    torch_model.double()
    transfer(torch_model, flax_model)
    (row,) = compare(torch_model, flax_model, random_numbers("x", (7, 5))).rows
    assert row.verdict.passed
    assert row.torch_error is None


def test_a_dtype_in_the_settings_of_a_layer_does_not_narrow_the_float64_run():
    models = pair(NN.Linear(5, 3), nnx.Linear(5, 3, dtype=jnp.float32, rngs=nnx.Rngs(0)))
    report = compare(*models, random_numbers("x", (7, 5)))
    assert report.passed
    assert models[1].dtype == jnp.float32


class Twice(NN.Module):
    def __init__(self, *, times=2):
        super().__init__()
        self.times = times
        self.fc = NN.Linear(4, 4)

    def forward(self, x, *, y):
        for _ in range(self.times):
            x = self.fc(x)
        return x + y


class FlaxTwice(nnx.Module):
    def __init__(self, *, rngs):
        self.fc = ours.Linear(4, 4, rngs=rngs)

    def __call__(self, x, *, y):
        return self.fc(self.fc(x)) + y


def test_a_module_called_several_times_is_one_row_with_inputs_by_name():
    inputs = {"x": random_numbers("x", (3, 4)), "y": torch.ones(4)}
    report = compare(*pair(Twice(), FlaxTwice(rngs=nnx.Rngs(0))), inputs, gradients=True)
    report.assert_same_function()
    assert [(row.path, row.calls) for row in report.rows] == [("fc", 2), ("", 1)]
    assert [row.path for row in report.gradients] == ["fc.weight", "fc.bias", "input x", "input y"]


def test_a_different_number_of_calls_is_said():
    inputs = {"x": random_numbers("x", (3, 4)), "y": np.ones(4)}
    report = compare(*pair(Twice(times=3), FlaxTwice(rngs=nnx.Rngs(0))), inputs)
    assert any("fc: called 3 times in PyTorch, 2 times in Flax" in one for one in report.seen.not_seen)
    assert report.rows[0].verdict.passed
    assert report.rows[-1].verdict is Verdict.SEMANTIC


class Bare(nnx.Module):
    """The function of a Linear and a ReLU; only the first is a module."""

    def __init__(self, *, name="0", rngs):
        setattr(self, name, ours.Linear(4, 3, rngs=rngs))
        self.name = name

    def __call__(self, x):
        return nnx.relu(getattr(self, self.name)(x))


def test_a_module_without_parameters_may_be_on_one_side_only():
    report = compare(
        *pair(NN.Sequential(NN.Linear(4, 3), NN.ReLU()), Bare(rngs=nnx.Rngs(0))), random_numbers("x", (5, 4))
    )
    assert report.passed
    assert report.seen.not_seen == ("1 (ReLU): in PyTorch; no such module in Flax; it has no parameters",)
    assert "1 (ReLU)" in str(report)


def test_a_module_with_parameters_is_then_not_seen():
    torch_model = NN.Sequential(NN.Linear(4, 3), NN.ReLU())
    flax_model = Bare(name="fc", rngs=nnx.Rngs(0))
    randomize(torch_model)
    transfer({f"fc.{name}": value for name, value in torch_model[0].state_dict().items()}, flax_model)
    report = compare(torch_model, flax_model, random_numbers("x", (5, 4)))
    # Its values cannot be compared, which speaks neither for the two nor against them: the outputs do.
    assert report.passed
    assert [row.path for row in report.rows] == [""]
    words = "\n".join(report.seen.not_seen)
    assert "0 (Linear): in PyTorch; no such module in Flax" in words
    assert "fc (Linear): in Flax; no such module in PyTorch" in words


def test_nothing_is_transposed_to_make_shapes_fit():
    class Channels(nnx.Module):
        def __call__(self, x):
            return x.transpose(0, 3, 1, 2)

    report = compare(NN.Dropout2d(0.5), Channels(), IMAGE, axes="b c h w")
    assert report.verdict is Verdict.SHAPE
    assert report.rows[0].detail == "(2, 4, 5, 3) and (2, 3, 4, 5)"


def test_nan_is_said_first_and_where():
    torch_model, flax_model = pair(NN.Linear(4, 3), ours.Linear(4, 3, rngs=nnx.Rngs(0)))
    flax_model.kernel[...] = flax_model.kernel[...].at[0, 0].set(jnp.nan)
    report = compare(torch_model, flax_model, random_numbers("x", (5, 4)))
    assert report.verdict is Verdict.NAN
    assert report.rows[0].detail == "Flax in float64 and its own dtype; Flax's kernel holds NaN or inf"
    json.loads(report.to_json())


def test_a_failure_names_the_first_divergence():
    torch_model, flax_model = pair()
    flax_model.bn.epsilon = 1e-3
    report = compare(torch_model, flax_model, IMAGE, axes="b c h w")
    with pytest.raises(ParityError) as caught:
        report.assert_same_function()
    first, _, rest = str(caught.value).partition("\n")
    assert first.startswith(
        "first divergence at bn (BatchNorm2d and BatchNorm): semantic difference; "
        "expected a float64 difference of at most 1e-12, received "
    )
    assert str(report) in rest


def test_axes_that_are_not_said_are_asked_for():
    with pytest.raises(ShapeError) as caught:
        compare(*pair(), IMAGE)
    assert str(caught.value) == (
        "compare: expected to be told PyTorch's axes of input '0' of shape (2, 3, 4, 5), received nothing; "
        'likely fix: axes=("b c h w",), where the axis named c is last in Flax, or flax_inputs='
    )


def test_ready_made_inputs_need_no_axes():
    report = compare(*pair(), IMAGE, flax_inputs=IMAGE.transpose(0, 2, 3, 1))
    assert report.passed


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (
            {"axes": "b c h"},
            "compare: expected input '0' to have axes 'b c h', received shape (2, 3, 4, 5)",
        ),
        ({"axes": ("b c h w", "b")}, "compare: expected axes of 1 inputs (0), received 2"),
        ({"mode": "test"}, "compare: expected mode to be 'eval' or 'train', received 'test'"),
        (
            {"steps": 2},
            "compare: expected steps to be at least 1, and 1 in eval mode, received 2; likely fix: mode='train'",
        ),
        ({"axes": "b c h w", "layouts": {"conv9": "b c -> b c"}}, "layouts: no module was called at 'conv9'"),
        (
            {"axes": "b c h w", "layouts": {"": "b c -> b d"}},
            "layouts: expected PyTorch's axes, '->' and the same axes as Flax has them, received 'b c -> b d'",
        ),
    ],
)
def test_wrong_arguments(keywords, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 the whole message follows
        compare(*pair(NN.Conv2d(3, 3, 1), ours.Conv(3, 3, (1, 1), rngs=nnx.Rngs(0))), IMAGE, **keywords)
    assert str(caught.value) == message
