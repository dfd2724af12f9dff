"""The choice of cells: distinct, on the region, evenly spread, or refused in one sentence."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.array import Geometry
from labctl.errors import SettingsError
from labctl.protocols.characterisation.cells import CellChoice, chosen


@st.composite
def choices(draw: st.DrawFn) -> tuple[Geometry, CellChoice]:
    rows, cols = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    top, left = draw(st.integers(0, rows - 1)), draw(st.integers(0, cols - 1))
    height, width = draw(st.integers(1, rows - top)), draw(st.integers(1, cols - left))
    cells = draw(st.one_of(st.just("all"), st.integers(1, 2 * height * width)))
    return Geometry(rows, cols, "test"), CellChoice(rows=(top, height), cols=(left, width), cells=cells)


@given(choices())
def test_cells_are_distinct_in_order_and_within_the_region(choice: tuple[Geometry, CellChoice]) -> None:
    geometry, settings = choice
    cells = chosen(settings, geometry)
    (top, height), (left, width) = settings.rows, settings.cols
    assert cells.dtype == np.uint32
    assert np.all(np.diff(cells.astype(np.int64)) > 0)
    row, col = np.divmod(cells, geometry.cols)
    assert np.all((row >= top) & (row < top + height) & (col >= left) & (col < left + width))
    area = height * width
    assert len(cells) == (area if settings.cells == "all" else min(settings.cells, area))


@given(choices())
def test_every_row_has_its_even_share(choice: tuple[Geometry, CellChoice]) -> None:
    geometry, settings = choice
    cells = chosen(settings, geometry)
    top, height = settings.rows
    share = np.bincount(cells // geometry.cols - top, minlength=height)
    assert share.max() - share.min() <= 1


@pytest.mark.parametrize("count", [100, 512, 700, 1024, 4096])
def test_no_part_of_the_columns_is_preferred(count: int) -> None:
    """Eight bands of columns: a fair choice at random would differ by the square root of their share."""
    cells = chosen(CellChoice(cells=count), Geometry(512, 512, "test"))
    bands = np.bincount(cells % 512 // 64, minlength=8)
    assert np.abs(bands - count / 8).max() < np.sqrt(count / 8)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rows": (510, 3)}, r"\$.rows: first 510 and count 3 are not within the array's 512 rows, 0 to 511"),
        ({"cols": (-1, 3)}, r"\$.cols: first -1 and count 3"),
        ({"rows": (0, 0)}, r"\$.rows: first 0 and count 0"),
        ({"cells": 0}, r"\$.cells: must be at least 1, not 0"),
    ],
)
def test_a_choice_that_does_not_fit_is_one_sentence(given: dict, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        chosen(CellChoice(**given), Geometry(512, 512, "test"))


@st.composite
def exclusions(draw: st.DrawFn) -> tuple[Geometry, CellChoice]:
    geometry, choice = draw(choices())
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    mask = rng.random((geometry.rows, geometry.cols)) < draw(st.sampled_from([0.0, 0.05, 0.5, 0.95]))
    return geometry, msgspec.structs.replace(choice, exclude=mask)


@given(exclusions())
def test_excluded_cells_are_left_out_and_others_stand_in_for_them(choice: tuple[Geometry, CellChoice]) -> None:
    geometry, settings = choice
    (top, height), (left, width) = settings.rows, settings.cols
    left_over = np.zeros((geometry.rows, geometry.cols), bool)
    left_over[top : top + height, left : left + width] = True
    left_over &= ~settings.exclude
    if not left_over.any():
        with pytest.raises(SettingsError, match=r"\$.exclude: all of the chosen cells are excluded"):
            chosen(settings, geometry)
        return
    cells = chosen(settings, geometry)
    assert np.all(np.diff(cells.astype(np.int64)) > 0)
    assert left_over.ravel()[cells].all()
    wanted = chosen(msgspec.structs.replace(settings, exclude=None), geometry)
    assert len(cells) == min(len(wanted), np.count_nonzero(left_over))
    assert np.isin(wanted[left_over.ravel()[wanted]], cells).all()


@pytest.mark.parametrize("mask", [np.zeros((3, 4), bool), np.zeros((4, 4), int)])
def test_a_mask_of_another_shape_or_kind_is_one_sentence(mask: np.ndarray) -> None:
    with pytest.raises(SettingsError, match=r"\$.exclude: must be booleans of shape \(4, 4\), not .* of shape"):
        chosen(CellChoice(exclude=mask), Geometry(4, 4, "test"))
