"""Figures: what is drawn where, in which colours, the same bytes every time, and nothing that a name can break."""

from __future__ import annotations

import functools
import io
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from report_content import HOSTILE, some_curves, some_histogram, some_map
from scipy.stats import norm
from sklearn.metrics import roc_curve

from vidface.errors import UsageError
from vidface.report.drawing.figures import BARS, histogram_figure, map_figure, sweep_figure
from vidface.report.drawing.figures_curves import LIMIT, cmc_figure, det_figure, roc_figure, thinned
from vidface.report.drawing.figures_drawing import COLOURS, MAP_COLOURS, Drawing, drawn, legend, new_figure
from vidface.report.drawing.files import write_drawing
from vidface.report.run.content import Cmc, Curves, Histogram, OperatingPoint, Sweep
from vidface.scores.metrics.listed_pairs import equal_error_rate

STYLE = Path(__file__).resolve().parents[3] / "vidface" / "report" / "templates" / "style.css"
SWEEP = Sweep(
    ["none", "0.20", "0.30", "0.40"],
    [1.0, 0.4, 0.3, 0.2],
    {"mAP@100": [0.9, 0.91, 0.95, 0.93], "TPR at FPR 1e-3": [0.8, 0.85, None, 0.9]},
    "0.30",
    None,
)
CMC = Cmc(np.arange(1, 21), 1 - 0.2 / np.arange(1, 21), 50)
ALL: dict[str, Callable[[], Drawing]] = {
    "sweep": lambda: sweep_figure(SWEEP),
    "roc": lambda: roc_figure([("", some_curves())]),
    "det": lambda: det_figure([("", some_curves())]),
    "histogram": lambda: histogram_figure(some_histogram()),
    "cmc": lambda: cmc_figure([("", CMC)]),
    "map": lambda: map_figure(some_map()),
}
ONCE = {name: functools.cache(make) for name, make in ALL.items()}
SVG = "{http://www.w3.org/2000/svg}"


def texts_of(drawing: Drawing) -> set[str | None]:
    return {element.text for element in ElementTree.fromstring(drawing.inline).iter(f"{SVG}text")}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, np.ndarray, np.ndarray, dict[str, Any]]]:
    """Every line and mark that is plotted: axes, x, y, options."""
    from matplotlib.axes import Axes

    real: Callable[..., Any] = Axes.plot
    found = []

    def plot(self: Any, x: Any, y: Any, *args: Any, **options: Any) -> Any:
        found.append((self, np.atleast_1d(x), np.atleast_1d(y), {**options, "format": args}))
        return real(self, x, y, *args, **options)

    monkeypatch.setattr(Axes, "plot", plot)
    return found


@pytest.mark.parametrize("name", ALL)
def test_three_forms_of_every_figure(name: str, tmp_path: Path) -> None:
    drawing = ONCE[name]()
    assert drawing.name == name and drawing.summary.endswith(".") and len(drawing.summary) > 20
    paths = write_drawing(tmp_path, drawing)
    assert [path.name for path in paths] == [f"{name}.svg", f"{name}.png"]
    root = ElementTree.parse(paths[0]).getroot()
    assert root.tag == f"{SVG}svg" and root[0].tag == f"{SVG}rect" and "#ffffff" in root[0].attrib["style"]
    with Image.open(paths[1]) as image:
        assert min(image.size) > 600
        pixels = np.asarray(image.convert("RGB"))
        assert (pixels[:3] == 255).all() and (pixels < 100).any(), "dark on white"
    inline = ElementTree.fromstring(drawing.inline)
    assert inline.attrib["role"] == "img" and inline.attrib["aria-label"] == drawing.title
    assert "width" not in inline.attrib and inline.find(f".//{SVG}style") is None


@pytest.mark.parametrize("name", ALL)
def test_the_same_figure_gives_the_same_bytes_whatever_matplotlib_is_set_to(name: str) -> None:
    import matplotlib

    first = ONCE[name]()
    with matplotlib.rc_context():
        others = {"font.size": 20, "xtick.major.size": 9, "ytick.major.size": 9, "axes.labelpad": 9}
        matplotlib.rcParams.update({**others, "axes.xmargin": 0.3, "svg.hashsalt": "other"})
        second = ALL[name]()
        assert matplotlib.rcParams["font.size"] == 20, "and leaves it so"
    assert first == second
    assert b"<dc:date>" not in first.svg and b"Matplotlib v" not in first.svg


