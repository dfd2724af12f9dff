"""The driver against the simulated board over real sockets, the cable cut where it hurts."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from boards import DAC, ServedBoard, batch_of, served_board
from wires import Cable, RogueInstrument, scripted

from labctl.array import Capability, Operation, PulseBatch
from labctl.drivers.test_board import TestBoard
from labctl.errors import InstrumentError, LinkClosedError, LinkError, LinkTimeoutError
from labctl.links.wire_log import read_wire_log

CELLS = 1024


@pytest.fixture
def board(tmp_path: Path) -> Iterator[ServedBoard]:
    with served_board(tmp_path) as served:
        yield served


@pytest.fixture
def driver(board: ServedBoard) -> Iterator[TestBoard]:
    with board.driver() as connected:
        yield connected


@pytest.fixture
def cable(board: ServedBoard) -> Iterator[Cable]:
    with Cable(board.port) as between:
        yield between


@contextlib.contextmanager
def driven_through(cable: Cable, board: ServedBoard, *faults: str, **settings: object) -> Iterator[TestBoard]:
    with board.driver(cable.resource_name, **settings) as connected:
        cable.faults = deque(faults)
        yield connected


# -- what it is -------------------------------------------------------------------------------------------------


def test_it_learns_what_it_drives(driver: TestBoard) -> None:
    assert (driver.geometry.rows, driver.geometry.cols, driver.geometry.cell) == (32, 32, "1T1R RRAM")
    assert driver.chip_serial == "T-1"
    assert driver.dac == DAC
    assert driver.adc.unit == "S"
    assert float(driver.adc.values(driver.adc.top)) == pytest.approx(16e-6 / 0.2)
    assert driver.limits.max_form_voltage == 4.5
    assert driver.limits.max_gate_voltage == 3.3
    assert (driver.limits.min_width, driver.limits.max_width) == (1e-8, 1e-3)
    assert Capability.PULSE_AND_VERIFY | Capability.SEQUENCE in driver.capabilities
    assert driver.sequence == 1


def test_it_starts_from_a_known_state_with_outputs_off(board: ServedBoard) -> None:
    with board.driver() as before:
        before.pulse(batch_of([1]))
        before.link.write(":SENSe:VOLTage 0.4;:FORMat:BORDer NORMal;:OUTPut ON")
    with board.driver(read_voltage=0.1, current_range=4e-6) as driver:
        snapshot = driver.snapshot()
    assert float(snapshot["SENSe:VOLTage"]) == 0.1
    assert float(snapshot["SENSe:CURRent:RANGe"]) == 4e-6
    assert snapshot["OUTPut:STATe"] == "0"
    assert snapshot["FORMat:BORDer"] == "SWAP"
    assert snapshot["sequence"] == 1


def test_a_snapshot_has_the_identity_and_every_setting(driver: TestBoard) -> None:
    driver.pulse(batch_of([1]))
    snapshot = dict(driver.snapshot())
    assert snapshot == {
        "idn": "labctl,TB-512,T-1,1.0",
        "chip_serial": "T-1",
        "sequence": 1,
        "SENSe:VOLTage": "0.2",
        "SENSe:CURRent:RANGe": "1.6E-05",
        "SENSe:TEMPerature": "300.0",
        "OUTPut:STATe": "1",
        "FORMat:DATA": "REAL,32",
        "FORMat:BORDer": "SWAP",
        "SYSTem:TIME:VIRTual": "1",
    }


def test_a_temperature_is_held_and_lets_cells_change_faster(board: ServedBoard) -> None:
    """An hour at 560 K takes a filament apart that an hour at room temperature leaves nearly as it is."""
    cells = np.arange(CELLS, dtype=np.uint32)
    with board.driver() as driver:
        form = PulseBatch(Operation.FORM, cells, np.full(CELLS, DAC.codes(4.2), np.uint16), 1e-6, 1.2)
        (formed,) = driver.pulse_and_verify(form)
        driver.clock.sleep_until(driver.clock.now() + 3600)
        cold = driver.read().conductance[0]
    with board.driver(temperature=560.0) as driver:
        assert float(driver.snapshot()["SENSe:TEMPerature"]) == 560.0
        driver.clock.sleep_until(driver.clock.now() + 3600)
        hot = driver.read().conductance[0]
    first = formed.conductance[0]
    known = first > 5e-6
    assert np.median(cold[known] / first[known]) > 0.8
    assert np.median(hot[known] / first[known]) < 0.8


def test_settings_beyond_the_board_are_refused_on_connecting(board: ServedBoard) -> None:
    with pytest.raises(InstrumentError, match=r"-222.*above 0.5 V"):
        board.driver(read_voltage=0.6).connect()
    with pytest.raises(InstrumentError, match=r"-222.*above 600 K"):
        board.driver(temperature=1000.0).connect()


def test_what_is_no_test_board_is_told_apart() -> None:
    numbers = b"1;2;3;4;5;6;7;8;9;" + b'0,"No error"\n'
    with RogueInstrument(scripted({b":ARRay": numbers})) as rogue:
        settings = TestBoard.Settings(
            driver="test_board", resource_name=rogue.resource_name, visa_library="@py", timeout=0.5
        )
        driver = TestBoard(settings)
        with pytest.raises(InstrumentError, match=r"Rogues,R1,7,1\.0 does not answer as a test board does"):
            driver.connect()
        with pytest.raises(LinkClosedError, match="not connected"):
            driver.link.write("X")


# -- pulses and readings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("verify", [True, False])
def test_few_many_and_all_cells_travel_differently_and_do_the_same(tmp_path: Path, verify: bool) -> None:
    """The same pulses on the same chip, listed in one batch each, as a mask, and whole."""
    amplitudes = np.random.default_rng(3).integers(30_000, 58_000, CELLS).astype(np.uint16)
    everywhere = np.arange(CELLS, dtype=np.uint32)
    ways = {"IND": [20] * 51 + [4], "MASK": [CELLS // 2, CELLS // 2], "ALL": [CELLS]}
    found = {}
    for word, sizes in ways.items():
        with served_board(tmp_path) as board, board.driver(wire_log=str(tmp_path / f"{word}.log")) as driver:
            cuts = np.cumsum(sizes)[:-1]
            batches = [
                PulseBatch(Operation.FORM, cells, codes, 2e-6, 1.5)
                for cells, codes in zip(np.split(everywhere, cuts), np.split(amplitudes, cuts), strict=True)
            ]
            codes = None
            if verify:
                readouts = driver.pulse_and_verify(*batches)
                assert [len(each.cells) for each in readouts] == sizes
                codes = np.concatenate([each.codes[0] for each in readouts])
            else:
                driver.pulse(*batches)
            found[word] = (codes, driver.read().codes, board.pulses)
        sent = b"".join(data for direction, data in _log(tmp_path / f"{word}.log") if direction == ">")
        assert sent.count(f":{word}".encode()) == len(sizes)
    for word in ("MASK", "ALL"):
        for one, other in zip(found["IND"], found[word], strict=True):
            np.testing.assert_array_equal(one, other)
    assert np.all(found["ALL"][2] == 1)


def _log(path: Path) -> list[tuple[str, bytes]]:
    return [(direction, data) for _, direction, data in read_wire_log(path)]


def test_what_is_read_is_what_the_chip_shows(board: ServedBoard, driver: TestBoard) -> None:
    driver.pulse(batch_of(range(0, CELLS, 2), 4.4, width=1e-4))
    readout = driver.read(repeats=3)
    assert readout.codes.shape == readout.conductance.shape == (3, CELLS)
    listed = driver.read(np.array([0, 1, 500], np.uint32), repeats=2)
    assert listed.codes.shape == (2, 3)
    formed, pristine = readout.conductance[:, ::2], readout.conductance[:, 1::2]
    assert np.median(formed) > 20 * abs(np.median(pristine))
    assert set(np.unique(board.board.firmware.chip.read_counts)) == {3, 5}


def test_a_read_at_another_voltage_is_one_exchange_that_leaves_the_boards_own(tmp_path: Path) -> None:
    with served_board(tmp_path) as board, board.driver(wire_log=str(tmp_path / "wire.log")) as driver:
        driver.pulse(batch_of([1, 7], 4.4, width=1e-4))
        before = len(_log(tmp_path / "wire.log"))
        readout = driver.read(np.array([1, 7], np.uint32), repeats=2, voltage=0.35)
        sent = [data for direction, data in _log(tmp_path / "wire.log")[before:] if direction == ">"]
        assert len(sent) == 1
        assert sent[0].startswith(b":FETCh:NEXT 2;:SENSe:VOLTage 0.35;:READ:IND")
        assert driver.snapshot()["SENSe:VOLTage"] == "0.2"
        board.board.firmware.chip.read_voltage = 0.35
        driver.link.write("*CLS")
        step, offset, _ = (float(word) for word in driver.link.query(":SENSe:ADC:SCALe?").split(","))
    assert readout.scale.step == pytest.approx(step, rel=1e-9)
    assert readout.scale.offset == pytest.approx(offset, rel=1e-9)
    assert readout.codes.shape == (2, 2)
    assert readout.conductance.min() > 5e-6


def test_a_read_voltage_beyond_the_board_never_leaves(tmp_path: Path) -> None:
    with served_board(tmp_path) as board, board.driver(wire_log=str(tmp_path / "wire.log")) as driver:
        assert (driver.limits.min_read_voltage, driver.limits.max_read_voltage) == (0.05, 0.5)
        before = len(_log(tmp_path / "wire.log"))
        for volts in (0.04, 0.51, float("nan")):
            with pytest.raises(ValueError, match=r"cannot be read at .* V: it can be at 0.05 to 0.5 V"):
                driver.read(voltage=volts)
        assert len(_log(tmp_path / "wire.log")) == before


def test_after_a_read_of_unknown_fate_the_boards_own_voltage_is_made_sure_of(board: ServedBoard, cable: Cable) -> None:
    with driven_through(cable, board) as driver:
        driver.pulse(batch_of([1], 4.4, width=1e-4))
        usual = driver.read(np.array([1], np.uint32)).conductance[0, 0]
        cable.trigger = b":READ:"
        cable.faults.extend(["before"] * 3)
        with pytest.raises(LinkError):
            driver.read(np.array([1], np.uint32), voltage=0.5)
        with board.board.wire.lock:
            board.board.firmware.chip.read_voltage = 0.5  # as if the board had come no further than this
        again = driver.read(np.array([1], np.uint32)).conductance[0, 0]
        assert board.board.firmware.chip.read_voltage == 0.2
    assert again == pytest.approx(usual, rel=0.3)  # read noise is a few percent, the voltages' ratio 2.5


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, ">u4"])
def test_cells_may_be_any_whole_numbers(board: ServedBoard, driver: TestBoard, dtype: str) -> None:
    cells = np.array([3, 7], dtype)
    assert driver.read(cells).codes.shape == (1, 2)
    driver.pulse(PulseBatch(Operation.FORM, cells, np.array([30_000, 30_000], np.int64), 1e-6, 1.5))  # type: ignore[arg-type]
    assert set(np.flatnonzero(board.pulses)) == {3, 7}


@pytest.mark.parametrize(
    "cells",
    [
        [2, 1],
        [1, 1],
        [0, CELLS],
        [-1, 3],
        [0.0, 1.0],
        [[1, 2]],
        list(range(CELLS - 1, -1, -1)),
        list(range(99, -1, -1)),
    ],
)
def test_cells_that_are_none_or_out_of_order_never_leave(board: ServedBoard, driver: TestBoard, cells: list) -> None:
    """The forms that list no cells go by their order: a shuffled batch would give each cell another's pulse."""
    where = np.array(cells)
    wrong = PulseBatch(Operation.FORM, where, np.full(where.shape[-1], 30_000, np.uint16), 1e-6, 1.5)
    for call in (lambda: driver.read(where), lambda: driver.pulse(wrong), lambda: driver.pulse_and_verify(wrong)):
        with pytest.raises(ValueError, match=r"cells must be"):
            call()
    assert not board.pulses.any()
    assert driver.sequence == 1


