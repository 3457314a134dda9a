"""What a terminal gets: all of it without colours too, nothing that it would obey, lines that fit."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from vidface.files.store import FACE_COUNTS, FaceRows, FeaturesInfo
from vidface.report.video import terminal
from vidface.report.video.inspect import Cluster, Inspection, Level
from vidface.report.video.terminal import CELLS, examples, letter_of, show


def inspection(labels: list[int], cosines: list[float] | None = None, **changes: Any) -> Inspection:
    """As `inspect` would give it, with these labels."""
    count, array = len(labels), np.array(labels, np.int32)
    clusters = [
        Cluster(
            label, np.flatnonzero(array == label), 0.5 if labels.count(label) > 1 else None, 0.25, 12.0, 0.5
        )
        for label in sorted(set(labels))
    ]
    told = {"model_name": "m", "fps": "8"}
    info = FeaturesInfo(Path("f.h5"), [changes.get("video_id", "v")], np.array([0, count]), ["ok"], told)
    seen = Inspection(
        info=info,
        video=0,
        video_id="v",
        first=0,
        threshold="0.4",
        pool="largest",
        pooling=None,
        times=np.arange(count, dtype=np.float32) / 8,
        norms=np.full(count, 12.0),
        labels=array,
        cosines=np.array(cosines or [0.5] * count),
        weights=(array == 0) / max(np.count_nonzero(array == 0), 1),
        embedding=np.ones(2, np.float32),
        faces=None,
        counts={},
        clusters=clusters,
        tracks=[],
        why="because",
        levels=[Level(None, 1, count, 3), Level(0.4, len(clusters), labels.count(0), labels.count(0))],
        edges=np.linspace(-1, 1, 21),
        together=pairs_at(19) * 30,
        apart=pairs_at(10) * 10,
        compared=count,
    )
    return replace(seen, **changes)


def pairs_at(place: int) -> np.ndarray:
    return (np.arange(20) == place).astype(np.int64)


def faces(tracks: list[int]) -> FaceRows:
    n = len(tracks)
    boxes, points = np.tile(np.float32([0, 0, 9, 9]), (n, 1)), np.zeros((n, 5, 2), np.float32)
    return FaceRows(boxes, points, np.ones(n, np.float32), np.ones(n, np.float32), np.array(tracks, np.int32))


def printed(seen: Inspection, width: int = 80, colour: bool = False, **more: Any) -> str:
    file = io.StringIO()
    options: dict[str, Any] = {"force_terminal": True, "color_system": "truecolor"} if colour else {}
    console = Console(file=file, width=width, markup=False, emoji=False, highlight=False, **options)
    show(seen, console, **more)
    return file.getvalue()


def test_frames_stand_in_order_with_a_letter_and_their_cosine() -> None:
    text = printed(inspection([0, 1, 0, 2, 1, 0], [0.95, -0.2, 1.0, 0.0, 0.19, 0.49]))
    assert "   0.0 s A B A · B A" in text
    assert "         9 - 9 0 1 4" in text
    assert "all frames in order" in text and "threshold 0.4: because" in text
    letters = [letter_of(label, size) for label, size in ((0, 1), (1, 1), (1, 2), (25, 2), (26, 2))]
    assert letters == ["A", "·", "B", "Z", "+"]


def cells(text: str, begin: str) -> list[str]:
    """The words of the one line that begins so."""
    (line,) = (line for line in text.splitlines() if line.startswith(begin))
    return line.split()


def test_a_cluster_has_a_line_and_single_frames_have_one_together() -> None:
    text = printed(inspection([0, 1, 0, 2, 1, 0, 3]))
    assert cells(text, " A") == ["A", "kept", "3", "42.9%", "0.0,", "0.2", "+1", "0.50", "0.25", "12.0"]
    assert cells(text, " B") == ["B", "2", "28.6%", "0.1,", "0.5", "0.50", "0.25", "12.0"]
    assert cells(text, " ·") == ["·", "2", "alone", "2", "28.6%", "0.25", "12.0"]
    assert "\n C" not in text


def test_where_all_frames_count_their_weight_is_shown() -> None:
    text = printed(inspection([0, 1, 0, 2, 1, 0, 3], pool="size-norm"))
    assert cells(text, " A")[:2] == ["A", "3"] and cells(text, " A")[-1] == "50.0%"
    assert cells(text, " ·")[-1] == "100.0%"
    assert "kept" not in text and re.search("^threshold +clusters +largest +share +in A now$", text, re.M)


def test_colours_add_nothing_but_colour() -> None:
    seen = inspection([0, 1, 0, 2, 1, 0], faces=faces([0, 0, 0, 1, 1, 1]))
    coloured = printed(seen, colour=True)
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == printed(seen)


def test_faces_are_shown_by_track() -> None:
    text = printed(inspection([0, 0, 1, 1, 2, 0], faces=faces([0, 0, 0, 3, 3, 4])))
    blocks = text[text.index("all faces in order") :]
    assert re.findall(r"track (\d+)\n +(\S+) s ([AB· ]+)\n", blocks) == [
        ("0", "0.0", "A A B"),
        ("3", "0.4", "B ·"),
        ("4", "0.6", "A"),
    ]
    assert {"0,", "4"} <= {*cells(text, " A")}


def test_tracks_have_a_table_and_what_was_left_out_is_counted() -> None:
    of = [0, 0, 0, 3, 3, 4]
    tracks = [Cluster(n, np.flatnonzero(np.array(of) == n), 0.5, 0.25, 9.0, 0.5) for n in (0, 3, 4)]
    counts = dict(zip(FACE_COUNTS, [4, 1, 11, 2, 0, 3, 0, 0], strict=True))
    text = printed(inspection([0, 0, 1, 1, 2, 0], faces=faces(of), tracks=tracks, counts=counts), width=120)
    assert (
        "11 faces found in the video's 4 frames, 1 without a face; left out: 2 too small, 3 blurred" in text
    )
    assert "one track alone: v#0" in text and "threshold 0.4, all tracks together: because" in text
    rows = [line.split() for line in text[text.index("track ") : text.index("score: of")].splitlines()]
    assert rows[1] == ["0", "3", "0.0-0.2", "0.50", "0.25", "9.0", "1.00", "9"]
    assert rows[2][:3] == ["3", "2", "0.4-0.5"] and len(rows) == 4
    assert "together" not in printed(inspection([0, 0], faces=faces([0, 0]), tracks=tracks[:1]))


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    labels = np.unique(np.random.default_rng(0).integers(0, 30, 300), return_inverse=True)[1].tolist()
    assert max(map(len, printed(inspection(labels), width=width).splitlines())) <= width


def test_hostile_names_are_text() -> None:
    text = printed(inspection([0, 0], video_id="[red]x[/red]\x1b[2J\n:smile:", threshold="\x07[bold]"))
    assert "[red]x[/red]\\x1b[2J :smile:" in text and "\\x07[bold]" in text
    assert "\x1b" not in text and "\x07" not in text


def test_a_video_without_frames() -> None:
    text = printed(inspection([], why="nothing is kept"))
    assert text.splitlines() == ["v  0 frames, status ok, m, 8 fps", "threshold 0.4: nothing is kept"]


def test_of_a_very_long_video_every_nth_frame_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "ROWS_SHOWN", 10)
    text = printed(inspection([0] * 25))
    assert "one in 3 of 25 frames in order" in text
    assert re.search(r"0\.0 s A( A){8}\n", text)


def test_bars_of_pairs() -> None:
    text = printed(inspection([0, 0, 1]))
    assert cells(text, "  0.9 to  1.0")[-2:] == ["█" * 40, "30"]
    assert (
        cells(text, "  0.0 to  0.1")[-2:] == ["░" * 14, "10"] and "-0.1 to" not in text
    )  # empty at the ends
    text = printed(inspection([0, 0, 1], together=pairs_at(15) + 1000 * pairs_at(19)))
    assert "  0.5 to  0.6  █ 1\n" in text  # too few for a column, and yet to be seen, as what they are


def test_examples_are_spread_over_a_cluster_and_fit_the_terminal() -> None:
    seen = inspection([0] * 50 + [1] * 2 + [2])
    chosen = examples(seen, 80)
    assert set(chosen) == {0, 1} and chosen[1] == [50, 51]
    assert chosen[0][0] == 0 and chosen[0][-1] == 49 and len(chosen[0]) * CELLS[0] + 4 <= 80
    assert len(examples(seen, 10)[0]) == 1


def test_pictures_of_a_cluster_are_one_picture() -> None:
    class Drawn:
        made: list[tuple[Any, int]] = []  # noqa: RUF012

        def __init__(self, image: Any, width: int, height: int) -> None:
            self.made.append((image, width))

        def __rich__(self) -> str:
            return "drawn"

    seen = inspection([0, 0, 1, 1, 2])
    red = np.full((20, 20, 3), (255, 0, 0), np.uint8)
    text = printed(seen, pictures={0: red, 1: red // 2, 2: None}, image=Drawn)
    assert text.count("drawn") == 1 and "B: no picture can be read any more" in text
    ((image, width),) = Drawn.made
    assert image.getpixel((8, 8)) == (255, 0, 0) and image.getpixel((30, 8)) == (127, 0, 0)
    assert image.size == (44, 20) and width == 2 * CELLS[0]


def test_pictures_in_sixel_stand_alone_on_their_lines() -> None:
    """Sixel moves the cursor: beside it there must be nothing."""
    renderable = pytest.importorskip("textual_image.renderable", reason="pip install -e '.[report]'")
    red = np.full((20, 20, 3), (255, 0, 0), np.uint8)
    seen = inspection([0, 0, 1])
    text = printed(seen, colour=True, pictures={0: red, 1: red}, image=renderable.SixelImage)
    assert text.count("\x1bP") == 1
    before, after = text.split("\x1bP")
    blank = " " * (2 * CELLS[0]) + "\n"
    assert before.endswith(f" 2 of 2\n{blank * CELLS[1]}\x1b7\x1b[{CELLS[1]}A")
    assert after[after.index("\x1b\\") + 2 :].startswith("\x1b8")
