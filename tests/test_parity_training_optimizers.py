"""One description makes two optimisers that take the same steps, and a state that does not fit is refused in words."""

from __future__ import annotations

import jax
import numpy as np
import optax
import pytest
import torch
from flax import nnx

from einops_arch.errors import PortError
from einops_arch.flax import layers
from einops_arch.parity.report import limits
from einops_arch.port import transfer, transfer_optimizer
from einops_arch.port.optimizer import specs as optimizers
from einops_arch.port.transfer import model_state

DESCRIPTIONS = [
    optimizers.SGD(lr=0.1),
    optimizers.SGD(lr=0.1, momentum=0.9, weight_decay=0.1),
    optimizers.SGD(lr=0.1, momentum=0.9, nesterov=True),
    optimizers.Adam(lr=0.01, weight_decay=0.1, b1=0.8, b2=0.9, eps=1e-2),
    optimizers.AdamW(lr=0.01),
    optimizers.AdamW(lr=0.01, weight_decay=0.5, decay=optimizers.matrices),
    optimizers.RMSprop(lr=0.01, eps=1e-2),
    optimizers.RMSprop(lr=0.01, momentum=0.9, weight_decay=0.1, schedule=lambda step: 1 / (1 + step)),
    optimizers.RMSprop(lr=0.01, centered=True, eps=1e-2),
]


def _name(description):
    """The same in every process, which a function's own name is not."""
    settings = (f"{key}={getattr(value, '__name__', value)}" for key, value in vars(description).items() if value)
    return f"{type(description).__name__}({', '.join(settings)})"


def _pair(*, double=True):
    """A linear layer in both frameworks, with the same weights."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    model = model.double() if double else model
    twin = nnx.Sequential(nnx.Linear(3, 2, rngs=nnx.Rngs(0)))
    transfer(model, twin)
    return model, twin


def _gradients(step):
    """The same for both frameworks, of changing size; PyTorch's names and layout."""
    random = np.random.default_rng(step)
    return {"weight": random.normal(size=(2, 3)), "bias": 0.1 * random.normal(size=2)}


def _steps(model, optimizer, schedule, count):
    for step in range(count):
        for name, value in _gradients(step).items():
            model[0].get_parameter(name).grad = torch.from_numpy(value)
        optimizer.step()
        if schedule is not None:
            schedule.step()


def _flax_steps(twin, optimizer, count):
    for step in range(count):
        values = _gradients(step)
        gradients = nnx.clone(nnx.state(twin, nnx.Param))
        gradients["layers"][0]["kernel"].set_value(jax.numpy.asarray(values["weight"].T))
        gradients["layers"][0]["bias"].set_value(jax.numpy.asarray(values["bias"]))
        optimizer.update(twin, gradients)


def _difference(ours, theirs):
    return max(np.abs(np.asarray(theirs[name]) - ours[name]).max() for name in ours)


@pytest.mark.parametrize("description", DESCRIPTIONS, ids=_name)
def test_both_optimisers_take_the_same_steps(description):
    model, twin = _pair()
    before = {name: array.copy() for name, array in model_state(model).items()}
    optimizer = description.torch(model)
    _steps(model, optimizer, description.torch_schedule(optimizer), 5)
    _flax_steps(twin, description.flax(twin), 5)
    assert _difference(before, model_state(model)) > 1e-3
    assert _difference(model_state(model), model_state(twin)) < limits.FLOAT64


@pytest.mark.parametrize(
    ("ours", "stock"),
    [
        (optimizers.AdamW(lr=0.01), optax.adamw(0.01)),
        (optimizers.RMSprop(lr=0.01), optax.rmsprop(0.01)),
        (optimizers.RMSprop(lr=0.01), optax.rmsprop(0.01, decay=0.99)),
    ],
)
def test_the_defaults_of_the_frameworks_are_other_steps(ours, stock):
    """Why the settings are written out."""
    model, twin = _pair()
    _steps(model, ours.torch(model), None, 5)
    _flax_steps(twin, nnx.Optimizer(twin, stock, wrt=nnx.Param), 5)
    assert _difference(model_state(model), model_state(twin)) > 1e-8


