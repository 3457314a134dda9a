"""A comparison as text and as a page: hostile names stay text, and the page is looked at in a browser."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from browser import brightness, browser, figures, looking_at, violations
from compared_sets import ComparedSet

from vidface.errors import StoreError, UsageError
from vidface.report.comparison.page import check_output, write_comparison
from vidface.report.comparison.text import escape_markdown, markdown, text
from vidface.runs.compare_result import Comparison, verdict

HOSTILE = "<script>alert(1)</script>_{}|&$#%^~\\"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Three runs; ids, people, a run and an attribute that no form may obey."""
    some = ComparedSet(tmp_path_factory.mktemp("hostile"), prefix=HOSTILE)
    paths = [
        some.embeddings("first.h5", 1.5, threshold="none"),
        some.embeddings("<b>&_$x.h5", 0.6, threshold="\x1b[31m<i>|"),
        some.embeddings("=third.h5", 1.4),
    ]
    return some.compare(*paths, targets=["1e-1", "1e-2", "1e-6"])


@pytest.fixture(scope="module")
def folder(found: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("page") / "new" / "folder"
    written = write_comparison(found, target)
    assert written[0] == target / "index.html" and all(path.is_file() for path in written)
    assert {path for path in target.rglob("*") if path.is_file()} == set(written)
    return target


def test_the_text_has_a_line_a_measure_and_run(found: Comparison) -> None:
    lines = text(found).split("\n")
    assert "\x1b" not in text(found) and "\\x1b[31m<i>|" in lines[1]
    start = next(at for at, line in enumerate(lines) if line.startswith("measure"))
    rows = lines[start + 1 : start + 1 + 3 * len(found.measures)]
    for number, row in enumerate(rows):
        measure, run = found.measures[number // 3], number % 3
        assert row.startswith(measure.name) is (run == 0)
        value = measure.values[run]
        assert f"  {value.value:.4f}  {value.low:.4f} to {value.high:.4f}" in row
        assert row.endswith(f"  {verdict(measure.differences[run])}") is (run > 0)
    assert f"level {1 - 0.05 / 2:.2%}" in lines[-1] and "Bonferroni" in lines[-1]


def test_markdown_shows_every_name_as_it_is(found: Comparison) -> None:
    written = markdown(found)
    assert written.startswith("# \\<b\\>\\&\\_\\$x, =third against first\n")
    tables = [line for line in written.split("\n") if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {6, 5}
    assert not re.search(r"(?<!\\)[<>]", written)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("a_b*c*", r"a\_b\*c\*"),
        ("[x](http://y)", r"\[x\]\(http\://y\)"),
        ("www.x.org", r"www\.x.org"),
        ("back\\slash `code`", r"back\\slash \`code\`"),
        ("two\nlines", "two lines"),
        ("mAP@100", r"mAP\@100"),
        ("better by 0.0040, interval +0.0010 to +0.0070", "better by 0.0040, interval +0.0010 to +0.0070"),
    ],
)
def test_markdown_escapes(words: str, wanted: str) -> None:
    assert escape_markdown(words) == wanted


def test_the_data_of_everything_lie_beside_the_page(found: Comparison, folder: Path) -> None:
    def rows(name: str) -> list[dict[str, str]]:
        with (folder / "data" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    written = rows("differences")
    assert len(written) == 3 * len(found.measures)
    for number, row in enumerate(written):
        measure, run = found.measures[number // 3], number % 3
        assert (row["measure"], float(row["value"])) == (measure.name, measure.values[run].value)
        gain = measure.differences[run]
        wanted = ["", ""] if gain is None else [repr(gain.value), repr(gain.low)]
        assert [row["difference"], row["difference low"]] == wanted
    assert written[2]["run"] == "'=third"
    changed = {n for run in (1, 2) for n in found.changed_videos(run)}
    assert len(rows("videos")) == len(changed) and rows("videos")[0]["video"].startswith(HOSTILE)
    assert len(rows("people")) == len({i for run in (1, 2) for i in found.changed_identities(run)})
    rates = rows("rates")
    assert float(rates[0]["TPR first"]) == 1 and len(rates) == len(found.edges)
    people = range(len(found.wanted.names))
    best = [min(found.ranks[0][found.wanted.identity == i]) for i in people]
    assert [float(row["first"]) for row in rows("cmc")][4] == sum(rank <= 5 for rank in best) / len(best)


def test_the_page_in_a_browser(folder: Path) -> None:
    page_file = folder / "index.html"
    assert "<script" not in page_file.read_text("utf-8")
    with browser() as opened:
        with looking_at(opened, page_file) as page:
            drawn = figures(page)
            names = [one["id"].removeprefix("figure-") for one in drawn]
            assert names == ["differences", "roc", "det", "cmc"]
            assert all(one["width"] > 200 and one["shapes"] > 10 and one["letters"] > 5 for one in drawn)
            assert HOSTILE in page.inner_text("#table-videos >> xpath=ancestor::table")
            assert "<b>&_$x" in page.inner_text("h1") and page.locator("h1 b").count() == 0
            for link in page.locator("main a").evaluate_all("all => all.map(a => a.getAttribute('href'))"):
                assert (folder / link).is_file(), link
            assert violations(page) == []
            bright = brightness(page, "body", "background-color")
        with looking_at(opened, page_file, dark=True) as page:
            assert brightness(page, "body", "background-color") < 60 < 200 < bright
            assert violations(page) == []
        with looking_at(opened, page_file, width=400) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= 400
            assert all(one["width"] > 200 for one in figures(page))


def test_a_comparison_of_rankings_alone_has_a_page(tmp_path: Path) -> None:
    from vidface.scores.protocols.iqiyi import rank_gallery
    from vidface.submission import write_iqiyi

    some = ComparedSet(tmp_path)
    pairs = some.compare(some.embeddings("a.h5", 1.0), some.embeddings("b.h5", 0.8), protocol="lfrc")
    write_comparison(pairs, tmp_path / "out")
    assert not (tmp_path / "out" / "data" / "cmc.csv").exists()
    for name, noise in (("a.txt", 1.0), ("b.txt", 0.8)):
        write_iqiyi(tmp_path / name, rank_gallery(some.matrix(noise), some.manifest))
    found = some.compare(tmp_path / "a.txt", tmp_path / "b.txt")
    (tmp_path / "out" / "compare.tex").touch()  # as older versions wrote it
    assert [measure.name for measure in found.measures] == ["mAP@100", "hit@1", "hit@5", "hit@10"]
    write_comparison(found, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text("utf-8")
    for gone in ("data/rates.csv", "figures/roc.svg", "figures/det.png", "compare.tex"):  # of before
        assert not (tmp_path / "out" / gone).exists() and gone not in page


def test_a_file_in_the_way_is_named(found: Comparison, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(StoreError, match=r"out: .*name another folder"):
        write_comparison(found, tmp_path / "out")


def test_another_page_is_not_written_over(found: Comparison, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("a report")
    for write in (lambda: check_output(tmp_path), lambda: write_comparison(found, tmp_path)):
        with pytest.raises(UsageError, match="another page"):
            write()
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_a_page_is_the_same_twice(found: Comparison, folder: Path, tmp_path: Path) -> None:
    for path in write_comparison(found, tmp_path):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes(), path.name
