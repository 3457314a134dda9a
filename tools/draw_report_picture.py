"""Draw docs/report.png from the report of a finished demo: its curves on a light page, its strips on a dark one.

vidface report runs/demo -o REPORT
python tools/draw_report_picture.py REPORT docs/report.png
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

WIDTH, HEIGHT = 800, 1190
COLUMNS = (
    ("light", (("#result .tabled", 425), ("#figure-sweep", 765))),
    ("dark", (("#frames", 1190),)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("report", type=Path, help="the folder of the report")
    parser.add_argument("output", type=Path, help="docs/report.png")
    asked = parser.parse_args()
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        sys.exit(f"none of {', '.join(names)} is installed")
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=options)
        pages = [open_page(chromium, asked.report / "index.html", scheme) for scheme, _ in COLUMNS]
        whole = Image.new("RGB", (WIDTH * len(COLUMNS), HEIGHT))
        for column, (page, (_, parts)) in enumerate(zip(pages, COLUMNS, strict=True)):
            top = 0
            for selector, height in parts:
                page.evaluate(f"document.querySelector('{selector}').scrollIntoView()")
                with Image.open(io.BytesIO(page.screenshot())) as picture:
                    whole.paste(picture.crop((0, 0, WIDTH, height)), (WIDTH * column, top))
                top += height
        chromium.close()
    whole.quantize(192).save(asked.output, optimize=True)


def open_page(chromium: Browser, index: Path, scheme: Any) -> Page:
    page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
    page.goto(index.resolve().as_uri())
    page.add_style_tag(content="html { scroll-behavior: auto } body { padding-bottom: 60rem }")
    return page


if __name__ == "__main__":
    main()