def test_a_bare_state_of_optax_is_given_back_filled():
    model, twin = _pair()
    optimizer = torch.optim.Adam(model.parameters())
    _steps(model, optimizer, None, 4)
    state = optax.adam(optax.constant_schedule(1e-3)).init(nnx.state(twin, nnx.Param))
    filled = transfer_optimizer(model, optimizer, twin, state)
    assert (int(filled[0].count), int(filled[1].count)) == (4, 4)
    assert int(state[0].count) == 0
    expected = optimizer.state[model[0].weight]["exp_avg"].numpy().T
    np.testing.assert_array_equal(filled[0].mu["layers"][0]["kernel"].get_value(), expected)


def test_a_parameter_that_no_gradient_has_reached_has_moments_of_zeros():
    model, twin = _pair()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    optimizer.step()
    theirs = optimizers.SGD(lr=0.1, momentum=0.9).flax(twin)
    transfer_optimizer(model, optimizer, twin, theirs)
    trace = theirs.opt_state[0].trace["layers"][0]
    assert np.all(trace["kernel"][...] == 1)
    assert np.all(trace["bias"][...] == 0)


def _refused(*arguments, **keywords):
    with pytest.raises(PortError) as caught:
        transfer_optimizer(*arguments, **keywords)
    head, *problems = str(caught.value).split("\n  ")
    assert head.endswith(f"{len(problems)} problem{'s' * (len(problems) != 1)}, nothing was changed")
    return problems


def test_another_kind_of_optimiser_is_refused():
    model, twin = _pair()
    theirs = optimizers.Adam(lr=0.1).flax(twin)
    assert _refused(model, torch.optim.SGD(model.parameters(), momentum=0.9), twin, theirs) == [
        "optimizer: expected Adam with mean and square, as the target has, received SGD with momentum"
    ]
    assert _refused(model, torch.optim.Adagrad(model.parameters()), twin, theirs) == [
        "source, optimizer: expected SGD, Adam, AdamW or RMSprop of torch.optim, received Adagrad"
    ]
    lion = nnx.Optimizer(twin, optax.lion(0.1), wrt=nnx.Param)
    assert _refused(model, torch.optim.Adam(model.parameters()), twin, lion) == [
        "target, ScaleByLionState: expected a state of SGD, Adam, AdamW or RMSprop, received one of another kind"
    ]


def test_what_optax_cannot_do_is_refused_by_name():
    model, twin = _pair()
    optimizer = torch.optim.Adam(model.parameters(), amsgrad=True, maximize=True)
    assert _refused(model, optimizer, twin, optimizers.Adam(lr=0.1).flax(twin)) == [
        "source, group 0: amsgrad=True has no counterpart in optax",
        "source, group 0: maximize=True has no counterpart in optax",
    ]
    theirs = nnx.Optimizer(twin, optax.rmsprop(0.1, momentum=0.9), wrt=nnx.Param)
    (problem,) = _refused(model, torch.optim.RMSprop(model.parameters(), momentum=0.9), twin, theirs)
    assert problem.startswith("target, momentum: optax.rmsprop scales by the learning rate before the momentum")


def test_every_problem_has_its_path():
    model, _ = _pair()
    other = nnx.Sequential(nnx.Linear(5, 2, rngs=nnx.Rngs(0)), nnx.Linear(2, 2, rngs=nnx.Rngs(0)))
    theirs = optimizers.Adam(lr=0.1).flax(other)
    before = jax.tree.map(np.asarray, nnx.state(theirs))
    assert _refused(model, torch.optim.Adam(model.parameters()), other, theirs) == [
        "1.weight: not trained in the source",
        "1.bias: not trained in the source",
        "0.weight (mean): expected shape (2, 5), received (2, 3)",
        "0.weight (square): expected shape (2, 5), received (2, 3)",
    ]
    after = jax.tree.map(np.asarray, nnx.state(theirs))
    assert all(np.array_equal(*pair) for pair in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))


