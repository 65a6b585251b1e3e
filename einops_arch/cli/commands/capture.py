"""The command `capture`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from einops_arch.cli.output import echo, print_json, progress
from einops_arch.cli.targets import inputs_of, model_of
from einops_arch.errors import ConfigError, DestinationExistsError

__all__ = ["CaptureOptions", "capture_target"]


@dataclass(frozen=True)
class CaptureOptions:
    """What the command line said.

    Args:
        inputs: axes and sizes, or axes and a file of numpy.
        like: a capture whose inputs are taken.
        mode: `"eval"` or `"train"`.
        gradients: keep them as well.
        force: replace the files.
        as_json: print JSON.
    """

    inputs: Sequence[str] = ()
    like: Path | None = None
    mode: str = "eval"
    gradients: bool = False
    force: bool = False
    as_json: bool = False


def capture_target(target: str, output: Path, options: CaptureOptions) -> None:
    """Capture a model and say what was written.

    Raises:
        EinopsArchError: one of its children, for whatever is wrong with the model, the inputs or the files.
    """
    from einops_arch.parity import capture

    if (options.like is None) == (not options.inputs):
        raise ConfigError("capture: expected --input or --like, received " + ("both" if options.like else "neither"))
    model = model_of(target)
    inputs, axes = (str(options.like), None) if options.like is not None else inputs_of(options.inputs, model)
    with progress(f"Running {target}", quiet=options.as_json):
        try:
            made = capture(
                model,
                inputs,
                output,
                axes=axes,
                mode=options.mode,
                steps=3 if options.mode == "train" else 1,
                gradients=options.gradients,
                force=options.force,
            )
        except DestinationExistsError as error:
            raise DestinationExistsError(str(error).replace("force=True, which replaces it", "--force")) from error
    files = [f"{output}.safetensors", f"{output}.json"]
    if options.as_json:
        calls = len(made.runs["float64"].calls)
        described = {"framework": made.framework, "model": made.model, "mode": made.mode, "calls": calls}
        print_json({**described, "weights": made.digest, "files": files})
    else:
        echo(f"{made!r}\nwritten to {files[0]} and {files[1]}")