@pytest.mark.parametrize("codes", [[1, 2, 3], [1], [1, 70_000], [1.0, 2.0]])
def test_amplitudes_that_are_none_never_leave(driver: TestBoard, codes: list) -> None:
    wrong = PulseBatch(Operation.FORM, np.array([1, 2], np.uint32), np.array(codes), 1e-6, 1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="amplitudes"):
        driver.pulse(wrong)


def test_no_cells_and_no_batches_are_nothing(board: ServedBoard, driver: TestBoard) -> None:
    driver.pulse()
    assert driver.pulse_and_verify() == ()
    (empty,) = driver.pulse_and_verify(batch_of([]))
    assert empty.codes.shape == (1, 0)
    assert driver.read(np.zeros(0, np.uint32), repeats=2).codes.shape == (2, 0)
    assert not board.pulses.any()


def test_times_fit_together(driver: TestBoard) -> None:
    """Each cell's turn follows the one before it, over batches and calls, to the resolution of the clock."""
    before = driver.clock.now()
    first, second = driver.pulse_and_verify(batch_of([1, 2, 3]), batch_of([4, 5], width=3e-6))
    third = driver.read(np.array([7, 8, 9], np.uint32), repeats=2)
    end = before
    for readout in (first, second, third):
        assert readout.time == pytest.approx(end, abs=1e-6)
        end = readout.time + readout.codes.size * readout.seconds_per_cell
    assert driver.clock.now() == pytest.approx(end, abs=1e-6)
    assert second.seconds_per_cell - first.seconds_per_cell == pytest.approx(2e-6)


