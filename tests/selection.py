"""Which files are collected: each says by its name, or by its place in the package, what it needs."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PREFIXES = ("core", "torch", "flax", "parity", "oracles", "bench")
# What the doctests of a file in the package need, by the start of its path; everything else needs numpy only.
DOCTESTS = {
    "torch/": "torch",
    "flax/": "flax",
    "parity/": "parity",
    "checkpoints/": "parity",
    "discovery/tracing/torch_": "torch",
    "discovery/tracing/jax_": "flax",
    "cli/": "parity",
    "port/settings.py": "parity",
    "port/transfer.py": "parity",
    "port/optimizer": "parity",
    "port/models/": "parity",
    "translation/translator.py": "parity",
}
# The same for the benchmark, whose doctests run beside those of the package.
BENCHMARKS = {
    # These import what the benchmark compares with; the rest of it needs no more than parity has.
    "both": "bench",
    "jax_cores": "bench",
    "torch_cores": "bench",
    "": "parity",
}


def needs(path: Path) -> str | None:
    """The prefix of what a Python file needs, None where the question has no meaning."""
    if path.parent == ROOT / "tests":
        kind = path.stem.removeprefix("test_").partition("_")[0]
        return kind if path.name.startswith("test_") else None
    for folder, table in ((ROOT / "einops_arch", DOCTESTS), (ROOT / "benchmarks", BENCHMARKS)):
        if folder in path.parents:
            relative = path.relative_to(folder).as_posix()
            return next((need for start, need in table.items() if relative.startswith(start)), "core")
    return None


def is_helper(path: Path) -> bool:
    """Whether a Python file beside the tests only serves them; its imports may need what the environment lacks."""
    return path.suffix == ".py" and ROOT / "tests" in path.parents and not path.name.startswith("test_")


def check_names() -> None:
    """No test file may be left out of every environment because its name has a slip.

    Raises:
        ValueError: A file in tests/ starts with none of the prefixes.
    """
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        if (need := needs(path)) not in PREFIXES:
            raise ValueError(
                f"{path.name}: the prefix {need!r} is none of {', '.join(PREFIXES)};"
                " name the file test_<prefix>_<topic>.py"
            )


class Selection:
    """A pytest plugin that leaves out every Python file that needs more than these prefixes."""

    def __init__(self, prefixes: tuple[str, ...]) -> None:
        self.prefixes = prefixes

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        if is_helper(collection_path):
            return True
        need = needs(collection_path) if collection_path.suffix == ".py" else None
        return None if need is None or need in self.prefixes else True
