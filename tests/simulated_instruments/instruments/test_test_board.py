"""The board's firmware, spoken to in messages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.links.blocks import decode, encode_header
from labctl.simulated_instruments.instruments.clocks import FIRST_POWER_ON
from labctl.simulated_instruments.instruments.test_board import SimulatedBoard, build
from labctl.simulated_instruments.wire import Site

ROWS, COLS = 6, 10
CELLS = ROWS * COLS
VOLT = 65_536 / 5.0  # codes


class Bench:
    """A board with its outputs on, little endian, and whoever talks to it."""

    def __init__(self, board: SimulatedBoard) -> None:
        self.board = board
        self.chip = board.firmware.chip
        self.exchange = board.wire.connect()
        self.ask("*CLS;:OUTP ON;:FORM:BORD SWAP;:FORM:DATA REAL,32")

    def ask(self, *parts: str | np.ndarray) -> bytes:
        """The answer without its newline; empty where there is none."""
        message = b"".join(
            part.encode() if isinstance(part, str) else encode_header(part.nbytes) + part.tobytes() for part in parts
        )
        self.exchange.write(message + b"\n")
        answer = b""
        while self.exchange.pending:
            answer += bytes(self.exchange.read(1 << 20)[0])
        return answer.removesuffix(b"\n")

    def block(self, *parts: str | np.ndarray, dtype: str = "<u2") -> np.ndarray:
        return np.frombuffer(decode(self.ask(*parts)), dtype)

    def error(self) -> str:
        return self.ask(":SYST:ERR?").decode()

    def pulse(self, number: int, cells: np.ndarray, volts: float = 2.5, operation: str = "FORM") -> None:
        self.ask(f":PULS:APPL:IND {number},{operation},1US,1.5,", cells, ",", codes(len(cells), volts))


def u4(*cells: int) -> np.ndarray:
    return np.array(cells, "<u4")


def codes(count: int, volts: float = 2.5) -> np.ndarray:
    return np.full(count, round(volts * VOLT), "<u2")


def new_board(**options: object) -> SimulatedBoard:
    return build({"chip": "T-7", "rows": ROWS, "cols": COLS, **options}, Site(Path()))


@pytest.fixture
def bench() -> Iterator[Bench]:
    found = Bench(new_board())
    yield found
    found.board.close()


def shape(number: int = 1, operation: str = "FORM", width: str = "1US", gate: str = "1.5") -> str:
    return f"{number},{operation},{width},{gate},"


# -- what is refused, with nothing applied ---------------------------------------------------------------------

MASK = np.packbits(np.arange(CELLS) < 3)
REFUSALS: dict[str, tuple[tuple[str | np.ndarray, ...], str]] = {
    "amplitude above FORM's limit": (("APPL:IND ", shape(), u4(1), ",", codes(1, 4.501)), "-222"),
    "amplitude above SET's limit": (("APPL:IND ", shape(1, "SET"), u4(1), ",", codes(1, 4.001)), "-222"),
    "amplitude above RESET's limit": (("APPL:IND ", shape(1, "RES"), u4(1), ",", codes(1, 4.001)), "-222"),
    "one amplitude of many": (("APPL:ALL ", shape(), np.r_[codes(CELLS - 1), codes(1, 4.6)]), "-222"),
    "too narrow": (("APPL:ALL ", shape(width="9NS"), codes(CELLS)), "-222"),
    "too wide": (("APPL:ALL ", shape(width="1.001MS"), codes(CELLS)), "-222"),
    "gate too high": (("APPL:ALL ", shape(gate="3.31"), codes(CELLS)), "-222"),
    "gate below ground": (("APPL:ALL ", shape(gate="-0.1"), codes(CELLS)), "-222"),
    "no such operation": (("APPL:ALL ", shape(1, "BURN"), codes(CELLS)), "-224"),
    "a cell beyond the array": (("APPL:IND ", shape(), u4(0, CELLS), ",", codes(2)), "-222"),
    "cells out of order": (("APPL:IND ", shape(), u4(2, 1), ",", codes(2)), "-224"),
    "a cell twice": (("APPL:IND ", shape(), u4(1, 1), ",", codes(2)), "-224"),
    "too few amplitudes": (("APPL:IND ", shape(), u4(1, 2), ",", codes(1)), "-161"),
    "too many amplitudes": (("APPL:ALL ", shape(), codes(CELLS + 1)), "-161"),
    "half a code": (("APPL:IND ", shape(), u4(1), ",", np.zeros(3, "u1")), "-161"),
    "a mask of another array": (("APPL:MASK ", shape(), np.r_[MASK, np.uint8(0)], ",", codes(3)), "-161"),
    "amplitudes not of the mask": (("APPL:MASK ", shape(), MASK, ",", codes(4)), "-161"),
    "a number ahead": (("APPL:IND ", shape(2), u4(1), ",", codes(1)), "101"),
    "number zero": (("APPL:IND ", shape(0), u4(1), ",", codes(1)), "101"),
    "no amplitudes": (("APPL:IND ", shape(), u4(1)), "-109"),
    "text for cells": (("APPL:IND ", shape(), "'1',", codes(1)), "-158"),
}


@pytest.mark.parametrize("verify", [False, True], ids=["apply", "verify"])
@pytest.mark.parametrize("case", REFUSALS)
def test_a_wrong_batch_is_refused_whole(bench: Bench, case: str, verify: bool) -> None:
    (form, *rest), number = REFUSALS[case]
    if verify:
        form = form.replace("APPL", "VER").rstrip() + "? "
    before = bench.ask(":SYST:TIME?")
    assert bench.ask(":PULS:" + form, *rest) == b""
    assert bench.error().startswith(number + ",")
    assert bench.ask(":PULS:SEQ?") == b"0"
    assert not bench.chip.pulse_counts.any()
    assert not bench.chip.read_counts.any()
    assert bench.ask(":SYST:TIME?") == before


@pytest.mark.parametrize("off", [":OUTP OFF", ":OUTP:SAFE", "*RST;:FORM:BORD SWAP"])
def test_with_outputs_off_no_pulse_is_given(bench: Bench, off: str) -> None:
    bench.ask(off)
    bench.pulse(1, u4(1))
    assert bench.error() == '-221,"Settings conflict;outputs are off"'
    assert not bench.chip.pulse_counts.any()


def test_after_a_refused_batch_the_rest_of_the_message_is_out_of_sequence(bench: Bench) -> None:
    good = (u4(5), ",", codes(1))
    bench.ask(
        ":PULS:APPL:IND ", shape(1), *good, ";IND ", shape(2), u4(5), ",", codes(1, 4.9), ";IND ", shape(3), *good
    )
    assert bench.ask(":PULS:SEQ?") == b"1"
    assert bench.chip.pulse_counts.sum() == 1
    assert [bench.error()[:4] for _ in range(3)] == ["-222", "101,", '0,"N']


@pytest.mark.parametrize(("operation", "limit"), [("FORM", 4.5), ("SET", 4.0), ("RES", 4.0)])
def test_the_code_nearest_to_a_limit_is_within_it_and_the_next_is_not(
    bench: Bench, operation: str, limit: float
) -> None:
    nearest = round(limit * VOLT)
    bench.ask(":PULS:APPL:IND ", shape(1, operation), u4(1), ",", np.array([nearest], "<u2"))
    assert bench.error().startswith("0,")
    bench.ask(":PULS:APPL:IND ", shape(2, operation), u4(1), ",", np.array([nearest + 1], "<u2"))
    assert bench.error().startswith("-222,")


# -- sequence numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["ALL", "IND", "MASK"])
def test_the_same_batch_again_is_answered_but_not_applied(bench: Bench, form: str) -> None:
    where = {"ALL": (), "IND": (u4(0, 1, 2), ","), "MASK": (MASK, ",")}[form]
    count = CELLS if form == "ALL" else 3
    message = (f":PULS:VER:{form}? ", shape(), *where, codes(count))
    first = bench.block(*message)
    again = bench.block(*message)
    assert len(first) == count
    np.testing.assert_array_equal(first, again)
    assert bench.chip.pulse_counts.sum() == count
    assert set(np.unique(bench.chip.read_counts)) <= {0, 1}
    assert bench.ask(":PULS:SEQ?") == b"1"
    assert bench.error().startswith("0,")


@pytest.mark.parametrize(
    "other",
    [
        (shape(), u4(1), ",", codes(1)),
        (shape(), u4(0), ",", codes(1, 2.4)),
        (shape(operation="SET"), u4(0), ",", codes(1)),
        (shape(width="2US"), u4(0), ",", codes(1)),
        (shape(gate="1.6"), u4(0), ",", codes(1)),
    ],
    ids=["cells", "amplitudes", "operation", "width", "gate"],
)
def test_another_batch_under_the_last_number_is_not_passed_off_as_applied(bench: Bench, other: tuple) -> None:
    """Two controllers that both think they are next would otherwise lose a batch without a word."""
    bench.pulse(1, u4(0))
    bench.ask(":PULS:APPL:IND ", *other)
    assert bench.error() == '101,"Sequence number out of order;1 was another batch"'
    assert bench.chip.pulse_counts.sum() == 1


def test_reset_and_clear_leave_the_number_and_the_cells_alone(bench: Bench) -> None:
    bench.pulse(1, u4(3, 4))
    bench.ask("*RST;*CLS")
    assert bench.ask(":PULS:SEQ?") == b"1"
    assert bench.chip.pulse_counts.sum() == 2
    assert bench.ask(":OUTP?;:SENS:VOLT?;CURR:RANG?;:FORM:DATA?;BORD?") == b"0;0.2;1.6E-05;ASC;NORM"


def test_a_batch_of_no_cells_counts_as_one(bench: Bench) -> None:
    assert bench.block(":PULS:VER:IND? ", shape(), u4(), ",", codes(0)).size == 0
    assert bench.ask(":PULS:SEQ?") == b"1"
    assert bench.error().startswith("0,")


# -- answers once more -------------------------------------------------------------------------------------------


def test_the_answers_of_the_last_message_are_kept_and_had_again_without_a_reading(bench: Bench) -> None:
    bench.ask(":READ:REG? 0,0,1,1")
    batch = (u4(3, 4), ",", codes(2, 4.2))
    message = (":PULS:VER:IND? ", shape(1), *batch, ";:PULS:APPL:IND ", shape(2), *batch, ";:READ:IND? 3,", u4(7))
    answer = bench.ask(*message, ";:FETC:WORK?")
    counts = bench.chip.read_counts.copy()
    again = bench.ask(":FETC? 2;:FETC:ANSW? 4;WORK?")
    assert again == answer
    number, *ended = again.rsplit(b";", 1)[1].split(b",")
    assert number == b"4"
    assert [float(each) - FIRST_POWER_ON for each in ended] == pytest.approx([16e-6, 20e-6, 32e-6], abs=3e-7)
    for gone in (1, 3, 5):  # of another message, without an answer, not done yet
        assert bench.ask(f":FETC? {gone}") == b""
        assert bench.error().startswith("-230,")
    np.testing.assert_array_equal(bench.chip.read_counts, counts)


def test_a_message_of_work_that_comes_twice_is_carried_out_once(bench: Bench) -> None:
    message = (":FETC:NEXT 1;:READ:REG? 0,0,6,10;:MULT? ", np.zeros(ROWS, "<f4"), ";:FETC:WORK?")
    first = bench.ask(*message)
    assert bench.error().startswith("0,")
    assert bench.ask(*message) == first.rsplit(b";", 1)[1]
    assert bench.error() == '101,"Work number out of order;1 where 3 is next"'
    assert set(np.unique(bench.chip.read_counts)) == {1}
    assert bench.chip.multiplications == 1
    assert bench.ask("*CLS;:FETC:NEXT 3;:READ:REG? 0,0,1,1;:FETC:WORK?").split(b";")[-1].startswith(b"3,")


def test_a_batch_that_was_not_read_when_applied_is_not_read_afterwards(bench: Bench) -> None:
    bench.pulse(1, u4(3))
    assert bench.ask(":PULS:VER:IND? ", shape(), u4(3), ",", codes(1)) == b""
    assert bench.error() == '101,"Sequence number out of order;1 was not read when applied"'
    assert not bench.chip.read_counts.any()


# -- forms ------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, CELLS - 1), min_size=1), st.integers(0, 2**31))
def test_listed_or_masked_the_same_cells_get_the_same_pulses(cells: set[int], seed: int) -> None:
    where = u4(*sorted(cells))
    amplitudes = np.random.default_rng(seed).integers(20_000, 50_000, len(where)).astype("<u2")
    mask = np.packbits(np.isin(np.arange(CELLS), where))
    listed, masked = Bench(new_board()), Bench(new_board())
    found = listed.block(":PULS:VER:IND? ", shape(), where, ",", amplitudes)
    np.testing.assert_array_equal(found, masked.block(":PULS:VER:MASK? ", shape(), mask, ",", amplitudes))
    np.testing.assert_array_equal(listed.chip.pulse_counts, masked.chip.pulse_counts)
    assert set(np.flatnonzero(listed.chip.pulse_counts)) == cells
    everything = listed.block(":READ:REG? 0,0,6,10")
    np.testing.assert_array_equal(everything, masked.block(":READ:REG? 0,0,6,10"))


def test_all_is_every_cell_listed(bench: Bench) -> None:
    other = Bench(new_board())
    every = np.arange(CELLS, dtype="<u4")
    np.testing.assert_array_equal(
        bench.block(":PULS:VER:ALL? ", shape(), codes(CELLS)),
        other.block(":PULS:VER:IND? ", shape(), every, ",", codes(CELLS)),
    )


def test_big_endian_blocks_mean_the_same(bench: Bench) -> None:
    other = Bench(new_board())
    other.ask(":FORM:BORD NORM")
    cells, amplitudes = u4(1, 7), codes(2)
    found = bench.block(":PULS:VER:IND? ", shape(), cells, ",", amplitudes)
    swapped = other.block(":PULS:VER:IND? ", shape(), cells.astype(">u4"), ",", amplitudes.astype(">u2"), dtype=">u2")
    np.testing.assert_array_equal(found, swapped)


# -- reading and multiplying ------------------------------------------------------------------------------------


def test_a_region_is_its_cells_row_by_row_and_repeats_one_after_another(bench: Bench) -> None:
    bench.ask(":PULS:APPL:ALL ", shape(), codes(CELLS, 3))
    other = Bench(new_board())
    other.ask(":PULS:APPL:ALL ", shape(), codes(CELLS, 3))
    where = (np.arange(2, 4)[:, np.newaxis] * COLS + np.arange(3, 7)).ravel().astype("<u4")
    region = bench.block(":READ:REG? 2,3,2,4,5")
    assert region.shape == (40,)
    np.testing.assert_array_equal(region, other.block(":READ:IND? 5,", where))
    assert set(np.flatnonzero(bench.chip.read_counts == 5)) == set(where)


@pytest.mark.parametrize("region", ["0,0,7,1", "0,0,1,11", "6,0,1,1", "5,0,2,1", "0,9,1,2", "0,0,0,1", "0,0,1,1,0"])
def test_a_region_beyond_the_array_is_refused(bench: Bench, region: str) -> None:
    assert bench.ask(f":READ:REG? {region}") == b""
    assert bench.error().startswith("-222,")
    assert not bench.chip.read_counts.any()


def test_more_readings_than_an_answer_holds_are_refused_before_they_are_made() -> None:
    bench = Bench(new_board(rows=256, cols=256))
    assert bench.ask(":READ:REG? 0,0,256,256,2000") == b""
    assert bench.error().startswith("-223,")
    assert not bench.chip.read_counts.any()


def test_reading_no_cells_answers_an_empty_block(bench: Bench) -> None:
    assert bench.ask(":READ:IND? 3,", u4()) == b"#10"


def test_the_scale_of_readings_follows_read_voltage_and_range(bench: Bench) -> None:
    for volts, full in ((0.2, 16e-6), (0.1, 16e-6), (0.2, 64e-6)):
        bench.ask(f":SENS:VOLT {volts};CURR:RANG {full}")
        step, offset, bits = (float(word) for word in bench.ask(":SENS:ADC:SCAL?").split(b","))
        assert offset + step * (2**bits - 1) == pytest.approx(full / volts)


def test_a_range_between_two_is_rounded_up(bench: Bench) -> None:
    assert bench.ask(":SENS:CURR:RANG 5UA;RANG?") == b"1.6E-05"
    bench.ask(":SENS:CURR:RANG 1.1MA")
    assert bench.error().startswith("-222,")
    assert bench.ask(":SENS:CURR:RANG?") == b"1.6E-05"


@pytest.mark.parametrize(
    ("inputs", "number"),
    [
        (np.zeros(5, "<f4"), "-161"),
        (np.zeros(0, "<f4"), "-161"),
        (np.full(6, 0.51, "<f4"), "-222"),
        (np.full(6, np.nan, "<f4"), "-222"),
    ],
)
def test_inputs_that_fit_no_array_are_refused(bench: Bench, inputs: np.ndarray, number: str) -> None:
    assert bench.ask(":MULT? ", inputs) == b""
    assert bench.error().startswith(number + ",")
    assert bench.chip.multiplications == 0


def test_products_come_a_vector_after_another_both_ways(bench: Bench) -> None:
    bench.ask(":PULS:APPL:ALL ", shape(), codes(CELLS, 3.2))
    assert bench.block(":MULT? ", np.full(3 * ROWS, 0.1, "<f4"), dtype="<f4").shape == (3 * COLS,)
    assert bench.block(":MULT:TRAN? ", np.full(2 * COLS, 0.1, "<f4"), dtype="<f4").shape == (2 * ROWS,)


# -- bit-serial products ----------------------------------------------------------------------------------------


def bit_product(**other: object) -> tuple[str | np.ndarray, ...]:
    """Two inputs and three columns, five vectors of two bits, but for what is `other`."""
    given = {
        "bits": "2",
        "volts": "0.2",
        "full_scale": "125UA",
        "plus": np.array([0, 2], "<u2"),
        "minus": np.array([1, 3], "<u2"),
        "cols": np.array([9, 0, 4], "<u2"),
        "codes": (np.arange(10) % 4).astype("u1"),
        **other,
    }
    head = ",".join(str(given[name]) for name in ("bits", "volts", "full_scale"))
    blocks = [part for name in ("plus", "minus", "cols", "codes") for part in (",", given[name])]
    return f":MULT:BITS? {head}", *blocks


def test_a_bit_serial_product_answers_sums_and_then_how_often_columns_were_at_an_end(bench: Bench) -> None:
    bench.ask(":PULS:APPL:ALL ", shape(), codes(CELLS, 3.2))
    started = bench.board.clock.now()
    answer = bench.block(*bit_product(), dtype="<u4").reshape(6, 3)
    assert bench.board.clock.now() - started == pytest.approx(5 * 2 * 4e-6, abs=3e-7)  # a plane, all columns together
    assert bench.chip.multiplications == 5 * 2
    assert np.all(np.abs(answer[:5] - 3 * 16_383 / 2) < 3 * 2000)
    assert not answer[5].any()
    bench.chip.readout_faults.stick([0], 16_383)
    assert bench.block(*bit_product(), dtype="<u4").reshape(6, 3)[5].tolist() == [0, 10, 0]


def test_bit_serial_products_are_work_whose_answer_is_kept(bench: Bench) -> None:
    answer = bench.ask(*bit_product())
    number = bench.ask(":FETC:WORK?").split(b",")[0]
    assert bench.ask(f":FETC? {number.decode()}") == answer
    assert bench.chip.multiplications == 10


def test_big_endian_bit_serial_products_mean_the_same() -> None:
    little, big = Bench(new_board()), Bench(new_board())
    big.ask(":FORM:BORD NORM")
    swapped = {
        name: np.array(lines, ">u2") for name, lines in (("plus", [0, 2]), ("minus", [1, 3]), ("cols", [9, 0, 4]))
    }
    found = big.block(*bit_product(**swapped), dtype=">u4")
    np.testing.assert_array_equal(found, little.block(*bit_product(), dtype="<u4"))


def test_the_scale_of_bit_serial_products_is_that_of_the_smallest_range(bench: Bench) -> None:
    for wanted, full_scale in (("100UA", 125e-6), ("125UA", 125e-6), ("126UA", 500e-6), ("MAX", 2e-3)):
        step, offset, bits = bench.ask(f":MULT:BITS:SCAL? {wanted}").decode().split(",")
        assert float(offset) == -full_scale
        assert float(step) * 16_383 == pytest.approx(2 * full_scale)
        assert bits == "14"


@pytest.mark.parametrize(
    ("other", "error"),
    [
        ({"bits": "0"}, "-222,"),
        ({"bits": "9"}, "-222,"),
        ({"volts": "0.51"}, "-222,"),
        ({"volts": "-0.1"}, "-222,"),
        ({"full_scale": "3MA"}, "-222,"),
        ({"codes": np.array([0, 4], "u1")}, '-222,"Data out of range;code 4 is above 3"'),
        ({"codes": np.zeros(3, "u1")}, '-161,"Invalid block data;3 codes are no whole number of vectors of 2"'),
        ({"codes": np.zeros(0, "u1")}, "-161,"),
        ({"plus": np.array([0, 6], "<u2")}, '-222,"Data out of range;row 6 is not on the array"'),
        ({"minus": np.array([1, 2], "<u2")}, '-224,"Illegal parameter value;row 2 is named twice"'),
        ({"minus": np.array([1], "<u2")}, '-161,"Invalid block data;2 rows to drive with + and 1 with -"'),
        ({"plus": np.zeros(0, "<u2"), "minus": np.zeros(0, "<u2")}, "-161,"),
        ({"cols": np.array([10], "<u2")}, '-222,"Data out of range;column 10 is not on the array"'),
        ({"cols": np.array([3, 3], "<u2")}, '-224,"Illegal parameter value;column 3 is named twice"'),
        ({"cols": np.zeros(0, "<u2")}, "-161,"),
    ],
)
def test_what_is_no_bit_serial_product_is_refused(bench: Bench, other: dict[str, object], error: str) -> None:
    assert bench.ask(*bit_product(**other)) == b""
    assert bench.error().startswith(error)
    assert bench.chip.multiplications == 0


def test_more_sums_than_an_answer_holds_are_refused_before_they_are_made() -> None:
    bench = Bench(new_board(rows=2, cols=1024))
    lines = {"plus": np.array([0], "<u2"), "minus": np.array([1], "<u2"), "cols": np.arange(1024, dtype="<u2")}
    assert bench.ask(*bit_product(**lines, codes=np.zeros(1 << 16, "u1"))) == b""
    assert bench.error() == '-223,"Too much data;an answer holds 67108864 numbers at most"'
    assert bench.chip.multiplications == 0


# -- products of signed codes -----------------------------------------------------------------------------------


def line_product(**other: object) -> tuple[str | np.ndarray, ...]:
    """Two inputs on rows and three columns, five vectors, but for what is `other`."""
    given = {
        "way": "FORW",
        "inputs_on": "ROW",
        "bits": "14",
        "volts": "0.2",
        "full_scale": "125UA",
        "plus": np.array([0, 2], "<u2"),
        "minus": np.array([1, 3], "<u2"),
        "outputs": np.array([9, 0, 4], "<u2"),
        "codes": (np.arange(-5, 5) * 6000).astype("<i2"),
        **other,
    }
    blocks = [np.asarray(given[name]) for name in ("plus", "minus", "outputs", "codes")]
    given = {"inputs": len(blocks[0]), "count": len(blocks[2]), **given}
    numbers = ("way", "inputs_on", "bits", "volts", "full_scale", "inputs", "count")
    words = np.concatenate([block.view(blocks[-1].dtype) for block in blocks], dtype=blocks[-1].dtype)
    return f":MULT:LIN? {','.join(str(given[name]) for name in numbers)},", words


def test_a_product_of_signed_codes_answers_codes_and_then_how_many_were_at_an_end(bench: Bench) -> None:
    bench.ask(":PULS:APPL:ALL ", shape(), codes(CELLS, 4.2))
    started = bench.board.clock.now()
    answer = bench.block(*line_product(full_scale="31UA"), dtype="<i2")
    assert bench.board.clock.now() - started == pytest.approx(5 * 4e-6, abs=3e-7)  # a vector, all columns together
    assert bench.chip.multiplications == 5
    assert answer.shape == (5 * 3 + 2,)
    assert np.abs(answer[:-2]).max() > 10
    assert not answer[-2:].any()
    bench.chip.readout_faults.stick([0], 16_383)
    answer = bench.block(*line_product(codes=np.zeros(2 * 40_000, "<i2")), dtype="<i2")
    assert np.all(answer[:-2].reshape(-1, 3)[:, 1] == 8191)
    assert answer[-2] + 32_768 * answer[-1].astype(int) == 40_000
    backward = bench.block(*line_product(way="BACK", codes=np.arange(6, dtype="<i2")), dtype="<i2")
    assert backward.shape == (2 * 2 + 2,)
    other = {"inputs_on": "COL", "plus": np.array([9], "<u2"), "minus": np.array([4], "<u2")}
    assert bench.block(*line_product(**other, outputs=np.array([5], "<u2")), dtype="<i2").shape == (10 + 2,)


def test_products_of_signed_codes_are_work_whose_answer_is_kept(bench: Bench) -> None:
    answer = bench.ask(*line_product())
    number = bench.ask(":FETC:WORK?").split(b",")[0]
    assert bench.ask(f":FETC? {number.decode()}") == answer
    assert bench.chip.multiplications == 5


def test_big_endian_products_of_signed_codes_mean_the_same() -> None:
    little, big = Bench(new_board()), Bench(new_board())
    big.ask(":FORM:BORD NORM")
    swapped = {name: np.array(lines, ">u2") for name, lines in (("plus", [0, 2]), ("minus", [1, 3]))}
    swapped |= {"outputs": np.array([9, 0, 4], ">u2"), "codes": (np.arange(-5, 5) * 6000).astype(">i2")}
    found = big.block(*line_product(**swapped), dtype=">i2")
    np.testing.assert_array_equal(found, little.block(*line_product(), dtype="<i2"))


@pytest.mark.parametrize("bits", [8, 14])
def test_the_scale_of_products_of_signed_codes_is_that_of_the_smallest_range(bench: Bench, bits: int) -> None:
    for wanted, full_scale in (("1UA", 8e-6), ("9UA", 31.25e-6), ("126UA", 500e-6), ("MAX", 2e-3)):
        step, offset, kept = bench.ask(f":MULT:LIN:SCAL? {wanted},{bits}").decode().split(",")
        assert float(step) * 16_383 == pytest.approx(2 * full_scale * 2 ** (14 - bits))
        assert float(offset) == pytest.approx(float(step) / 2)
        assert int(kept) == bits


@pytest.mark.parametrize(
    ("other", "error"),
    [
        ({"way": "SIDE"}, "-224,"),
        ({"inputs_on": "CELL"}, "-224,"),
        ({"bits": "7"}, "-222,"),
        ({"bits": "15"}, "-222,"),
        ({"volts": "0.51"}, "-222,"),
        ({"volts": "-0.1"}, "-222,"),
        ({"full_scale": "3MA"}, "-222,"),
        ({"codes": np.full(2, -32_768, "<i2")}, '-222,"Data out of range;code -32768 is below -32767"'),
        ({"codes": np.zeros(3, "<i2")}, '-161,"Invalid block data;3 codes are no whole number of vectors of 2"'),
        ({"codes": np.zeros(2, "<i2"), "way": "BACK"}, "-161,"),
        ({"codes": np.zeros(0, "<i2")}, "-161,"),
        ({"plus": np.array([0, 6], "<u2")}, '-222,"Data out of range;row 6 is not on the array"'),
        ({"plus": np.array([0, 10], "<u2"), "inputs_on": "COL"}, '-222,"Data out of range;column 10 is not on'),
        ({"inputs_on": "COL"}, '-222,"Data out of range;row 9 is not on the array"'),
        ({"minus": np.array([1, 2], "<u2")}, '-224,"Illegal parameter value;row 2 is named twice"'),
        ({"inputs": 0}, "-222,"),
        ({"inputs": 5}, '-161,"Invalid block data;4 codes are no whole number of vectors of 5"'),
        ({"inputs": 8}, '-161,"Invalid block data;0 codes are no whole number of vectors of 8"'),
        ({"count": 0}, "-222,"),
        ({"outputs": np.array([3, 3], "<u2")}, '-224,"Illegal parameter value;column 3 is named twice"'),
    ],
)
def test_what_is_no_product_of_signed_codes_is_refused(bench: Bench, other: dict[str, object], error: str) -> None:
    bench.ask(*line_product())  # whose window is known from now on
    assert bench.ask(*line_product(**other)) == b""
    assert bench.error().startswith(error)
    assert bench.chip.multiplications == 5


def test_more_codes_than_an_answer_holds_are_refused_before_they_are_made() -> None:
    bench = Bench(new_board(rows=2, cols=1024))
    lines = {"plus": np.array([0], "<u2"), "minus": np.array([1], "<u2"), "outputs": np.arange(1024, dtype="<u2")}
    assert bench.ask(*line_product(**lines, codes=np.zeros(1 << 16, "<i2"))) == b""
    assert bench.error() == '-223,"Too much data;an answer holds 67108864 numbers at most"'
    assert bench.chip.multiplications == 0


# -- time and health --------------------------------------------------------------------------------------------


def test_virtual_time_is_the_work_done_and_what_was_asked_for(bench: Bench) -> None:
    def passed(*message: str | np.ndarray) -> float:
        before = float(bench.ask(":SYST:TIME?"))
        bench.ask(*message)
        return float(bench.ask(":SYST:TIME?")) - before

    assert float(bench.ask(":SYST:TIME?")) == FIRST_POWER_ON
    pulse, read = (float(word) for word in bench.ask(":ARR:TIM?").split(b","))
    close = {"abs": 3e-7}  # the step of a float that counts seconds since 1970
    assert passed(":PULS:APPL:ALL ", shape(1), codes(CELLS)) == pytest.approx(CELLS * (1e-6 + pulse), **close)
    assert passed(":PULS:VER:IND? ", shape(2), u4(3), ",", codes(1)) == pytest.approx(1e-6 + pulse + read, **close)
    assert passed(":READ:REG? 0,0,2,3,4") == pytest.approx(24 * read, **close)
    assert passed(":MULT? ", np.zeros(2 * ROWS, "<f4")) == pytest.approx(2 * COLS * read, **close)
    assert passed(":SYST:TIME:ADV 100") == pytest.approx(100, **close)
    assert bench.ask(":SYST:TIME:VIRT?") == b"1"


def test_many_short_readings_take_as_long_as_one_of_them_all(bench: Bench) -> None:
    for _ in range(2000):
        bench.ask(":READ:IND? 1,", u4(0))
    assert float(bench.ask(":SYST:TIME?")) - FIRST_POWER_ON == pytest.approx(2000 * 4e-6, abs=3e-7)


def test_real_time_passes_by_itself_and_not_on_request() -> None:
    bench = Bench(new_board(clock="real"))
    assert bench.ask(":SYST:TIME:VIRT?") == b"0"
    before = float(bench.ask(":SYST:TIME?"))
    bench.ask(":SYST:TIME:ADV 100")
    assert bench.error() == '-221,"Settings conflict;this board keeps real time"'
    bench.ask(":READ:REG? 0,0,6,10,20")
    assert float(bench.ask(":SYST:TIME?")) - before >= CELLS * 20 * 4e-6


def test_the_self_test_tells_a_hot_board_and_a_dead_row(bench: Bench) -> None:
    assert bench.ask("*TST?") == b"0"
    bench.chip.heat(500.0, FIRST_POWER_ON)
    assert bench.ask("*TST?") == b"1"
    assert bench.error() == '-330,"Self-test failed;1"'
    bench.chip.heat(300.0, FIRST_POWER_ON)
    bench.ask(":PULS:APPL:ALL ", shape(width="1MS", gate="2"), codes(CELLS, 4.4), ";:SENS:VOLT 0.5;CURR:RANG 1UA")
    assert np.all(bench.block(":READ:REG? 0,0,1,10") == 16_383)
    assert bench.ask("*TST?") == b"2"


def test_it_says_what_it_is(bench: Bench) -> None:
    assert bench.ask("*IDN?") == b"labctl,TB-512,T-7,1.0"
    assert bench.ask(":ARR:GEOM?;CELL?;SER?") == b'6,10;"1T1R RRAM";"T-7"'
    assert bench.block(":ARR:COUN:PULS?", dtype="<u4").size == CELLS


# -- the chip that remembers ------------------------------------------------------------------------------------


def test_what_a_chip_remembers_is_saved_and_found_again(tmp_path: Path) -> None:
    options = {"chip": "T-7", "rows": ROWS, "cols": COLS, "state": "chip.h5"}
    first = build(options, Site(tmp_path))
    Bench(first).pulse(1, u4(3, 4))
    first.close()
    again = build(options, Site(tmp_path))
    found = Bench(again)
    assert set(np.flatnonzero(again.firmware.chip.pulse_counts)) == {3, 4}
    assert found.ask(":PULS:SEQ?") == b"0"
    again.close()


@pytest.mark.parametrize("is_used", [False, True])
def test_time_that_passed_after_the_last_work_has_passed_for_the_next_one_too(tmp_path: Path, is_used: bool) -> None:
    options = {"chip": "T-7", "rows": ROWS, "cols": COLS, "state": "chip.h5"}
    first = build(options, Site(tmp_path))
    bench = Bench(first)
    if is_used:
        bench.pulse(1, u4(3, 4))
    ended = float(bench.ask(":SYST:TIME:ADV 100;:SYST:TIME?"))
    age = first.chip._ageing.age
    first.close()
    again = build(options, Site(tmp_path))
    assert float(Bench(again).ask(":SYST:TIME?")) == ended
    assert again.chip.time == ended
    assert again.chip._ageing.age - age == pytest.approx(100 if is_used else 0, abs=1e-3)
    again.close()


def test_closing_twice_saves_once(tmp_path: Path) -> None:
    """By the second time the chip may be another process's."""
    options = {"chip": "T-7", "rows": ROWS, "cols": COLS, "state": "chip.h5"}
    first = build(options, Site(tmp_path))
    first.close()
    second = build(options, Site(tmp_path))
    Bench(second).pulse(1, u4(3))
    second.close()
    first.close()
    third = build(options, Site(tmp_path))
    assert third.firmware.chip.pulse_counts.sum() == 1
    third.close()