def test_the_boards_time_can_be_waited_for_without_waiting(driver: TestBoard) -> None:
    started, moment = time.monotonic(), driver.clock.now() + 1e5 + 0.123456789
    for step in (0.0, 1e-7, 3.3):
        driver.clock.sleep_until(moment + step)
        assert moment + step <= driver.clock.now() < moment + step + 1e-4
    driver.clock.sleep_until(moment - 50)
    assert driver.clock.now() < moment + 3.4
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("transpose", [False, True])
def test_products_are_what_numpy_makes_of_the_readings(tmp_path: Path, transpose: bool) -> None:
    with served_board(tmp_path, periphery="ideal") as board, board.driver() as driver:
        driver.pulse(batch_of(range(CELLS), 4.3, width=1e-4))
        conductance = driver.read(repeats=64).conductance.mean(axis=0).reshape(32, 32)
        inputs = np.random.default_rng(1).uniform(-0.2, 0.2, (40, 32)).astype(np.float32)
        currents = driver.multiply(inputs, transpose)
        scatter = driver.read(repeats=64).conductance.std(axis=0).reshape(32, 32)
    assert (currents.shape, currents.dtype) == ((40, 32), np.float32)
    exact = inputs @ (conductance.T if transpose else conductance)
    error = currents - exact
    # What read noise leaves of one product; the readings' own scatter says how much it may be.
    noise = np.sqrt(np.square(inputs) @ np.square(scatter.T if transpose else scatter)) + 4e-3 / 16_383
    assert np.sqrt(np.mean(np.square(error / noise))) < 1.5
    assert np.sqrt(np.mean(np.square(error))) < 0.1 * np.std(exact)


