"""Build a network with shapes in the place of values, or from a state, with no random weights on the way."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx

from einops_arch import architectures
from einops_arch.architectures import Config
from einops_arch.errors import PortError
from einops_arch.flax.state import load_state_dict, named_modules

__all__ = ["abstract", "abstract_model", "check_filled", "create_model", "filled", "from_state", "without_values"]


class _SameKey(nnx.RngStream):
    """A stream whose count stays, where no number is drawn: to count each leaf takes most of the time there."""

    def __call__(self) -> jax.Array:
        return self.key[...]

    def fork(self, *, split: Any = None) -> nnx.RngStream:
        """A stream as layers have it."""
        del split
        return nnx.RngStream(self.key[...], tag=self.tag)


def abstract_model(config: Config) -> Any:
    """A network with shapes and dtypes in the place of values, so that it takes no memory.

    Args:
        config: the config of a registered architecture.

    Raises:
        UnknownArchitectureError: the config's class is not in the registry.
    """
    model_class = architectures.of_config(config).flax_class()
    return abstract(lambda rngs: model_class(config, rngs=rngs))


def abstract(make: Callable[[nnx.Rngs], Any]) -> Any:
    """What a function builds, with shapes and dtypes in the place of values.

    Args:
        make: builds a module.
    """
    order: dict[str, list[str]] = {}

    def build() -> Any:
        rngs = nnx.Rngs(0)
        rngs.default = _SameKey(0, tag="default")
        model = make(rngs)
        order.update({path: list(vars(module)) for path, module in named_modules(model)})
        return model

    model = nnx.eval_shape(build)
    # The transform puts attributes in the order of the alphabet; a state is listed in that of their definition.
    for path, module in named_modules(model):
        attributes = vars(module)
        for name in [name for name in order[path] if name in attributes]:
            attributes[name] = attributes.pop(name)
    return model


_OPTIONS = ("dtype", "param_dtype", "remat")


def create_model(name: str, *, rngs: nnx.Rngs, **fields: Any) -> Any:
    """The Flax network that a name stands for, with random weights.

    Args:
        name: an architecture (`"resnet"`) or a size of one (`"resnet50"`, `"vgg16_bn"`); `list_models` lists them.
        rngs: random streams of the weights and of dropout.
        fields: fields of the config that are other than the size has them, such as `classes=10`; and what the class of
            the network takes: `dtype`, `param_dtype`, and `remat` where blocks repeat.

    Raises:
        UnknownArchitectureError: nothing has that name; the nearest one is offered.
        ConfigError: the config has no such field, or a value is out of range.

    >>> create_model("resnet18", rngs=nnx.Rngs(0), classes=10).fc.kernel.get_value().shape
    (512, 10)
    """
    known = inspect.signature(architectures.of_config(architectures.config_for(name)).flax_class().__init__).parameters
    options = {key: fields.pop(key) for key in _OPTIONS if key in fields and key in known}
    config = architectures.config_for(name, **fields)
    return architectures.of_config(config).flax_class()(config, rngs=rngs, **options)


def from_state(config: Config, state: Mapping[str, Any], *, rngs: nnx.Rngs | None = None) -> Any:
    """The Flax network of a config, with the weights of a state that has PyTorch's names and layout.

    The same as building the network and calling `load_state_dict`, but no weight is drawn only to be replaced: a
    large network is there sooner and takes its weights' memory once.

    Args:
        config: the config of a registered architecture.
        state: numpy arrays, jax arrays or torch tensors by name; a bfloat16 state makes a bfloat16 network.
        rngs: random streams of dropout, which forks the stream `dropout` for each layer, in the order of the layers;
            `nnx.Rngs(0)` if left out.

    Returns:
        The network, in training mode as every new one.

    Raises:
        PortError: names, shapes or dtypes do not fit.
        UnknownArchitectureError: the config's class is not in the registry.

    >>> from einops_arch.architectures import ConvNetConfig
    >>> from einops_arch.flax import state_dict
    >>> from einops_arch.flax.convnet import ConvNet
    >>> state = state_dict(ConvNet(ConvNetConfig.tiny(), rngs=nnx.Rngs(0)))
    >>> model = from_state(ConvNetConfig.tiny(), state)
    >>> bool((model.conv1.bias[...] == state["conv1.bias"]).all())
    True
    """
    model = without_values(config, rngs=rngs)
    load_state_dict(model, state)
    check_filled(model)
    return model


def without_values(config: Config, *, rngs: nnx.Rngs | None = None) -> Any:
    """The Flax network of a config with shapes in the place of weights, to be filled by `einops_arch.checkpoints.load`.

    It takes no memory, and no weight is drawn only to be replaced. Its random streams have values.

    Args:
        config: the config of a registered architecture.
        rngs: random streams of dropout, as `from_state` has them; `nnx.Rngs(0)` if left out.

    Raises:
        UnknownArchitectureError: the config's class is not in the registry.

    >>> from einops_arch.architectures import ConvNetConfig
    >>> without_values(ConvNetConfig()).fc1.kernel.get_value()
    ShapeDtypeStruct(shape=(320, 50), dtype=float32)
    """
    model = abstract_model(config)
    _give_streams(model, rngs or nnx.Rngs(0))
    return model


def filled(make: Callable[[nnx.Rngs], Any], state: Mapping[str, Any]) -> Any:
    """What a function builds, with the weights of a state; no weight is drawn only to be replaced.

    Args:
        make: builds a module.
        state: with PyTorch's names and layout.

    Raises:
        PortError: names, shapes or dtypes do not fit.
    """
    try:
        model = abstract(make)
    except jax.errors.JAXTypeError:  # its constructor computes with numbers
        model = make(nnx.Rngs(0))
    _give_streams(model, nnx.Rngs(0))
    load_state_dict(model, state)
    if _empty(model):  # it has numbers that are no part of the state
        model = make(nnx.Rngs(0))
        load_state_dict(model, state)
    return model


def _give_streams(model: Any, rngs: nnx.Rngs) -> None:
    for _, module in named_modules(model):
        for name, value in vars(module).items():
            if isinstance(value, nnx.RngStream):
                setattr(module, name, rngs["dropout"].fork())


def check_filled(model: Any) -> None:
    """Raise an error if a network has still shapes in the place of values.

    Raises:
        PortError: it has, and where.
    """
    empty = _empty(model)
    if empty:
        raise PortError(
            f"from_state: the state has no values for {', '.join(empty)} of {type(model).__name__}; likely fix: build "
            "the network with rngs= and call load_state_dict"
        )


def _empty(model: Any) -> list[str]:
    """The leaves that have a shape and no value."""
    return [
        ".".join(map(str, path))
        for path, leaf in nnx.to_flat_state(nnx.state(model))
        if isinstance(leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf, jax.ShapeDtypeStruct)
    ]
