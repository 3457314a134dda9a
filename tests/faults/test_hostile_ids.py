"""Ids, names and submissions that were written to be obeyed: by a terminal, a browser, a spreadsheet."""

from __future__ import annotations

import csv
import json
import re
import struct
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from command_line import Ran, vidface
from fault_material import embeddings_file, features_file, unit

from vidface.manifest.manifest import write_manifest

SCRIPT = "</script><script>alert(1)</script>"
HOSTILE = [
    *('=HYPERLINK("http://x","y")', "+1+cmd|'/C calc'!A0", "-2+3", "@SUM(1)", "\uff1d1+1", "'=1"),
    *(SCRIPT, '"><img src=x onerror=alert(1)>', "-->]]></style></svg>", "&lt;b&gt;", "{{1337*1337}}"),
    *("{% for x in y %}", "\u202egnp.exe", "a\u200bb", r"$\input{/etc/passwd}$", "[x](javascript:alert(1))"),
    *("a|b`c`~*_", "%n%s", "--help", "\u00e9" * 127, "x" * 255, "../../x", "\u4eba\u7269"),
]
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d")
NUMBER = re.compile(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?")


class Page(HTMLParser):
    """The tags of a page and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos and people of these names, their features and two embeddings files, one of them hostile by its name."""
    folder = tmp_path_factory.mktemp("hostile")
    rows = [
        (name + "~" * take, f"v/{number}-{take}", name, "val" if take else "train")
        for number, name in enumerate(HOSTILE)
        for take in range(3)
    ]
    write_manifest(folder / "set.csv", rows)
    random = np.random.default_rng(0)
    base = np.repeat(random.normal(size=(len(HOSTILE), 16)), 3, axis=0)
    videos = {row[0]: mean + 0.9 * random.normal(size=(4, 16)) for row, mean in zip(rows, base, strict=True)}
    features_file(folder / "features.h5", videos, model_name=f"\x1b[31m={SCRIPT}\u202e")
    for name, threshold in (("a.h5", 0.4), (f"={SCRIPT.replace('/', '')}|$x_&.h5", "none")):
        vidface("cluster", folder / "features.h5", "-o", folder / name, "--threshold", threshold, code=0)
    return folder


def second(folder: Path) -> Path:
    return next(path for path in folder.glob("*.h5") if path.name.startswith("="))


def said(ran: Ran) -> str:
    """What a command printed, none of which a terminal obeys."""
    for line in [*ran.out.split("\n"), *ran.err.split("\n")]:
        assert line.isprintable(), line
    return ran.out + ran.err


@pytest.fixture(scope="module")
def report(folder: Path) -> Path:
    output = folder / "report"
    said(vidface("report", folder / "a.h5", "--manifest", folder / "set.csv", "-o", output, code=0))
    return output


@pytest.fixture(scope="module")
def compared(folder: Path) -> Path:
    output = folder / "compared"
    command = ["compare", folder / "a.h5", second(folder), "--manifest", folder / "set.csv"]
    said(vidface(*command, "-o", output, code=0))
    assert json.loads(vidface(*command, "--json", code=0).out)["runs"][1]["name"] == second(folder).stem
    return output


def test_the_terminal_obeys_nothing(folder: Path) -> None:
    manifest = ("--manifest", folder / "set.csv")
    said(vidface("manifest", "check", folder / "set.csv", code=1))  # no media
    said(vidface("score", folder / "a.h5", *manifest, code=0))
    said(vidface("sweep", folder / "features.h5", *manifest, "--thresholds", "none,0.3", code=0))
    for name in HOSTILE:
        if name.startswith("-"):
            continue  # an option, as in every command
        shown = said(vidface("inspect", folder / "features.h5", name, code=0))
        assert (name if name.isprintable() and len(name) < 60 else name[:1]) in shown or "\\u" in shown


@pytest.mark.parametrize(
    "typed", ["\x1b[2J", "\u202egnp.exe", "x" * 4000, "a\nb", "{{x}}", "", "#1", "\u00e9" * 127]
)
def test_a_name_that_is_not_there(folder: Path, typed: str) -> None:
    ran = vidface("inspect", folder / "features.h5", f"{typed}no such", code=2)
    assert "no video" in ran.error and ran.error.isprintable()


def tables(folder: Path) -> Iterator[tuple[Path, list[list[str]]]]:
    for path in sorted(folder.rglob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            yield path, list(csv.reader(file))


@pytest.mark.parametrize("what", ["report", "compared"])
def test_no_cell_of_a_csv_is_a_formula(what: str, request: pytest.FixtureRequest) -> None:
    found = list(tables(request.getfixturevalue(what)))
    cells = [cell for _, rows in found for row in rows for cell in row]
    assert len(found) > 5 and any("alert(1)" in cell for cell in cells)
    for cell in cells:
        assert not cell.lstrip().startswith(FORMULA) or NUMBER.fullmatch(cell), cell


def test_names_come_back_from_a_csv(report: Path) -> None:
    rows = dict(tables(report))[report / "data" / "strips.csv"]
    names = {re.sub("^'", "", cell) for row in rows[1:] for cell in row}
    assert {name for name in HOSTILE if name.startswith(("=", "@"))} & names


@pytest.mark.parametrize("what", ["report", "compared"])
def test_a_page_runs_nothing(what: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(what)
    for path in [folder / "index.html", *sorted(folder.rglob("*.svg"))]:
        text = path.read_text("utf-8")
        for tag, attributes in Page(text).tags:
            assert tag not in ("script", "iframe", "object", "embed", "base", "form")
            assert not [name for name in attributes if name.startswith("on")], (path, tag)
            links = [(attributes.get(name) or "").lower() for name in ("href", "src", "xlink:href")]
            assert not [link for link in links if link.startswith(("javascript:", "http:", "//"))], tag
        assert str(1337 * 1337) not in text, "a template ran"
        assert "\u202e" not in text and "\x1b" not in text
    words = Page((folder / "index.html").read_text("utf-8")).words
    assert "alert(1)" in words, "the names are there, as text"


def test_markdown_obeys_nothing(compared: Path) -> None:
    markdown = (compared / "compare.md").read_text("utf-8")
    assert "<script>" not in markdown and "\u202e" not in markdown
    for line in markdown.split("\n"):
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)
            assert len(cells) in (5, 6, 7), line  # a bar in a name is no column


# Submissions


def embedded(folder: Path, rows: list[tuple[str, str, str, str]]) -> tuple[object, ...]:
    """Embeddings of these videos, all apart but for the people, and the words of their manifest."""
    write_manifest(folder / "set.csv", rows)
    people = sorted({row[2] for row in rows})
    vectors = np.random.default_rng(0).normal(size=(len(people), 8))[[people.index(row[2]) for row in rows]]
    vectors += np.random.default_rng(1).normal(size=vectors.shape) * 0.1
    embeddings_file(folder / "e.h5", [row[0] for row in rows], unit(vectors), model_name="m")
    return folder / "e.h5", "--manifest", folder / "set.csv"


def test_an_id_with_white_space_is_not_written(tmp_path: Path) -> None:
    words = embedded(tmp_path, [("a", "a", "p", "train"), ("b c", "b", "p", "val")])
    ran = vidface("submit", *words, "--format", "iqiyi", "-o", tmp_path / "r.txt", code=1)
    assert "'b c' is empty or holds white space" in ran.error
    assert not (tmp_path / "r.txt").exists()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    rows = [(f"v{n}", f"v{n}", f"p{n % 2}", "train" if n < 2 else "val") for n in range(6)]
    vidface("submit", *embedded(folder, rows), "--format", "lfrc", "-o", folder / "m.bin", code=0)
    return folder


def checked(folder: Path, name: str, content: bytes) -> str:
    """The kinds of problems that the check lists; scoring the file is one line, or a score."""
    path, told = folder / name, ("--manifest", folder / "set.csv", "--json")
    path.write_bytes(content)
    ran, scored = vidface("submit", "--check", path, *told), vidface("score", path, *told)
    assert str(path) in scored.error if scored.err else scored.json["counts"]
    if ran.err:  # it is not even told what it is
        assert str(path) in ran.error
        return "format"
    assert all(problem["message"].isprintable() for problem in ran.json["problems"])
    return " ".join(sorted({problem["kind"] for problem in ran.json["problems"]}))


MANY = " ".join(f"x{n}.mp4" for n in range(101))
RANKINGS = {
    "p0 v2.mp4 v2.mp4 v4.mp4\np1 v3.mp4 v5.mp4\n": "repeated-video",
    "p0 v2.mp4 nobody.mp4\np1 v3.mp4\n": "unknown-video",
    "p0 v0.mp4\np1 v3.mp4\n": "not-in-gallery",
    "p0 v2.mp4\np1 v3.mp4\np9 v3.mp4\n": "unknown-identity",
    "p0 v2.mp4\np0 v4.mp4\n": "missing-identity repeated-identity",
    "p0 v2.mp4\n\np1 v3.mp4\n": "empty",
    "p0 v2.mp4 v4\np1 v3.mp4\n": "not-mp4",
    "p0\tv2.mp4\r\np1 v3.mp4\n": "spacing",
    "\ufeffp0 v2.mp4\np1 v3.mp4\n": "undecodable",
    f"p0 v2.mp4\np1 {MANY}\n": "too-many unknown-video",
    f"p0 {'x' * 1_000_000}.mp4\np1 v3.mp4\n": "format",  # nothing says that it is a ranking
    f"p0 v2.mp4 {'x' * 1_000_000}.mp4\np1 v3.mp4\n": "unknown-video",
    "p0 v2.mp4\np1 v3.mp4 \x1b[31m.mp4\u202e.mp4\n": "unknown-video",
}


@pytest.mark.parametrize("text", RANKINGS, ids=lambda text: repr(text[:24]))
def test_rankings_that_are_wrong(small: Path, text: str) -> None:
    assert checked(small, "wrong.txt", text.encode()) == RANKINGS[text]


def test_a_line_of_200_000_words(small: Path) -> None:
    path = small / "long.txt"
    path.write_text("p0 " + " ".join(f"x{n}.mp4" for n in range(200_000)) + "\np1 v3.mp4\n")
    ran = vidface("submit", "--check", path, "--manifest", small / "set.csv", code=1)
    assert ran.out.splitlines()[-1].endswith(" problems") and "200000 videos; at most 100" in ran.out


def header(*numbers: int) -> bytes:
    """Rows, columns, stride, kind."""
    return struct.pack("<4i", *numbers)


def number(value: float) -> bytes:
    return struct.pack("<f", value)


MATRICES: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda good: good[:-4], "format"),
    (lambda good: good + b"\0", "format"),
    (lambda good: header(2**31 - 1, 8, 32, 5) + good[16:], "format"),
    (lambda good: header(-6, 8, 32, 5) + good[16:], "format"),
    (lambda good: header(6, 8, 31, 5) + good[16:], "format"),
    (lambda good: header(6, 8, 32, 6) + good[16:], "format"),
    (lambda good: good[:10], "format"),
    (lambda good: b"", "format"),
    (lambda good: header(5, 8, 32, 5) + good[16:-32], "row-count"),
    (lambda good: good[:16] + number(np.nan) + good[20:], "not-finite"),
    (lambda good: good[:16] + number(np.inf) + good[20:], "not-finite"),
    (lambda good: good[:16] + number(3e38) + good[20:], "not-unit"),
    (lambda good: good[:16] + bytes(32) + good[48:], "zero-row"),
    (lambda good: header(6, 513, 2052, 5) + bytes(6 * 2052), "dimension zero-row"),
]