@pytest.mark.parametrize("name", ALL)
def test_in_a_page_every_colour_is_the_page_s_own(name: str) -> None:
    colours = set(re.findall("#[0-9a-f]{6}", ONCE[name]().inline))
    assert colours <= (set(MAP_COLOURS) if name == "map" else set())
    names = set(re.findall(r"var\(--([a-z0-9]+)\)", ONCE[name]().inline))
    assert names <= set(COLOURS) and (names or name == "map")


def test_no_id_is_shared_by_two_figures() -> None:
    ids = [set(re.findall(r' id="([^"]+)"', make().inline)) for make in ONCE.values()]
    assert all(ids) and len(set.union(*ids)) == sum(map(len, ids))
    for make in ONCE.values():
        text = make().inline
        used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
        assert used and used <= set(re.findall(r' id="([^"]+)"', text))


def test_colours_of_the_style_are_those_of_the_figures_and_can_be_read() -> None:
    def palette(css: str) -> dict[str, str]:
        return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", css))

    light, dark = (palette(part) for part in re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.DOTALL))
    assert {name: light[name] for name in COLOURS} == COLOURS
    for colours in (light, light | dark):
        for ground in ("paper", "raised"):
            for name in ("ink", "muted", "link", "good", "bad"):
                assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        assert contrast(colours["ink"], colours["warn-paper"]) >= 4.5
        for name in ("s1", "s2", "s3", "s4", "s5", "s6"):
            assert contrast(colours[name], colours["paper"]) >= 4.5, name
        for colour in (*MAP_COLOURS, *(light[f"c{at}"] for at in range(1, 7))):
            assert contrast(colour, colours["paper"]) >= 3, colour


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_roc_has_a_log_axis_every_step_and_exact_points(lines: list[Any]) -> None:
    curves = some_curves(people=3)
    roc_figure([("", curves)])
    axes, x, y, options = lines[0]
    assert axes.get_xscale() == "log" and options["drawstyle"] == "steps-post"
    assert len(x) == len(curves.fpr), "so few that none is left out"
    positive = curves.fpr >= axes.get_xlim()[0]
    np.testing.assert_array_equal(x[positive], curves.fpr[positive])
    np.testing.assert_array_equal(y, curves.tpr)
    marks = {(float(x[0]), float(y[0])) for _, x, y, _ in lines[1:] if len(x) == 1}
    assert marks == {(point.fpr, point.tpr) for point in curves.points if point.tpr is not None}
    bars = {(float(x[0]), *y.tolist()) for _, x, y, _ in lines[1:] if len(x) == 2}
    assert bars == {(point.fpr, point.low, point.high) for point in curves.points if point.tpr is not None}


def test_det_axes_are_normal_deviates(lines: list[Any]) -> None:
    curves = some_curves(people=200)
    det_figure([("", curves)])
    axes, x, y, _ = lines[0]
    inside = (curves.fpr > 1e-4) & (curves.fpr < 0.5) & (curves.tpr < 0.99)
    assert len(both(x, y) & both(norm.ppf(curves.fpr[inside]), norm.ppf(1 - curves.tpr[inside]))) > 50
    left, right = axes.get_xlim()
    assert left == pytest.approx(norm.ppf(1e-5)) and right == pytest.approx(0)
    for place, text in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
        assert norm.cdf(place) == pytest.approx(float(text.get_text()))
    known = np.array([(point.fpr, 1 - point.tpr) for point in curves.points if point.tpr is not None])
    assert both(*lines[1][1:3]) == both(*norm.ppf(known).T)


def both(x: np.ndarray, y: np.ndarray) -> set[tuple[float, float]]:
    return set(zip(x.round(9).tolist(), y.round(9).tolist(), strict=True))


def test_equal_error_rate_is_that_of_a_library() -> None:
    random = np.random.default_rng(5)
    scores = np.concatenate([random.normal(1, 1, 4000), random.normal(-1, 1, 40000)])
    truth = np.arange(len(scores)) < 4000
    fpr, tpr, thresholds = roc_curve(truth, scores)
    crossing = float(np.interp(0, fpr - (1 - tpr), fpr))
    found = equal_error_rate(scores, truth)
    assert found == pytest.approx(crossing, abs=2 / 4000)
    words = det_figure([("", Curves(thresholds, fpr, tpr, 4000, 40000, [], ""))]).summary
    assert words.startswith(f"Equal error rate {found:.4f}."), "the report's is that of `score`"
    nothing = np.zeros(0)
    assert det_figure([("", Curves(nothing, nothing, nothing, 0, 0, [], ""))]).summary.startswith("No pairs.")


