"""Products of signed codes through the driver: in process and over TCP, in one message or several, with faults."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from benches import write_bench
from boards import ServedBoard, batch_of, served_board
from direct import DirectArray
from wires import Cable

from labctl import load_bench
from labctl.array import Capability, LineCurrents, LineProduct, LineWindow, Operation, PulseBatch
from labctl.drivers import line_products
from labctl.drivers.numbered_board import NumberedBoard
from labctl.drivers.test_board import TestBoard
from labctl.errors import InstrumentError
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro

INPUTS, OUTPUTS, VOLTAGE, FULL_SCALE = 9, 14, 0.2, 125e-6


def lines(on_columns: bool = False) -> LineWindow:
    along = np.arange(18, dtype=np.uint16)
    return LineWindow(along[::2], along[1::2], np.arange(31, 31 - OUTPUTS, -1, dtype=np.uint16), on_columns)


def product(vectors: int = 40, backward: bool = False, on_columns: bool = False, bits: int = 14) -> LineProduct:
    random = np.random.default_rng(3)
    codes = random.integers(-32767, 32768, (vectors, OUTPUTS if backward else INPUTS)).astype(np.int16)
    return LineProduct(codes, lines(on_columns), VOLTAGE, FULL_SCALE, bits, backward)


PRODUCTS = (
    product(),
    product(1, backward=True),
    product(3, on_columns=True, bits=10),
    product(7, backward=True, on_columns=True, bits=8),
)


def formed(driver: NumberedBoard) -> None:
    driver.pulse(batch_of(range(1024), 4.3))


def shown(currents: LineCurrents) -> tuple[object, ...]:
    return currents.codes.tolist(), currents.scale, currents.saturated, currents.time


@pytest.fixture
def board(tmp_path: Path) -> Iterator[ServedBoard]:
    with served_board(tmp_path) as served:
        yield served


@pytest.fixture
def driver(board: ServedBoard) -> Iterator[TestBoard]:
    with board.driver() as connected:
        formed(connected)
        yield connected


def test_the_codes_are_the_chips_own_all_in_one_message(board: ServedBoard, driver: TestBoard) -> None:
    began, work = driver.clock.now(), board.board.firmware.work
    driver.multiply_lines(*PRODUCTS)  # asks for the scales
    found = driver.multiply_lines(*PRODUCTS)
    assert board.board.firmware.work == work + 8
    assert len(board.board.firmware.kept) == 4  # of one message
    assert found[-1].time == driver.clock.now() == pytest.approx(began + 2 * (40 + 1 + 3 + 7) * 4e-6, abs=1e-6)
    twin = DirectArray(CrossbarMacro.buy(board.board.firmware.chip.serial, rows=32, cols=32))
    formed(twin)
    twin.multiply_lines(*PRODUCTS)
    for ours, others in zip(found, twin.multiply_lines(*PRODUCTS), strict=True):
        np.testing.assert_array_equal(ours.codes, others.codes)
        assert (ours.scale, ours.saturated) == (others.scale, others.saturated)


@pytest.mark.parametrize(("backward", "on_columns"), [(False, False), (True, False), (False, True), (True, True)])
def test_currents_are_those_of_ordinary_products(driver: TestBoard, backward: bool, on_columns: bool) -> None:
    given, where = product(200, backward, on_columns), lines(on_columns)
    volts = np.zeros((200, 32), np.float32)
    if backward:
        volts[:, where.outputs] = given.vectors * np.float32(VOLTAGE / 32767)
    else:
        volts[:, where.plus] = given.vectors * np.float32(VOLTAGE / 32767)
        volts[:, where.minus] = -volts[:, where.plus]
    driver.clock.sleep_until(driver.clock.now() + 1000)  # after which cells relax no more
    expected = driver.multiply(volts, transpose=on_columns is not backward)
    if backward:
        expected = expected[:, where.plus] - expected[:, where.minus]
    else:
        expected = expected[:, where.outputs]
    (found,) = driver.multiply_lines(dataclasses.replace(given, full_scale=2e-3))  # on the range of the other
    assert found.currents.dtype == np.float32
    # but for read noise and codes of 0.24 uA; the chip's own test is the sharp one
    assert np.sqrt(np.mean(np.square(found.currents - expected))) < expected.std() / 8


@pytest.mark.parametrize("bits", [8, 13, 14])
@pytest.mark.parametrize("full_scale", [1e-6, 8e-6, 9e-6, 100e-6, 125e-6, 130e-6, 2e-3])
def test_the_smallest_range_that_holds_a_full_scale_is_used(driver: TestBoard, full_scale: float, bits: int) -> None:
    forward = dataclasses.replace(product(1), full_scale=full_scale, bits=bits)
    backward = dataclasses.replace(product(1, backward=True), full_scale=full_scale, bits=bits)
    one, other = (each.scale for each in driver.multiply_lines(forward, backward))
    expected = next(each for each in (8e-6, 31.25e-6, 125e-6, 500e-6, 2e-3) if each >= full_scale)
    assert one.step == pytest.approx(2 * expected / 16_383 * 2 ** (14 - bits))
    assert (one.offset, one.bits, one.unit) == (one.step / 2, bits, "A")
    assert other == dataclasses.replace(one, offset=0.0)


def test_saturated_conversions_are_counted_over_all_parts(
    board: ServedBoard, driver: TestBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.board.firmware.chip.readout_faults.stick([int(lines().outputs[5])], 0)
    (one_column,) = driver.multiply_lines(product())
    assert one_column.saturated == 40
    assert np.all(one_column.codes[:, 5] == -8192)
    board.board.firmware.chip.readout_faults.saturate(True)
    (everything,) = driver.multiply_lines(product(4000))
    assert np.all(everything.codes == 8191)
    assert everything.saturated == 4000 * OUTPUTS > 1 << 15  # more than one word of the answer holds
    monkeypatch.setattr(line_products, "_MESSAGE", 1000)
    (parts,) = driver.multiply_lines(product(200))
    assert parts.saturated == 200 * OUTPUTS


def test_in_several_messages_it_is_the_same_but_for_how_sums_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name, longest in (("whole", 1 << 25), ("parts", 500)):
        monkeypatch.setattr(line_products, "_MESSAGE", longest)
        (tmp_path / name).mkdir()
        with served_board(tmp_path / name) as board, board.driver() as driver:
            formed(driver)
            before = board.board.firmware.work
            found.append(driver.multiply_lines(*PRODUCTS))
            assert board.board.firmware.work - before == (4 if name == "whole" else 6)
            assert (len(board.board.firmware.kept) == 4) == (name == "whole")  # of the last message
    for whole, parts in zip(*found, strict=True):
        assert np.abs(whole.codes.astype(int) - parts.codes).max() <= 2
        assert np.mean(whole.codes == parts.codes) > 0.98
        assert whole.time == pytest.approx(parts.time, abs=1e-6)


def test_the_same_in_this_process_and_over_the_wire(driver: TestBoard, tmp_path: Path) -> None:
    with load_bench(write_bench(tmp_path)) as inside, inside.array() as array:
        array.pulse(batch_of(range(1024), 4.3))
        assert Capability.MULTIPLY_LINES in array.capabilities
        ours, others = (list(map(shown, each.multiply_lines(*PRODUCTS))) for each in (array, driver))
        assert ours == others


def test_no_products_are_no_message(board: ServedBoard, driver: TestBoard) -> None:
    before = board.board.firmware.work
    assert driver.multiply_lines() == ()
    assert board.board.firmware.work == before


@pytest.mark.parametrize("fault", ["before", "half", "after", "swallow"])
def test_what_a_fault_took_is_fetched_and_not_done_again(tmp_path: Path, board: ServedBoard, fault: str) -> None:
    """Codes and times are those of a twin whose cable holds, and so is what comes after."""

    def work(driver: TestBoard, lose: deque[str]) -> list[object]:
        formed(driver)
        driver.multiply_lines(*PRODUCTS)  # asks for the scales
        lose.extend([fault, "", fault])
        found = [list(map(shown, driver.multiply_lines(*PRODUCTS))) for _ in range(3)]
        return [*found, driver.read(repeats=2).codes.tolist(), driver.clock.now()]

    with Cable(board.port) as cable, board.driver(cable.resource_name, timeout=0.3) as driver:
        cable.trigger = b":MULTiply:LINes? "
        found = work(driver, cable.faults)
        assert not cable.faults
    (tmp_path / "twin").mkdir()
    with served_board(tmp_path / "twin") as twin, twin.driver() as driver:
        assert found == work(driver, deque())
    assert board.board.firmware.chip.multiplications == 4 * (40 + 1 + 3 + 7)


def pulses() -> list[PulseBatch]:
    return [batch_of(range(40), 1.8, operation=Operation.SET), batch_of(range(20, 30), 2.0, operation=Operation.SET)]


def test_pulses_go_before_products_in_the_same_message(board: ServedBoard, driver: TestBoard, tmp_path: Path) -> None:
    """What is found is what it is with a message of their own."""
    driver.multiply_lines(*PRODUCTS)  # asks for the scales
    sequence = driver.sequence
    found = list(map(shown, driver.multiply_lines(*PRODUCTS, pulses=pulses())))
    assert len(board.board.firmware.kept) == 6
    assert driver.sequence == sequence + 2
    (tmp_path / "twin").mkdir()
    with served_board(tmp_path / "twin") as twin, twin.driver() as apart:
        formed(apart)
        apart.multiply_lines(*PRODUCTS)
        apart.pulse(*pulses())
        assert found == list(map(shown, apart.multiply_lines(*PRODUCTS)))
        assert found != list(map(shown, apart.multiply_lines(*PRODUCTS)))  # as noise and time go on


def test_pulses_alone_are_given(board: ServedBoard, driver: TestBoard) -> None:
    before = board.board.firmware.chip.pulse_counts.sum()
    assert driver.multiply_lines(pulses=pulses()) == ()
    assert board.board.firmware.chip.pulse_counts.sum() == before + 50


@pytest.mark.parametrize("longest", [1 << 25, 500])
@pytest.mark.parametrize("fault", ["before", "half", "after", "swallow"])
def test_pulses_before_products_are_given_once_whatever_the_wire_does(
    tmp_path: Path, board: ServedBoard, fault: str, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(driver: TestBoard, lose: deque[str]) -> list[object]:
        formed(driver)
        driver.multiply_lines(*PRODUCTS)  # asks for the scales
        lose.extend([fault, "", fault])
        found = [list(map(shown, driver.multiply_lines(*PRODUCTS, pulses=pulses()))) for _ in range(3)]
        return [*found, driver.read(repeats=2).codes.tolist(), driver.clock.now(), driver.sequence]

    monkeypatch.setattr(line_products, "_MESSAGE", longest)
    with Cable(board.port) as cable, board.driver(cable.resource_name, timeout=0.3) as driver:
        cable.trigger = b":PULSe:APPLy:"
        found = work(driver, cable.faults)
        assert not cable.faults
    (tmp_path / "twin").mkdir()
    with served_board(tmp_path / "twin") as twin, twin.driver() as driver:
        assert found == work(driver, deque())
        expected = twin.board.firmware.chip.pulse_counts
        np.testing.assert_array_equal(board.board.firmware.chip.pulse_counts, expected)


@pytest.mark.parametrize(
    ("longest", "wrong", "fate", "given"),
    [
        (1 << 25, {"voltage": 0.6}, "the pulses were given all the same", 2),
        (500, {"voltage": 0.6}, "the pulses were given all the same", 2),
        (1 << 25, {"gate": 5.0}, "of 2 batches of pulses 1 was given", 1),
    ],
)
def test_who_refuses_a_product_says_what_became_of_the_pulses(
    board: ServedBoard,
    driver: TestBoard,
    monkeypatch: pytest.MonkeyPatch,
    longest: int,
    wrong: dict[str, float],
    fate: str,
    given: int,
) -> None:
    monkeypatch.setattr(line_products, "_MESSAGE", longest)
    batches, products = pulses(), [*PRODUCTS]
    if "voltage" in wrong:
        products[-1] = dataclasses.replace(products[-1], **wrong)
    else:
        batches[-1] = dataclasses.replace(batches[-1], **wrong)
    before, sequence = board.board.firmware.chip.pulse_counts.sum(), driver.sequence
    with pytest.raises(InstrumentError, match=fate) as refused:
        driver.multiply_lines(*products, pulses=batches)
    assert refused.value.given == given
    assert board.board.firmware.chip.pulse_counts.sum() == before + sum(len(each.cells) for each in batches[:given])
    assert driver.sequence == sequence + given
    assert len(driver.multiply_lines(*PRODUCTS, pulses=pulses())) == len(PRODUCTS)


@pytest.mark.parametrize("cells", [[2, 1], [1, 1], [1024]])
def test_pulses_that_are_none_are_refused_before_anything_leaves(
    board: ServedBoard, driver: TestBoard, cells: list[int]
) -> None:
    before = board.board.firmware.work
    with pytest.raises(ValueError, match="strictly increasing"):
        driver.multiply_lines(product(), pulses=[*pulses(), batch_of(cells, 1.8)])
    assert board.board.firmware.work == before


ROWS = lines()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"vectors": product().vectors[:, :8]}, r"vectors must be \(n, 9\) of i16 each, not int16 of shape \(40, 8\)"),
        ({"vectors": product().vectors.astype(np.int32)}, r"vectors must be \(n, 9\) of i16 each, not int32"),
        ({"vectors": product().vectors, "backward": True}, r"vectors must be \(n, 14\)"),
        ({"vectors": product().vectors[0]}, r"of shape \(9,\)"),
        ({"vectors": np.full((1, 9), -32768, np.int16)}, "code -32768 is below -32767"),
        ({"vectors": product().vectors[:0]}, "a product has at least one vector"),
        ({"bits": 7}, "a conversion has 8 to 14 bits, not 7"),
        ({"bits": 15}, "a conversion has 8 to 14 bits, not 15"),
        ({"plus": ROWS.plus + np.uint16(16)}, "row 32 is not on the array of 32 x 32 cells"),
        ({"plus": ROWS.plus + np.uint16(16), "on_columns": True}, "column 32 is not on the array of 32 x 32 cells"),
        ({"minus": ROWS.plus}, "row 0 is named twice"),
        ({"minus": ROWS.minus[:8]}, r"an input has a \+ and a - row: not 9 and 8 of them"),
        ({"outputs": ROWS.outputs + np.uint16(1)}, "column 32 is not on the array"),
        ({"outputs": np.array([3, 4, 3], np.uint16), "on_columns": True}, "row 3 is named twice"),
        ({"outputs": np.array([], np.uint16)}, "at least one column"),
        ({"outputs": np.array([0.5])}, "output lines must be whole numbers"),
    ],
)
def test_what_is_no_product_is_refused_before_it_leaves(
    board: ServedBoard, driver: TestBoard, wrong: dict[str, object], sentence: str
) -> None:
    of_window = {name: wrong[name] for name in ("plus", "minus", "outputs", "on_columns") if name in wrong}
    others = {name: value for name, value in wrong.items() if name not in of_window}
    before = board.board.firmware.work
    with pytest.raises(ValueError, match=sentence):
        driver.multiply_lines(
            product(), dataclasses.replace(product(), window=dataclasses.replace(ROWS, **of_window), **others)
        )
    assert board.board.firmware.work == before


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"voltage": 0.6}, r"0.6 is above 0.5 V"),
        ({"voltage": -0.1}, r"-0.1 is below 0 V"),
        ({"full_scale": 3e-3}, r"0.003 is above 0.002 A"),
    ],
)
def test_what_the_board_cannot_do_it_says(driver: TestBoard, wrong: dict[str, float], sentence: str) -> None:
    with pytest.raises(InstrumentError, match=sentence):
        driver.multiply_lines(dataclasses.replace(product(), **wrong))
    driver.multiply_lines(product())


def test_a_window_that_was_good_is_looked_at_again_once_it_is_another(driver: TestBoard) -> None:
    where = lines()
    driver.multiply_lines(product())
    where.minus[:] = where.plus
    with pytest.raises(ValueError, match="row 0 is named twice"):
        driver.multiply_lines(dataclasses.replace(product(), window=where))
