"""Load a checkpoint into a PyTorch model, each shard from its slice, by way of `torch.distributed.checkpoint`."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from einops_arch import architectures
from einops_arch._log import LOG
from einops_arch.checkpoints.checkpoint import describe
from einops_arch.checkpoints.reader import Reader
from einops_arch.checkpoints.tensors import TensorInfo
from einops_arch.errors import CheckpointError, ConfigError, EinopsArchError
from einops_arch.layouts.axes import specs_of, torch_axes
from einops_arch.layouts.state import problems_error
from einops_arch.port.check_reader import hold_reader
from einops_arch.port.ties import once_tied
from einops_arch.port.unwrap import Unwrapped, unwrapped
from einops_arch.torch.state import expected_state, tied_names

__all__ = ["load_onto"]


State = dict[str, Tensor]


def load_onto(opened: Callable[[], Reader], model: nn.Module, mesh: Any, shardings: Mapping[str, str]) -> None:
    """Load a checkpoint into a PyTorch model; see `einops_arch.checkpoints.load`."""
    targets = model.state_dict(keep_vars=True)
    together = _is_distributed() and (mesh is not None or any(map(_is_sharded, targets.values())))
    problem = None
    with contextlib.ExitStack() as stack:
        try:
            reader = stack.enter_context(_in_torch_layout(opened(), model))
            what = f"load into {type(model).__name__}"
            expected, tied = expected_state(targets), tied_names(targets)
            reader = unwrapped(reader, {name: shape for name, (shape, _) in expected.items()}, tied)
            if isinstance(reader, Unwrapped):
                LOG.warning("%s", reader.remark)
            reader = hold_reader(once_tied(reader, expected), expected, tied, what)
            stored = _stored(targets, reader)
            staged = _staged(model, targets, stored, reader, mesh, shardings)
        except EinopsArchError as error:
            problem = error
        if together:
            _agree(problem)
        if problem is not None:
            raise problem
        _read({stored[name]: value for name, value in staged.items()}, reader, together=together)
    _put(model, targets, staged)


def _in_torch_layout(reader: Reader, model: nn.Module) -> Reader:
    """The checkpoint by PyTorch's names, in its layout."""
    try:
        if describe(reader.metadata).framework == "torch":
            return reader
        config = getattr(model, "config", None)
        if not isinstance(config, architectures.Config):
            raise CheckpointError(
                f"the checkpoint is in Flax's layout, and nothing says how that of {type(model).__name__} lies; likely "
                "fix: port_checkpoint(source, destination, 'torch', model=...) with the Flax model first"
            )
        from einops_arch.flax._build import abstract_model  # the rules are held against Flax's layers
        from einops_arch.port.stream import Ported

        return Ported(reader, abstract_model(config), "flax", "torch")
    except BaseException:
        reader.close()
        raise


def _stored(targets: State, reader: Reader) -> dict[str, str]:
    """The name in the checkpoint of every tensor of the model that is not another name of one before it."""
    groups = {name: group for group in tied_names(targets) for name in group}
    return {name: reader.aliases.get(name, name) for name in targets if name not in groups or name == groups[name][0]}


def _staged(
    model: nn.Module,
    targets: State,
    stored: Mapping[str, str],
    reader: Reader,
    mesh: Any,
    shardings: Mapping[str, str],
) -> State:
    """A tensor without values for each, where its values will be."""
    infos = {name: reader.info(source) for name, source in stored.items()}
    what = f"load into {type(model).__name__}"
    if mesh is None:
        problems = [
            f"{name}: expected {_dtype(targets[name].dtype)}, as the shards have, received {info.dtype}; likely fix: "
            f"dtype={_dtype(targets[name].dtype)!r}, or load before a value is there (torch.device('meta'))"
            for name, info in infos.items()
            if _is_sharded(targets[name]) and not targets[name].is_meta and info.dtype != _dtype(targets[name].dtype)
        ]
        problems += _unfilled(model, targets)
        if problems:
            raise problems_error(what, problems)
        return {name: _like(targets[name], info) for name, info in infos.items()}
    from torch.distributed import tensor as dtensor  # a torch without it has no mesh either

    if any(map(_is_sharded, targets.values())):
        raise ConfigError("load: the model is on a mesh already; likely fix: leave out mesh= and shardings=")
    if not mesh.mesh_dim_names:
        raise ConfigError("load: expected a mesh whose axes have names; likely fix: mesh_dim_names=")
    names = torch_axes(model)
    groups = {name: group for group in tied_names(targets) for name in group}
    tensors = {
        name: (info.shape, [names[member] for member in groups.get(name, [name])]) for name, info in infos.items()
    }
    sizes = {name: mesh.size(number) for number, name in enumerate(mesh.mesh_dim_names)}
    specs, problems = specs_of(tensors, shardings, sizes)
    problems += _unfilled(model, targets)
    if problems:
        raise problems_error(what, problems)
    staged = {}
    for name, info in infos.items():
        spec = specs[name]
        placements = [dtensor.Shard(spec.index(axis)) if axis in spec else dtensor.Replicate() for axis in sizes]
        dtype = getattr(torch, info.dtype)
        staged[name] = dtensor.empty(*info.shape, dtype=dtype, device_mesh=mesh, placements=placements)
    return staged


