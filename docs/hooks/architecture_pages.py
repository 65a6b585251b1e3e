"""A page for every architecture of the registry: mkdocs calls the `on_...` functions, `page` writes the Markdown.

A fragment `docs/architectures/NAME.md` may add to the page. What stands above its line `<!-- twins -->` goes before
the source of the twins, what stands below goes after.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import re
from collections import Counter
from pathlib import Path
from typing import Any

import architecture_parts as parts

from einops_arch import architectures
from einops_arch.flax._build import abstract_model
from einops_arch.flax.state import port_steps
from einops_arch.torch._build import without_values

FOLDER = "architectures"
TWINS = "<!-- twins -->"
TABLE = "<!-- architectures -->"
CONTENTS = "<!-- contents -->"


def on_config(config: Any) -> Any:
    """Put every architecture into the navigation."""
    (section,) = [entry["Architectures"] for entry in config.nav if "Architectures" in entry]
    section += [{name: f"{FOLDER}/{name}.md"} for name in architectures.names()]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Give an architecture without a fragment an empty one, and refuse a fragment without an architecture."""
    from mkdocs.exceptions import PluginError  # noqa: PLC0415  (the tests have no mkdocs)
    from mkdocs.structure.files import File  # noqa: PLC0415

    expected = {f"{FOLDER}/{name}.md" for name in architectures.names()}
    for file in files.documentation_pages():
        if file.src_uri.startswith(f"{FOLDER}/") and file.src_uri not in {*expected, f"{FOLDER}/index.md"}:
            raise PluginError(f"docs/{file.src_uri}: no architecture has this name")
    for uri in sorted(expected - set(files.src_uris)):
        files.append(File.generated(config, uri, content=""))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Write the pages of the folder `architectures`; leave the others as they are."""
    folder, _, name = page.file.src_uri.removesuffix(".md").partition("/")
    if folder != FOLDER:
        return markdown
    if name == "index":
        return markdown.replace(TABLE, table())
    # The twins need the width.
    page.meta["hide"] = ["toc"]
    page.meta["title"] = name
    return write(name, markdown)


def table() -> str:
    """All architectures, each with its summary and its presets."""
    rows = ["| architecture | what it is | input and output | parameters |", "|---|---|---|---|"]
    for name in architectures.names():
        architecture = architectures.get(name)
        config = architecture.config()
        axes = f"{_axes(config.inputs())} → {_axes(config.outputs())}"
        rows.append(f"| [{name}]({name}.md) | {architecture.summary} | {axes} | {_count(config):,} |")
    return "\n".join(rows)


def write(name: str, fragment: str = "") -> str:
    """The page of one architecture, from the registry, the source files and the fragment."""
    architecture = architectures.get(name)
    before, _, after = fragment.partition(TWINS)
    summary, _, details = inspect.getdoc(architecture.config).partition("\n")
    details = details.partition("\nArgs:")[0].strip()
    page = [
        f"# {architecture.config.MODEL}",
        summary,
        details,
        f"Source: {architecture.source}.",
        CONTENTS,
        _use(architecture),
        parts.sizes(architecture),
        parts.tree(architecture),
        before.strip(),
        _twins(architecture),
        parts.patterns(architecture),
        after.strip(),
        parts.parity(architecture),
        _config(architecture),
        _parameters(architecture),
        "## Reference",
        *(
            f"::: einops_arch.{part}.{name}.{class_name}\n    options: {{heading_level: 3, show_root_full_path: true}}"
            for part, class_name in (
                ("torch", architecture.config.MODEL),
                ("flax", architecture.config.MODEL),
            )
        ),
    ]
    text = "\n\n".join(part for part in page if part) + "\n"
    return text.replace(CONTENTS, contents(text), 1)


def contents(text: str) -> str:
    r"""The sections of a page in one line: the twins need the width that a table of contents would take.

    >>> contents("## Sizes\n\n## The twins\n")
    'On this page: [Sizes](#sizes) · [The twins](#the-twins)'
    """
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    links = [f"[{title}](#{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')})" for title in titles]
    return f"On this page: {' · '.join(links)}"


def _use(architecture: architectures.Architecture) -> str:
    model, config = architecture.config.MODEL, architecture.config()
    lines = ["| | PyTorch | Flax |", "|---|---|---|"]
    lines.append(
        f"| class | `einops_arch.torch.{model}(config)` | `einops_arch.flax.{model}(config, rngs=nnx.Rngs(0))` |"
    )
    for what, axes in (("takes", config.inputs()), ("gives", config.outputs())):
        lines.append(f"| {what} | {_named(axes)} | {_named(axes, flax=True)} |")
    return "\n".join(lines)


def _twins(architecture: architectures.Architecture) -> str:
    sources = {
        label: _code(Path(inspect.getsourcefile(twin)).read_text(encoding="utf-8"))
        for label, twin in (("PyTorch", architecture.torch_class()), ("Flax", architecture.flax_class()))
    }
    name = architecture.name
    files = {"PyTorch": f"einops_arch/torch/{name}.py", "Flax": f"einops_arch/flax/{name}.py"}
    tabs = [
        f'=== "{label}"\n\n' + _indent(f'```python title="{files[label]}"\n{source}\n```')
        for label, source in sources.items()
    ]
    lines = difflib.unified_diff(*(source.splitlines() for source in sources.values()), *files.values(), "", "", 0)
    diff = "\n".join(line.rstrip("\n") for line in lines if not line.startswith("@@"))
    return "\n\n".join(
        [
            "## The twins",
            "The source files, without their docstrings, which stand [below](#reference).",
            '<div class="twins" markdown>\n\n' + "\n\n".join(tabs) + "\n\n</div>",
            '??? note "Only the lines that differ"\n\n' + _indent(f"```diff\n{diff}\n```"),
        ]
    )


def _code(source: str) -> str:
    """The source without docstrings, `__future__` and `__all__`; comments and layout stay as they are."""
    lines: list[str | None] = list(source.splitlines())
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        drop = []
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            drop.append(body[0])
        if isinstance(node, ast.Module):
            drop += [each for each in body if isinstance(each, ast.ImportFrom) and each.module == "__future__"]
            drop += [each for each in body if isinstance(each, ast.Assign) and each.targets[0].id == "__all__"]
        for each in drop:
            lines[each.lineno - 1 : each.end_lineno] = [None] * (each.end_lineno - each.lineno + 1)
    kept: list[str] = []
    for line in lines:
        starts = not kept or kept[-1].rstrip().endswith(":")
        twice = len(kept) > 1 and not kept[-1] and not kept[-2]
        if line is not None and (line.strip() or not (starts or twice)):
            kept.append(line)
    return "\n".join(kept).strip("\n")


def _config(architecture: architectures.Architecture) -> str:
    config = architecture.config
    meanings = _arguments(inspect.getdoc(config))
    presets = list(config.PRESETS)
    made = {preset: config.preset(preset) for preset in presets}
    fields = ["| field | meaning | default |", "|---|---|---|"]
    fields += [
        f"| `{field.name}` | {meanings.get(field.name, '')} | `{field.default!r}` |"
        for field in dataclasses.fields(config)
    ]
    sizes = ["| preset | what | fields that are not the default |", "|---|---|---|"]
    for preset, value in made.items():
        changed = [
            f"`{field.name}={getattr(value, field.name)!r}`"
            for field in dataclasses.fields(config)
            if getattr(value, field.name) != field.default
        ]
        what = inspect.getdoc(getattr(config, preset)).partition("\n")[0]
        sizes.append(f"| `{preset}` | {what} | {', '.join(changed)} |")
    title = f"## The config\n\n`einops_arch.architectures.{config.__name__}` is frozen and checks itself."
    return "\n\n".join([title, "\n".join(fields), f"`{config.__name__}.preset(name)` gives:", "\n".join(sizes)])


def _parameters(architecture: architectures.Architecture) -> str:
    config = architecture.config.tiny()
    rows = ["| PyTorch | shape | Flax | shape | layout, from left to right |", "|---|---|---|---|---|"]
    for step in _steps(architecture, config):
        torch_leaves = list(step.expected.items())
        leaves = list(step.leaves)
        rows.append(
            "| "
            + " | ".join(
                [
                    "<br>".join(f"`{name}`" for name, _ in torch_leaves),
                    "<br>".join(f"`{_shape(shape)}`" for _, (shape, _) in torch_leaves),
                    "<br>".join(f"`{leaf.path}`" for leaf in leaves),
                    "<br>".join(f"`{_shape(leaf.shape)}`" for leaf in leaves),
                    "as it is" if step.layout == "... -> ..." else f"`{step.layout}`",
                ]
            )
            + " |"
        )
    text = (
        f"Of `{architecture.config.__name__}.tiny()`. Read a pattern from left to right to go from PyTorch to Flax, and"
        " from right to left to go back. Values and their bits stay what they are."
    )
    return f"## The parameters\n\n{text}\n\n" + "\n".join(rows)


def _steps(architecture: architectures.Architecture, config: architectures.Config) -> list[Any]:
    return [step for step, _ in port_steps(abstract_model(config))]


def _count(config: architectures.Config) -> int:
    """Trained numbers, each counted once where layers share them."""
    return sum(parameter.numel() for parameter in without_values(config).parameters())


def _arguments(docstring: str) -> dict[str, str]:
    """The `Args` of a Google docstring: one name and one sentence or more."""
    block = docstring.partition("Args:\n")[2].partition("\n\n")[0]
    found: dict[str, str] = {}
    name = ""
    for line in block.splitlines():
        if line.startswith("    ") and not line.startswith("     "):
            name, _, text = line.strip().partition(": ")
            found[name] = text
        else:
            found[name] += f" {line.strip()}"
    return found


def _axes(axes: Any) -> str:
    """Each kind of axes once, with how many there are."""
    counts = Counter(one.axes for one in axes)
    return ", ".join(f"`{kind}`" + (f" ({count} of them)" if count > 1 else "") for kind, count in counts.items())


def _named(axes: Any, *, flax: bool = False) -> str:
    return "<br>".join(f"{one.name} `{one.flax_axes if flax else one.axes}`" for one in axes)


def _shape(shape: tuple[int, ...]) -> str:
    return " ".join(map(str, shape)) or "()"


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())
