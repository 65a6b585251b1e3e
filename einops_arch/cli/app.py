"""The commands and their options; what they do is in the files beside this one."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from einops_arch._text import printable
from einops_arch._version import __version__
from einops_arch.cli.output import raised
from einops_arch.cli.reports import Rows
from einops_arch.errors import ConfigError, EinopsArchError

__all__ = ["app", "run"]

_TRACEBACK = "EINOPS_ARCH_TRACEBACK"


class _Group(TyperGroup):
    """One sentence for every error that the package raises on purpose, and for those of the system."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EinopsArchError as error:
            reason = str(error)
        except BrokenPipeError:
            raise
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        except MemoryError:
            reason = "it does not fit the memory"
        except Exception as error:  # a model is any code at all, and exit code 1 would say that two differ
            if hasattr(error, "exit_code") or isinstance(error, typer.Abort) or os.environ.get(_TRACEBACK):
                raise
            reason = f"{raised(error)}; {_TRACEBACK}=1 shows the traceback"
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        typer.echo(printable(f"error: {reason}"), err=True)
        raise typer.Exit(2) from None


class Framework(StrEnum):
    """Where a port goes."""

    TORCH = "torch"
    FLAX = "flax"


class Mode(StrEnum):
    """The modes of a network."""

    EVAL = "eval"
    TRAIN = "train"


class Kind(StrEnum):
    """The formats of a checkpoint."""

    SAFETENSORS = "safetensors"
    TORCH = "torch"
    ORBAX = "orbax"
    DCP = "dcp"
    HUB = "hub"


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Deep-learning architectures written with einops, the same in PyTorch and Flax.",
    epilog="Exit codes: 0 right, 1 not equal, 2 wrong usage or a bad file, 130 interrupted.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Preset = Annotated[str | None, typer.Option("--preset", help="A named size, see `list`.")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="A JSON file with the fields of the config.")
]


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    try:
        app(args=None if arguments is None else list(arguments), prog_name="einops-arch")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; Python would complain when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"einops-arch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=lambda v: _print_version(wanted=v)
        ),
    ] = False,
) -> None:
    pass