def test_a_parameter_of_another_model_is_refused():
    model, twin = _pair()
    optimizer = torch.optim.SGD([*model.parameters(), torch.nn.Parameter(torch.ones(7))], lr=0.1, momentum=0.9)
    assert _refused(model, optimizer, twin, optimizers.SGD(lr=0.1, momentum=0.9).flax(twin)) == [
        "source, group 0, parameter 2 of shape (7,): not a parameter of the model"
    ]


def test_digits_are_not_lost_in_silence():
    model, _ = _pair()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    _steps(model, optimizer, None, 1)
    other, _ = _pair(double=False)
    target = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9)
    assert _refused(model, optimizer, other, target) == [
        "0.weight (momentum): expected numbers that float32 holds, received float64 with more digits",
        "0.bias (momentum): expected numbers that float32 holds, received float64 with more digits",
    ]
    assert not target.state


def test_a_sum_of_two_biases_has_no_state_to_carry():
    class Twin(nnx.Module):
        def __init__(self):
            self.cell = nnx.OptimizedLSTMCell(3, 2, rngs=nnx.Rngs(0))

    model = torch.nn.Module()
    model.cell = torch.nn.LSTMCell(3, 2)
    twin = Twin()
    problems = _refused(model, torch.optim.Adam(model.parameters()), twin, optimizers.Adam(lr=0.1).flax(twin))
    assert problems[0].startswith("target, cell.bias_ih, cell.bias_hh: PyTorch trains two biases where Flax trains")
    assert len(problems) == 2


def test_a_tie_on_one_side_only_is_another_training():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    twin = nnx.Sequential(*(layers.Linear(3, 3, rngs=nnx.Rngs(0)) for _ in range(2)))
    optimizer = torch.optim.Adam(model.parameters())
    assert _refused(model, optimizer, twin, optimizers.Adam(lr=0.1).flax(twin)) == [
        "0.weight, 1.weight: one parameter in the source, several in the target"
    ]


def test_the_position_of_a_schedule_must_be_known_and_have_a_place():
    model, twin = _pair()
    description = optimizers.SGD(lr=0.1, momentum=0.9, schedule=lambda step: 1 / (1 + step))
    optimizer = description.torch(model)
    schedule = description.torch_schedule(optimizer)
    _steps(model, optimizer, schedule, 3)
    theirs = description.flax(twin)
    assert _refused(model, optimizer, twin, theirs) == [
        "source, learning rate: a scheduler has set it, and its position is not known; likely fix: source_schedule="
    ]
    constant = optimizers.SGD(lr=0.1, momentum=0.9).flax(twin)
    assert _refused(model, optimizer, twin, constant, source_schedule=schedule) == [
        "schedule: the source's stands at step 3, the target has none; likely fix: optax.scale_by_schedule"
    ]
    unscheduled = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    assert _refused(model, unscheduled, twin, theirs) == [
        "schedule: the source does not count its steps; likely fix: source_schedule="
    ]
    transfer_optimizer(model, optimizer, twin, theirs, source_schedule=schedule)
    back = description.torch(model)
    beyond = description.torch_schedule(back)
    back.step()
    for _ in range(4):
        beyond.step()
    assert _refused(twin, theirs, model, back, target_schedule=beyond) == [
        "schedule: expected target_schedule at step 3 or before, received step 4; likely fix: make a new one"
    ]


@pytest.mark.parametrize("kind", ["StepLR", "CosineAnnealingLR"])
def test_a_schedule_that_only_knows_its_next_step_goes_to_its_position(kind):
    """These compute a rate from the last one, so the position alone would not do."""
    settings = {"StepLR": {"step_size": 2, "gamma": 0.5}, "CosineAnnealingLR": {"T_max": 9}}[kind]

    def make(model):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        return optimizer, getattr(torch.optim.lr_scheduler, kind)(optimizer, **settings)

    model, _ = _pair()
    optimizer, schedule = make(model)
    _steps(model, optimizer, schedule, 5)
    other, _ = _pair()
    target, at = make(other)
    transfer_optimizer(model, optimizer, other, target, source_schedule=schedule, target_schedule=at)
    assert target.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] != 0.1
    assert at.last_epoch == 5


