"""Every protocol by its name: the module that holds it, the files that it needs, the options that it uses.

The command line lists protocols and refuses what they do not use without importing them, so this module is light. A
protocol is added by a line here, a module that holds its `Protocol`, a test and a page in ``docs/protocols/``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from vidface.errors import UsageError

if TYPE_CHECKING:
    from vidface.scores.protocols.protocol import Protocol

SPLITS = ("enrolment_split", "gallery_split")
AIMS = ("targets", "fpr_rule")
TEMPLATES = ("norm", "detector_score", "flip_halves")


class Entry(NamedTuple):
    """A line of the table: ``module`` with its ``PROTOCOLS``; ``needs`` of ``manifest``, ``pairs``, ``meta``.

    Without a manifest it scores features of images, else embeddings. ``uses``: options with a default, and ``det``, the
    file of a DET curve.
    """

    module: str
    needs: tuple[str, ...] = ("manifest",)
    uses: tuple[str, ...] = ()


TABLE: dict[str, Entry] = {
    "both": Entry("iqiyi", uses=(*SPLITS, *AIMS, "device")),
    "iqiyi": Entry("iqiyi", uses=SPLITS),
    "lfrc": Entry("lfrc", uses=(*AIMS, "device")),
    "trillionpairs": Entry("image_track", uses=(*AIMS, "device")),
    "pairs": Entry("listed", needs=("manifest", "pairs"), uses=AIMS),
    "folds": Entry("listed", needs=("manifest", "pairs"), uses=AIMS),
    "ytf": Entry("listed", needs=("manifest", "pairs"), uses=AIMS),
    "ijbb": Entry("ijb", needs=("meta",), uses=(*AIMS, *TEMPLATES)),
    "ijbc": Entry("ijb", needs=("meta",), uses=(*AIMS, *TEMPLATES)),
    "openset": Entry("open_set", uses=(*SPLITS, *AIMS, "det")),
}

# Those of embeddings: sweeps, recipes, reports and comparisons go by any of them.
OF_EMBEDDINGS = tuple(name for name, entry in TABLE.items() if "manifest" in entry.needs)


def load(name: str) -> Protocol:
    module = import_module(f"vidface.scores.protocols.{TABLE[name].module}")
    found: Protocol = next(each for each in module.PROTOCOLS if each.name == name)
    return found


def used_by(option: str) -> str:
    """The protocols that need a file or use an option, for help; ``both`` goes without saying."""
    return ", ".join(
        name for name, entry in TABLE.items() if name != "both" and option in entry.needs + entry.uses
    )


def misplaced_file(name: str, **given: object) -> str | None:
    """The first of these files that the protocol needs and that is None, or that is given and not used."""
    needs = TABLE[name].needs
    return next((file for file, path in given.items() if (file in needs) != (path is not None)), None)


def check_files(name: str, **given: object) -> None:
    """Refuse files that a protocol needs and that are None, or that are given and not used: a `UsageError`."""
    file = misplaced_file(name, **given)
    if file is not None:
        what = f"needs --{file}" if given[file] is None else f"does not use --{file}: leave it out"
        raise UsageError(f"--protocol {name} {what}")


def check_embeddings(name: str) -> None:
    """Refuse a protocol that scores features of images, not embeddings: a `UsageError`."""
    if name not in OF_EMBEDDINGS:
        raise UsageError(
            f"--protocol {name} scores features of images, not embeddings: "
            f"vidface score FEATURES --protocol {name} --meta DIR"
        )