@app.command("list")
def list_architectures(*, as_json: AsJson = False) -> None:
    """List the architectures: parameters, presets, inputs and outputs, source."""
    from einops_arch.cli.commands.list import print_list

    print_list(as_json=as_json)


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(help="An architecture or a size of one: vgg, vgg16_bn, shufflenet_v2_x1_0; see `list`.")
    ],
    preset: Preset = None,
    config: ConfigFile = None,
    framework: Annotated[
        Framework | None, typer.Option("--framework", help="Whose modules and axes; PyTorch's if it is installed.")
    ] = None,
    size: Annotated[
        list[str] | None, typer.Option("--size", metavar="AXIS=N", help="Such as h=96, of an input; repeatable.")
    ] = None,
    depth: Annotated[int | None, typer.Option("--depth", min=0, help="How deep the tree goes.")] = None,
    *,
    parameters: Annotated[
        bool, typer.Option("--parameters", help="Print the pattern of each parameter between the frameworks.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a network as a tree: what each module takes and gives by the names of its axes, and what it costs.

    Nothing is computed and no weight is in memory.
    """
    from einops_arch.cli.commands.show import ShowOptions, print_architecture

    chosen = str(framework) if framework else None
    options = ShowOptions(preset, config, chosen, tuple(size or ()), depth, parameters, as_json)
    print_architecture(name, options)


@app.command()
def port(
    source: Annotated[Path, typer.Argument(help="A checkpoint of any format.")],
    destination: Annotated[Path, typer.Argument(help="A new file or folder; its ending is the format.")],
    to: Annotated[Framework, typer.Option("--to", help="Whose names and layout the destination has.")],
    arch: Annotated[str | None, typer.Option("--arch", help="The network or its size, if no file says it.")] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    rename: Annotated[
        list[str] | None, typer.Option("--rename", metavar="REGEX=REPLACEMENT", help="Change names first; repeatable.")
    ] = None,
    packing: Annotated[
        list[str] | None,
        typer.Option(
            "--packing",
            metavar="PATTERN",
            help="'q.* k.* -> qk.*: q ..., k ... -> (q + k) ...': pack, split or stack; repeatable.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODULE:MAKE()", help="A Flax model of your own.")
    ] = None,
    merge_lora: Annotated[
        Path | None, typer.Option("--merge-lora", metavar="FILE", help="Add an adapter's products to the weights.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="Round floating-point tensors, to bfloat16 for example.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="NAME", help="The entry that holds the weights.")] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="PREFIX", help="Leave out names that do not begin with this.")
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="REGEX", help="Leave out names in which this matches; repeatable."),
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option("--format", help="The format of the destination, unless its name says it.")
    ] = None,
    max_shard_size: Annotated[
        str | None, typer.Option("--max-shard-size", metavar="SIZE", help="5GB for example: a folder of shards.")
    ] = None,
    *,
    fold: Annotated[
        bool, typer.Option("--fold", help="Fold weight norms and spectral norms into plain weights.")
    ] = False,
    allow_overflow: Annotated[
        bool, typer.Option("--allow-overflow", help="With --dtype: let finite numbers become infinite.")
    ] = False,
    untie: Annotated[
        bool, typer.Option("--untie", help="Write tied tensors under each name, for readers that know no aliases.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Read it again and compare each tensor with the source.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the destination.")] = False,
    as_json: AsJson = False,
) -> None:
    """Carry a checkpoint of any size to the other framework, bit for bit.

    PyTorch's state goes to .safetensors, .pt or .dcp, Flax's to .safetensors or an Orbax folder (a name without an
    ending); either goes to a Hugging Face folder (.hf). The destination is whole or untouched.
    """
    from einops_arch.cli.commands.port import PortOptions, port_file

    options = PortOptions(
        arch=arch,
        preset=preset,
        config=config,
        model=model,
        rename=tuple(rename or ()),
        packing=tuple(packing or ()),
        fold=fold,
        merge_lora=merge_lora,
        dtype=dtype,
        allow_overflow=allow_overflow,
        untie=untie,
        key=key,
        only=only,
        drop=tuple(drop or ()),
        kind=str(kind) if kind else None,
        max_shard_size=max_shard_size,
        check=check,
        dry_run=dry_run,
        force=force,
        as_json=as_json,
    )
    port_file(source, destination, str(to), options)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint of any format.")],
    key: Annotated[str | None, typer.Option("--key", metavar="NAME", help="The entry that holds the weights.")] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="PREFIX", help="Leave out names that do not begin with this.")
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="REGEX", help="Leave out names in which this matches; repeatable."),
    ] = None,
    *,
    values: Annotated[
        bool, typer.Option("--values/--no-values", help="Read the numbers, and count NaN and inf.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Show what is in a checkpoint: names, shapes, dtypes, aliases, NaN and inf, and which architecture it fits."""
    from einops_arch.cli.commands.inspect import inspect_file

    inspect_file(path, key=key, only=only, drop=tuple(drop or ()), values=values, as_json=as_json)


_INPUT = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="AXES=SHAPE", help="Such as 'b c h w=2,3,32,32' or 'b c h w=images.npy'."),
]


