"""Translate one model, in a process of its own: `python -m benchmarks.translate.model`, which the sweep starts.

It reads what to do from its argument as JSON, and writes what became of it as the last line of its output.
"""

from __future__ import annotations

import dataclasses
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.translate.catalog import ROOT, example, make_model
from benchmarks.translate.lines import class_lines, original_classes, original_lines

__all__ = ["result_of"]

WRITTEN = "written and equal"
# Of the largest number of an output, in float32 and with random weights.
_LIMIT = 1e-3


def result_of(entry: dict[str, Any], *, write_only: bool, keep: Path | None = None) -> dict[str, Any]:
    """What became of one model.

    Args:
        entry: of the catalog.
        write_only: written and tried at two sizes, not proved.
        keep: a folder that the generated file is written to.
    """
    from einops_arch.translation import TranslationError, translate

    result = {"set": entry["set"], "model": entry["model"], "verdict": "fault", "reasons": []}
    inputs, axes = example(entry)
    started, proving = time.process_time(), 0.0

    def say(text: str) -> None:
        nonlocal proving
        proving = proving or (time.process_time() if text.startswith("comparing") else 0.0)

    try:
        twin = translate(lambda: make_model(entry), inputs, axes=axes, prove=not write_only, progress=say)
    except TranslationError as error:
        result |= {"verdict": "refused", "reasons": _reasons(error.refusals)}
        return result | {"seconds": {"translating": _since(started)}}
    ended = time.process_time()
    seconds = {"translating": round((proving or ended) - started, 1)}
    if proving:
        seconds["proving"] = round(ended - proving, 1)
    if keep is not None:
        (keep / f"{entry['model']}.py").write_text(twin.source, encoding="utf-8")
    model = make_model(entry).eval()
    kinds = original_classes(model, lambda: _call(model, inputs))
    result |= {
        "lines": class_lines(twin.source),
        "original_lines": original_lines(kinds),
        "classes": len(twin.classes),
        "original_classes": len(kinds),
        "moves": twin.moves,
        "seconds": seconds,
    }
    problems = [*_lint(twin.source), *_state(model, twin)]
    if write_only:
        problems += _outputs(model, twin, inputs, axes)
        return result | {"verdict": "fault" if problems else WRITTEN, "reasons": problems}
    if not twin.passed:
        problems += [twin.report.verdict, *twin.report.problems]
    return result | {"verdict": "fault" if problems else "same function", "reasons": problems}


def _since(start: float) -> float:
    return round(time.process_time() - start, 1)


def _reasons(refusals: Sequence[Any]) -> list[str]:
    """Each reason once, with the place in its package, and how often it was met."""
    counts: dict[str, int] = {}
    for item in refusals:
        place = re.sub(r".*/(?:site-packages|tests)/", "", item.place)
        # The same in every block is one reason.
        reason = re.sub(r"(?:\w+\.)*\d+\.(?:[A-Za-z_]\w*\.)*", "", item.reason)
        text = f"{place}, {item.operation}: {reason}"
        counts[text] = counts.get(text, 0) + 1
    return [text if count == 1 else f"{text} ({count} times)" for text, count in counts.items()]


def _lint(source: str) -> list[str]:
    """What ruff says to the file, under the rules of this project."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "twin.py"
        path.write_text(source, encoding="utf-8")
        # A generated file is read as one of the networks: the exceptions made for those hold.
        name = str(ROOT / "einops_arch" / "flax" / "twin.py")
        options = ["--config", str(ROOT / "pyproject.toml"), "--stdin-filename", name, "-"]
        problems = []
        for command in (["check", "--output-format", "concise"], ["format", "--check"]):
            run = subprocess.run(  # noqa: S603 the linter of this environment
                [sys.executable, "-m", "ruff", *command, *options],
                input=source,
                check=False,
                capture_output=True,
                text=True,
            )
            if run.returncode:
                problems.append(f"ruff {command[0]}: {(run.stdout + run.stderr).strip().splitlines()[0]}")
    return problems


def _state(model: Any, twin: Any) -> list[str]:
    """The state of the twin is the original's, bit for bit."""
    from einops_arch.flax import state_dict

    expected, received = model.state_dict(), state_dict(twin.model)
    if set(expected) != set(received):
        return [f"the state has other names: {sorted(set(expected) ^ set(received))[:4]}"]
    different = [
        name for name, item in expected.items() if np.asarray(received[name]).tobytes() != item.numpy().tobytes()
    ]
    return [f"the state differs in {different[:4]}"] if different else []


