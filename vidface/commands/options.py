"""Options that several commands share, those that the models of the stages say, and how their text is read."""

from __future__ import annotations

import pkgutil
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin

import click

from vidface.commands.watched import watch
from vidface.errors import UsageError

if TYPE_CHECKING:  # pydantic takes its time
    from vidface.files.options import Options


class _NewFile(click.Path):
    """An output: a folder, or no name at all, is refused before any work."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value) or Path(value).is_dir():
            raise UsageError(f"{value or repr(value)}: is a folder; name a file")
        return super().convert(value, param, ctx)


FILE = click.Path(path_type=Path)
NEW_FILE = _NewFile(path_type=Path)
DIRECTORY = click.Path(path_type=Path, file_okay=False)

Command = TypeVar("Command", bound=Callable[..., Any])


def manifest_option(command: Command) -> Command:
    """Name the manifest, for commands that take embeddings or features first."""
    return click.option(
        "--manifest",
        "manifest_path",
        type=FILE,
        required=True,
        help="Manifest of the videos and their identities.",
    )(command)


def root_option(command: Command) -> Command:
    """Name the folder that a manifest's paths start from, for commands that open media."""
    return click.option(
        "--root",
        type=DIRECTORY,
        help="Folder that the manifest's paths start from; it is only read [default: the manifest's own].",
    )(command)


def json_option(command: Command) -> Command:
    """Print one JSON object instead of text."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")(command)


def normalise_option(command: Command) -> Command:
    """Let matrices of other tools be scored whose rows are not of unit length."""
    return click.option(
        "--normalise", is_flag=True, help="Divide the rows of a .npy or .bin by their length first."
    )(command)


def overwrite_option(command: Command) -> Command:
    """Replace an output that was made otherwise, instead of refusing."""
    return click.option(
        "--overwrite",
        is_flag=True,
        help="Replace an output that was made otherwise, once the new one is whole.",
    )(command)


def read_size(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    if value is None:
        return None
    height, cross, width = value.lower().partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise click.BadParameter(f"{value!r}: say HEIGHTxWIDTH, e.g. 112x112")
    return int(height), int(width)


def read_numbers(
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


def read_shard(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    from vidface.files.shares import parse_shard

    return None if value is None else parse_shard(value)


def read_folder(context: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    return None if value is None else DIRECTORY.convert(value, parameter, context)


def read_fps(_context: click.Context, _parameter: click.Parameter, value: str) -> float | str:
    if value == "all":
        return value
    try:
        fps = float(value)
    except ValueError:
        fps = 0.0
    if not 0 < fps < float("inf"):
        raise click.BadParameter(f"{value!r}: say a number of frames a second, or all")
    return fps


def read_threshold(
    _context: click.Context, _parameter: click.Parameter, value: str
) -> float | Literal["none"]:
    from vidface.embeddings.thresholds import parse_thresholds

    thresholds = parse_thresholds(value)
    if len(thresholds) != 1:
        raise click.BadParameter("say one threshold; `vidface sweep` takes several")
    return "none" if thresholds[0] is None else thresholds[0]


# How the command line reads the text of options whose type does not say it; see `vidface.files.options.option`.
READERS: dict[str, Callable[[click.Context, click.Parameter, Any], Any]] = {
    "folder": read_folder,
    "fps": read_fps,
    "numbers": read_numbers,
    "shard": read_shard,
    "size": read_size,
    "targets": read_targets,
    "threshold": read_threshold,
}


class StageCommand(click.Command):
    """A command whose options are the fields of models of `vidface.files.options`.

    The models are imported once somebody asks for the options: ``vidface --help`` does not.
    """

    def __init__(self, *args: Any, models: Mapping[str, str], **more: Any) -> None:
        """``models``: parameter of the callback -> the model that it is given, as ``module:Class``."""
        super().__init__(*args, **more)
        self._places = models
        self._models: dict[str, type[Options]] = {}

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Arguments and the output, then the options of the models, then the command's others."""
        if not self._models:
            self._models = {name: pkgutil.resolve_name(place) for name, place in self._places.items()}
            generated = [click_option(m, field) for m in self._models.values() for field in m.model_fields]
            first = [p for p in self.params if isinstance(p, click.Argument) or p.required]
            self.params = [*first, *generated, *(p for p in self.params if p not in first)]
        return super().get_params(ctx)

    def invoke(self, ctx: click.Context) -> Any:
        """Call the callback with a model in place of its fields, which click has read and checked."""
        for parameter, model in self._models.items():
            told = {name: ctx.params.pop(name) for name in model.model_fields}
            depends = {
                name for name, field in model.model_fields.items() if field.default_factory is not None
            }
            said = {name: each for name, each in told.items() if each is not None or name not in depends}
            ctx.params[parameter] = model.model_construct(**said)
        if getattr(ctx.params.get("engine"), "name", None) == "ray":
            watch()  # before anything heavy is imported: threads of libraries do not survive it
        return super().invoke(ctx)


def click_option(model: type[Options], name: str) -> click.Option:
    """The option of the command line that a field of a model is."""
    from vidface.files.options import extra_of

    field, extra = model.model_fields[name], extra_of(model, name)
    of: dict[str, Any] = {"help": field.description, "metavar": extra["metavar"]}
    kind: Any = field.annotation
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    limits = {
        limit: getattr(m, limit) for m in field.metadata for limit in ("ge", "gt", "le") if hasattr(m, limit)
    }
    if extra["reads"] is not None:
        of["callback"] = READERS[extra["reads"]]
    elif extra["choices"] is not None:
        of["type"] = click.Choice(extra["choices"])
    elif kind is bool:
        of["is_flag"] = True
    elif get_origin(kind) is Literal:
        of["type"] = click.Choice(get_args(kind))
    elif kind is Path:
        of["type"] = FILE
    elif limits:
        of["type"] = _range(kind, limits)
    elif kind is not str:
        raise TypeError(f"{name}: no option of the command line is a {kind}")
    if field.is_required():
        of["required"] = True
    elif field.default_factory is None and field.default is not None and (kind is not bool or field.default):
        shown = format(field.default, "g") if extra["reads"] is not None else field.default
        of |= {"default": shown, "show_default": True}
    flag = extra["flag"] or f"--{name.replace('_', '-')}"
    if kind is bool and field.default:
        flag += f"/--no-{flag.removeprefix('--')}"
    return click.Option([flag, name], **of)


def _range(kind: type, limits: Mapping[str, float]) -> click.ParamType[Any]:
    least, most = limits.get("ge", limits.get("gt")), limits.get("le")
    if kind is int:
        return click.IntRange(least, most)  # type: ignore[arg-type]  # whole ones
    return click.FloatRange(least, most, min_open="gt" in limits)
