"""Which tests run: `--backend numpy|torch|jax|parity|all` and `--device cpu|cuda`, read from `backends/`.

A file says by its prefix what it needs: `test_core_*.py` numpy (and whatever array backends are at hand,
through `xp`), `test_torch_*.py` torch, `test_flax_*.py` jax and Flax, `test_parity_*.py` both. What was asked
for and cannot be used ends the run; nothing is skipped.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

import environments
import hypothesis
import pytest
from array_backends import ARRAY_BACKENDS
from selection import ROOT, Selection, check_names

if TYPE_CHECKING:
    from collections.abc import Iterator

ENVIRONMENT = pytest.StashKey[environments.Environment]()
VERSIONS = pytest.StashKey[dict[str, str]]()

hypothesis.settings.register_profile("small", deadline=None, max_examples=25)
hypothesis.settings.register_profile("ci", parent=hypothesis.settings.get_profile("small"), derandomize=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("einops-arch")
    group.addoption("--backend", choices=environments.BACKENDS, default="all", help="what is at hand (default: all)")
    group.addoption(
        "--device", choices=environments.DEVICES, default="cpu", help="where the arrays live (default: cpu)"
    )


def pytest_configure(config: pytest.Config) -> None:
    try:
        check_names()
        environment = environments.choose(config.getoption("backend"), config.getoption("device"))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[ENVIRONMENT] = environment
    # A plugin of its own: a conftest is asked about its own folder only, not about the package's doctests.
    config.pluginmanager.register(Selection(environment.prefixes))
    # Before any framework is imported: they read their variables once.
    os.environ.update(environment.variables)
    _keep_compiled_programs()
    # Processes beside one another are given a width, and the command line would cut its tables to it.
    os.environ.pop("COLUMNS", None)
    hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "small")


def _keep_compiled_programs() -> None:
    """Have jax keep what it compiled, for the processes beside this one and the sessions after it.

    Most of a session's time goes into compiling thousands of small programs; a folder set by the caller stays.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".jax_cache")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_sessionstart(session: pytest.Session) -> None:
    try:
        session.config.stash[VERSIONS] = environments.check(session.config.stash[ENVIRONMENT])
    except RuntimeError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_report_header(config: pytest.Config) -> str:
    environment = config.stash[ENVIRONMENT]
    versions = config.stash.get(VERSIONS, {})
    parts = [f"{name} {version}" for name, version in versions.items()]
    return f"environment: {environment.name}; device: {environment.device}; {', '.join(parts)}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for failure in config.stash[ENVIRONMENT].known_failures:
            if failure.covers(item.nodeid):
                item.add_marker(pytest.mark.xfail(reason=f"{failure.reason} ({failure.link})", strict=True))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "xp" in metafunc.fixturenames:
        frameworks = metafunc.config.stash[ENVIRONMENT].frameworks
        metafunc.parametrize("xp", [name for name in ARRAY_BACKENDS if name in frameworks], indirect=True)


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> str:
    """The device that was asked for: "cpu" or "cuda"."""
    return pytestconfig.stash[ENVIRONMENT].device


@pytest.fixture
def xp(request: pytest.FixtureRequest, device: str) -> Iterator[Any]:
    """Each array backend of the environment in turn; jax with strict dtype promotion."""
    backend = ARRAY_BACKENDS[request.param]("cpu" if request.param == "numpy" else device)
    with _strict_promotion() if backend.name == "jax" else contextlib.nullcontext():
        yield backend


@pytest.fixture
def strict_promotion() -> Iterator[None]:
    """In jax, mixing dtypes is an error: for tests of code that must not promote silently."""
    with _strict_promotion():
        yield


def _strict_promotion() -> contextlib.AbstractContextManager[Any]:
    import jax

    return jax.numpy_dtype_promotion("strict")


@pytest.fixture(autouse=True)
def _two_torch_threads() -> Iterator[None]:
    """A test that changes the number of threads changes it for itself only."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(2)