@given(st.integers(2, 5000), st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1, 4]))
@settings(max_examples=60)
def test_a_thinned_curve_is_close_to_the_whole_one(points: int, seed: int, power: float) -> None:
    random = np.random.default_rng(seed)
    x, y = (np.cumsum(random.random(points) ** power * random.integers(0, 2, points)) for _ in range(2))
    rows = thinned(x, y)
    assert len(rows) <= LIMIT and rows[0] == 0 and rows[-1] == points - 1
    assert (np.diff(rows) > 0).all()
    # Any row left out lies between two that are kept, closer to them than the steps of the way.
    before = rows[np.searchsorted(rows, np.arange(points), side="right") - 1]
    after = rows[np.searchsorted(rows, np.arange(points))]
    for values in (x, y):
        width = np.ptp(values) or 1.0
        gap = np.minimum(np.abs(values - values[before]), np.abs(values[after] - values)) / width
        largest = np.abs(np.diff(values)).max() / width
        assert gap.max() <= 2 / (LIMIT - 2) + largest


def test_a_curve_of_a_million_rows_stays_small() -> None:
    fpr = np.linspace(0, 1, 1_000_000)
    curves = Curves(1 - fpr, fpr, fpr**0.1, 10**6, 10**9, [], "")
    for make in (roc_figure, det_figure):
        assert len(make([("", curves)]).inline) < 60_000


@pytest.mark.parametrize(
    ("fpr", "tpr", "pairs", "targets"),
    [
        ([0.0], [1.0], (3, 3), []),
        ([0.0, 1.0], [0.0, 1.0], (1, 1), []),
        ([0.5, 1.0], [0.0, 0.2], (10, 4), []),
        ([0.0, 0.0], [1.0, 1.0], (10**9, 2 * 10**10), [("1e-9", 1.0), ("1e-2", 0.0)]),
    ],
    ids=["perfect", "one pair", "useless", "20 billion pairs"],
)
def test_curves_at_their_ends(
    fpr: list[float], tpr: list[float], pairs: tuple[int, int], targets: list[tuple[str, float]]
) -> None:
    points = [OperatingPoint(target, float(target), rate, rate, rate, 0.4) for target, rate in targets]
    curves = Curves(np.linspace(0.5, 0.1, len(fpr)), np.array(fpr), np.array(tpr), *pairs, points, "")
    for make in (roc_figure, det_figure):
        ElementTree.fromstring(make([("", curves)]).inline)
    no_errors = "no threshold makes both errors" in det_figure([("", curves)]).inline
    assert no_errors == (not ((curves.fpr > 0) & (curves.fpr < 1) & (curves.tpr < 1)).any())


def test_several_runs_share_the_axes_and_a_legend() -> None:
    names = ["a $\\frac{1}{2}$ <b>", "_hidden", "人物"]
    for make in (roc_figure, det_figure):
        drawing = make([(name, some_curves(seed=at)) for at, name in enumerate(names)])
        assert set(names) <= texts_of(drawing)
        assert all(f"{name}: " in drawing.summary for name in names)
    assert "_hidden: Identities" in cmc_figure([("_hidden", CMC), ("b", CMC)]).summary


