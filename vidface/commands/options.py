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
from vidface.scores.metrics.fpr_rules import FPR_RULES

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


def manifest_option(help: str = "", *, required: bool = True) -> Callable[[Command], Command]:  # noqa: A002
    what = f"Manifest of the videos and their identities{help}."
    return click.option("--manifest", "manifest_path", type=FILE, required=required, help=what)


def output_option(
    help: str,  # noqa: A002 - its name in click
    *,
    required: bool = True,
    kind: click.Path = NEW_FILE,
) -> Callable[[Command], Command]:
    return click.option("-o", "--output", type=kind, required=required, help=help)


root_option = click.option(
    "--root",
    type=DIRECTORY,
    help="Folder that the manifest's paths start from; it is only read [default: the manifest's own].",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
normalise_option = click.option(
    "--normalise", is_flag=True, help="Divide the rows of a .npy or .bin by their length first."
)
overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace an output that was made otherwise, once the new one is whole."
)


def fpr_rule_option(default: str | None, help: str) -> Callable[[Command], Command]:  # noqa: A002
    what = f"How to choose the operating point for an FPR target{help}."
    return click.option(
        "--fpr-rule", type=click.Choice(FPR_RULES), default=default, show_default=bool(default), help=what
    )


def _size(text: str) -> tuple[int, int]:
    height, cross, width = text.lower().partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise click.BadParameter(f"{text!r}: say HEIGHTxWIDTH, e.g. 112x112")
    return int(height), int(width)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3):
        raise click.BadParameter(f"{text!r}: say three numbers, e.g. 127.5,127.5,127.5")
    return numbers * (3 // len(numbers))


def _targets(text: str) -> list[str]:
    from vidface.scores.protocols.lfrc import check_targets

    targets = [target.strip() for target in text.split(",")]
    check_targets(targets)
    return targets


def _shard(text: str) -> tuple[int, int]:
    from vidface.files.shares import parse_shard

    return parse_shard(text)


def _fps(text: str) -> float | str:
    if text == "all":
        return text
    try:
        fps = float(text)
    except ValueError:
        fps = 0.0
    if not 0 < fps < float("inf"):
        raise click.BadParameter(f"{text!r}: say a number of frames a second, or all")
    return fps


def _threshold(text: str) -> float | str:
    from vidface.embeddings.thresholds import parse_thresholds

    thresholds = parse_thresholds(text)
    if len(thresholds) != 1:
        raise click.BadParameter("say one threshold; `vidface sweep` takes several")
    return "none" if thresholds[0] is None else thresholds[0]


# How the command line reads the text of options whose type does not say it; see `vidface.files.options.option`.
READERS: dict[str, Callable[[str], Any]] = {
    "fps": _fps,
    "numbers": _numbers,
    "shard": _shard,
    "size": _size,
    "targets": _targets,
    "threshold": _threshold,
}


def reading(name: str) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """The callback of an option that is read by one of `READERS`."""
    read = READERS[name]
    return lambda _context, _parameter, text: None if text is None else read(text)


class StageCommand(click.Command):
    """A command whose options are fields of models of `vidface.files.options`, imported only when they are needed."""

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
            told = {name: (ctx.params.pop(name), field) for name, field in model.model_fields.items()}
            said = {n: each for n, (each, f) in told.items() if each is not None or not f.default_factory}
            ctx.params[parameter] = model.model_construct(**said)
        if getattr(ctx.params.get("engine"), "name", None) == "ray":
            watch()  # before anything heavy is imported: threads of libraries do not survive it
        return super().invoke(ctx)


ENGINE = "vidface.features.options:EngineOptions"


def stage_command(name: str | None = None, **models: str) -> Callable[[Callable[..., Any]], StageCommand]:
    return click.command(name, cls=StageCommand, models=models)


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
    if extra["reads"] == "folder":
        of["type"] = DIRECTORY
    elif extra["reads"] is not None:
        of["callback"] = reading(extra["reads"])
    elif extra["choices"] is not None:
        of["type"] = click.Choice(extra["choices"])
    elif kind is bool:
        of["is_flag"] = True
    elif get_origin(kind) is Literal:
        of["type"] = click.Choice(get_args(kind))
    elif kind is Path:
        of["type"] = FILE
    elif limits:
        least, most = limits.get("ge", limits.get("gt")), limits.get("le")
        if kind is int:
            of["type"] = click.IntRange(least, most)
        else:
            of["type"] = click.FloatRange(least, most, min_open="gt" in limits)
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