@pytest.mark.parametrize(("change", "kinds"), MATRICES)
def test_matrices_that_are_wrong(small: Path, change: Callable[[bytes], bytes], kinds: str) -> None:
    assert checked(small, "wrong.bin", change((small / "m.bin").read_bytes())) == kinds


def test_two_rows_of_one_embedding(small: Path) -> None:
    """Rows carry no ids: that two are the same is seen beside the embeddings they were made from."""
    good = (small / "m.bin").read_bytes()
    (small / "wrong.bin").write_bytes(good[:16] + good[48:80] + good[48:])
    words = ("submit", small / "e.h5", "--check", small / "wrong.bin", "--manifest", small / "set.csv")
    (problem,) = vidface(*words, "--json", code=1).json["problems"]
    assert problem["kind"] == "order" and "'v0') holds the embedding of video 'v1'" in problem["message"]


def test_a_run_against_its_own_submission_with_a_gallery_over_a_hundred(tmp_path: Path) -> None:
    """The ranking ends at 100 videos, the embeddings go on: what lies behind the end counts for neither."""
    rows = [(f"e{n}", f"e{n}", f"p{n}", "train") for n in range(3)]
    rows += [(f"v{n:03d}", f"v{n:03d}", f"p{n % 3}", "val") for n in range(330)]
    words, ranking = embedded(tmp_path, rows), tmp_path / "ranking.txt"
    vidface("submit", *words, "--format", "iqiyi", "-o", ranking, code=0)
    command = ["compare", words[0], ranking, *words[1:], "--protocol", "iqiyi", "--json"]
    told = vidface(*command, code=0).json
    for measure in told["measures"]:
        first, second = (value["value"] for value in measure["values"])
        assert first == second, measure["measure"]
    assert told["changed_identities"] == {"ranking.txt": []} and told["changed_videos"] == {"ranking.txt": []}
