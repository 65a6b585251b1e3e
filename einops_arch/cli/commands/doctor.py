"""The command `doctor`: what is installed, which devices it sees, and which extra brings what is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import re
import sys
from typing import Any

from einops_arch._text import counted, printable
from einops_arch._version import __version__
from einops_arch.cli.models import installed
from einops_arch.cli.output import console, print_json, progress, raised
from einops_arch.cli.reports import print_lines

__all__ = ["examine", "print_examination"]

_NAME = "einops-arch"
_EXTRAS = {
    "torch": "networks and ports in PyTorch",
    "flax": "networks and ports in Flax",
    "translate": "translated files, formatted",
    "hub": "weights of the Hugging Face hub",
    "demo": "the demo",
    "cli": "the command line",
}
"""The extras, and what each is for; `all` is all of them."""
_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)\s*(?:>=\s*(?P<least>[\w.]+))?[^;]*(?:;.*extra\s*==\s*['\"](?P<extra>\w+))?"
)


def print_examination(*, as_json: bool) -> bool:
    """Examine this installation and print what was seen.

    Returns:
        Whether everything that is installed can be used; what is missing is no fault.
    """
    with progress("Looking for frameworks and devices", quiet=as_json):
        examined = examine()
    if as_json:
        print_json(examined)
    else:
        _print(examined)
    return not examined["problems"]


def examine() -> dict[str, Any]:
    """Versions, devices, extras with what each lacks, and problems, each a sentence."""
    packages, problems = _packages()
    frameworks = {}
    for name, look in (("torch", _torch), ("flax", _flax)):
        if not installed(name):
            continue
        try:
            frameworks[name] = look()
        except Exception as error:  # noqa: BLE001 - a broken installation may raise anything
            problems.append(f"{name}: installed, but it cannot be used: {raised(error)}")
    extras = {}
    for extra, purpose in _EXTRAS.items():
        missing = [row["name"] for row in packages if extra in row["extras"] and row["version"] is None]
        extras[extra] = {"for": purpose, "missing": missing}
    return {
        "einops_arch": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "executable": sys.executable,
        "packages": packages,
        "frameworks": frameworks,
        "extras": extras,
        "problems": problems,
    }


def _packages() -> tuple[list[dict[str, Any]], list[str]]:
    """What this package wants and what is there, in its own order, and what is too old."""
    try:
        texts = importlib.metadata.requires(_NAME) or []
    except importlib.metadata.PackageNotFoundError:
        return [], [f"{_NAME} is not installed, so nothing says what it needs; likely fix: pip install -e '.[all]'"]
    rows: dict[str, dict[str, Any]] = {}
    for text in texts:
        match = _REQUIREMENT.match(text)
        if match is None:
            continue
        name = match["name"]
        rows.setdefault(name, {"name": name, "version": _version(name), "wants": match["least"], "extras": []})
        if match["extra"] in _EXTRAS:
            rows[name]["extras"].append(match["extra"])
    problems = [
        f"{row['name']} {row['version']}: expected {row['wants']} or newer; likely fix: pip install -U {row['name']}"
        for row in rows.values()
        if row["version"] and row["wants"] and _numbers(row["version"]) < _numbers(row["wants"])
    ]
    return list(rows.values()), problems


def _torch() -> dict[str, Any]:
    import torch

    devices = [f"cpu, {counted(torch.get_num_threads(), 'thread')}"]
    devices += [f"cuda:{n}, {torch.cuda.get_device_name(n)}" for n in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {"version": str(torch.__version__), "devices": devices}


def _flax() -> dict[str, Any]:
    import flax
    import jax

    devices = [f"{device.platform}:{device.id}, {device.device_kind}" for device in jax.devices()]
    return {"version": flax.__version__, "jax": jax.__version__, "devices": devices}


def _print(examined: dict[str, Any]) -> None:
    page = console()

    def say(*lines: str, style: str = "") -> None:
        print_lines(page, [printable(line, "") for line in lines], style)

    say(f"einops-arch {examined['einops_arch']}, Python {examined['python']}, {examined['platform']}")
    say(examined["executable"])
    say("", "devices", style="bold")
    names = {"torch": "PyTorch", "flax": "JAX"}
    for name, framework in examined["frameworks"].items():
        say(*(f"  {names[name]}: {device}" for device in framework["devices"]))
    if not examined["frameworks"]:
        say("  none: neither PyTorch nor Flax is installed")
    say("", "packages", style="bold")
    for row in examined["packages"]:
        if row["version"] is not None:
            say(f"  {row['name']} {row['version']}")
    lacking = {extra: row for extra, row in examined["extras"].items() if row["missing"]}
    if lacking:
        say("", "not installed", style="bold")
    for extra, row in lacking.items():
        say(f'  {", ".join(row["missing"])}, for {row["for"]}: pip install "{_NAME}[{extra}]"')
    if examined["problems"]:
        say("", "problems", style="bold red")
        say(*(f"  {problem}" for problem in examined["problems"]))
    else:
        say("", "what is installed can be used", style="green")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version, for comparing.

    >>> _numbers("2.13.0+cpu") > _numbers("2.6")
    True
    """
    release = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, release[0].split("."))) if release else ()