@app.command()
def verify(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME|FILE|MODULE:ATTR...", help="Architectures, checkpoints, or a model or capture."),
    ] = None,
    arch: Annotated[
        str | None, typer.Option("--arch", help="The architecture of a checkpoint, unless it says it.")
    ] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    mode: Annotated[Mode | None, typer.Option("--mode", help="One mode only; both if left out.")] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="MODULE:ATTR", help="The Flax model, or a capture of it.")
    ] = None,
    inputs: _INPUT = None,
    layouts: Annotated[
        list[str] | None,
        typer.Option("--layout", metavar="PATH=PATTERN", help="Such as 'stem=b c h w -> b h w c'; with --against."),
    ] = None,
    paths: Annotated[
        list[str] | None, typer.Option("--path", metavar="PATH=OTHER", help="A module's path in Flax; with --against.")
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write an HTML page.")] = None,
    *,
    transfer: Annotated[
        bool, typer.Option("--transfer", help="Carry the weights of the first over before; with --against.")
    ] = False,
    randomize: Annotated[
        bool, typer.Option("--randomize", help="The same, with weights in which a mistake shows; with --against.")
    ] = False,
    gradients: Annotated[
        bool, typer.Option("--gradients/--no-gradients", help="Compare the gradients of every parameter.")
    ] = True,
    probes: Annotated[
        bool, typer.Option("--probes", help="Further inputs and random weights, in which hidden differences show.")
    ] = False,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="Also give each module the same inputs on both sides.")
    ] = False,
    training: Annotated[
        bool, typer.Option("--training", help="Also take three steps of SGD with momentum, in float64.")
    ] = False,
    lift_casts: Annotated[
        bool, typer.Option("--lift-casts", help="Keep float64 where a model casts to less; with --against.")
    ] = False,
    rows: Annotated[Rows, typer.Option("--rows", help="Those that are wrong by themselves, or all.")] = Rows.WRONG,
    every: Annotated[bool, typer.Option("--all", help="All architectures.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare both twins, or two models of one's own, module by module; exit code 1 if they differ.

    The verdict is made in float64; float32 shows how well it is rounded.
    A name stands for its preset `tiny` with random weights; --preset and --config choose other sizes.
    """
    modes = (str(mode),) if mode else ("eval", "train")
    if against is not None:
        from einops_arch.cli.commands.verify_against import PairOptions, verify_pair

        if every or arch or preset or config or teacher or training or len(targets or []) != 1:
            raise ConfigError("verify: expected one model and --against, received more, or options of an architecture")
        pair = PairOptions(
            inputs=inputs or (),
            layouts=layouts or (),
            paths=paths or (),
            modes=modes,
            gradients=gradients,
            probes=probes,
            transfer=transfer,
            randomize=randomize,
            report=report,
            as_json=as_json,
            rows=rows,
            lift_casts=lift_casts,
        )
        if not verify_pair((targets or [""])[0], against, pair):
            raise typer.Exit(1)
        return
    from einops_arch.cli.commands.verify import Options, verify_all

    if inputs or layouts or paths or transfer or randomize or lift_casts:
        raise ConfigError("verify: --input, --layout, --path, --transfer, --randomize, --lift-casts go with --against")
    options = Options(arch, preset, config, modes, gradients=gradients, as_json=as_json, report=report)
    options = dataclasses.replace(options, probes=probes, teacher=teacher, training=training, rows=rows)
    if not verify_all(targets or [], options, every=every):
        raise typer.Exit(1)


@app.command()
def capture(
    target: Annotated[str, typer.Argument(metavar="MODULE:ATTR", help="A model, its class, or `make()`.")],
    output: Annotated[Path, typer.Argument(metavar="PATH", help="PATH.safetensors and PATH.json are written.")],
    inputs: _INPUT = None,
    like: Annotated[
        Path | None, typer.Option("--like", metavar="CAPTURE", help="Take the inputs of another capture.")
    ] = None,
    mode: Annotated[Mode, typer.Option("--mode", help="Of the model.")] = Mode.EVAL,
    *,
    gradients: Annotated[bool, typer.Option("--gradients", help="Keep the gradients of every parameter.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write down the run of one model, with its framework alone, for `verify` on another machine."""
    from einops_arch.cli.commands.capture import CaptureOptions, capture_target

    options = CaptureOptions(inputs or (), like, str(mode), gradients, force, as_json)
    capture_target(target, output, options)


@app.command()
def mutate(
    name: Annotated[str, typer.Argument(help="An architecture, see `list`.")],
    preset: Preset = None,
    config: ConfigFile = None,
    *,
    every: Annotated[bool, typer.Option("--every", help="Each fault in each module that it applies to.")] = False,
    as_json: AsJson = False,
) -> None:
    """Mutation-test the parity check: fault the Flax twin, one fault at a time; exit code 1 if one is missed."""
    from einops_arch.cli.commands.mutate import mutate_twin

    if not mutate_twin(name, preset, config, every=every, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def discover(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:NAME", help="A function of arrays, a model or its class, or `make()`.")
    ],
    inputs: Annotated[
        list[str],
        typer.Option("--input", "-i", metavar="AXES=SHAPE", help="Such as 'b c h w=2,12,5,7' or 'b n=2,7@int64'."),
    ],
    backend: Annotated[
        str | None, typer.Option("--backend", help="Whose arrays it takes: numpy, torch or jax.")
    ] = None,
    *,
    show_diff: Annotated[bool, typer.Option("--diff", help="Print a diff with rearrange calls.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the einops pattern of old reshape code, or of every chain of a model; exit code 1 if there is none."""
    from einops_arch.cli.commands.discover import discover_target

    if not discover_target(target, inputs, backend, as_json=as_json, show_diff=show_diff):
        raise typer.Exit(1)


@app.command()
def translate(
    target: Annotated[
        str, typer.Argument(metavar="MODULE:MAKE()", help="A function that makes the model, or a model.")
    ],
    inputs: Annotated[
        list[str],
        typer.Option(
            "--input",
            "-i",
            metavar="AXES=SHAPE",
            help="Letters are free: 'b c h w=2,3,64,64', 'b t=2,7 int<50', or by name 'input_ids: b t=2,7 int<50'.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    state: Annotated[Path | None, typer.Option("--state", help="A checkpoint of any format to load first.")] = None,
    weights: Annotated[Path | None, typer.Option("--weights", help="Write the weights as safetensors.")] = None,
    test: Annotated[Path | None, typer.Option("--test", help="Write a test that builds the twin.")] = None,
    leaf: Annotated[
        list[str] | None, typer.Option("--leaf", metavar="A=B", help="Your Flax layer for your PyTorch layer.")
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option("--also", metavar="SIZES", help="Compare at 'h=96,w=128' as well.")
    ] = None,
    *,
    partial: Annotated[bool, typer.Option("--partial", help="Write what can be written.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the Flax twin of a PyTorch model as source, and prove it; exit code 1 without the same function."""
    from einops_arch.cli.commands.translate import TranslateOptions, translate_target

    options = TranslateOptions(inputs, state, weights, test, leaf or (), also or (), partial, force, as_json)
    if not translate_target(target, output, options):
        raise typer.Exit(1)


@app.command()
def generate(
    checkpoint: Annotated[
        Path,
        typer.Option(
            "--checkpoint",
            metavar="FOLDER",
            help="Weights of GPT-2 as the hub has them, or what save_pretrained wrote.",
        ),
    ],
    prompt: Annotated[str | None, typer.Option("--prompt", help="The beginning; needs the folder's tokenizer.")] = None,
    prompt_tokens: Annotated[
        str | None, typer.Option("--prompt-tokens", metavar="TOKENS", help="The beginning in tokens: '5 17 3'.")
    ] = None,
    framework: Annotated[Framework | None, typer.Option("--framework", help="What it runs in.")] = None,
    steps: Annotated[int, typer.Option("--steps", help="How many tokens to add.")] = 20,
    temperature: Annotated[float, typer.Option("--temperature", help="0 takes the likeliest token.")] = 0.0,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Draw from this many tokens.")] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", help="Draw from tokens of this probability.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what is drawn, in both frameworks alike.")] = 0,
    *,
    as_json: AsJson = False,
) -> None:
    """Continue a text, in either framework the same."""
    from einops_arch.cli.commands.generate import GenerateOptions, generate_text

    chosen = str(framework) if framework else None
    options = GenerateOptions(prompt, prompt_tokens, chosen, steps, temperature, top_k, top_p, seed, as_json)
    generate_text(checkpoint, options)


@app.command()
def classify(
    image: Annotated[Path, typer.Argument(help="A photograph in any format that pillow reads.")],
    checkpoint: Annotated[
        Path, typer.Option("--checkpoint", metavar="PATH", help="A folder as the Hugging Face hub has them, or a file.")
    ],
    framework: Annotated[Framework | None, typer.Option("--framework", help="What it runs in.")] = None,
    arch: Annotated[str | None, typer.Option("--arch", help="The network or its size, if no file says it.")] = None,
    preset: Preset = None,
    config: ConfigFile = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="The name of one class on each line.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to print.")] = 5,
    *,
    as_json: AsJson = False,
) -> None:
    """Classify an image, in either framework the same."""
    from einops_arch.cli.commands.classify import ClassifyOptions, classify_image

    chosen = str(framework) if framework else None
    classify_image(image, checkpoint, ClassifyOptions(arch, preset, config, chosen, labels, top, as_json))


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the results.")] = Path("demo-output"),
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Train very little: a look at the moves, not the results.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train in PyTorch on real images, port to Flax, get the same answers."""
    from einops_arch.cli.commands.demo import run_demo

    if not run_demo(output, quick=quick, as_json=as_json):
        raise typer.Exit(1)