def test_inputs_of_another_length_are_refused_before_they_leave(driver: TestBoard) -> None:
    for wrong in (np.zeros((2, 31), np.float32), np.zeros(32, np.float32)):
        with pytest.raises(ValueError, match=r"inputs must be \(n, 32\) volts"):
            driver.multiply(wrong)


# -- outputs ----------------------------------------------------------------------------------------------------


def test_safe_state_switches_outputs_off_as_a_second_connection_sees(board: ServedBoard, driver: TestBoard) -> None:
    driver.pulse(batch_of([1]))
    witness = board.driver()
    witness.link.connect()
    assert witness.link.query(":OUTPut:STATe?") == "1"
    driver.safe_state()
    assert witness.link.query(":OUTPut:STATe?") == "0"
    witness.close()


def test_outputs_that_somebody_else_switched_off_stay_off(board: ServedBoard, driver: TestBoard) -> None:
    driver.pulse(batch_of([1]))
    board.board.firmware.output = False
    for call in (driver.pulse, driver.pulse_and_verify):
        with pytest.raises(InstrumentError, match='-221,"Settings conflict;outputs are off"'):
            call(batch_of([2]))
    assert board.pulses.sum() == 1
    driver.safe_state()
    driver.pulse(batch_of([2]))
    assert board.pulses.sum() == 2


