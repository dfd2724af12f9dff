"""The associative-processor board's firmware, spoken to in messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from associative_boards import ADDER, FAULTY, SHAPE, adding

from labctl.associative import COUNTERS
from labctl.links.blocks import decode, encode_header
from labctl.simulated_instruments.faults import FaultyWire
from labctl.simulated_instruments.faults.plan import parse_plan
from labctl.simulated_instruments.instruments import associative_firmware, program_memory
from labctl.simulated_instruments.instruments.associative_board import SimulatedAssociativeBoard, build
from labctl.simulated_instruments.wire import Site

ROW_BYTES = 13


class Bench:
    """A board with its outputs on, little endian, and whoever talks to it."""

    def __init__(self, board: SimulatedAssociativeBoard) -> None:
        self.board = board
        self.exchange = board.wire.connect()
        self.ask("*CLS;:OUTP ON;:FORM:BORD SWAP;:FORM:DATA REAL,64")

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

    def block(self, *parts: str | np.ndarray, dtype: str = "u1") -> list[int]:
        return np.frombuffer(decode(self.ask(*parts)), dtype).tolist()

    def errors(self) -> list[str]:
        """The numbers of all that are queued."""
        found = []
        while (error := self.ask(":SYST:ERR?").decode()) != '0,"No error"':
            found.append(error.partition(",")[0])
        return found

    def define(self, slot: int = 0) -> None:
        self.ask(f":PROG:DEF {slot},", TABLES, ",", INSTRUCTIONS)


def new_board(folder: Path = Path(), **options: Any) -> SimulatedAssociativeBoard:
    return build({"chip": "T-7", "cells": "racetrack_ideal", **SHAPE, **options}, Site(folder))


@pytest.fixture
def bench() -> Iterator[Bench]:
    found = Bench(new_board())
    yield found
    found.board.close()


def u4(*columns: int) -> np.ndarray:
    return np.array(columns, "<u4")


def u1(*values: int) -> np.ndarray:
    return np.array(values, "u1")


PLANE = np.arange(ROW_BYTES, dtype="u1")
PROGRAM = adding()
TABLES = np.frombuffer(
    b"".join(len(each.passes).to_bytes(2, "little") + each.codes.tobytes() for each in PROGRAM.tables), "u1"
)
INSTRUCTIONS = np.frombuffer(PROGRAM.instructions.tobytes(), "u1")

REFUSALS: dict[str, tuple[tuple[str | np.ndarray, ...], str]] = {
    "a column beyond the array": ((":COL:LOAD ", u4(48), ",", PLANE), "-222"),
    "half a column": ((":COL:READ? ", u1(1, 0, 0)), "-161"),
    "a column twice": ((":COL:LOAD ", u4(1, 1), ",", np.tile(PLANE, 2)), "-224"),
    "a plane too short": ((":COL:LOAD ", u4(1), ",", PLANE[:-1]), "-161"),
    "planes of one column for two": ((":COL:LOAD ", u4(1, 2), ",", PLANE), "-161"),
    "a key too short": ((":SEAR? ", u4(1, 9), ",", u1(1)), "-161"),
    "a bit of 2": ((":WRIT ", u4(1), ",", u1(2)), "-222"),
    "two positions at once": ((":SEAR? ", u4(1, 2), ",", u1(1, 1)), "-224"),
    "tags too long": ((":TAGS ", u1(*range(14))), "-161"),
    "a track beyond the array": ((":POS:SHIF 6,1",), "-222"),
    "a position that there is none": ((":POS:SHIF 1,4",), "-224"),
    "a check beyond the array": ((":POS:CHEC? ", np.array([6], "<u2")), "-222"),
    "to realign by too much": ((":POS:REAL 1,65",), "-222"),
    "no columns": ((":COL:READ?",), "-109"),
    "text for columns": ((":COL:READ? '1'",), "-158"),
    "a threshold below the match": ((":SENS:THR -1",), "-222"),
    "to verify less than never": ((":POS:VER -1",), "-222"),
    "a program of half an instruction": ((":PROG:DEF 0,", TABLES, ",", INSTRUCTIONS[:-1]), "-161"),
    "a table cut off": ((":PROG:DEF 0,", TABLES[:-1], ",", INSTRUCTIONS), "-161"),
    "a table that is missing": ((":PROG:DEF 0,", TABLES[:18], ",", INSTRUCTIONS), "-222"),
    "a slot that there is none": ((":PROG:DEF 256,", TABLES, ",", INSTRUCTIONS), "-222"),
    "a program that is not there": ((":PROG:RUN? 7,0,1",), "-224"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_wrong_is_refused_with_nothing_done(bench: Bench, case: str) -> None:
    message, number = REFUSALS[case]
    before = bench.ask(":SYST:TIME?;:ARR:COUN?;:FETC:WORK?")
    assert bench.ask(*message) == b""
    assert bench.errors() == [number]
    assert bench.ask(":SYST:TIME?;:ARR:COUN?;:FETC:WORK?") == before


def test_after_a_refusal_nothing_more_is_done_in_that_message(bench: Bench) -> None:
    bench.ask(":COL:LOAD ", u4(1), ",", PLANE)
    bench.ask(":SEAR? ", u4(1, 2), ",", u1(1, 1), ";:WRIT ", u4(1), ",", u1(1))
    assert bench.errors() == ["-224", "101"]
    assert bench.block(":COL:READ? ", u4(1)) == [*PLANE[:-1].tolist(), PLANE[-1] & 15]


@pytest.mark.parametrize("refused", [":SENS:THR 100", ":POS:SHIF 9,1", ":PROG:RUN? 300,0,1", ":PROG:DEL 300"])
def test_nor_after_a_number_that_is_out_of_range(bench: Bench, refused: str) -> None:
    assert bench.ask(f":POS:SHIF 0,1;{refused};:POS:SHIF 0,1;:FETC:WORK?").startswith(b"1,")
    assert bench.errors() == ["-222", "101"]


def test_a_long_track_is_shifted_to_its_end(tmp_path: Path) -> None:
    bench = Bench(new_board(tmp_path, domains=128, ports=1))
    bench.ask(":POS:SHIF 0,127")
    assert bench.errors() == []
    bench.ask(":POS:SHIF 0,-129")
    assert bench.errors() == ["-222"]


def test_a_trace_that_is_too_long_is_refused_with_nothing_done(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(associative_firmware, "_MAX_ANSWER", 4 * (24 + 24))
    bench.define()
    assert len(bench.block(":PROG:TRAC? 0,0,2", dtype="<u4")) == 24 + 24
    monkeypatch.setattr(associative_firmware, "_MAX_ANSWER", 4 * (24 + 24) - 1)
    before = bench.ask(":ARR:COUN?;:FETC:WORK?")
    assert bench.ask(":PROG:TRAC? 0,0,2") == b""
    assert bench.errors() == ["-223"]
    assert bench.ask(":ARR:COUN?;:FETC:WORK?") == before
    assert len(bench.block(":PROG:RUN? 0,0,2", dtype="<u4")) == 24


def test_nothing_moves_while_outputs_are_off(bench: Bench) -> None:
    bench.ask(":OUTP:SAFE")
    for message in ((":COL:READ? ", u4(1)), (":POS:SHIF 0,1",), (":TAGS?",)):
        assert bench.ask(*message) == b""
        assert bench.errors() == ["-221"]
    bench.ask(":SENS:THR 0.7")
    assert bench.ask(":SENS:THR?;:SENS:THR? DEF;:OUTP?") == b"0.7;0.5;0"
    bench.define()
    assert bench.errors() == []


def test_a_message_that_comes_twice_or_late_is_refused(bench: Bench) -> None:
    message = (":FETC:NEXT 1;:COL:LOAD ", u4(1), ",", PLANE, ";:SENS:THR 0.6;:FETC:WORK?")
    assert bench.ask(*message).startswith(b"2,")
    bench.ask(":SENS:THR 0.4")
    assert bench.ask(*message).startswith(b"3,")
    assert bench.errors() == ["101", "101", "101"]
    assert bench.ask(":SENS:THR?;:ARR:COUN?") == b"0.4;0,0,0,0,0,0,1,0,0,1,0"


def test_answers_of_the_last_message_are_kept(bench: Bench) -> None:
    loaded = [*PLANE[:-1].tolist(), PLANE[-1] & 15]
    bench.ask(":COL:LOAD ", u4(1), ",", PLANE, ";:COL:READ? ", u4(1), ";:SEAR? ", u4(1), ",", u1(1))
    assert bench.block(":FETC? 2") == loaded
    assert bench.block(":FETC? 3", dtype="<u4") == [sum(each.bit_count() for each in loaded)]
    assert bench.ask(":FETC? 1") == bench.ask(":FETC? 4") == b""
    assert bench.errors() == ["-230", "-230"]


def test_a_program_tells_what_it_counted_and_how_long_it_took(bench: Bench) -> None:
    bench.define(3)
    before = bench.ask(":SYST:TIME?")
    words = np.array(bench.block(":PROG:TRAC? 3,0,2", dtype="<u4"), "<u4")
    counted = words[:24].view("<u8").tolist()
    assert dict(zip(COUNTERS, counted, strict=False)) == {
        **dict.fromkeys(COUNTERS, 0),
        "searches": 24,
        "searched_columns": 48,
        "matches": 800,
        "writes": 24,
        "written_columns": 32,
        "written_bits": 800,
        "shifts": 15,
    }
    assert len(words) == 24 + 24
    assert words[24:].sum() == 800
    assert counted[-1] > 0
    assert float(bench.ask(":SYST:TIME?")) >= float(before)
    one = np.array(bench.block(":PROG:RUN? 3,1,1", dtype="<u4"), "<u4").view("<u8")
    assert (len(one), one[0]) == (12, 8)
    assert bench.ask(":PROG:RUN? 3,1,2") == b""
    assert bench.errors() == ["-222"]


def test_the_memory_of_programs_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(TABLES) + len(INSTRUCTIONS)
    monkeypatch.setattr(program_memory, "MEMORY", 2 * size)
    for slot in (0, 9, 9):
        bench.define(slot)
    assert bench.ask(":PROG:FREE?;LIM?") == b"0;256,67108864"
    bench.define(1)
    assert bench.errors() == ["-225"]
    bench.ask(":PROG:DEL 0;DEL 77")
    bench.define(1)
    assert bench.ask(":PROG:FREE?") == b"0"
    bench.ask(":PROG:DEL:ALL")
    assert bench.ask(":PROG:FREE?") == str(2 * size).encode()
    bench.define(1)
    bench.ask("*RST")
    assert bench.ask(":PROG:FREE?") == str(2 * size).encode()


def test_blocks_are_in_the_byte_order_that_is_set_and_programs_little_endian(bench: Bench) -> None:
    bench.ask(":FORM:BORD NORM")
    bench.ask(":COL:LOAD ", u4(1).byteswap(), ",", PLANE)
    assert bench.block(":SEAR? ", u4(1).byteswap(), ",", u1(1), dtype=">u4") == [22]
    bench.define()
    words = np.array(bench.block(":PROG:RUN? 0,0,2", dtype=">u4"), "<u4")
    assert words.view("<u8")[0] == 24
    assert bench.errors() == []


def test_what_it_says_of_itself(bench: Bench) -> None:
    assert bench.ask("*IDN?") == b"labctl,AP-128,T-7,1.0"
    assert bench.ask(":ARR:GEOM?;CELL?;SER?") == b'100,6,8,2;"racetrack";"T-7"'
    assert bench.ask(":ARR:TIM?").startswith(b"2.142E-09,")
    assert bench.ask("*TST?") == b"0"
    bench.board.chip.temperature = 500.0
    assert bench.ask("*TST?") == b"1"


def test_a_power_cycle_loses_settings_programs_and_counters_not_the_cells(bench: Bench) -> None:
    bench.ask(":COL:LOAD ", u4(1), ",", PLANE, ";:SENS:THR 0.7;:POS:VER 3")
    bench.define()
    bench.board.power_cycle()
    after = Bench(bench.board)
    assert after.ask(":SENS:THR?;:POS:VER?;:PROG:FREE?;:FETC:WORK?") == b"0.5;0;67108864;0"
    assert after.ask(":ARR:COUN?") == b"0,0,0,0,0,0,0,0,0,0,0"
    assert after.block(":COL:READ? ", u4(1))[:5] == [0, 1, 2, 3, 4]


def test_the_chip_remembers_in_its_file_and_is_one_processs(tmp_path: Path) -> None:
    first = new_board(tmp_path, state="chip.h5", **FAULTY)
    with pytest.raises(ValueError, match=r"the chip of chip\.h5 is in use by another process"):
        new_board(tmp_path, state="chip.h5", **FAULTY)
    one = Bench(first)
    one.ask(":COL:LOAD ", u4(1), ",", PLANE)
    at = float(one.ask(":SYST:TIME:ADV 5;:SYST:TIME?"))
    first.close()
    with pytest.raises(ValueError, match=r"chip\.h5 is the state of chip 'T-7', not of 'T-8'"):
        new_board(tmp_path, state="chip.h5", chip="T-8", **FAULTY)
    again = new_board(tmp_path, state="chip.h5", **FAULTY)
    other = Bench(again)
    assert float(other.ask(":SYST:TIME?")) == pytest.approx(at, abs=1e-6)
    assert other.block(":COL:READ? ", u4(1))[:3] != [0, 0, 0]
    again.close()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cells": "rram_40nm"}, "breakdown_voltage|not a parameter|missing"),
        ({"shift_error": 2.0}, "must be"),
        ({"domains": 7}, "7 domains, 2 ports"),
        ({"chip": "é"}, "chip must be a serial number in plain letters"),
        ({"clock": "slow"}, "clock must be 'virtual' or 'real', not 'slow'"),
        ({"colour": "red"}, "unknown field `colour`"),
    ],
)
def test_options_that_are_none_are_told_in_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        new_board(**options)


def test_faults_of_a_memory_chip_are_none_of_it() -> None:
    board = new_board()
    for fault, sentence in (
        ({"kind": "adc_saturation", "messages": [1]}, "adc_saturation: this instrument has no memory chip of its own"),
        ({"kind": "drop", "pulses": [1]}, "pulses are counted by a chip"),
    ):
        with pytest.raises(ValueError, match=sentence):
            FaultyWire(board, parse_plan({"faults": [fault]}, "plan", Path()), "board")
    FaultyWire(board, parse_plan({"faults": [{"kind": "reboot", "times": [1.0]}]}, "plan", Path()), "board")
    board.close()


def test_the_order_of_the_counters_is_that_of_the_interface() -> None:
    assert associative_firmware.COUNTERS == COUNTERS
    assert len(ADDER.codes) == 4
