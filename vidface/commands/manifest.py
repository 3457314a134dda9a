"""The commands below ``vidface manifest``: make a manifest from what is there, or check one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidface.commands.options import DIRECTORY, FILE, Command, json_option, output_option, root_option
from vidface.commands.output import print_compared, print_made, print_problems
from vidface.errors import UsageError
from vidface.files.atomic import spare_inputs

if TYPE_CHECKING:
    from vidface.manifest.sources import Converted


@click.group()
def manifest() -> None:
    """Make or check a manifest: video_id, path, identity, split."""


def _converter(name: str, *parameters: Callable[[Command], Command]) -> Callable[..., click.Command]:
    """A command that writes a manifest by a function of ``output``, ``root`` and these parameters."""

    def decorate(convert: Callable[..., Converted]) -> click.Command:
        def run(output: Path, as_json: bool, **given: Any) -> int:
            return print_made(output, convert(output=output, **given), as_json)

        command: Any = run
        command.__doc__ = convert.__doc__
        output: Callable[..., Any] = output_option("The manifest: .csv, .jsonl or .parquet.")
        for parameter in (json_option, root_option, output, *reversed(parameters)):
            command = parameter(command)
        made: click.Command = manifest.command(name)(command)
        return made

    return decorate


@_converter(
    "from-folder",
    click.argument("folder", type=DIRECTORY),
    click.option(
        "--enrol",
        default=1,
        show_default=True,
        help="Videos of each person for enrolment, without split folders.",
    ),
    click.option(
        "--identity-from",
        type=click.Choice(["first-folder", "last-folder"]),
        help="Which folder names the person, if videos lie deeper: DIR/PERSON/VIDEO/CLIP, DIR/YEAR/PERSON/VIDEO.",
    ),
    click.option("--pictures", is_flag=True, help="Each image is a video of its own: DIR/PERSON/IMAGE."),
    click.option(
        "--unknown",
        multiple=True,
        metavar="NAME",
        help="Name of a folder of unknown people in place of PERSON, as _unknown and _distractors are; repeatable.",
    ),
)
def manifest_from_folder(
    folder: Path, output: Path, pictures: bool, identity_from: Any, **given: Any
) -> Converted:
    """From DIR/PERSON/VIDEO, or DIR/SPLIT/PERSON/VIDEO; a video is a file or a folder of frames.

    The videos in DIR/_unknown and DIR/_distractors get no identity: they show unknown people.
    """
    from vidface.manifest.sources import from_folder, from_pictures

    if not pictures:
        return from_folder(folder, output, identity_from=identity_from, **given)
    if identity_from == "last-folder":
        raise UsageError("--pictures takes the first folder for the person: leave --identity-from out")
    return from_pictures(folder, output, **given)


@_converter("from-ytf", click.argument("folder", type=DIRECTORY))
def manifest_from_ytf(folder: Path, output: Path, root: Path | None) -> Converted:
    """From YouTube Faces: FOLDER is aligned_images_DB or frame_images_DB."""
    from vidface.manifest.sources import from_ytf

    return from_ytf(folder, output, root=root)


@_converter(
    "from-iqiyi",
    click.option(
        "--train-list", type=FILE, required=True, help="train_gt.txt: a video and its identity a line."
    ),
    click.option(
        "--val-list", type=FILE, required=True, help="val_gt.txt: an identity and its videos a line."
    ),
    click.option("--train-folder", type=DIRECTORY, help="The training videos, if you have them."),
    click.option(
        "--val-folder", type=DIRECTORY, help="The validation videos; unlisted ones are distractors."
    ),
    click.option(
        "--features",
        "pickles",
        type=FILE,
        multiple=True,
        help="An official feature pickle, for the names of unlisted validation videos; repeatable.",
    ),
)
def manifest_from_iqiyi(
    train_list: Path, val_list: Path, output: Path, pickles: tuple[Path, ...], **given: Any
) -> Converted:
    """From the lists of iQIYI-VID 2019, with its videos or its official features."""
    from vidface.features.foreign import iqiyi_names
    from vidface.manifest.sources import from_iqiyi

    spare_inputs(output, [train_list, val_list, *pickles])
    names = (name for _, name in iqiyi_names(pickles))
    return from_iqiyi(train_list, val_list, output=output, names=names, **given)


@_converter(
    "from-lfrc",
    click.argument("filelist", type=FILE),
    click.option(
        "--identities",
        type=FILE,
        help="Your own labels: line i for line i of FILELIST, empty or 0 for nobody.",
    ),
)
def manifest_from_lfrc(filelist: Path, identities: Path | None, output: Path, root: Path | None) -> Converted:
    """From the challenge's FILELIST; its order is kept, as the submission needs it."""
    from vidface.manifest.sources import from_lfrc

    spare_inputs(output, [filelist, identities])
    return from_lfrc(filelist, output, identities=identities, root=root)


@_converter(
    "from-trillionpairs",
    click.argument("filelist", type=FILE),
    click.option(
        "--labels",
        type=FILE,
        help="Line i is the identity of line i of FILELIST; empty, 0 or -1 for a distractor.",
    ),
)
def manifest_from_trillionpairs(
    filelist: Path, labels: Path | None, output: Path, root: Path | None
) -> Converted:
    """From a list of images, FILELIST (LFRC's image track, Trillion-Pairs); its order is kept."""
    from vidface.manifest.sources import from_trillionpairs

    spare_inputs(output, [filelist, labels])
    return from_trillionpairs(filelist, output, labels=labels, root=root)


_OF_IJB = (
    click.argument("meta", type=DIRECTORY),
    click.argument("images", type=DIRECTORY),
    click.option(
        "--aligned",
        type=DIRECTORY,
        help="Cut the faces by the set's own points, 112x112, and write them here; the rows point to them.",
    ),
    click.option("--workers", type=click.IntRange(1), help="Threads that align [default: one per core]."),
)


@_converter("from-ijbb", *_OF_IJB)
def manifest_from_ijbb(**given: Any) -> Converted:
    """From the lists of IJB-B in META and its loose crops in IMAGES; a row an image."""
    from vidface.frames.faces.template_crops import make_manifest

    return make_manifest("ijbb", **given)


@_converter("from-ijbc", *_OF_IJB)
def manifest_from_ijbc(**given: Any) -> Converted:
    """From the lists of IJB-C in META and its loose crops in IMAGES; a row an image."""
    from vidface.frames.faces.template_crops import make_manifest

    return make_manifest("ijbc", **given)


@manifest.command("check")
@click.argument("path", type=FILE)
@root_option
@click.option(
    "--against",
    metavar="SET",
    help="Compare the rows with a known set, such as iqiyi-vid-2019, or your own SET.toml. Media are not looked for.",
)
@json_option
def manifest_check(path: Path, root: Path | None, against: str | None, as_json: bool) -> int:
    """List every problem of a manifest with its line, or how it differs from a known set."""
    if against is None:
        from vidface.manifest.manifest import check_manifest

        return print_problems(path, check_manifest(path, root=root), as_json)
    from vidface.manifest.against import compare_manifest
    from vidface.manifest.known_sets import read_known

    if root is not None:
        raise UsageError("--root is where media are looked for, and --against looks for none: leave one out")
    return print_compared(path, compare_manifest(path, read_known(against)), as_json)