def _adam(**settings):
    return lambda model: torch.optim.Adam(model.parameters(), **({"lr": 1e-3} | settings))


def _sgd(**settings):
    return lambda model: torch.optim.SGD(model.parameters(), **({"lr": 0.1, "momentum": 0.9} | settings))


def _rmsprop(**settings):
    return lambda model: torch.optim.RMSprop(model.parameters(), **({"lr": 1e-3} | settings))


SETTINGS = {
    # What PyTorch has, what optax has, and what of both is said.
    "RAdam": (_adam(), optax.radam(1e-3), ["algorithm", "RAdam", "Adam"]),
    "RAdam, early": (_adam(), optax.radam(1e-3, threshold=20.0), ["algorithm", "Adam"]),
    "Adamax": (_adam(), optax.adamax(1e-3), ["algorithm", "Adamax", "Adam"]),
    "NAdam": (_adam(), optax.nadam(1e-3), ["algorithm", "NAdam", "Adam"]),
    "NAdam with eps": (_adam(eps=1e-6), optax.nadam(1e-3, b1=0.8, eps=1e-6), ["algorithm", "NAdam", "Adam"]),
    "Yogi": (_adam(), optax.yogi(1e-3), ["algorithm", "Yogi", "Adam"]),
    "LAMB": (_adam(), optax.lamb(1e-3), ["algorithm", "LAMB", "Adam"]),
    "eps in the root of Adam": (_adam(), optax.adam(1e-3, eps_root=1e-6), ["algorithm", "eps_root=1e-06", "Adam"]),
    "eps in the root of RMSprop": (_rmsprop(), optax.rmsprop(1e-3, decay=0.99), ["eps=1e-08 in the root", "RMSprop"]),
    "Nesterov": (_sgd(), optax.sgd(0.1, momentum=0.9, nesterov=True), ["nesterov", "True", "False"]),
    "momentum": (_sgd(), optax.sgd(0.1, momentum=0.8), ["momentum", "0.8", "0.9"]),
    "lr": (_adam(), optax.adam(2e-3), ["lr", "0.002", "0.001"]),
    "lr that is injected": (_adam(), optax.inject_hyperparams(optax.adam)(2e-3), ["lr", "0.002", "0.001"]),
    "beta1": (_adam(), optax.adam(1e-3, b1=0.8), ["beta1", "0.8", "0.9"]),
    "beta2": (_adam(), optax.adam(1e-3, b2=0.99), ["beta2", "0.99", "0.999"]),
    "eps": (_adam(), optax.adam(1e-3, eps=1e-7), ["eps", "1e-07", "1e-08"]),
    "alpha": (_rmsprop(), optax.rmsprop(1e-3, decay=0.9, eps_in_sqrt=False), ["alpha", "0.9", "0.99"]),
    "decay": (_adam(), optax.adamw(1e-3), ["weight_decay of the parameter", "0.0001", "0"]),
    "decay of SGD": (
        _sgd(weight_decay=0.1),
        optax.sgd(0.1, momentum=0.9),
        ["weight_decay of the gradient", "0", "0.1"],
    ),
    "decay of every parameter": (
        lambda model: optimizers.AdamW(lr=1e-3, decay=optimizers.matrices).torch(model),
        optax.adamw(1e-3, weight_decay=1e-2),
        ["weight_decay of the parameter", "0.01", "(0.bias)"],
    ),
    "two learning rates": (
        lambda model: torch.optim.SGD(
            [{"params": [model[0].weight]}, {"params": [model[0].bias], "lr": 0.01}], lr=0.1, momentum=0.9
        ),
        optax.sgd(0.1, momentum=0.9),
        ["lr", "0.1", "0.01", "(0.bias)"],
    ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_settings_that_differ_are_said_in_both_directions(case):
    make, transformation, words = SETTINGS[case]
    model, twin = _pair()
    optimizer = make(model)
    _steps(model, optimizer, None, 7)
    theirs = nnx.Optimizer(twin, transformation, wrt=nnx.Param)
    before = jax.tree.map(np.asarray, nnx.state(theirs))
    (problem,) = _refused(model, optimizer, twin, theirs)
    assert all(word in problem for word in [*words, "allow_settings=True"]), problem
    assert jax.tree.all(jax.tree.map(np.array_equal, before, jax.tree.map(np.asarray, nnx.state(theirs))))
    transfer_optimizer(model, optimizer, twin, theirs, allow_settings=True)
    (problem,) = _refused(twin, theirs, model, make(model))
    assert all(word in problem for word in words), problem


@pytest.mark.parametrize("description", DESCRIPTIONS, ids=_name)
def test_the_settings_of_one_description_are_the_same(description):
    """And of the same in float32, whose state is read in float64."""
    for double in (True, False):
        model, twin = _pair(double=double)
        if not double:
            with jax.enable_x64(new_val=False):
                twin = nnx.clone(twin)
        optimizer = description.torch(model)
        schedule = description.torch_schedule(optimizer)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        target = description.flax(twin)
        # It raises with what differs, if anything does.
        assert transfer_optimizer(model, optimizer, twin, target, source_schedule=schedule) is target


def test_a_schedule_that_differs_later_is_said():
    model, twin = _pair()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=9, gamma=0.5)
    _steps(model, optimizer, schedule, 3)
    constant = nnx.Optimizer(twin, optax.adam(optax.constant_schedule(0.1)), wrt=nnx.Param)
    (problem,) = _refused(model, optimizer, twin, constant, source_schedule=schedule)
    assert problem.startswith("lr at step 13: expected 0.1, as the target has, received 0.05 from the source")
    stairs = nnx.Optimizer(twin, optax.adam(optax.exponential_decay(0.1, 9, 0.5, staircase=True)), wrt=nnx.Param)
    transfer_optimizer(model, optimizer, twin, stairs, source_schedule=schedule)
    assert (schedule.last_epoch, optimizer.param_groups[0]["lr"]) == (3, 0.1)


def test_a_frozen_parameter_that_the_other_would_train_is_said():
    model, twin = _pair()
    optimizer = torch.optim.Adam(model.parameters())
    _steps(model, optimizer, None, 3)
    model[0].weight.requires_grad_(requires_grad=False)
    theirs = nnx.Optimizer(twin, optax.adam(1e-3), wrt=nnx.Param)
    (problem,) = _refused(model, optimizer, twin, theirs)
    assert problem.startswith("parameters: expected trained, as the target has, received frozen from the source (0.we")
    parts = {"train": optax.adam(1e-3), "freeze": optax.set_to_zero()}

    def labels(tree):
        return jax.tree_util.tree_map_with_path(lambda path, _: "freeze" if "kernel" in str(path) else "train", tree)

    frozen = nnx.Optimizer(twin, optax.multi_transform(parts, labels), wrt=nnx.Param)
    transfer_optimizer(model, optimizer, twin, frozen)
    transfer_optimizer(twin, frozen, model, optimizer)
    model[0].weight.requires_grad_()
    assert _refused(model, optimizer, twin, frozen) == ["0.weight: not trained in the target"]


def test_of_a_bare_state_the_injected_settings_are_compared():
    model, twin = _pair()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    _steps(model, optimizer, None, 3)
    parameters = nnx.state(twin, nnx.Param)
    (problem,) = _refused(model, optimizer, twin, optax.inject_hyperparams(optax.adam)(2e-3).init(parameters))
    assert problem.startswith("lr: expected 0.002, as the target has, received 0.001 from the source")
    transfer_optimizer(model, optimizer, twin, optax.inject_hyperparams(optax.adam)(1e-3).init(parameters))


def test_the_position_of_an_injected_schedule_is_carried():
    model, twin = _pair()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    _steps(model, optimizer, schedule, 4)
    transformation = optax.inject_hyperparams(optax.adam)(lambda step: 0.1 / (1.0 + step))
    theirs = nnx.Optimizer(twin, transformation, wrt=nnx.Param)
    transfer_optimizer(model, optimizer, twin, theirs, source_schedule=schedule)
    _flax_steps(twin, theirs, 1)
    assert float(theirs.opt_state.hyperparams["learning_rate"][...]) == pytest.approx(0.1 / 5, rel=1e-6)
