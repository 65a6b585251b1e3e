"""Read `backends/<environment>/env.toml`: what an environment has, and what is expected to fail in it."""

from __future__ import annotations

import importlib
import importlib.metadata
import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "backends"
BACKENDS = ("numpy", "torch", "jax", "parity", "oracles", "newest", "oldest", "all")
CPU_ONLY = ("numpy", "oracles", "newest", "oldest")
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class KnownFailure:
    """A test that is expected to fail, and why."""

    test: str
    reason: str
    link: str

    def covers(self, nodeid: str) -> bool:
        """Whether `nodeid` is this test, or one case of it."""
        return nodeid == self.test or nodeid.startswith((f"{self.test}[", f"{self.test}::"))


@dataclass(frozen=True)
class Environment:
    """One folder of `backends/`, or for "all" the union of several."""

    name: str
    device: str
    frameworks: tuple[str, ...]
    absent: tuple[str, ...]
    extras: tuple[str, ...]
    prefixes: tuple[str, ...]
    variables: dict[str, str]
    known_failures: tuple[KnownFailure, ...]


def read(name: str) -> Environment:
    """The environment that the folder `name` describes; a key that is missing or unknown is an error."""
    data = tomllib.loads((FOLDER / name / "env.toml").read_text(encoding="utf-8"))
    failures = tuple(KnownFailure(**entry) for entry in data.pop("known_failures"))
    lists = {key: tuple(data.pop(key)) for key in ("frameworks", "absent", "extras", "prefixes")}
    return Environment(name, variables=data.pop("environment"), known_failures=failures, **lists, **data)


def choose(backend: str, device: str) -> Environment:
    """The environment of `--backend backend --device device`.

    Raises:
        ValueError: There is no such environment.
    """
    if backend in CPU_ONLY and device != "cpu":
        raise ValueError(f"--backend {backend} has no device {device!r}; leave out --device, or choose another backend")
    if backend == "numpy":
        return read("numpy")
    if backend != "all":
        return read(f"{backend}-{device}")
    parts = [read(f"{each}-{device}") for each in ("torch", "jax", "parity")]
    union = {
        key: tuple(dict.fromkeys(value for part in parts for value in getattr(part, key)))
        for key in ("frameworks", "extras", "prefixes", "known_failures")
    }
    variables = {key: value for part in parts for key, value in part.variables.items()}
    return Environment(f"all-{device}", device, absent=(), variables=variables, **union)


def check(environment: Environment) -> dict[str, str]:
    """Import every framework of the environment and touch its device.

    Returns:
        The version of each framework, by name.

    Raises:
        RuntimeError: One of them, or the device, cannot be used; the message is one sentence.
    """
    versions = {}
    for name in environment.frameworks:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise RuntimeError(
                f"{environment.name} needs {name}, which cannot be imported ({error}); install it, or say"
                " what is at hand with --backend numpy|torch|jax"
            ) from error
        versions[name] = importlib.metadata.version(name)
    if "torch" in environment.frameworks:
        _check_torch(environment)
    if "jax" in environment.frameworks:
        _check_jax(environment)
    return versions


def _check_torch(environment: Environment) -> None:
    import torch

    torch.set_num_threads(2)
    if environment.device != "cuda":
        return
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"--device cuda was asked for, but torch {torch.__version__} finds no CUDA device;"
            " leave out --device, or install a CUDA build and driver"
        )
    # float32 means float32. The older of torch's two ways to say it: after the newer one, reading these two flags
    # is an error in torch 2.13, and torch's own code reads them.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def _check_jax(environment: Environment) -> None:
    import jax

    if not jax.config.jax_enable_x64:
        raise RuntimeError(
            "jax was imported before the variables of env.toml were set, so it has no float64;"
            " set JAX_ENABLE_X64=1 in the shell, or leave out the pytest plugin that imports jax"
        )
    try:
        jax.devices(environment.device)
    except RuntimeError as error:
        raise RuntimeError(
            f"--device {environment.device} was asked for, but jax {jax.__version__} cannot use it ({error})"
        ) from error