def _read(state: State, reader: Reader, *, together: bool) -> None:
    """Fill the tensors of a state, every process its own shards; an error of one is an error of all."""
    from torch.distributed import checkpoint as dcp  # it takes a second to import
    from torch.distributed.checkpoint import metadata

    class Slices(dcp.StorageReader):
        """One of our readers as the engine sees a storage: every tensor is one chunk, of which it asks for boxes."""

        def reset(self, checkpoint_id: Any = None) -> None:
            pass

        def read_metadata(self, *_: Any, **__: Any) -> Any:
            known = {}
            for name in state:
                info = reader.info(name)
                size = torch.Size(info.shape)
                chunk = metadata.ChunkStorageMetadata(torch.Size([0] * len(size)), size)
                properties = metadata.TensorProperties(dtype=getattr(torch, info.dtype))
                known[name] = metadata.TensorStorageMetadata(properties, size, [chunk])
            return metadata.Metadata(known)

        def set_up_storage_reader(self, *_: Any, **__: Any) -> None:
            pass

        def prepare_local_plan(self, plan: Any) -> Any:
            return plan

        def prepare_global_plan(self, plans: Any) -> Any:
            return plans

        def read_data(self, plan: Any, planner: Any) -> Any:
            for item in plan.items:
                name = item.storage_index.fqn
                box = tuple((at, at + size) for at, size in zip(item.storage_offsets, item.lengths, strict=True))
                target = planner.resolve_tensor(item).detach()
                target.copy_(_tensor(reader.part(reader.aliases.get(name, name), box), reader.info(name)))
                planner.commit_tensor(item, target)
            done: Any = torch.futures.Future()
            done.set_result(None)
            return done

        @classmethod
        def validate_checkpoint_id(cls, checkpoint_id: Any) -> bool:
            return True

    planner = dcp.DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            dcp.load(state, storage_reader=Slices(), planner=planner, no_dist=not together)
    except dcp.CheckpointException as error:
        rank, (cause, _) = next(iter(error.failures.items()))
        text = f"process {rank}: {cause}" if together else str(cause)
        raise CheckpointError(text) from cause


def _put(model: nn.Module, targets: State, staged: State) -> None:
    """Put the values into the model; nothing can fail any more."""
    made: dict[int, Tensor] = {}
    for name, value in staged.items():
        old = targets[name]
        if old.is_meta or _is_sharded(value) != _is_sharded(old):
            is_parameter = isinstance(old, nn.Parameter)
            made[id(old)] = nn.Parameter(value, requires_grad=old.requires_grad) if is_parameter else value
        elif old.dtype != value.dtype:
            old.data = value
        else:
            with torch.no_grad():
                _local(old).copy_(_local(value))
    for module in model.modules():
        for name, old in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if id(old) in made:
                setattr(module, name, made[id(old)])


def _agree(problem: EinopsArchError | None) -> None:
    """Raise an error where another process has one, so that none waits for it."""
    messages: list[str | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(messages, None if problem is None else str(problem))
    if problem is None and any(messages):
        rank, text = next((rank, text) for rank, text in enumerate(messages) if text is not None)
        raise CheckpointError(f"process {rank}: {text}")


def _like(old: Tensor, info: TensorInfo) -> Tensor:
    dtype = getattr(torch, info.dtype)
    if not _is_sharded(old):
        return torch.empty(info.shape, dtype=dtype, device="cpu" if old.is_meta else old.device)
    device = old.device_mesh.device_type if old.is_meta else None
    return torch.empty_like(old.detach(), dtype=dtype, device=device)


def _unfilled(model: nn.Module, targets: State) -> list[str]:
    known = {id(tensor) for tensor in targets.values()}
    tensors: Iterable[tuple[str, Tensor]] = [*model.named_parameters(), *model.named_buffers()]
    return [
        f"{name}: it has no value, and no checkpoint has one; likely fix: build the model on a device"
        for name, tensor in tensors
        if tensor.is_meta and id(tensor) not in known
    ]


def _tensor(bits: np.ndarray[Any, Any], info: TensorInfo) -> Tensor:
    with warnings.catch_warnings():
        # It is only read.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.array(bits, order="C", copy=None)).view(getattr(torch, info.dtype))


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "device_mesh")


def _local(tensor: Any) -> Tensor:
    return tensor.to_local() if _is_sharded(tensor) else tensor.data


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