def test_histogram_joins_bins_and_loses_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.axes import Axes

    seen = []
    real: Callable[..., Any] = Axes.stairs

    def stairs(self: Any, **options: Any) -> Any:
        seen.append((options["values"], options["edges"]))
        return real(self, **options)

    monkeypatch.setattr(Axes, "stairs", stairs)
    histogram = some_histogram()
    text = histogram_figure(histogram).inline
    assert len(seen) == 4
    for (values, edges), counts in ((seen[0], histogram.different), (seen[2], histogram.same)):
        assert len(values) <= BARS and len(edges) == len(values) + 1
        assert set(edges) <= set(histogram.edges)
        used = np.flatnonzero(histogram.same + histogram.different)
        assert (edges[0], edges[-1]) == (histogram.edges[used[0]], histogram.edges[used[-1] + 1])
        drawn_counts = np.where(values < 1, 0, values)
        assert drawn_counts.sum() == counts.sum()
        for at in (0, len(values) // 2, len(values) - 1):
            inside = (histogram.edges[:-1] >= edges[at]) & (histogram.edges[:-1] < edges[at + 1])
            assert drawn_counts[at] == counts[inside].sum()
    labels = re.findall(">(FPR [^<]*)<", text)
    assert labels == ["FPR 1e-2", "FPR 1e-3, 1e-4"], "lines that are close share a label"


@pytest.mark.parametrize("largest", [0, 1, 10**10])
def test_histogram_of_nothing_and_of_very_much(largest: int) -> None:
    counts = np.array([0, 0, largest, 0])
    drawing = histogram_figure(Histogram(np.linspace(-1, 1, 5), 0 * counts, counts))
    assert "no pairs of one person" in drawing.summary


def test_sweep_marks_the_chosen_threshold_and_keeps_none_off_the_scale(lines: list[Any]) -> None:
    drawing = sweep_figure(SWEEP)
    off, on = lines[0], lines[1]
    assert off[1].tolist() == pytest.approx([0.1]) and off[2].tolist() == [0.9]
    assert on[1].tolist() == [0.2, 0.3, 0.4] and on[2].tolist() == [0.91, 0.95, 0.93]
    assert np.isnan(lines[3][2]).tolist() == [False, True, False], "a gap where a value is not known"
    marks = [line for line in on[0].get_lines() if line.get_color() == COLOURS["bad"]]
    assert [list(line.get_xdata()) for line in marks] == [[0.3, 0.3]]
    assert {"chosen: 0.30", "none", "mAP@100", "TPR at FPR 1e-3"} <= texts_of(drawing)
    assert "mAP@100 is highest at 0.30 (0.9500)" in drawing.summary and "30.0%" in drawing.summary


@pytest.mark.parametrize(
    "thresholds",
    [["none"], ["none", "0.4"], ["a", "b"], [f"{at / 40:.3f}" for at in range(40)], [HOSTILE[0]]],
)
def test_sweeps_of_any_kind_of_thresholds(thresholds: list[str]) -> None:
    count = len(thresholds)
    sweep = Sweep(thresholds, [0.5] * count, {"mAP@100": [0.5] * count}, thresholds[-1], None)
    text = sweep_figure(sweep).inline
    ElementTree.fromstring(text)
    assert "<script" not in text and text.count("x_") < 20


def test_every_point_of_a_small_map_says_who_it_is() -> None:
    points = some_map(videos=40, people=7)
    marks = [
        (mark, title.text or "")
        for mark in ElementTree.fromstring(map_figure(points).inline).iter(f"{SVG}use")
        if (title := mark.find(f"{SVG}title")) is not None
    ]
    titles = [title for _, title in marks]
    assert len(titles) == len(points.video_ids)
    assert "v00015: person001" in titles and any(title.startswith("<script>alert(1)") for title in titles)
    looks = {mark.attrib["{http://www.w3.org/1999/xlink}href"] for mark, _ in marks}
    assert len(looks) >= 3, "colours and marks go round"
    corners = [(float(mark.attrib["x"]), -float(mark.attrib["y"])) for mark, _ in marks]
    there = dict(zip((title.split(":")[0] for title in titles), corners, strict=True))
    at = [row for row, name in enumerate(points.video_ids) if name.startswith("v0")]
    for axis in (0, 1):
        found = np.array([there[points.video_ids[row]][axis] for row in at])
        slope, shift = np.polyfit(points.xy[at, axis], found, 1)
        assert slope > 0
        np.testing.assert_allclose(points.xy[at, axis] * slope + shift, found, atol=0.01)


def test_a_large_map_is_a_picture_and_stays_small() -> None:
    drawing = map_figure(some_map(videos=9000, people=700))
    assert "<title>" not in drawing.inline and "data:image/png;base64," in drawing.inline
    assert len(drawing.inline) < 1_500_000
    assert drawing.summary.startswith("5,000 videos of 699 people")


def test_a_map_of_one_and_of_nobody_known() -> None:
    for videos, people in ((1, 1), (3, 1), (2, 2)):
        ElementTree.fromstring(map_figure(some_map(videos=videos, people=people)).inline)


def test_hostile_names_in_a_legend_are_text_and_break_nothing() -> None:
    with new_figure() as figure:
        axes = figure.add_subplot()
        entries = [(axes.plot([0, 1], [at, at])[0], name) for at, name in enumerate(HOSTILE)]
        legend(axes, entries)
        drawing = drawn(figure, "x", 'title "<b>"', "")
    for text in (drawing.inline, drawing.svg.decode()):
        assert "<script" not in text and "onerror=alert" in text
        texts = [element.text or "" for element in ElementTree.fromstring(text).iter(f"{SVG}text")]
        assert HOSTILE[0] in texts and "\\u202egnp.exe" in texts and "$\\frac{a}{b$ & _under" in texts
        assert max(map(len, texts)) <= 40
    with Image.open(io.BytesIO(drawing.png)) as image:
        image.verify()


def test_words_that_look_like_the_svg_s_own_are_left_alone() -> None:
    words = f'{COLOURS["ink"]} id="a" url(#b)'
    with new_figure() as figure:
        axes = figure.add_subplot()
        axes.set_xlabel(words)
        drawing = drawn(figure, "x", "t", "")
    assert words in texts_of(drawing)


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"-e '\.\[report\]'"):
        roc_figure([("", some_curves())])