def _outputs(model: Any, twin: Any, inputs: Any, axes: Any) -> list[str]:
    """Float32 results at the first size, and at one that was not recorded."""
    import torch

    from einops_arch.flax import load_state_dict
    from einops_arch.parity import randomize
    from einops_arch.translation.inputs import arguments_of, resized

    randomize(model)
    load_state_dict(twin.model, model.state_dict())
    twin.model.eval()
    first = arguments_of(inputs, axes)
    sizes = {
        letter: size + (3 if letter == "b" else size if size < 32 else 96)
        for letter, size in first.letters.items()
        if letter not in twin.fixed and letter != "c"
    }
    problems = []
    for title, arguments in (("the first size", first), (f"{sizes}", resized(first, sizes, seed=9))):
        if arguments is not first and not sizes:
            continue
        try:
            with torch.no_grad():
                expected = _flat(_call(model, arguments.args or arguments.kwargs))
        except Exception as error:  # noqa: BLE001 whatever it is, this size is not for this model
            problems.append(f"at {title} PyTorch raises {type(error).__name__}: {error}")
            continue
        try:
            received = _flat(_call_twin(twin.model, arguments))
        except Exception as error:  # noqa: BLE001 whatever it is, the twin does not run
            problems.append(f"at {title}: {type(error).__name__}: {str(error)[:300]}")
            continue
        problems += [f"at {title}: {problem}" for problem in _differences(expected, received)]
    return problems


def _call(model: Any, inputs: Any) -> Any:
    if isinstance(inputs, Mapping):
        import torch

        return model(**{name: torch.as_tensor(item) for name, item in inputs.items()})
    import torch

    items = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
    return model(*(torch.as_tensor(item) for item in items))


def _call_twin(model: Any, arguments: Any) -> Any:
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from einops_arch.translation.inputs import input_order

    names = iter(arguments.axes)

    def moved(item: Any) -> Any:
        axes = next(names)
        return jnp.asarray(np.transpose(item.numpy(), input_order(axes, len(axes))))

    args = [moved(item) for item in arguments.args]
    kwargs = {name: moved(item) for name, item in arguments.kwargs.items()}
    graph, state = nnx.split(model)
    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    run = jax.jit(lambda state, args, kwargs: nnx.merge(graph, state)(*args, **kwargs), compiler_options=quick)
    return run(state, args, kwargs)


def _flat(tree: Any) -> list[Any]:
    """The arrays of a result, in order."""
    if tree is None:
        return []
    if isinstance(tree, Mapping):
        return [item for value in tree.values() for item in _flat(value)]
    if isinstance(tree, (tuple, list)):
        return [item for value in tree for item in _flat(value)]
    if dataclasses.is_dataclass(tree):
        return [item for field in dataclasses.fields(tree) for item in _flat(getattr(tree, field.name))]
    return [tree.detach().numpy() if hasattr(tree, "detach") else np.asarray(tree)]


def _differences(expected: list[Any], received: list[Any]) -> list[str]:
    if len(expected) != len(received):
        return [f"{len(expected)} results expected, {len(received)} received"]
    problems = []
    for number, (left, right) in enumerate(zip(expected, received, strict=True)):
        moved = right if left.shape == right.shape else np.moveaxis(right, -1, 1) if right.ndim > 2 else right
        if left.shape != moved.shape:
            problems.append(f"result {number} has shape {right.shape}, expected {left.shape}")
            continue
        scale = float(np.abs(left).max(initial=0.0))
        difference = float(np.abs(moved.astype(np.float64) - left).max(initial=0.0))
        if not difference <= _LIMIT * scale:
            problems.append(f"result {number} differs by {difference:.1e} where the largest number is {scale:.1e}")
    return problems


def main() -> None:
    """Run the job in the argument within its limits."""
    job = json.loads(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (job["cpu"], job["cpu"] + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (job["memory"], job["memory"]))
    entry = job["entry"]
    try:
        keep = Path(job["keep"]) if job.get("keep") else None
        result = result_of(entry, write_only=job["write_only"], keep=keep)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 whatever it is, it is the verdict
        traceback.print_exc()
        text = f"{type(error).__name__}: {str(error)[:600]}"
        result = {"set": entry["set"], "model": entry["model"], "verdict": "fault", "reasons": [text]}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
