"""Bit-serial products through the driver: in process and over TCP, in one message or several, with faults."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from benches import write_bench
from boards import ServedBoard, batch_of, served_board
from wires import Cable

from labctl import load_bench
from labctl.array import BitProducts, Capability, Window
from labctl.drivers import bit_products
from labctl.drivers.numbered_board import NumberedBoard
from labctl.drivers.test_board import TestBoard
from labctl.errors import InstrumentError
from labctl.simulated_instruments.chips import bit_serial

INPUTS, OUTPUTS, BITS, VOLTAGE, FULL_SCALE = 9, 20, 4, 0.2, 125e-6
LINES = Window(
    np.arange(0, 18, 2, dtype=np.uint16),
    np.arange(1, 18, 2, dtype=np.uint16),
    np.arange(31, 31 - OUTPUTS, -1, dtype=np.uint16),
)


def codes(vectors: int = 40) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 1 << BITS, (vectors, INPUTS)).astype(np.uint8)


def formed(driver: NumberedBoard) -> None:
    driver.pulse(batch_of(range(1024), 4.3))


def shown(products: BitProducts) -> tuple[object, ...]:
    return products.sums.tolist(), products.scale, products.bits, products.saturated.tolist(), products.time


@pytest.fixture
def board(tmp_path: Path) -> Iterator[ServedBoard]:
    with served_board(tmp_path) as served:
        yield served


@pytest.fixture
def driver(board: ServedBoard) -> Iterator[TestBoard]:
    with board.driver() as connected:
        formed(connected)
        yield connected


def test_the_sums_are_the_chips_own(board: ServedBoard, driver: TestBoard) -> None:
    began = driver.clock.now()
    found = driver.multiply_bits(codes(), LINES, BITS, VOLTAGE, FULL_SCALE)
    chip = board.board.firmware.chip
    assert chip.multiplications == 40 * BITS
    chip.multiplications = 0
    lines = bit_serial.Window(*(getattr(LINES, each).astype(np.intp) for each in ("plus", "minus", "cols")))
    expected = chip.multiply_bits(codes(), lines, BITS, VOLTAGE, FULL_SCALE, began)
    np.testing.assert_array_equal(found.sums, expected[:-1])
    assert (found.sums.dtype, found.saturated.dtype) == (np.uint32, np.uint32)
    adc = chip.product_adc(FULL_SCALE)
    assert (found.scale.step, found.scale.offset, found.scale.bits) == (adc.step, adc.offset, adc.bits)
    assert found.scale.unit == "A"
    assert found.time == driver.clock.now() == pytest.approx(began + 40 * BITS * 4e-6, abs=3e-7)  # columns together


def test_currents_are_those_of_ordinary_products_of_the_planes(driver: TestBoard) -> None:
    given = codes(200)
    driver.clock.sleep_until(driver.clock.now() + 1000)  # so that cells stay as they are for a second
    volts = np.zeros((BITS, 200, 32), np.float32)
    for bit in range(BITS):
        volts[bit][:, LINES.plus] = VOLTAGE * (given >> bit & 1)
        volts[bit][:, LINES.minus] = -VOLTAGE * (given >> bit & 1)
    one, two = (driver.multiply(volts.reshape(-1, 32)).reshape(BITS, 200, 32)[:, :, LINES.cols] for _ in range(2))
    expected, again = (np.einsum("b,bnj->nj", 2.0 ** np.arange(BITS), each) for each in (one, two))
    found = driver.multiply_bits(given, LINES, BITS, VOLTAGE, 2e-3).currents
    assert found.dtype == np.float32
    spread = np.sqrt(np.mean(np.square(again - expected)))  # of two products, whichever way they were made
    assert np.sqrt(np.mean(np.square(found - expected))) == pytest.approx(spread, rel=0.1)
    assert expected.std() > 10 * spread


@pytest.mark.parametrize("full_scale", [1e-6, 100e-6, 125e-6, 130e-6, 500e-6, 2e-3])
def test_the_smallest_range_that_holds_a_full_scale_is_used(driver: TestBoard, full_scale: float) -> None:
    scale = driver.multiply_bits(codes(1), LINES, BITS, VOLTAGE, full_scale).scale
    expected = next(each for each in (125e-6, 500e-6, 2e-3) if each >= full_scale)
    assert (scale.offset, scale.step * scale.top + scale.offset) == pytest.approx((-expected, expected))


def test_conversions_at_an_end_are_counted_over_all_parts(
    board: ServedBoard, driver: TestBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bit_products, "_MESSAGE", 1000)
    board.board.firmware.chip.readout_faults.stick([int(LINES.cols[5])], 0)
    found = driver.multiply_bits(codes(), LINES, BITS, VOLTAGE, FULL_SCALE)
    assert found.saturated.tolist() == [0] * 5 + [40 * BITS] + [0] * (OUTPUTS - 6)
    assert not found.sums[:, 5].any()


def test_in_several_messages_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name, longest in (("whole", 1 << 25), ("parts", 1000)):
        monkeypatch.setattr(bit_products, "_MESSAGE", longest)
        (tmp_path / name).mkdir()
        with served_board(tmp_path / name) as board, board.driver() as driver:
            formed(driver)
            before = board.board.firmware.work
            found.append(driver.multiply_bits(codes(), LINES, BITS, VOLTAGE, FULL_SCALE))
            assert board.board.firmware.work - before == (1 if name == "whole" else 4)
    np.testing.assert_array_equal(found[0].sums, found[1].sums)
    assert found[0].time == pytest.approx(found[1].time, abs=1e-6)


def test_the_same_in_this_process_and_over_the_wire(driver: TestBoard, tmp_path: Path) -> None:
    with load_bench(write_bench(tmp_path)) as inside, inside.array() as array:
        array.pulse(batch_of(range(1024), 4.3))
        assert Capability.MULTIPLY_BITS in array.capabilities
        assert shown(array.multiply_bits(codes(), LINES, BITS, VOLTAGE, FULL_SCALE)) == shown(
            driver.multiply_bits(codes(), LINES, BITS, VOLTAGE, FULL_SCALE)
        )


@pytest.mark.parametrize("fault", ["before", "half", "after", "swallow"])
def test_what_a_fault_took_is_fetched_and_not_done_again(
    tmp_path: Path, board: ServedBoard, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums and times are those of a twin whose cable holds, and so is what comes after."""
    monkeypatch.setattr(bit_products, "_MESSAGE", 1000)

    def work(driver: TestBoard, lose: deque[str]) -> list[object]:
        formed(driver)
        lose.extend([fault, "", "", fault])
        found = [shown(driver.multiply_bits(codes(), LINES, BITS, VOLTAGE, FULL_SCALE)) for _ in range(2)]
        return [*found, driver.read(repeats=2).codes.tolist(), driver.clock.now()]

    with Cable(board.port) as cable, board.driver(cable.resource_name, timeout=0.3) as driver:
        cable.trigger = b":MULTiply:BITS? "
        found = work(driver, cable.faults)
        assert not cable.faults
    (tmp_path / "twin").mkdir()
    with served_board(tmp_path / "twin") as twin, twin.driver() as driver:
        assert found == work(driver, deque())
    assert board.board.firmware.chip.multiplications == 2 * 40 * BITS


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"codes": codes()[:, :8]}, r"codes must be \(n, 9\) of one byte each, not uint8 of shape \(40, 8\)"),
        ({"codes": codes().astype(np.uint16)}, r"codes must be \(n, 9\) of one byte each, not uint16"),
        ({"codes": codes()[0]}, r"of shape \(9,\)"),
        ({"codes": codes() | 16}, r"code \d\d is above 15"),
        ({"codes": codes(0)}, "a product has at least one vector"),
        ({"bits": 0}, "codes have 1 to 8 bits, not 0"),
        ({"bits": 9}, "codes have 1 to 8 bits, not 9"),
        ({"plus": LINES.plus + np.uint16(16)}, "row 32 is not on the array of 32 x 32 cells"),
        ({"minus": LINES.plus}, "row 0 is named twice"),
        ({"minus": LINES.minus[:8]}, r"an input has a \+ and a - row: not 9 and 8 of them"),
        ({"cols": LINES.cols + np.uint16(1)}, "column 32 is not on the array"),
        ({"cols": np.array([3, 4, 3], np.uint16)}, "column 3 is named twice"),
        ({"cols": np.array([], np.uint16)}, "at least one column"),
        ({"cols": np.array([0.5])}, "cols lines must be whole numbers"),
    ],
)
def test_what_is_no_product_is_refused_before_it_leaves(
    board: ServedBoard, driver: TestBoard, wrong: dict[str, object], sentence: str
) -> None:
    lines = dataclasses.replace(LINES, **{name: wrong.pop(name) for name in ("plus", "minus", "cols") if name in wrong})
    given = {"codes": codes(), "window": lines, "bits": BITS, "voltage": VOLTAGE, "full_scale": FULL_SCALE, **wrong}
    before = board.board.firmware.work
    with pytest.raises(ValueError, match=sentence):
        driver.multiply_bits(**given)
    assert board.board.firmware.work == before


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"voltage": 0.6}, r"0.6 is above 0.5 V"),
        ({"voltage": -0.1}, r"-0.1 is below 0 V"),
        ({"full_scale": 3e-3}, r"0.003 is above 0.002 A"),
    ],
)
def test_what_the_board_cannot_do_it_says(driver: TestBoard, wrong: dict[str, object], sentence: str) -> None:
    given = {"codes": codes(), "window": LINES, "bits": BITS, "voltage": VOLTAGE, "full_scale": FULL_SCALE, **wrong}
    with pytest.raises(InstrumentError, match=sentence):
        driver.multiply_bits(**given)
    driver.multiply_bits(codes(), LINES, BITS, VOLTAGE, FULL_SCALE)