def test_leaving_a_driver_switches_outputs_off(board: ServedBoard) -> None:
    with board.driver() as driver:
        driver.pulse(batch_of([1]))
        assert board.board.firmware.output
    assert not board.board.firmware.output
    driver.close()


def test_a_refused_batch_leaves_the_ones_before_it_applied_and_the_count_right(
    board: ServedBoard, driver: TestBoard
) -> None:
    with pytest.raises(InstrumentError, match=r"-222.*; of 3 batches of pulses 1 was given$") as caught:
        driver.pulse(batch_of([1]), batch_of([2], 4.9), batch_of([3]))
    assert caught.value.given == 1
    assert set(np.flatnonzero(board.pulses)) == {1}
    assert driver.sequence == 2
    driver.pulse(batch_of([3]))
    assert set(np.flatnonzero(board.pulses)) == {1, 3}


def test_errors_that_pulses_did_not_make_are_told_once_each_and_the_pulses_as_given(
    board: ServedBoard, driver: TestBoard
) -> None:
    for _ in range(20):
        board.board.wire.report(-310, "a fault")
    with pytest.raises(
        InstrumentError, match=r"-310,\"System error;a fault\" \(20 times\); the pulses were given"
    ) as caught:
        driver.pulse_and_verify(batch_of([1]), batch_of([2]))
    assert caught.value.given == 2
    assert len(caught.value.errors) == 20
    assert set(np.flatnonzero(board.pulses)) == {1, 2}
    assert driver.sequence == 3
    driver.pulse(batch_of([1]))
    assert board.pulses.sum() == 3


def test_pulses_of_which_the_board_can_no_longer_be_asked_are_not_known(board: ServedBoard, driver: TestBoard) -> None:
    board.board.wire.report(-310, "a fault")

    def silent() -> None:
        raise LinkError("the cable is out")

    driver._ask_last = silent  # type: ignore[method-assign, assignment, unused-ignore]
    with pytest.raises(InstrumentError, match=r"; whether the pulses were given is not known$") as caught:
        driver.pulse(batch_of([1]))
    assert caught.value.given is None


def test_a_pulse_whose_width_is_refused_is_not_given_with_another(board: ServedBoard, driver: TestBoard) -> None:
    driver.pulse(batch_of([1]))
    for wrong in ({"width": 2e-3}, {"gate": 3.4}):
        with pytest.raises(InstrumentError, match=r"-222.*; no pulse was given$") as caught:
            driver.pulse(batch_of([1], **wrong))
        assert caught.value.given == 0
    for wrong in ({"width": float("nan")}, {"gate": float("inf")}):
        with pytest.raises(ValueError, match="a pulse cannot be"):
            driver.pulse(batch_of([1], **wrong))
    assert board.pulses.sum() == 1


