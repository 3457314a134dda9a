"""A report in a real browser, from the disk: drawn, dark, narrow, printed, by keyboard, for screen readers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import brightness, browser, examine, figures, looking_at, violations
from report_content import HOSTILE, a_content

from vidface.report.run.page import write_report

NAMES = ["sweep", "roc", "det", "histogram", "cmc", "map"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(a_content(), tmp_path_factory.mktemp("report"))[0]


def test_every_figure_and_picture_is_drawn_light_and_wide_dark_and_narrow(chromium: Any, index: Path) -> None:
    examine(chromium, index, NAMES)
    with looking_at(chromium, index, dark=True, width=320) as page:
        found = figures(page)
        assert all(len(each["caption"]) > 80 and each["label"] for each in found)
        assert all(each["letters"] > 5 for each in found[:-1]), "letters are text"
        assert min(brightness(page, "body", "color"), brightness(page, "#figure-roc svg text", "fill")) > 150
        assert page.evaluate("document.images.length") > 80
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        wide = "[...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > each.clientWidth).length"
        assert page.evaluate(wide) > 0, "wide tables scroll on their own"


def test_the_audit_would_find_something(chromium: Any, index: Path) -> None:
    with looking_at(chromium, index) as page:
        page.evaluate("document.querySelector('img').removeAttribute('alt')")
        page.evaluate("document.querySelector('.lede').style.color = '#ddd'")
        assert {each.split(":")[0] for each in violations(page)} == {"image-alt", "color-contrast"}


def test_headings_are_in_order_and_every_link_of_the_contents_leads_somewhere(
    chromium: Any, index: Path
) -> None:
    with looking_at(chromium, index) as page:
        levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(each => +each.tagName[1])")
        assert levels.count(1) == 1 and levels[0] == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
        assert len(ids) == len(set(ids)), "no id twice, not even in figures"
        links = page.evaluate(
            "[...document.querySelectorAll('nav a')].map(each => each.getAttribute('href').slice(1))"
        )
        assert len(links) == 8 and set(links) <= set(ids)
        refs = page.evaluate(
            "[...document.querySelectorAll('use')].map(each => each.getAttribute('xlink:href').slice(1))"
        )
        assert set(refs) <= set(ids)


def test_by_keyboard(chromium: Any, index: Path) -> None:
    with looking_at(chromium, index, width=400) as page:
        page.keyboard.press("Tab")
        focused = page.evaluate("[document.activeElement.className, document.activeElement.textContent]")
        assert focused == ["skip", "Skip to the content"]
        box = page.evaluate("(({left, top}) => [left, top])(document.activeElement.getBoundingClientRect())")
        assert min(box) >= 0, "it is seen as soon as it has the focus"
        page.keyboard.press("Enter")
        assert page.evaluate("location.hash") == "#main"
        regions, outlined = set(), 0
        for _ in range(80):
            page.keyboard.press("Tab")
            name, style = page.evaluate(
                "(each => [each.className == 'scroll' ? each.getAttribute('aria-labelledby') : '',"
                " getComputedStyle(each).outlineStyle])(document.activeElement)"
            )
            regions.add(name)
            outlined += style == "solid"
        assert {"table-headline", "table-sweep", "table-faults"} <= regions
        assert outlined >= 40, "what has the focus can be seen"
        before = page.evaluate("document.querySelector('[aria-labelledby=table-faults]').scrollLeft")
        page.evaluate("document.querySelector('[aria-labelledby=table-faults]').focus()")
        page.keyboard.press("ArrowRight")
        for _ in range(100):  # the page's policy lets nothing run in it that would wait
            after = page.evaluate("document.querySelector('[aria-labelledby=table-faults]').scrollLeft")
            if after > before:
                break
            page.wait_for_timeout(50)
        assert after > before


def test_printed_dark_or_light_on_white_paper_and_nothing_is_cut_off(chromium: Any, index: Path) -> None:
    with looking_at(chromium, index, dark=True) as page:
        printed = page.pdf(format="A4")
        assert printed.startswith(b"%PDF") and printed.count(b"/Type /Page\n") >= 4
        page.emulate_media(media="print", color_scheme="dark")
        assert brightness(page, "body", "background-color") > 250
        assert brightness(page, "#figure-roc svg text", "fill") < 120
        shown = page.evaluate(
            "['.skip', '.scroll'].map(each => getComputedStyle(document.querySelector(each)))"
            ".map(style => [style.display, style.overflowX])"
        )
        assert shown[0][0] == "none" and shown[1][1] == "visible"


def test_a_dropped_frame_is_told_by_more_than_its_colour(chromium: Any, index: Path) -> None:
    with looking_at(chromium, index) as page:
        dropped = page.evaluate(
            "[...document.querySelectorAll('.strip .dropped')].map(each => [each.querySelector('.cross').textContent,"
            " (each.querySelector('img') || each.querySelector('[role=img]')).outerHTML.includes('dropped')])"
        )
        assert len(dropped) > 20 and all(each == ["✕", True] for each in dropped)


def test_hostile_ids_are_text(chromium: Any, index: Path) -> None:
    with looking_at(chromium, index) as page:
        assert page.evaluate("document.scripts.length") == 0
        assert page.evaluate("document.querySelectorAll('img:not([src^=\"data:image/jpeg\"])').length") == 0
        words = page.evaluate("document.body.innerText")
        for text in (*HOSTILE[:3], "two lines", "\\u202egnp.exe", *HOSTILE[8:10]):
            assert text in words
        assert "\u202e" not in words and "49" not in [word.strip("{} ") for word in words.split()]


def test_a_figure_as_a_file_is_drawn_by_itself(chromium: Any, index: Path) -> None:
    for name in NAMES:
        with looking_at(chromium, index.parent / "figures" / f"{name}.svg", dark=True) as page:
            box = page.evaluate(
                "(({width, height}) => [width, height])(document.documentElement.getBoundingClientRect())"
            )
            assert min(box) > 200
            assert page.evaluate("document.querySelectorAll('path, image').length") > 5
