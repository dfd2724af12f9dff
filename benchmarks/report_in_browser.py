"""The report of a 512 x 512 run, opened in headless Chromium: does it draw, is it small, does hovering tell the truth?

python benchmarks/report_in_browser.py
python benchmarks/report_in_browser.py --json --screenshots shots
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from benches import labctl as run_command
from browser import Browser, browser

DRAWN = "document.documentElement.dataset.drawn === 'yes'"
TIP = "document.getElementById('tip').innerText"
MAP = "document.querySelector('[data-part=map]')"
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 40
"""Of the map's canvas, around the cells."""
MOST_MEGABYTES = 5.0
CELLS = 10
WIDTHS = (360, 1280, 1600)


def recorded(folder: Path) -> Path:
    """The default run: an embedded chip formed, and the default target programmed into it."""
    done = run_command("program-array", "--out", folder, "--no-plot", "-q", cwd=folder)
    if done.returncode:
        raise RuntimeError(done.stderr)
    (path,) = folder.glob("*.h5")
    return path


def report_of(run: Path) -> tuple[Path, float]:
    """The report, and the seconds of the command."""
    page = run.with_suffix(".html")
    began = time.perf_counter()
    done = run_command("report", run, "-o", page, cwd=run.parent)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return page, time.perf_counter() - began


def hovered(opened: Browser, row: int, col: int, shape: tuple[int, ...]) -> str:
    """What the page says where the mouse points at a cell."""
    box = opened.value(f"(({MAP}).scrollIntoView(), ({MAP}).getBoundingClientRect().toJSON())")
    across, down = box["width"] - LEFT - RIGHT, box["height"] - TOP - BOTTOM
    opened.point(box["x"] + LEFT + (col + 0.5) / shape[1] * across, box["y"] + TOP + (row + 0.5) / shape[0] * down)
    told: str = opened.value(TIP)
    return told


def wrong_cells(opened: Browser, run: Path, seed: int = 1) -> list[str]:
    """Of ten random cells those of which the map of the error says anything but the file."""
    with h5py.File(run) as file:
        error = file["maps/error"][:]
    rng = np.random.default_rng(seed)
    wrong = []
    for row, col in zip(*(rng.integers(0, size, CELLS).tolist() for size in error.shape), strict=True):
        told = hovered(opened, row, col, error.shape)
        found = re.search(r"error: (\S+) µS", told)
        shown = float(found[1].replace("−", "-")) * 1e-6 if found else float("nan")
        if f"row {row}, column {col}" not in told or not abs(shown - error[row, col]) < 2e-9:
            wrong.append(f"row {row}, column {col}: {error[row, col]:.4g} S in the file, {told!r} on the page")
    return wrong


def seen(page: Path, run: Path, shots: Path) -> dict[str, Any]:
    """What a browser makes of the report; screenshots of several widths and a print go to `shots`."""
    shots.mkdir(parents=True, exist_ok=True)
    with browser() as opened:
        began = time.perf_counter()
        opened.open(page)
        opened.wait_for(DRAWN)
        drawn_s = time.perf_counter() - began
        wrong = wrong_cells(opened, run)
        overflowing = []
        for width in WIDTHS:
            opened.resize(width)
            opened.wait_for(f"document.documentElement.clientWidth === {width}")
            if opened.value("document.documentElement.scrollWidth") > width:
                overflowing.append(width)
            opened.screenshot(shots / f"report-{width}.png", whole=True)
        opened.pdf(shots / "report.pdf")
        asked = [each for each in opened.asked if not each.startswith("data:image/png") and each != page.as_uri()]
        return {
            "drawn_s": drawn_s,
            "complaints": opened.complaints(),
            "asked_for": asked,
            "cells_wrong": wrong,
            "overflowing_widths": overflowing,
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--screenshots", type=Path, help="folder for screenshots and the print; default: none kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = recorded(folder)
        page, report_s = report_of(run)
        megabytes = page.stat().st_size / 1e6
        result = {
            "report_s": report_s,
            "megabytes": megabytes,
            **seen(page, run, options.screenshots or folder / "shots"),
        }
    troubles = ("complaints", "asked_for", "cells_wrong", "overflowing_widths")
    good = megabytes < MOST_MEGABYTES and not any(result[each] for each in troubles)
    if options.json:
        print(json.dumps({**result, "good": good}))
    else:
        for measure, figure in {**result, "good": good}.items():
            print(f"{measure:20} {f'{figure:.3g}' if isinstance(figure, float) else figure}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