def test_a_state_in_use_by_another_process_is_left_alone(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from labctl.simulated_instruments.instruments.test_board import build\n"
        "from labctl.simulated_instruments.wire import Site\n"
        "board = build({'state': 'chip.h5', 'rows': 4, 'cols': 4}, Site(Path(sys.argv[1])))\n"
        "print('holding', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        with pytest.raises(ValueError, match=r"^the chip of chip\.h5 is in use by another process$"):
            build({"state": "chip.h5"}, Site(tmp_path))
        holder.kill()
        holder.wait()
    build({"state": "chip.h5", "rows": 4, "cols": 4}, Site(tmp_path)).close()


def test_a_state_of_another_chip_is_refused_and_let_go_of(tmp_path: Path) -> None:
    build({"chip": "A", "state": "chip.h5", "rows": 4, "cols": 4}, Site(tmp_path)).close()
    with pytest.raises(ValueError, match=r"^chip\.h5 is the state of chip 'A', not of 'B'$") as raised:
        build({"chip": "B", "state": "chip.h5"}, Site(tmp_path))
    build({"chip": "A", "state": "chip.h5"}, Site(tmp_path)).close()
    assert raised  # whose traceback has kept the refused board alive until here


def test_a_file_that_is_no_state_is_refused_and_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "chip.h5").write_text("my thesis")
    with pytest.raises(ValueError, match=r"chip\.h5 cannot be read as the state of a simulated chip"):
        build({"state": "chip.h5"}, Site(tmp_path))
    assert (tmp_path / "chip.h5").read_text() == "my thesis"


