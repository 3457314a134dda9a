"""Pages of vidface in a real browser: opened from the disk, and looked at."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium; without one the test is skipped, in CI it fails, unless ``VIDFACE_NO_BROWSER`` is set.

    Close it before other tests run: until then Playwright's event loop counts as running.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _absent("playwright is not installed: pip install -e '.[dev]'")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        _absent(f"no browser: none of {', '.join(NAMES)} is installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        # Root may not sandbox; pages of these tests are our own and run no script.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=program, args=options)
        try:
            yield opened
        finally:
            opened.close()


@contextlib.contextmanager
def looking_at(browser: Any, path: Path, *, dark: bool = False, width: int = 1280) -> Iterator[Any]:
    """Open a page from the disk; by the end of the block it must not have complained, nor fetched more than itself."""
    context = browser.new_context(
        color_scheme="dark" if dark else "light", viewport={"width": width, "height": 900}
    )
    try:
        page = context.new_page()
        complaints: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.resolve().as_uri())
        yield page
        assert complaints == []
        fetched = [url for url in requests if not url.startswith("data:")]
        assert fetched == [path.resolve().as_uri()]
    finally:
        context.close()


def examine(browser: Any, index: Path, names: list[str]) -> None:
    """Open a report light and wide, and dark and narrow: all is drawn, nothing is cut off, the audit finds nothing."""
    for dark, width in ((False, 1280), (True, 400)):
        with looking_at(browser, index, dark=dark, width=width) as page:
            found = figures(page)
            assert [each["id"] for each in found] == [f"figure-{name}" for name in names]
            assert all(each["width"] > 300 and each["height"] > 200 and each["shapes"] > 3 for each in found)
            assert broken_pictures(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert (brightness(page, "body", "background-color") < 40) == dark
            assert violations(page) == []


def violations(page: Any) -> list[str]:
    """What axe-core finds against the accessibility of a page: rule and places."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {[node['html'][:120] for node in each['nodes'][:3]]}" for each in found]


def figures(page: Any) -> list[dict[str, Any]]:
    """Of every figure: its id, the box of its SVG, how many shapes in it have an extent, its words for a reader."""
    found: list[dict[str, Any]] = page.evaluate(
        """() => [...document.querySelectorAll('figure')].map(figure => {
             const svg = figure.querySelector('svg');
             const box = svg.getBoundingClientRect();
             const shapes = [...svg.querySelectorAll('path, use, image')].filter(shape => {
               const style = getComputedStyle(shape), box = shape.getBoundingClientRect();
               return !shape.closest('defs') && box.width + box.height > 0
                 && (shape.tagName == 'image' || style.stroke != 'none' || style.fill != 'none');
             });
             return {id: figure.id, width: box.width, height: box.height, shapes: shapes.length,
                     letters: svg.querySelectorAll('text').length, label: svg.getAttribute('aria-label'),
                     caption: figure.querySelector('figcaption').textContent};
           })"""
    )
    return found


def broken_pictures(page: Any) -> list[str]:
    """Pictures that the browser could not decode, or that have no words."""
    found: list[str] = page.evaluate(
        """async () => {
             const bad = [];
             for (const image of document.images) {
               await image.decode().catch(() => bad.push(image.alt));
               if (!image.naturalWidth || !image.getBoundingClientRect().width || !image.alt) bad.push(image.alt);
             }
             return bad;
           }"""
    )
    return found


def brightness(page: Any, selector: str, what: str) -> float:
    """Mean of a colour's red, green and blue, 0..255, of a computed style such as ``background-color``."""
    value: float = page.evaluate(
        """([selector, what]) => {
             const style = getComputedStyle(document.querySelector(selector));
             const [r, g, b] = style.getPropertyValue(what).match(/[0-9.]+/g).map(Number);
             return (r + g + b) / 3;
           }""",
        [selector, what],
    )
    return value


def _absent(why: str) -> None:
    if os.environ.get("CI") and not os.environ.get("VIDFACE_NO_BROWSER"):
        pytest.fail(why)
    pytest.skip(why)