# -- exactly once -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["before", "half", "after", "swallow"])
@pytest.mark.parametrize("form", ["IND", "MASK", "ALL"])
def test_a_batch_is_applied_exactly_once_whatever_befalls_the_cable(
    board: ServedBoard, cable: Cable, fault: str, form: str
) -> None:
    cells = {"IND": [5, 6], "MASK": range(0, CELLS, 3), "ALL": range(CELLS)}[form]
    pulsed = np.isin(np.arange(CELLS), list(cells))
    with driven_through(cable, board, fault, timeout=0.3) as driver:
        (readout,) = driver.pulse_and_verify(batch_of(cells))
        assert not cable.faults
        np.testing.assert_array_equal(board.pulses, pulsed)
        assert readout.codes.shape == (1, pulsed.sum())
        assert driver.sequence == 2
        cable.faults.append(fault)
        driver.pulse(batch_of(cells))
        np.testing.assert_array_equal(board.pulses, 2 * pulsed)
        assert driver.sequence == 3


@pytest.mark.parametrize("faults", [["before", "after"], ["after", "before"], ["half", "half"], ["swallow", "before"]])
def test_two_faults_in_a_row_are_survived_too(board: ServedBoard, cable: Cable, faults: list[str]) -> None:
    with driven_through(cable, board, *faults, timeout=0.3) as driver:
        driver.pulse(batch_of([1]), batch_of([1, 2]), batch_of([3]))
        assert board.pulses[:4].tolist() == [0, 2, 1, 1]
        driver.pulse(batch_of([3]))
        assert board.pulses[:4].tolist() == [0, 2, 1, 2]


@pytest.mark.parametrize("fault", ["before", "half", "after", "swallow"])
def test_what_a_fault_took_is_fetched_and_not_done_again(
    tmp_path: Path, board: ServedBoard, cable: Cable, fault: str
) -> None:
    """Codes, times and both counters of the chip are those of a twin whose cable holds."""

    def work(driver: TestBoard, lose: Callable[[], None]) -> list[object]:
        shown: list[object] = []
        for call in (
            lambda: driver.pulse_and_verify(batch_of([1, 2], 4.3), batch_of([7], 4.3)),
            lambda: [driver.read(repeats=2)],
            lambda: [driver.read(np.array([1, 7], np.uint32), voltage=0.3)],
            lambda: driver.pulse(batch_of([5])) or [],
        ):
            lose()
            shown += [(each.codes.tolist(), each.time, each.scale) for each in call()]
        lose()
        shown.append(driver.multiply(np.full((3, 32), 0.1, np.float32)).tolist())
        lose()
        driver.clock.sleep_until(driver.clock.now() + 12.5)
        lose()
        return [*shown, driver.clock.now(), driver.sequence, dict(driver.snapshot())]

    cable.trigger = b""
    with driven_through(cable, board, timeout=0.3) as driver:
        found = work(driver, lambda: cable.faults.append(fault))
        assert not cable.faults
    with served_board(tmp_path) as twin, twin.driver() as driver:
        assert found == work(driver, lambda: None)
        np.testing.assert_array_equal(board.pulses, twin.pulses)
        np.testing.assert_array_equal(board.board.firmware.chip.read_counts, twin.board.firmware.chip.read_counts)


def test_of_several_batches_only_those_the_board_has_not_applied_are_sent_again(
    board: ServedBoard, cable: Cable, tmp_path: Path
) -> None:
    """A board may have carried out half of a message when the line goes: its second batch is lost on the way here."""
    log = tmp_path / "wire.log"
    with driven_through(cable, board, "before", wire_log=str(log)) as driver:
        with stranger_on(board) as other_half:
            board.board.firmware.output = True
            other_half.pulse_and_verify(batch_of([1]))
        readouts = driver.pulse_and_verify(batch_of([1]), batch_of([2]))
    assert [each.cells.tolist() for each in readouts] == [[1], [2]]
    assert board.pulses[[1, 2]].tolist() == [1, 1]
    sent = b"".join(data for direction, data in _log(log) if direction == ">")
    assert (sent.count(b":VERify:INDexed? 1,"), sent.count(b":VERify:INDexed? 2,")) == (1, 2)


