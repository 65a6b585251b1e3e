"""Parts of an architecture's page that are computed: what modules take and give, pictures of patterns, the report."""

from __future__ import annotations

import functools
import io
import re
from typing import Any

from parity_reports import report
from rich.console import Console

from einops_arch import architectures
from einops_arch.cli.summary.module import Summary
from einops_arch.cli.summary.summary import summarize
from einops_arch.cli.summary.tree import print_tree, short
from einops_arch.discovery.picture import draw
from einops_arch.flax._build import abstract_model
from einops_arch.flax.state import named_modules
from einops_arch.layouts.named_axes import stated_axes
from einops_arch.torch._build import without_values

_WRAPPERS = re.compile(r"einops\.layers\.torch|einops_arch\.torch\.layers\.(reshapes|wrappers|patterns)")


@functools.cache
def summary(architecture: architectures.Architecture, preset: str) -> Summary:
    """Module by module, in PyTorch's axes."""
    return summarize(architecture, architecture.config.preset(preset), "torch")


def sizes(architecture: architectures.Architecture) -> str:
    """Parameters and multiply-adds of every preset, and what is published of them."""
    presets = architecture.config.PRESETS
    published = architecture.config.PUBLISHED
    given = summary(architecture, presets[0]).modules[0].inputs
    rows = ["| size | parameters | multiply-adds |", "|---|--:|--:|"]
    if published:
        rows = ["| size | parameters | multiply-adds | published |", "|---|--:|--:|--:|"]
    for preset in presets:
        if preset.startswith("tiny") and len(presets) > 1:
            continue
        network = summary(architecture, preset).modules[0]
        cells = [f"`{preset}`", f"{network.parameters:,}", short(network.multiply_adds)]
        if published:
            parameters, multiply_adds = published.get(preset, (None, None))
            cells.append("" if parameters is None else f"{parameters:,}, {multiply_adds} G")
        rows.append(f"| {' | '.join(cells)} |")
    inputs = "; ".join(" ".join(f"`{name}={size}`" for name, size in array) for array in given)
    text = f"For {inputs} where a size does not say otherwise, in evaluation mode."
    if published:
        text += " Published figures are torchvision's, which counts in thousands of millions (G)."
    return f"## Sizes\n\n{text}\n\n" + "\n".join(rows)


def tree(architecture: architectures.Architecture) -> str:
    """The first preset as `einops-arch show` prints it."""
    first = architecture.config.PRESETS[0]
    page = Console(file=io.StringIO(), width=150, color_system=None, highlight=False)
    print_tree(page, "PyTorch module", summary(architecture, first).modules, None)
    lines = "\n".join(line.rstrip() for line in page.file.getvalue().splitlines())
    block = "\n".join(f"    {line}" for line in f"```text\n{lines}\n```".splitlines())
    name = first if first.startswith(architecture.name) else f"{architecture.name}_{first}"
    title = f"What each module of `{first}` takes, gives and costs (`einops-arch show {name}`)"
    return f'??? info "{title}"\n\n{block}'


def patterns(architecture: architectures.Architecture) -> str:
    """Every pattern of the tiny networks, with a picture and the modules that it is the work of."""
    found: dict[tuple[str, str], list[str]] = {}
    for preset in architecture.config.PRESETS:
        if not preset.startswith("tiny"):
            continue
        config = architecture.config.preset(preset)
        twins = dict(named_modules(abstract_model(config)))
        for path, module in without_values(config).named_modules():
            if _WRAPPERS.match(type(module).__module__) and (ours := _pattern(module)):
                theirs = _pattern(twins.get(path)) or ours
                paths = found.setdefault((ours, theirs), [])
                paths.append(re.sub(r"\b\d+\b", "*", path))
    if not found:
        return ""
    parts = ["## The patterns", "Elements before and after, with small sizes; numbers are their order before."]
    for (ours, theirs), paths in found.items():
        where = ", ".join(f"`{path}`" for path in dict.fromkeys(paths))
        flax = "" if theirs == ours else f"; in Flax `{theirs}`"
        parts.append(f"`{ours}`{flax}: {where}")
        operation = "reduce" if _is_reduction(ours) else "repeat" if _makes_more(ours) else "rearrange"
        parts.append(f'<div class="pattern">\n{draw(operation, ours).strip()}\n</div>')
    return "\n\n".join(parts)


def parity(architecture: architectures.Architecture) -> str:
    """The stored parity report as a table."""
    found = report(architecture.name)
    modules = found["modules"]
    worst = max(module["float64"] or 0 for module in modules)
    with_ = ", ".join(f"{name} {one}" for name, one in found["with"].items() if name != "machine")
    text = (
        f"Both tiny twins, with the same random weights, module by module: the largest difference in float64 is "
        f"{worst:.1e} of a result's rms, and {found['gradients']['float64']:.1e} of the rms of a gradient "
        f"({found['gradients']['count']} of them). Measured with {with_} on {found['with']['machine']}; "
        f"`einops-arch verify {architecture.name}` measures it anew."
    )
    rows = ["| module | PyTorch | Flax | shape | float64 | float32 error, Flax by PyTorch | verdict |"]
    rows.append("|---|---|---|---|--:|--:|---|")
    for module in modules:
        difference = "" if module["float64"] is None else f"{module['float64']:.1e}"
        ratio = "" if module["ratio"] is None else f"{module['ratio']:.2f}"
        cells = (f"`{module['path'] or '(network)'}`", module["torch"], module["flax"], f"`{module['shape']}`")
        rows.append(f"| {' | '.join((*cells, difference, ratio, module['verdict']))} |")
    table = "\n".join(f"    {row}" for row in rows)
    return f'## The parity report\n\n{text}\n\n??? success "{len(modules)} modules"\n\n{table}'


def _pattern(module: Any) -> str:
    """What a module does to the axes, with names for those that a pattern leaves open."""
    (left, *_), (right, *_) = stated_axes(module) if module is not None else (("",), ("",))
    if not left or left == right:
        return ""
    # All axes after the channels are space here.
    inside = "h w" if any("..." in bracket for bracket in re.findall(r"\([^)]*\)", right)) else ""
    return " -> ".join(re.sub(r"\s+", " ", side.replace("...", inside)).strip() for side in (left, right))


def _names(side: str) -> set[str]:
    return set(re.findall(r"[A-Za-z]\w*", side))


def _is_reduction(pattern: str) -> bool:
    left, _, right = pattern.partition(" -> ")
    return not _names(left) <= _names(right)


def _makes_more(pattern: str) -> bool:
    left, _, right = pattern.partition(" -> ")
    return not _names(right) <= _names(left)
