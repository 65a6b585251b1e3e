"""The networks in PyTorch, beside the same network by somebody else: eager, compiled, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.case import Bar, Case, Work
from benchmarks.networks import NETWORKS, Network, inputs
from benchmarks.plain_torch import PLAIN
from benchmarks.torch_programs import operations
from einops_arch import architectures
from einops_arch.architectures import Config

__all__ = ["cases", "oracle", "twin"]

_BATCHES = (1, 8)
_LIMIT = 1.02
# One eager call of a small network: checks and calls of modules are seen there, and are worth their microseconds.
_SMALL_LIMIT = 1.10


def cases(device: str) -> Iterator[Case]:
    """All rows."""
    for network in NETWORKS:
        if network.oracle is None:
            continue
        for batch in _BATCHES:
            for backward in (False, True):
                setting = f"eager, batch {batch}, {'forward + backward' if backward else 'forward'}"
                shallow = backward and batch > 1
                setting += ", fewer blocks" if shallow and network.shallow else ""
                make = partial(_work, network, batch, device=device, backward=backward, shallow=shallow)
                quick = batch == 1 and not backward
                bar = _bar(network, _SMALL_LIMIT if batch == 1 and network.small else _LIMIT)
                yield Case(network.name, "torch", _size(network), setting, make, bar, quick=quick)
        make = partial(_work, network, 1, device=device, compiled=True, shallow=True)
        setting = "compiled, batch 1, forward" + (", fewer blocks" if network.shallow else "")
        yield Case(network.name, "torch", _size(network), setting, make, _bar(network))
        if network.name in _IMAGES:
            make = partial(_work, network, 8, device=device, memory="channels_last")
            setting = "channels_last, eager, batch 8, forward"
            barred = network.name == "shufflenet"
            bar_last = _bar(network) if barred else None
            yield Case(network.name, "torch", _size(network), setting, make, bar_last, quick=barred)


_IMAGES = {"shufflenet", "resnet", "shufflenet_v2", "super_resolution"}


def _bar(network: Network, limit: float = _LIMIT) -> Bar:
    return Bar(limit, (str(network.oracle),))


def _size(network: Network) -> str:
    sizes = "x".join(str(size) for size in network.sizes.values())
    return f"{network.preset}, {sizes}" if sizes else network.preset


def twin(config: Config) -> nn.Module:
    """Ours, in evaluation mode."""
    torch.manual_seed(0)
    model: nn.Module = architectures.of_config(config).torch_class()(config)
    return model.eval()


def oracle(network: Network, config: Config, state: dict[str, Tensor]) -> nn.Module:
    """The same network by somebody else, with our weights: its parameters have the same names."""
    model: nn.Module
    if network.name in PLAIN:
        model = PLAIN[network.name](config)
    else:
        model = _PUBLIC[network.name](config)
    model.load_state_dict(state, strict=True)
    return model.eval()


def _resnet(config: Any) -> Any:
    from torchvision.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, list(config.depths), num_classes=config.classes)


def _vgg(config: Any) -> Any:
    from torchvision.models.vgg import VGG, make_layers

    layers: list[Any] = []
    for count, width in zip(config.convolutions, config.widths, strict=True):
        layers += [width] * count + ["M"]
    return VGG(make_layers(layers), num_classes=config.classes, init_weights=False, dropout=config.dropout)


def _shufflenet_v2(config: Any) -> Any:
    from torchvision.models.shufflenetv2 import ShuffleNetV2

    channels = [config.stem_channels, *config.stage_channels, config.last_channels]
    return ShuffleNetV2(list(config.repeats), channels, num_classes=config.classes)


def _vit(config: Any) -> Any:
    import timm

    return timm.create_model("vit_tiny_patch16_224", pretrained=False, depth=config.layers)


def _gpt2(config: Any) -> Any:
    import transformers

    rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=config.layers, **rates))
    return _Logits(model)


class _Logits(nn.Module):
    """A language model of transformers that gives its logits, and takes a state by its own names."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Any:
        return self.model(tokens, use_cache=False, return_dict=False)[0]

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:
        return self.model.load_state_dict(state, strict=strict, assign=assign)


_PUBLIC: dict[str, Callable[[Any], Any]] = {
    "resnet": _resnet,
    "vgg": _vgg,
    "shufflenet_v2": _shufflenet_v2,
    "vit": _vit,
    "gpt2": _gpt2,
}


def _work(
    network: Network,
    batch: int,
    *,
    device: str,
    memory: str = "contiguous",
    backward: bool = False,
    compiled: bool = False,
    shallow: bool = False,
) -> Work:
    config = network.config(shallow=shallow)
    ours = twin(config).to(device)
    theirs = oracle(network, config, ours.state_dict()).to(device)
    if backward:
        ours, theirs = ours.train(), theirs.train()
    arrays = inputs(network, config, batch, channels_last=False)
    tensors = [torch.from_numpy(array).to(device) for array in arrays]
    sides: dict[str, Any] = {"ours": ours, str(network.oracle): theirs}
    if memory == "channels_last":
        sides = {name: side.to(memory_format=torch.channels_last) for name, side in sides.items()}
        tensors = [tensor.contiguous(memory_format=torch.channels_last) for tensor in tensors]
    _share(ours, theirs)
    if compiled:
        torch.compiler.reset()
        # By default, a graph ends before an LSTM and begins after it: there would be little to compile.
        torch._dynamo.config.allow_rnn = True  # noqa: SLF001 its documented place
        # transformers has checks that break the graph.
        sides = {name: torch.compile(side, fullgraph=network.name != "gpt2") for name, side in sides.items()}
    run = _gradients if backward else _forward
    calls = {name: partial(run, side, tensors) for name, side in sides.items()}
    # What Python does on the way is measured with one sample, and is nothing beside eight.
    asked = {name: operations(call) for name, call in calls.items()} if batch > 1 and not compiled else {}
    mine = calls.pop("ours")
    return Work(mine, calls, _nearly, program=asked.__getitem__ if asked else None)


def _share(ours: nn.Module, theirs: nn.Module) -> None:
    """One memory for the weights of both: where in memory weights lie makes up to 5 % of a difference."""
    state = ours.state_dict()
    for name, tensor in [*theirs.named_parameters(), *theirs.named_buffers()]:
        tensor.data = state[name.removeprefix("model.") if isinstance(theirs, _Logits) else name]


def _forward(model: Any, tensors: list[Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return _tensors(model(*tensors))


def _gradients(model: nn.Module, tensors: list[Tensor]) -> list[Tensor]:
    """The outputs, and the gradients of their sum by every parameter."""
    outputs = _tensors(model(*tensors))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total = torch.stack([output.sum() for output in outputs]).sum()
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    norms = torch.stack([gradient.norm() for gradient in gradients if gradient is not None])
    return [*(output.detach() for output in outputs), norms.sort().values]


def _tensors(outputs: Any) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return [tensor for output in outputs for tensor in _tensors(output)]


def _nearly(ours: list[Tensor], theirs: list[Tensor]) -> str | None:
    """Up to the rounding of a deep network in float32; parity is the place for more."""
    for one, other in zip(ours, theirs, strict=True):
        error, scale = (one - other).abs().max().item(), other.abs().max().item()
        if not error <= 2e-3 * scale:
            return f"the results differ by {error:.1e} of {scale:.1e}"
    return None
