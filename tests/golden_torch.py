"""What the PyTorch twin of an architecture computes for the golden values."""

from __future__ import annotations

import torch
from golden_values import config_of, digest, projection

from einops_arch import architectures
from einops_arch.parity.probes import example_inputs, random_state


def compute(name, preset, device="cpu"):
    config = config_of(name, preset)
    model = architectures.get(name).torch_class()(config)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in state_of(model).items()})
    model = model.double().to(device)
    inputs = [torch.from_numpy(array).to(device) for array in example_inputs(config)]
    inputs = [x.double() if x.is_floating_point() else x for x in inputs]

    outputs = flatten(model.eval()(*inputs))
    results = {f"output.{index}": numpy(output) for index, output in enumerate(outputs)}
    weights = [
        torch.from_numpy(projection(index, tuple(output.shape))).to(device) for index, output in enumerate(outputs)
    ]
    sum((output * weight).sum() for output, weight in zip(outputs, weights, strict=True)).backward()
    # Tied parameters count under each of their names.
    for key, parameter in model.named_parameters(remove_duplicate=False):
        results[f"gradient.{key}"] = digest(key, numpy(parameter.grad))

    model.train()
    for index, output in enumerate(flatten(model(*inputs))):
        results[f"train.{index}"] = numpy(output)
    results |= {f"statistics.{key}": numpy(buffer) for key, buffer in model.named_buffers()}
    return results


def state_of(model):
    """The state that the golden values are made with; tied parameters get one value."""
    tensors = model.state_dict(keep_vars=True)
    shapes = {
        key: (tuple(value.shape), "floating-point" if value.is_floating_point() else "integer")
        for key, value in tensors.items()
    }
    names = {}
    for key, value in tensors.items():
        names.setdefault(id(value), []).append(key)
    return random_state(shapes, aliases=names.values())


def flatten(outputs):
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    values = outputs.values() if isinstance(outputs, dict) else outputs
    return [tensor for value in values for tensor in flatten(value)]


def numpy(tensor):
    return tensor.detach().cpu().numpy()
