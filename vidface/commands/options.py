"""Options that several commands share, and how their text is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from vidface.errors import UsageError
from vidface.scores.protocols.table import used_by

FILE = click.Path(path_type=Path)
DIRECTORY = click.Path(path_type=Path, file_okay=False)

Command = TypeVar("Command", bound=Callable[..., Any])


def manifest_option(command: Command) -> Command:
    """Name the manifest, for commands that take embeddings or features first."""
    return click.option("--manifest", "manifest_path", type=FILE, required=True, help="Who is where.")(
        command
    )


def json_option(command: Command) -> Command:
    """Print one JSON object instead of text."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")(command)


def protocol_option(names: Iterable[str]) -> Callable[[Command], Command]:
    """Name the protocol, one of these."""
    return click.option(
        "--protocol",
        type=click.Choice(tuple(names)),
        default="both",
        show_default=True,
        help="What is compared with what; both: iqiyi and lfrc. docs/protocols/ has a page for each.",
    )


def pairs_option(command: Command) -> Command:
    """Name the list of pairs of the protocols that need one."""
    return click.option("--pairs", type=FILE, help=f"The list of pairs ({used_by('pairs')}).")(command)


def split_options(command: Command) -> Command:
    """Name the two splits of the protocols that search."""
    who = used_by("enrolment_split")
    command = click.option(
        "--gallery-split", default="val", show_default=True, help=f"Videos that are searched ({who})."
    )(command)
    return click.option(
        "--enrolment-split",
        default="train",
        show_default=True,
        help=f"Videos that templates are made of ({who}).",
    )(command)


def targets_option(command: Command) -> Command:
    """Say at which FPR, or FPIR, the rates are."""
    return click.option(
        "--targets",
        callback=read_targets,
        help="FPR targets, such as 1e-3,1e-4 [default: those of the protocol].",
    )(command)


def fpr_rule_option(command: Command) -> Command:
    """Which point of the curve a target means."""
    return click.option(
        "--fpr-rule",
        type=click.Choice(["at-most", "nearest", "interpolated"]),
        default="at-most",
        show_default=True,
        help="Which point of the curve an FPR target means; it is printed with the numbers.",
    )(command)


def normalise_option(command: Command) -> Command:
    """Let matrices of other tools be scored whose rows are not of unit length."""
    return click.option(
        "--normalise", is_flag=True, help="Divide the rows of a .npy or .bin by their length first."
    )(command)


def template_options(command: Command) -> Command:
    """What is done with features of images before templates are made of them."""
    who = used_by("norm")
    for option in reversed(
        [
            click.option(
                "--norm/--no-norm",
                default=True,
                show_default=True,
                help=f"Keep the features' norms, or L2-normalise each ({who}).",
            ),
            click.option(
                "--detector-score/--no-detector-score",
                default=True,
                show_default=True,
                help=f"Multiply each feature by its detector's score ({who}).",
            ),
            click.option(
                "--flip-halves",
                is_flag=True,
                help=f"A row is an embedding and then the mirrored image's: add the two ({who}).",
            ),
        ]
    ):
        command = option(command)
    return command


def shard_option(command: Command) -> Command:
    """Do one share of the work."""
    return click.option(
        "--shard",
        metavar="I/N",
        callback=_shard,
        help="Only share I of N of the videos; `vidface merge` joins the N files.",
    )(command)


def spare_inputs(output: Path | None, inputs: Iterable[Path | None]) -> None:
    """Refuse, before the work, what would be written over a file that the command reads.

    Raises:
        UsageError: the output is one of the inputs.
    """
    if output is None or not output.exists():
        return
    if any(path is not None and path.exists() and output.samefile(path) for path in inputs):
        raise UsageError(f"{output}: is an input of this command; name another output")


def engine_options(workers_help: str, *, least: int = 1) -> Callable[[Command], Command]:
    """Say where the work runs, with at least so many workers."""

    def decorate(command: Command) -> Command:
        for option in reversed(
            [
                click.option(
                    "--engine",
                    type=click.Choice(["local", "ray"]),
                    default="local",
                    show_default=True,
                    help="Where the work runs; ray needs the extra vidface[ray].",
                ),
                click.option("--workers", type=click.IntRange(least), help=workers_help),
                click.option(
                    "--address", help="Of the Ray cluster: auto, or HOST:PORT [default: one started here]."
                ),
            ]
        ):
            command = option(command)
        return command

    return decorate