def test_a_cable_that_keeps_failing_ends_after_a_few_tries(board: ServedBoard, cable: Cable) -> None:
    with driven_through(cable, board, *["before"] * 50) as driver:
        with pytest.raises(LinkClosedError):
            driver.pulse(batch_of([1]))
        assert 40 < len(cable.faults) < 50
        assert not board.pulses.any()
        cable.faults.clear()
        driver.pulse(batch_of([1]))
        assert board.pulses.sum() == 1


def test_a_fault_of_unknown_outcome_is_settled_before_the_next_batch(board: ServedBoard, cable: Cable) -> None:
    """The last batch may have been applied under the number the next one would have carried."""
    with driven_through(cable, board) as driver:
        cable.trigger = b":"
        cable.faults = deque(["after", *["before"] * 6])
        with pytest.raises(LinkError, match="whether the pulses were given is not known"):
            driver.pulse(batch_of([1]))
        assert board.pulses.sum() == 1
        cable.faults.clear()
        assert driver.sequence == 2
        driver.pulse(batch_of([2]))
        assert board.pulses[:3].tolist() == [0, 1, 1]


def test_ctrl_c_while_pulses_are_given_is_settled_before_the_next_batch(
    board: ServedBoard, driver: TestBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = driver.link._read_units

    def interrupted(*arguments: object) -> None:
        read(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(driver.link, "_read_units", interrupted)
        with pytest.raises(KeyboardInterrupt):
            driver.pulse(batch_of([1]))
    driver.pulse(batch_of([2]))
    assert board.pulses[:3].tolist() == [0, 1, 1]


def test_a_reading_is_asked_for_again(board: ServedBoard, cable: Cable) -> None:
    cable.trigger = b":READ:"
    for fault in ("before", "after"):
        with driven_through(cable, board, fault) as driver:
            assert driver.read().codes.shape == (1, CELLS)
            assert driver.read(np.array([3], np.uint32)).codes.shape == (1, 1)


# -- a board that is not the same any more ----------------------------------------------------------------------


@pytest.mark.parametrize("pulsed_before", [0, 2])
def test_a_board_that_was_restarted_meanwhile_is_not_pulsed(tmp_path: Path, pulsed_before: int) -> None:
    with served_board(tmp_path, state="chip.h5") as board:
        driver = board.driver()
        driver.connect()
        for _ in range(pulsed_before):
            driver.pulse(batch_of([1]))
        board.restart()
        for call in (
            lambda: driver.pulse(batch_of([2])),
            lambda: driver.read(),
            lambda: driver.multiply(np.zeros((1, 32))),
        ):
            with pytest.raises(LinkError, match="the board has been restarted, its settings are lost: connect anew"):
                call()
        assert board.pulses.sum() == pulsed_before
        driver.close()
        with driver:
            driver.pulse(batch_of([2]))
        assert board.pulses.sum() == pulsed_before + 1


def test_a_board_restarted_in_the_middle_of_a_batch_is_told_honestly(tmp_path: Path) -> None:
    with served_board(tmp_path, state="chip.h5") as board, Cable(board.port) as cable:
        driver = board.driver(cable.resource_name)
        driver.connect()
        cable.on_cut = board.restart
        cable.faults = deque(["after"])
        with pytest.raises(LinkError, match=r"whether the pulses were given is not known: .*restarted"):
            driver.pulse(batch_of([1]))
        assert board.pulses.sum() == 1
        driver.close()


@contextlib.contextmanager
def stranger_on(board: ServedBoard) -> Iterator[TestBoard]:
    """Somebody who uses the board as it stands, without a lease and without resetting it."""
    stranger = board.driver()
    stranger.link.connect()
    stranger._learn()
    stranger._armed = True
    yield stranger
    stranger.link.close()


def test_a_strangers_batch_under_our_next_number_does_not_pass_for_ours(board: ServedBoard, driver: TestBoard) -> None:
    driver.pulse(batch_of([1]))
    with stranger_on(board) as stranger:
        stranger.pulse(batch_of([2]))
    with pytest.raises(InstrumentError, match="Work number out of order;2 where 3 is next"):
        driver.pulse(batch_of([3]))
    assert board.pulses[:4].tolist() == [0, 1, 1, 0]
    driver.pulse(batch_of([3]))
    assert board.pulses[:4].tolist() == [0, 1, 1, 1]


def test_after_a_fault_a_strangers_batches_are_found_out(board: ServedBoard, cable: Cable) -> None:
    with driven_through(cable, board) as driver:
        driver.pulse(batch_of([1]))
        with stranger_on(board) as stranger:
            for _ in range(4):
                stranger.pulse(batch_of([2]))
        cable.faults.append("before")
        with pytest.raises(
            LinkError, match=r"last batch is now 5, not one of ours \(1 to 2\): .* used by someone else"
        ):
            driver.pulse(batch_of([3]))
    assert board.pulses[:4].tolist() == [0, 1, 4, 0]


def test_a_board_that_never_answers_is_given_up_near_the_time_allowed(board: ServedBoard) -> None:
    with board.driver(timeout=0.3) as driver, board.board.wire.lock:
        started = time.monotonic()
        with pytest.raises(LinkTimeoutError, match=r"waiting for the answer to .*PULSe:APPLy"):
            driver.pulse(batch_of([1]))
        assert time.monotonic() - started < 3
        started = time.monotonic()
        with pytest.raises(LinkError):
            driver.safe_state(0.2)
        assert time.monotonic() - started < 0.7


@pytest.mark.parametrize("answer", [b"1.5", b"#13abc;1.5", b"#12ab", b"", b"#12ab;hello"])
def test_an_answer_of_another_shape_is_the_instruments_error(answer: bytes, board: ServedBoard) -> None:
    misread = answer + b";" * bool(answer) + b'0,"No error"\n'
    driver = board.driver()
    driver.connect()
    driver.close()
    with RogueInstrument(scripted({b":FETCh:NEXT": misread})) as rogue:
        driver.link.resource_name = rogue.resource_name
        driver.link.connect()
        for call in (
            lambda: driver.read(),
            lambda: driver.multiply(np.zeros((1, 32))),
            lambda: driver.pulse_and_verify(batch_of([1])),
        ):
            with pytest.raises(InstrumentError, match="the board answered"):
                call()
        driver.close()


# -- the wire log -----------------------------------------------------------------------------------------------


def test_the_wire_log_is_on_request_and_its_digest_in_the_snapshot(board: ServedBoard, tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    driver = board.driver(wire_log=str(path))
    assert not path.exists()
    with driver:
        driver.pulse(batch_of([1]))
        snapshot = driver.snapshot()
        written = path.read_bytes()
        assert snapshot["wire_log"] == "wire.log"
        assert snapshot["wire_log_span"] == (0, len(written))
        assert snapshot["wire_log_sha256"] == hashlib.sha256(written).hexdigest()
    assert _log(path)[0] == (">", b"*IDN?\n")
    assert _log(path)[-2][1].startswith(b":OUTPut:SAFE")
    with driver:
        assert driver.snapshot()["wire_log_span"][0] > len(written)


def test_a_wire_log_that_cannot_be_written_is_said_before_anything_is_sent(board: ServedBoard, tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="no wire log can be written there"):
        board.driver(wire_log=str(tmp_path / "nowhere" / "wire.log")).connect()
    assert not board.server._listener._clients


def test_a_snapshot_that_is_answered_with_something_else_is_the_instruments_error(board: ServedBoard) -> None:
    """As on a wire where an answer came twice."""
    driver = board.driver()
    driver.connect()
    driver.close()
    with RogueInstrument(scripted({b":SENSe:VOLTage?": b'0.2;0,"No error"\n'})) as rogue:
        driver.link.resource_name = rogue.resource_name
        driver.link.connect()
        with pytest.raises(InstrumentError, match="1 answers where the values of 7 settings were asked for"):
            driver.snapshot()
        driver.close()
