"""One strike, the latest evidence wins, and a run in which nearly everything is bad says nothing of the cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from chip_runs import CELLS, COLS, NOT_FAILED, OUTCOMES, Pulse, flat, write_run

from labctl.array import Operation
from labctl.chips import Defect, chip_record
from labctl.errors import UsageError
from labctl.recording import Outcome

FORM, SET, RESET = Operation.FORM, Operation.SET, Operation.RESET
FORMED = 10e-6


def programmed(bad: dict[int, str], tried: range = range(CELLS), otherwise: str = "in_window") -> dict[str, np.ndarray]:
    """The map of a programming run: `bad` cells by name of their outcome, the others that were tried as `otherwise`."""
    found = np.zeros(CELLS, "u1")
    found[list(tried)] = OUTCOMES[otherwise]
    for cell, name in bad.items():
        found[cell] = OUTCOMES[name]
    return {"outcome": found}


def formed(never: tuple[int, ...], tried: range = range(CELLS)) -> dict[str, np.ndarray]:
    return {"forming_voltage": flat({cell: 3.3 for cell in tried if cell not in never}, np.nan)}


def defects(folder: Path) -> dict[int, str]:
    """Bad cell to the name of its defect."""
    found = chip_record("C-1", folder).defects
    return {int(cell): Defect(found[cell]).name.lower() for cell in np.flatnonzero(found)}


def test_outcomes_of_programming_are_strikes_and_a_later_response_takes_them_back(tmp_path: Path) -> None:
    bad = {3: "stuck_low", 7: "stuck_high", 9: "over_stressed", 11: "unreached", 13: "noise_limited"}
    write_run(tmp_path / "a.h5", maps=programmed(bad), day=1)
    assert defects(tmp_path) == {3: "stuck_low", 7: "stuck_high"}
    write_run(tmp_path / "b.h5", maps=programmed({9: "stuck_low"}, range(7, 12)), day=3)
    assert defects(tmp_path) == {3: "stuck_low", 9: "stuck_low"}
    write_run(tmp_path / "older.h5", maps=programmed({7: "stuck_low", 9: "in_window", 2: "stuck_high"}), day=2)
    assert defects(tmp_path) == {2: "stuck_high", 9: "stuck_low"}


def test_a_measured_response_is_one(tmp_path: Path) -> None:
    write_run(tmp_path / "a.h5", maps=programmed({3: "stuck_low", 4: "stuck_low"}), day=1)
    write_run(
        tmp_path / "b.h5",
        *[Pulse(SET, [3], 20e-6), Pulse(RESET, [3], 3e-6)] * 3,
        *[Pulse(SET, [4], 3.4e-6), Pulse(RESET, [4], 3e-6)] * 3,
        day=2,
    )
    assert defects(tmp_path) == {4: "stuck_low"}


def test_never_formed_is_what_stays_pristine_after_a_whole_ramp(tmp_path: Path) -> None:
    ramp = [Pulse(FORM, range(60), 0.1e-6), Pulse(FORM, [3, 5], 0.1e-6)]
    conduct = {cell: FORMED for cell in range(60) if cell not in (3, 5)}
    cells = range(60)
    write_run(tmp_path / "a.h5", *ramp, reads=conduct, maps=formed((3, 5), cells), outcome=Outcome.INTERRUPTED, day=1)
    assert defects(tmp_path) == {}  # it was broken off: more pulses might have formed them
    write_run(tmp_path / "b.h5", *ramp, reads=conduct, maps=formed((3, 5), cells), day=2)
    assert defects(tmp_path) == {3: "never_formed", 5: "never_formed"}
    record = chip_record("C-1", tmp_path)
    assert (record.forming_yield.formed, record.forming_yield.tried) == (58, 60)
    assert record.formed.sum() == 58
    write_run(tmp_path / "c.h5", Pulse(FORM, [3], FORMED), maps=formed((), range(3, 4)), day=3)
    assert defects(tmp_path) == {5: "never_formed"}
    assert chip_record("C-1", tmp_path).forming_yield.formed == 59


def test_how_resuming_found_the_cells_is_no_evidence(tmp_path: Path) -> None:
    """One noisy read at 0.5 uS or more does not make a cell formed that the whole ramp has not formed."""
    ramp, cells = Pulse(FORM, range(60), 0.1e-6), range(60)
    conduct = {cell: FORMED for cell in cells if cell not in (3, 5)}
    for name, found in (("whole", {}), ("resumed", {**conduct, 3: 0.6e-6, 5: 0.1e-6})):
        (tmp_path / name).mkdir()
        maps = formed((3, 5), cells)
        write_run(tmp_path / name / "a.h5", ramp, reads=conduct, rereads=found, maps=maps)
        assert defects(tmp_path / name) == {3: "never_formed", 5: "never_formed"}
        record = chip_record("C-1", tmp_path / name)
        assert (record.forming_yield.formed, record.forming_yield.tried) == (58, 60)
        assert record.runs[0].tried == 60
        assert record.formed.sum() == 58
    assert record.conductance[3] == pytest.approx(0.6e-6)  # which it is the last reading of all the same


def test_a_cell_that_programming_gave_up_as_never_formed_is_one_however_it_reads_later(tmp_path: Path) -> None:
    pulses = [Pulse(FORM, range(20), 0.1e-6), Pulse(SET, range(1, 20), 20e-6)]
    maps = {**formed((0,), range(20)), **programmed({0: "never_formed"}, range(20))}
    write_run(tmp_path / "a.h5", *pulses, reads={0: 0.6e-6}, maps=maps)
    assert defects(tmp_path) == {0: "never_formed"}
    assert chip_record("C-1", tmp_path).forming_yield.tried == 20


def test_forming_that_gave_way_to_programming_was_whole_whatever_came_of_the_run(tmp_path: Path) -> None:
    pulses = [Pulse(FORM, range(20), 0.1e-6), Pulse(SET, range(1, 20), 20e-6)]
    write_run(tmp_path / "a.h5", *pulses, maps=formed((0,), range(20)), outcome=None)
    assert defects(tmp_path) == {0: "never_formed"}


def test_pristine_cells_that_nobody_tried_to_form_are_not_bad(tmp_path: Path) -> None:
    write_run(tmp_path / "a.h5", maps=programmed(dict.fromkeys(range(50), "never_formed")))
    assert defects(tmp_path) == {}


def test_cells_that_wore_out_are_believed_however_many(tmp_path: Path) -> None:
    cycled = [Pulse(SET, range(20), 20e-6), Pulse(RESET, range(20), 3e-6)]
    write_run(tmp_path / "a.h5", *cycled, maps={"failed_at": flat(dict.fromkeys(range(20), 700), NOT_FAILED, "u4")})
    record = chip_record("C-1", tmp_path)
    assert np.count_nonzero(record.defects == Defect.WORN) == 20
    assert record.dead_rows == ()  # pulses wore them out, not their line
    assert record.warnings == ()


@pytest.mark.parametrize("outcome", ["stuck_low", "stuck_high"])
def test_a_run_in_which_most_are_bad_is_told_and_not_believed(tmp_path: Path, outcome: str) -> None:
    write_run(tmp_path / "a.h5", maps=programmed({3: "stuck_high"}), day=1)
    write_run(tmp_path / "bad.h5", maps=programmed(dict.fromkeys(range(70), outcome)), day=2)
    record = chip_record("C-1", tmp_path)
    assert np.flatnonzero(record.defects).tolist() == [3]
    (warning,) = record.warnings
    assert warning == "bad.h5: 70 of 128 cells tried look bad, which is more likely the bench: not used"
    assert [(run.tried, run.bad) for run in record.runs] == [(128, 1), (128, 70)]


def test_a_window_that_was_never_open_may_be_the_benchs(tmp_path: Path) -> None:
    write_run(tmp_path / "a.h5", maps={"failed_at": flat(dict.fromkeys(range(20), 1), NOT_FAILED, "u4")})
    assert defects(tmp_path) == {}


def test_trying_known_bad_cells_again_in_vain_is_no_news(tmp_path: Path) -> None:
    never = tuple(range(0, 60, 4))
    write_run(tmp_path / "a.h5", Pulse(FORM, range(60), 0.1e-6), maps=formed(never, range(60)), day=1)
    before = defects(tmp_path)
    assert len(before) == 15
    write_run(tmp_path / "b.h5", Pulse(FORM, never, 0.1e-6), maps=formed(never), day=2)
    assert defects(tmp_path) == before
    assert chip_record("C-1", tmp_path).warnings == ()


def test_few_cells_may_all_be_bad(tmp_path: Path) -> None:
    write_run(tmp_path / "a.h5", maps=programmed(dict.fromkeys(range(8), "stuck_low"), range(8)))
    assert len(defects(tmp_path)) == 8


def test_lines_most_of_whose_tried_cells_are_bad_are_left_alone_as_a_whole(tmp_path: Path) -> None:
    row = {2 * COLS + col: "stuck_high" for col in range(9)}
    few = {5 * COLS + col: "stuck_high" for col in range(7)}  # of 7 tried, which is too few to tell
    untried = range(5 * COLS + 7, 6 * COLS)
    maps = programmed({**row, **few, **dict.fromkeys(untried, "not_targeted")})
    write_run(tmp_path / "a.h5", maps=maps)
    record = chip_record("C-1", tmp_path)
    assert (record.dead_rows, record.dead_cols) == ((2,), ())
    excluded = record.excluded.reshape(-1, COLS)
    assert excluded[2].all()
    assert excluded[5].sum() == 7
    assert excluded.sum() == 16 + 7
    assert record.why(2 * COLS) == "stuck high in a.h5; row 2 is dead"
    assert record.why(2 * COLS + 15) == "row 2 is dead"
    assert record.why(0) == ""
    with pytest.raises(UsageError, match="has the cells 0 to 127, not 128"):
        record.why(CELLS)