def test_another_periphery_shows_the_same_cells(tmp_path: Path) -> None:
    """Its errors aside: lines, switches and the amplifier change a formed cell's reading by some 0.1 % each, gains by
    0.3 % from column to column, so the middle cell's by less than 1 %."""
    options = {"chip": "T-7", "rows": ROWS, "cols": COLS, "state": "chip.h5"}
    shown = []
    for periphery in ("test_macro", "ideal"):
        board = build({**options, "periphery": periphery}, Site(tmp_path))
        if not shown:
            Bench(board).ask(":PULS:APPL:ALL ", shape(), codes(CELLS, 4.2))
        shown.append(Bench(board).block(":READ:REG? 0,0,6,10,100").reshape(100, CELLS).mean(axis=0))
        board.close()
    real, ideal = (each - 16_383 / 33 for each in shown)  # where zero lies
    formed = ideal > 500
    assert formed.mean() > 0.9
    assert np.median(real[formed] / ideal[formed]) == pytest.approx(1, abs=0.01)
    assert np.abs(real - ideal).max() > 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"clock": "sundial"}, "clock must be 'virtual' or 'real', not 'sundial'"),
        ({"periphery": "perfect"}, "there is no periphery 'perfect': choose one of ideal, test_macro"),
        ({"rows": 0}, "a crossbar of 0 x 512 cells cannot be made"),
        ({"chip": "Å-1"}, "chip must be a serial number in plain letters and digits, not 'Å-1'"),
        ({"chip": "A;B"}, "an identity is four fields without commas or semicolons"),
    ],
)
def test_options_that_make_no_board_are_one_sentence(options: dict[str, object], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^" + sentence):
        build(options, Site(tmp_path))


@pytest.mark.parametrize(("options", "path"), [({"rows": "many"}, "rows"), ({"colour": 1}, "colour")])
def test_options_of_the_wrong_kind_name_their_key(options: dict[str, object], path: str, tmp_path: Path) -> None:
    with pytest.raises(msgspec.ValidationError, match=path):
        build(options, Site(tmp_path))
