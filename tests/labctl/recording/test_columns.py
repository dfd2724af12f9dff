"""Rows reach the file as they are given, wherever chunks begin and end, and whichever way they are written."""

from __future__ import annotations

import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.recording import columns
from labctl.recording.columns import Block, Flushing, Table

CHUNK = 16


def table_in(file: h5py.File, flushing: Flushing | None = None) -> Table:
    group = file.create_group("rows")
    for name, dtype in (("row", "f4"), ("code", "u2"), ("volts", "f8")):
        group.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(CHUNK,), fillvalue=7)
    return Table(group, "row", flushing or Flushing())


@pytest.mark.parametrize("in_place", [True, False])
@given(sizes=st.lists(st.integers(0, 3 * CHUNK), max_size=20), seed=st.integers(0, 2**32 - 1))
def test_rows_are_in_the_file_as_given(in_place: bool, sizes: list[int], seed: int) -> None:
    rng, expected = np.random.default_rng(seed), np.full(sum(sizes), 7.0)
    codes = rng.integers(0, 65535, sum(sizes)).astype(np.uint16)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "_IN_PLACE", in_place and columns._IN_PLACE)
        with h5py.File(Path(folder, "rows.h5"), "w", libver=("v110", "v110")) as file:
            table, first = table_in(file), 0
            for size in sizes:
                rows = slice(first, first + size)
                table.write(first, {"code": codes[rows]})
                if rng.random() < 0.5:  # the other column keeps its fill, as one that is not read does
                    expected[rows] = rng.random(size)
                    table.write(first, {"volts": expected[rows]})
                first += size
            table.trim(first)
        with h5py.File(Path(folder, "rows.h5")) as file:
            np.testing.assert_array_equal(file["rows/code"][:], codes)
            np.testing.assert_array_equal(file["rows/volts"][:], expected)


def test_only_what_went_through_hdf5_needs_a_flush(tmp_path: Path) -> None:
    flushing = Flushing()

    def needs_one() -> bool:
        was_due, flushing.is_due = flushing.is_due, False
        return was_due

    with h5py.File(tmp_path / "rows.h5", "w", libver=("v110", "v110")) as file:
        table = table_in(file, flushing)
        file.create_dataset("map", (2, 3), "f4", maxshape=(2, 3), chunks=(2, 3))
        block = Block(file["/"], "map", flushing)
        assert needs_one()
        for first, rows, is_new_chunk in ((0, 1, True), (1, 2, False), (CHUNK - 1, 2, True), (CHUNK + 1, 1, False)):
            table.write(first, {"code": np.arange(rows)})
            assert needs_one() is (is_new_chunk or not columns._IN_PLACE)
        for value, is_first in ((1.0, True), (2.0, False)):
            block.write(np.full((2, 3), value))
            assert needs_one() is (is_first or not columns._IN_PLACE)
        np.testing.assert_array_equal(file["map"][:], np.full((2, 3), 2.0, np.float32))


def test_rows_after_a_cut_are_not_written_where_there_is_no_chunk_any_more(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "rows.h5", "w", libver=("v110", "v110")) as file:
        table = table_in(file)
        table.write(0, {"code": np.arange(2 * CHUNK)})
        table.trim(1)
        table.write(1, {"code": np.arange(1, 2 * CHUNK)})
        np.testing.assert_array_equal(file["rows/code"][: 2 * CHUNK], np.arange(2 * CHUNK))
