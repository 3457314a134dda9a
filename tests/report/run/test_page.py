"""Reports on the disk: all files, all data, every link, hostile ids as text, sizes that stay sane."""

from __future__ import annotations

import csv
import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_content import SCRIPT, a_content, some_map

from vidface.errors import StoreError
from vidface.report.run.content import Content, Number, Pair, Strip, StripFrame, Sweep, Table
from vidface.report.run.page import write_report

EMPTY = {"meta", "img", "br", "wbr", "path", "use", "circle", "rect"}  # elements that are not closed


class Page(HTMLParser):
    """What a browser would make of a page: tags with their attributes, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open += [tag] * (tag not in EMPTY)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert tag in EMPTY or self.open.pop() == tag, "every tag is closed in its place"

    def handle_data(self, data: str) -> None:
        self.words += [data] * ("style" not in self.open[-1:])


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_report(a_content(), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def report(told: list[Path]) -> Path:
    return told[0].parent


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page((report / "index.html").read_text("utf-8"))


def empty(**parts: Any) -> Content:
    missing = {"sweep": "no sweep.json is there", "map": "install scikit-learn", "strips": "no features"}
    nothing: dict[str, Any] = dict.fromkeys(("sweep", "curves", "histogram", "cmc", "map"))
    for name in ("headline", "protocol", "warnings", "strips", "confused", "impostors", "genuine"):
        nothing[name] = []
    faults = Table("faults", "Every fault", ["video", "stage"], [])
    return dataclasses.replace(a_content(), **{**nothing, "missing": missing, "faults": faults, **parts})


def page_of(folder: Path, content: Content) -> Page:
    return Page(write_report(content, folder)[0].read_text("utf-8"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_file_is_told_and_every_link_leads_to_one(told: list[Path], report: Path, page: Page) -> None:
    there = {path for path in report.rglob("*") if path.is_file()}
    assert told[0] == report / "index.html" and set(told) == there and len(told) == len(there)
    links = {str(attributes["href"]) for tag, attributes in page.tags if tag == "a"}
    files = {link for link in links if not link.startswith("#")}
    assert files == {path.relative_to(report).as_posix() for path in there} - {"index.html"}


def test_the_same_content_gives_the_same_bytes(report: Path, tmp_path: Path) -> None:
    write_report(a_content(), tmp_path)
    for path in report.rglob("*.*"):
        assert (tmp_path / path.relative_to(report)).read_bytes() == path.read_bytes(), path.name


def test_the_page_is_whole_in_itself_and_runs_nothing(page: Page) -> None:
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form", "foreignobject"}
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        for name in ("src", "srcset", "data", "action", "poster", "background"):
            assert (attributes.get(name) or "data:image/").startswith("data:image/")
        assert (attributes.get("xlink:href") or "#").startswith(("#", "data:image/png;base64,"))
        assert "url(" not in (attributes.get("style") or "").replace("url(#", "")
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'")


def test_headline_numbers_with_their_intervals_come_first_then_the_warnings(page: Page) -> None:
    words = [
        *("Result Measures", "0.9312 (0.901 to 0.955)", "0.9791 (0.958 to 0.995)"),
        *("needs 1,000,000 impostor pairs", "Warning: the threshold was chosen on the test split"),
        *("What was counted", "Every identity is a query", "Figure 1. Thresholds of clustering."),
        *("Figure 2. ROC curve.", "Figure 3. DET curve.", "Most changed", "Most fragmented", "Random"),
        *(
            "lowest average precision",
            "Strongest pairs",
            "Weakest pairs",
            "Figure 6. Map",
            "Every fault",
            "model",
        ),
    ]
    places = [page.text.index(each) for each in words]
    assert places == sorted(places)


def test_every_hostile_name_is_text_on_the_page_and_whole_in_the_data(report: Path, page: Page) -> None:
    for words in (
        *(SCRIPT, "\"'><img src=x onerror=alert", "{{ 7*7 }}{% for x in y %}", "two lines", "\\u202egnp.exe"),
        *("xxx…xxx", "=HYPERLINK(", "$\\frac{a}{b$ & _under", "人物 видео", "-->]]></style></svg>"),
        *("broken\\udcff", "\\x00\\x1b[31m"),
    ):
        assert words in page.text
    assert "x" * 200 not in page.text
    for path in [report / "index.html", *(report / "figures").glob("*.svg")]:
        text = path.read_text("utf-8")
        assert not set(text) & {"\u202e", "\x00", "\x1b", "\ufffd"} and "<script" not in text.lower()
    assert {row["video"] for row in rows(report / "data" / "faults.csv")} >= {"x" * 3000}
    files = (report / "data").glob("*.csv")
    formulas = [path.name for path in files if "'=HYPERLINK" in path.read_text("utf-8")]
    assert len(formulas) >= 4, "map, rankings, pairs and faults have one"


def test_data_beside_every_figure_is_what_it_was_drawn_from(report: Path) -> None:
    content, data = a_content(), report / "data"
    assert content.curves and content.histogram and content.cmc and content.map and content.sweep
    for name, column, values in (
        ("curves", "fpr", content.curves.fpr),
        ("curves", "tpr", content.curves.tpr),
        ("curves", "fnmr", 1 - content.curves.tpr),
        ("curves", "threshold", content.curves.thresholds),
        ("histogram", "same", content.histogram.same),
        ("histogram", "different", content.histogram.different),
        ("histogram", "from", content.histogram.edges[:-1]),
        ("histogram", "to", content.histogram.edges[1:]),
        ("cmc", "rate", content.cmc.rate),
        ("map", "x", content.map.xy[:, 0]),
        ("map", "y", content.map.xy[:, 1]),
        ("sweep", "mAP@100", content.sweep.measures["mAP@100"]),
        ("sweep", "kept", content.sweep.kept),
        ("headline", "value", [0.93124, 0.97909]),
        ("headline", "low", [0.9012, 0.9581]),
        ("operating-points", "TPR", [point.tpr for point in content.curves.points if point.tpr is not None]),
    ):
        found = [float(row[column]) for row in rows(data / f"{name}.csv") if row[column]]
        np.testing.assert_array_equal(found, values, err_msg=f"{name}, {column}")
    assert rows(data / "sweep.csv")[-1]["TPR at FPR 1e-3"] == ""


def test_data_of_strips_and_hard_cases_has_every_row(report: Path) -> None:
    content, data = a_content(), report / "data"
    strips = rows(data / "strips.csv")
    assert len(strips) == sum(len(strip.frames) for strip in content.strips)
    first = content.strips[0].frames[1]
    assert strips[1]["row"] == str(first.row) and float(strips[1]["cosine"]) == first.cosine
    assert {(row["cluster"] == "0") == (row["kept"] == "1") for row in strips} == {True}
    ranked = rows(data / "rankings.csv")
    assert len(ranked) == sum(len(one.ranked) for one in content.confused)
    assert [row["relevant"] for row in ranked[:5]] == ["0", "1", "0", "0", "1"]
    genuine = [float(row["cosine"]) for row in rows(data / "genuine-pairs.csv")]
    assert genuine == [pair.cosine for pair in content.genuine]


def test_a_frame_says_in_words_what_its_colours_say(page: Page) -> None:
    alts = [str(attributes["alt"]) for tag, attributes in page.tags if tag == "img"]
    assert all(alts)
    assert any(re.fullmatch(r"Frame 0 at 0\.00 s: cluster 0, kept, cosine 0\.\d\d", alt) for alt in alts)
    dropped = re.compile(r"Frame \d+ at \d\.\d\d s: cluster [123], dropped, cosine -?0\.\d\d")
    assert any(dropped.fullmatch(alt) for alt in alts)
    absent = [str(told["aria-label"]) for _, told in page.tags if told.get("class") == "absent"]
    assert any("Frame 4 at 0.25 s" in label and "no picture" in label for label in absent)


def test_tracks_are_told_where_there_are_several(tmp_path: Path) -> None:
    frames = [StripFrame(at, None, 0, 0.5, True, None, at % 2) for at in range(4)]
    strip = Strip("v", "", "asked for", "", frames, 4, 4, 1)
    html = write_report(empty(strips=[strip]), tmp_path)[0].read_text("utf-8")
    assert "Frame 1: cluster 0, kept, cosine 0.50, track 1" in html and "nobody known" in html
    assert "track by track" in html
    single = strip._replace(frames=[frame._replace(track=0) for frame in frames])
    assert "track 0" not in write_report(empty(strips=[single]), tmp_path)[0].read_text("utf-8")


def test_where_all_frames_count_by_weight_the_page_says_what_red_means(page: Page, tmp_path: Path) -> None:
    weighted = page_of(tmp_path, dataclasses.replace(a_content(), weighted=True))
    for words, told in (
        ("is a frame that clustering dropped", page),
        ("less than an equal share of", weighted),
    ):
        assert [words in one.text for one in (page, weighted)] == [one is told for one in (page, weighted)]


def test_parts_that_cannot_be_had_say_why_and_leave_no_old_files(tmp_path: Path) -> None:
    write_report(a_content(), tmp_path)
    told = write_report(empty(), tmp_path)
    page = Page(told[0].read_text("utf-8"))
    for why in ("no sweep.json is there", "install scikit-learn", "no features", "there are no pairs"):
        assert f"Not shown: {why}" in page.text
    assert "Every fault" in page.text and "None." in page.text
    assert not [tag for tag, _ in page.tags if tag == "circle"] and "0 to 1" not in page.text
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(told)
    assert not list(tmp_path.glob("figures/*"))


def test_long_tables_show_their_first_rows_and_say_how_many_there_are(tmp_path: Path) -> None:
    many = [[f"v{at:05d}", "missing"] for at in range(1234)]
    faults = Table("faults", "Every fault", ["video", "kind"], many)
    text = page_of(tmp_path, empty(faults=faults)).text
    assert "The first 50 of 1,234 rows; all are in data/faults.csv" in text
    assert "v00049" in text and "v00050" not in text
    assert len(rows(tmp_path / "data" / "faults.csv")) == 1234


def test_the_best_of_a_sweep_has_a_star_and_the_chosen_threshold_its_word(tmp_path: Path) -> None:
    sweep = Sweep(["none", "0.30"], [1.0, None], {"mAP@100": [0.25, 0.5], "x": [None, None]}, "0.30", None)
    text = page_of(tmp_path, empty(sweep=sweep)).text
    assert "none 100.0% 0.2500 – 0.30 (chosen) – * 0.5000 –" in text


@pytest.mark.parametrize(("low", "start"), [(0.95, 0.9), (0.6, 0.5), (0.1, 0.0)])
def test_headline_axis_begins_where_all_intervals_fit(tmp_path: Path, low: float, start: float) -> None:
    page = page_of(tmp_path, empty(headline=[Number("a", 0.97, low, 0.99), Number("b", 0.96, 0.95, 0.98)]))
    assert f"{start:g} to 1" in page.text
    spots = [float(str(a["cx"])) for t, a in page.tags if t == "circle"]
    wanted = [3 + 100 * (value - start) / (1 - start) for value in (0.97, 0.96)]
    assert spots == pytest.approx(wanted, abs=0.01)


@pytest.mark.long
def test_200_000_videos_stay_below_20_megabytes(tmp_path: Path) -> None:
    """As much as is ever shown, and pictures of noise, the worst that JPEG can get."""
    random = np.random.default_rng(0)
    noise = [random.integers(0, 256, (64, 64, 3), np.uint8) for _ in range(1000)]
    frames = [StripFrame(at, at / 8, at % 5, 0.5, at % 5 == 0, noise[at], None) for at in range(60)]
    strips = [
        Strip(f"v{at}", "p", why, "", [frame._replace(picture=noise[-at]) for frame in frames], 4000, 800, 5)
        for why in ("most changed", "most fragmented", "random")
        for at in range(8)
    ]
    pairs = [Pair(0.5, f"a{at}", "a", f"b{at}", "b", noise[at], noise[-at]) for at in range(40)]
    content = a_content()
    confused = [content.confused[0]._replace(identity=f"p{at}") for at in range(20)]
    faults = Table(
        "faults", "Every fault", ["video", "detail"], [[f"v{at}", "x" * 90] for at in range(200_000)]
    )
    many = {"strips": strips, "impostors": pairs, "genuine": pairs, "confused": confused, "faults": faults}
    content = dataclasses.replace(content, map=some_map(videos=5000, people=900), **many)
    assert write_report(content, tmp_path)[0].stat().st_size < 20e6
    assert len(rows(tmp_path / "data" / "faults.csv")) == 200_000


def test_a_warning_that_stands_beside_its_number_is_not_said_twice(tmp_path: Path) -> None:
    numbers = [Number("TPR at FPR 1e-9", None, None, None, "too few pairs")]
    text = page_of(tmp_path, empty(headline=numbers, warnings=["too few pairs", "another"])).text
    assert text.count("too few pairs") == 1 and "Warning: another" in text


def test_a_folder_that_cannot_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StoreError, match=r"taken.*-o"):
        write_report(empty(), tmp_path / "taken")


def test_a_name_may_break_after_its_marks_and_stays_escaped(tmp_path: Path) -> None:
    html = write_report(empty(genuine=[Pair(0.5, "a_b", "<i_j>", "", "")]), tmp_path)[0].read_text("utf-8")
    assert "a_<wbr>b</bdi>" in html and "&lt;i_<wbr>j&gt;</bdi>" in html and "(empty)" in html
