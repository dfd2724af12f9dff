"""Columns as text and as names: whatever they hold reads back as it was."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labctl.exchange.tables.columns import Column, Flags, Table
from labctl.exchange.tables.names import header, headers, matlab_names
from labctl.exchange.tables.text import lines

SIZES = st.integers(1, 40)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=80)
UNITS = st.sampled_from(["", "1", "S", "V", "s", "K", "°C", "ohm m"])


def column(name: str, values: np.ndarray, unit: str = "", **more: Any) -> Column:
    return Column(name, ("event",), values.dtype, name, unit, lambda rows: values[rows], **more)


def read_back(values: np.ndarray, **more: Any) -> list[str]:
    zeros = np.zeros(len(values), np.uint8)
    text = lines([column("a", values, **more), column("b", zeros)], {"a": values, "b": zeros})
    rows = list(csv.reader(io.StringIO(text.decode())))
    return [row[0] for row in rows]


@given(SIZES.flatmap(lambda size: arrays(st.sampled_from([np.float32, np.float64]), size)))
def test_floats_read_back_as_the_very_same_numbers(values: np.ndarray) -> None:
    found = np.array([float(text) if text else np.nan for text in read_back(values)]).astype(values.dtype)
    np.testing.assert_array_equal(found, values)


@given(SIZES.flatmap(lambda size: arrays(st.sampled_from([np.int64, np.uint64, np.uint32, np.uint8, np.int16]), size)))
def test_integers_read_back(values: np.ndarray) -> None:
    found = read_back(values)
    assert [int(text) for text in found] == values.tolist()
    assert found == [str(number) for number in values.tolist()]


TIMES = st.one_of(st.none(), st.integers(-(2**62), 2**62))


@given(st.lists(TIMES, min_size=1, max_size=20))
def test_times_read_back_to_the_nanosecond(times: list[int | None]) -> None:
    values = np.array([np.datetime64("NaT") if each is None else np.datetime64(each, "ns") for each in times], "M8[ns]")
    zeros = np.zeros(len(values), "u1")
    text = lines([column("a", values), column("b", zeros)], {"a": values, "b": zeros}).decode()
    found = [row.partition(",")[0] for row in text.splitlines()]
    assert all(each == "" or re.fullmatch(r"-?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", each) for each in found)
    back = np.array([each.removesuffix("Z") or "NaT" for each in found], "M8[ns]")
    np.testing.assert_array_equal(back, values)


def test_counts_that_may_be_missing_are_whole_numbers_or_nothing() -> None:
    values = np.array([3.0, np.nan, 70000.0])
    assert read_back(values, integer=(np.dtype("u4"), 2**32 - 1)) == ["3", "", "70000"]


def test_flags_are_words_and_codes_without_one_stay_numbers() -> None:
    codes = np.array([0, 2, 3, 9], np.uint8)
    assert read_back(codes, flags=Flags((0, 2, 3), ("read", "set", "a,b"))) == ["read", "set", "a,b", "9"]
    assert read_back(codes, flags=Flags((1, 2), ("high", "lost"), masks=True)) == ["ok", "lost", "high lost", "9"]


@given(st.lists(st.tuples(NAMES, UNITS), min_size=1, max_size=6, unique_by=lambda each: each[0]))
def test_headers_are_distinct_and_survive_csv(given_names: list[tuple[str, str]]) -> None:
    values = np.zeros(1)
    columns = [column(name, values, unit) for name, unit in given_names]
    found = headers(columns)
    assert len(set(found)) == len(found)
    for shown, (name, unit) in zip(found, given_names, strict=True):
        assert shown.startswith(name)
        assert unit in ("", "1") or f"({unit})" in shown
    assert header(columns[0]) == found[0]


@given(st.lists(NAMES, min_size=1, max_size=8))
def test_matlab_takes_any_name(names: list[str]) -> None:
    found = matlab_names(names)
    assert len(set(found)) == len(found) == len(names)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", each) for each in found)


def test_maps_are_one_row_a_cell() -> None:
    row, col = (
        Column(name, (name,), np.dtype("u4"), name, "1", np.arange(size, dtype="u4").__getitem__)
        for name, size in (("row", 2), ("col", 3))
    )
    values = np.arange(6.0).reshape(2, 3)
    map_ = Column("map", ("row", "col"), values.dtype, "map", "S", values.__getitem__)
    flat = Table("maps", {"row": 2, "col": 3}, (row, col, map_)).flat()
    (block,) = flat.blocks()
    assert block["row"].tolist() == [0, 0, 0, 1, 1, 1]
    assert block["col"].tolist() == [0, 1, 2] * 2
    assert block["map"].tolist() == values.ravel().tolist()
    assert [len(each["map"]) for each in flat.blocks(4)] == [4, 2]