def detection_options(command: Command) -> Command:
    """Say that faces are to be found in the frames, how, and which of them are kept. What is not said is None."""
    from_zero = click.FloatRange(0)
    for option in reversed(
        [
            click.option(
                "--faces",
                type=click.Choice(["aligned", "detect"]),
                default="aligned",
                show_default=True,
                help="Each frame is an aligned face, or faces are found in it. The next seven are of detect.",
            ),
            click.option(
                "--detector", metavar="NAME", help="yunet, or uniface:NAME of that package [default: yunet]."
            ),
            click.option(
                "--detector-weights", type=FILE, help="Its weights [default: looked for in the cache]."
            ),
            click.option(
                "--track",
                type=click.Choice(["main", "all"]),
                help="Keep each video's main person, or everybody [default: main].",
            ),
            click.option(
                "--min-score",
                type=click.FloatRange(0, 1),
                help="What the detector gives less is no face [default: 0.7].",
            ),
            click.option(
                "--min-face",
                type=from_zero,
                metavar="PIXELS",
                help="Leave out smaller faces [default: none].",
            ),
            click.option(
                "--min-sharpness",
                type=from_zero,
                metavar="SHARPNESS",
                help="Leave out faces more blurred [default: none].",
            ),
            click.option(
                "--max-yaw",
                type=click.FloatRange(0, 90),
                metavar="DEGREES",
                help="Leave out faces turned further aside [default: none].",
            ),
        ]
    ):
        command = option(command)
    return command


def model_options(command: Command) -> Command:
    """Name a model; without a card beside it, its input must be told."""
    for option in reversed(
        [
            click.option(
                "--model", type=FILE, required=True, help="ONNX model, or weights (safetensors, plain .pth)."
            ),
            click.option(
                "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
            ),
            click.option("--half", is_flag=True, help="Half precision, on a GPU."),
            click.option(
                "--input-size",
                callback=read_size,
                help="HEIGHTxWIDTH, e.g. 112x112 (where there is no card).",
            ),
            click.option(
                "--colour-order", type=click.Choice(["rgb", "bgr"]), help="(where there is no card)"
            ),
            click.option(
                "--mean", callback=_numbers, help="Of pixels 0..255: three numbers (where there is no card)."
            ),
            click.option(
                "--std", callback=_numbers, help="Of pixels 0..255: three numbers (where there is no card)."
            ),
        ]
    ):
        command = option(command)
    return command


def card_fields(**told: object) -> dict[str, object]:
    """What `model_options` were told about a model's input, without what was not given."""
    return {name: value for name, value in told.items() if value is not None}


def read_size(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    if value is None:
        return None
    height, cross, width = value.lower().partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise click.BadParameter(f"{value!r}: say HEIGHTxWIDTH, e.g. 112x112")
    return int(height), int(width)


def _numbers(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        numbers = tuple(float(number) for number in value.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3:
        raise click.BadParameter(f"{value!r}: say three numbers, e.g. 127.5,127.5,127.5")
    return numbers


def read_targets(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[str] | None:
    from vidface.scores.protocols.lfrc import check_targets

    if value is None:
        return None
    targets = [target.strip() for target in value.split(",")]
    check_targets(targets)
    return targets


def _shard(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    from vidface.files.shares import parse_shard

    return None if value is None else parse_shard(value)


def read_fps(_context: click.Context, _parameter: click.Parameter, value: str) -> float | None:
    if value == "all":
        return None
    try:
        fps = float(value)
    except ValueError:
        fps = 0.0
    if not 0 < fps < float("inf"):
        raise click.BadParameter(f"{value!r}: say a number of frames a second, or all")
    return fps


pool_option = click.option(
    "--pool",
    type=click.Choice(["largest", "size", "size-norm"]),
    default="largest",
    show_default=True,
    help="Average the largest cluster, or all frames by the size of their cluster, or by that and their norm.",
)


def read_threshold(_context: click.Context, _parameter: click.Parameter, value: str) -> float | None:
    from vidface.embeddings.thresholds import parse_thresholds

    thresholds = parse_thresholds(value)
    if len(thresholds) != 1:
        raise click.BadParameter("say one threshold; `vidface sweep` takes several")
    return thresholds[0]
