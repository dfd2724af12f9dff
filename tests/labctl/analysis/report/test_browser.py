"""A report in a real browser: it draws without a complaint, asks for nothing, and hovering says what the file says."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from browser import Browser, browser, chromium
from measured_runs import write_programming

from labctl.analysis.report import run_page, save_report

pytestmark = pytest.mark.skipif(
    chromium() is None or not sys.platform.startswith("linux"), reason="neither chromium nor chrome is installed"
)

CELLS = 900
DRAWN = "document.documentElement.dataset.drawn === 'yes'"
TIP = "document.getElementById('tip').innerText"
MAP = "document.querySelector('[data-part=map]')"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(8)
    target = rng.uniform(5e-6, 35e-6, CELLS)
    reached = target + rng.normal(0, 5e-7, CELLS)
    path = tmp_path_factory.mktemp("run") / "run.h5"
    return write_programming(path, target, reached, rng.integers(1, 99, CELLS), rng.random(CELLS) < 0.95)


@pytest.fixture(scope="module")
def report(run: Path) -> Path:
    return save_report(run_page(run), run.with_suffix(".html"))


@pytest.fixture(scope="module")
def opened(report: Path) -> Iterator[Browser]:
    with browser() as found:
        found.open(report)
        found.wait_for(DRAWN)
        yield found


def place_of(opened: Browser, row: int, col: int, side: int) -> tuple[float, float]:
    """Of a cell of the map, in the window."""
    box = opened.value(f"(({MAP}).scrollIntoView(), ({MAP}).getBoundingClientRect().toJSON())")
    across, down = box["width"] - 46 - 8, box["height"] - 8 - 40
    return box["x"] + 46 + (col + 0.5) / side * across, box["y"] + 8 + (row + 0.5) / side * down


def test_nothing_is_asked_for_and_nothing_complained_of(opened: Browser, report: Path) -> None:
    assert opened.complaints() == []
    assert [each for each in opened.asked if not each.startswith("data:image/png;base64,")] == [report.as_uri()]


def test_hovering_over_a_cell_says_what_the_file_holds(opened: Browser, run: Path) -> None:
    with h5py.File(run) as file:
        error = file["maps/error"][:]
    rows, cols = error.shape
    for row, col in ((0, 1), (17, 4), (28, 20)):
        opened.point(*place_of(opened, row, col, rows))
        told = opened.value(TIP)
        assert f"row {row}, column {col}" in told
        value = float(re.search(r"error: (\S+) µS", told)[1].replace("−", "-"))
        assert value * 1e-6 == pytest.approx(error[row, col], abs=1e-10)
    assert cols == rows


def test_keys_move_from_cell_to_cell_and_from_tab_to_tab(opened: Browser) -> None:
    opened.click(*place_of(opened, 10, 10, 31))
    opened.press("ArrowRight", 39)
    opened.press("ArrowDown", 40)
    readout = "document.querySelector('[data-part=readout]').innerText"
    assert opened.value(readout).startswith("row 11, column 11")
    opened.value("document.querySelector('[role=tab]').focus()")
    opened.press("ArrowRight", 39)
    chosen = "document.querySelector('[role=tab][aria-selected=true]').innerText"
    assert opened.value(chosen) == "outcome"
    assert opened.value("document.activeElement.innerText") == "outcome"
    assert "in window" in opened.value("document.querySelector('[data-part=key]').innerText")
    opened.press("Home", 36)
    assert opened.value(chosen) == "error"


def test_charts_are_drawn_and_no_width_overflows(opened: Browser) -> None:
    for width in (360, 1600):
        opened.resize(width)
        opened.wait_for(f"document.documentElement.clientWidth === {width}")
        assert opened.value("document.documentElement.scrollWidth") <= width
    shapes = "each => each.querySelectorAll('svg path, svg rect').length"
    drawn = opened.value(f"[...document.querySelectorAll('[data-chart]')].map({shapes})")
    assert len(drawn) >= 3
    assert min(drawn) >= 3
    opened.resize(1280)


def test_without_script_the_still_figure_stands_in(report: Path) -> None:
    with browser() as plain:
        plain.open(report)
        shown = "getComputedStyle(document.querySelector('.still')).display"
        plain.wait_for(DRAWN)
        assert plain.value(shown) == "none"
        plain.without_script()
        plain.open(report)
        assert plain.value(shown) != "none"
        assert plain.value("getComputedStyle(document.querySelector('[data-maps]')).display") == "none"
