"""Several boards are one array: cell for cell what each is alone, in time with each other, each fate told."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from benches import write_bench
from boards import ServedBoard, batch_of
from stacks import write_stack

from labctl import load_bench, open_run, run
from labctl.array import Capability, Operation, PulseBatch, Readout, Window
from labctl.bench.live import BenchArray
from labctl.chips import chip_record
from labctl.cli import _run
from labctl.drivers.stacked_boards import StackedBoards, _given
from labctl.errors import BenchError, InstrumentError, LeaseError, LimitError, LinkError
from labctl.runner import prepare

ROWS, COLS = 16, 32
CELLS = ROWS * COLS  # of a board


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))


@pytest.fixture
def array(tmp_path: Path) -> Iterator[BenchArray]:
    with load_bench(write_stack(tmp_path)) as bench, bench.array() as found:
        yield found


@contextlib.contextmanager
def served(folder: Path, names: str, **options: object) -> Iterator[tuple[Path, dict[str, ServedBoard]]]:
    """A bench file of boards on TCP ports, and the boards."""
    with contextlib.ExitStack() as stack:
        boards = {}
        for name in names:
            boards[name] = ServedBoard(folder, chip=f"C-{name}", rows=ROWS, cols=COLS, **options)
            stack.callback(boards[name].close)
        resources = [f"TCPIP0::127.0.0.1::{each.port}::SOCKET" for each in boards.values()]
        yield write_stack(folder, names, resources=resources, instrument='timeout = "1 s"'), boards


def everything(boards: int) -> PulseBatch:
    """A FORM pulse on every cell of so many boards, each column with a voltage of its own."""
    volts = np.tile(np.linspace(3.2, 3.7, COLS), boards * ROWS)
    return replace(batch_of(range(boards * CELLS), 3.5, Operation.FORM, width=1e-6, gate=1.2), amplitude=codes(volts))


def within(cells: np.ndarray, own: slice) -> np.ndarray:
    """Which of `cells` are those of a board that has the cells `own`."""
    return (cells >= own.start) & (cells < own.stop)


def turn_of(readout: Readout, own: slice) -> float:
    """When the first cell of that board had its turn."""
    return readout.time + int(np.argmax(within(readout.cells, own))) * readout.seconds_per_cell


def codes(volts: np.ndarray) -> np.ndarray:
    return np.rint(volts / (5.0 / 65_536)).astype(np.uint16)


@pytest.mark.parametrize("names", ["ab", "abcd"])
@pytest.mark.parametrize("over_tcp", [False, True])
def test_every_cell_does_what_it_does_on_its_board_alone(names: str, over_tcp: bool, tmp_path: Path) -> None:
    batch = everything(len(names))
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(served(tmp_path, names))[0] if over_tcp else write_stack(tmp_path, names)
        together = stack.enter_context(stack.enter_context(load_bench(path)).array())
        assert together.chip_serial == "+".join(f"C-{name}" for name in names)
        assert together.geometry.rows == len(names) * ROWS
        (verified,) = together.pulse_and_verify(batch)
        read = together.read()
        some = np.arange(5, together.geometry.cells, 37, dtype=np.uint32)
        part = together.read(some)
    assert np.array_equal(verified.cells, batch.cells)
    assert np.array_equal(read.cells, batch.cells)
    assert np.array_equal(part.cells, some)
    for place, name in enumerate(names):
        own = slice(place * CELLS, (place + 1) * CELLS)
        (tmp_path / name).mkdir()
        path = write_bench(tmp_path / name, chip=f"C-{name}", rows=ROWS, cols=COLS)
        with load_bench(path) as bench, bench.array() as alone:
            alone.clock.sleep_until(turn_of(verified, own))
            (by_itself,) = alone.pulse_and_verify(everything(1))
            alone.clock.sleep_until(turn_of(read, own))
            later = alone.read()
            alone.clock.sleep_until(turn_of(part, own))
            again = alone.read(some[within(some, own)] - np.uint32(own.start))
        assert np.array_equal(verified.codes[:, own], by_itself.codes)
        assert np.array_equal(read.codes[:, own], later.codes)
        assert np.array_equal(part.codes[:, within(some, own)], again.codes)


def test_it_can_what_all_its_boards_can_but_for_a_common_number(array: BenchArray) -> None:
    stacked = array.driver
    assert isinstance(stacked, StackedBoards)
    assert not array.capabilities & (Capability.SEQUENCE | Capability.MULTIPLY_LINES)
    assert Capability.MULTIPLY_BITS | Capability.PULSE_AND_VERIFY | Capability.FORM in array.capabilities
    plan = array.nominal()
    assert (plan.geometry.rows, plan.geometry.cols, plan.dac) == (2 * ROWS, COLS, array.dac)
    assert plan.adc.step == pytest.approx(array.adc.step)
    assert Capability.FORM in plan.capabilities


def test_what_concerns_one_board_goes_to_it_alone(array: BenchArray) -> None:
    before = [array.bench.connect(name).clock.now() for name in "ab"]
    array.pulse(batch_of(range(CELLS, CELLS + 8), 3.5, Operation.FORM, width=1e-6, gate=1.2))
    readout = array.read(np.arange(CELLS + 2, CELLS + 6, dtype=np.uint32), 3)
    after = [array.bench.connect(name).clock.now() for name in "ab"]
    assert readout.codes.shape == (3, 4)
    assert after[0] == before[0]
    assert after[1] > before[1]


def test_time_goes_on_from_board_to_board_and_waiting_passes_on_all(array: BenchArray) -> None:
    boards = [array.bench.connect(name) for name in "ab"]
    started = array.clock.now()
    verified = array.pulse_and_verify(everything(2))[0]
    took = verified.seconds_per_cell * CELLS
    assert boards[0].clock.now() == pytest.approx(started + took, abs=1e-5)
    assert boards[1].clock.now() == pytest.approx(started + 2 * took, abs=1e-5)
    assert array.clock.now() == boards[1].clock.now()
    array.read(np.arange(4, dtype=np.uint32))
    assert boards[0].clock.now() > started + 2 * took
    array.clock.sleep_until(started + 5000.0)
    for board in boards:
        assert started + 5000.0 <= board.clock.now() < started + 5000.01


def test_repeats_come_in_the_order_the_readout_says(array: BenchArray) -> None:
    array.pulse(everything(2))
    before = array.clock.now()
    readout = array.read(None, 3)
    assert readout.codes.shape == (3, 2 * CELLS)
    assert readout.time == pytest.approx(before, abs=1e-5)
    assert array.clock.now() == pytest.approx(before + 6 * CELLS * readout.seconds_per_cell, abs=1e-4)
    spread = np.ptp(readout.conductance, axis=0)
    assert np.median(spread[readout.conductance[0] > 2e-6]) > 0  # readings of their own
    assert array.read(np.zeros(0, np.uint32), 2).codes.shape == (2, 0)


def test_a_product_is_the_sum_of_the_chips_columns(array: BenchArray) -> None:
    array.pulse(everything(2))
    conductance = array.read(None, 16).conductance.mean(axis=0).reshape(2 * ROWS, COLS)
    volts = np.random.default_rng(3).uniform(-0.1, 0.1, (4, 2 * ROWS)).astype(np.float32)
    found = array.multiply(volts)
    parts = [array.bench.connect(name).multiply(volts[:, k * ROWS : (k + 1) * ROWS]) for k, name in enumerate("ab")]
    noise = 0.05 * np.sqrt((volts**2) @ (conductance**2)) + 1e-8  # 2 % a cell, and the converters
    assert np.all(np.abs(found - sum(parts)) < 6 * noise)
    assert np.abs(parts[1]).max() > 20 * noise.mean()
    columns = np.full((1, COLS), 0.1, np.float32)
    rows = array.multiply(columns, transpose=True)
    assert rows.shape == (1, 2 * ROWS)
    np.testing.assert_allclose(rows[0], 0.1 * conductance.sum(axis=1), rtol=0.1)
    with pytest.raises(ValueError, match=r"inputs must be \(n, 32\) volts, not \(1, 16\)"):
        array.multiply(columns[:, :16])


def test_bit_serial_products_are_those_of_the_chip_their_rows_are_on(array: BenchArray) -> None:
    array.pulse(everything(2))
    conductance = array.read(None, 16).conductance.mean(axis=0).reshape(2 * ROWS, COLS)
    inputs = np.random.default_rng(4).integers(0, 16, (6, 4)).astype(np.uint8)
    for top in (0, ROWS):
        plus = np.array([0, 2, 4, 6], np.uint16) + np.uint16(top)
        window = Window(plus, (plus + 1).astype(np.uint16), np.arange(8, dtype=np.uint16))
        products = array.multiply_bits(inputs, window, 4, 0.1, 20e-6)
        weights = (conductance[window.plus] - conductance[window.minus])[:, :8]
        expected = 0.1 * inputs.astype(np.float64) @ weights
        assert np.corrcoef(products.currents.ravel(), expected.ravel())[0, 1] > 0.99
    across = Window(np.array([3, ROWS], np.uint16), np.array([4, ROWS + 1], np.uint16), np.arange(8, dtype=np.uint16))
    with pytest.raises(ValueError, match=r"a window's rows must be on one chip: rows 3 and 17 are on a and b"):
        array.multiply_bits(inputs[:, :2], across, 4, 0.1, 20e-6)
    beyond = Window(np.array([2 * ROWS], np.uint16), np.array([0], np.uint16), np.arange(8, dtype=np.uint16))
    with pytest.raises(ValueError, match=r"a window's rows must be some of 0 to 31"):
        array.multiply_bits(inputs[:, :1], beyond, 4, 0.1, 20e-6)


def test_where_a_board_is_lost_it_is_said_which_had_their_pulses(tmp_path: Path) -> None:
    with served(tmp_path, "abc") as (path, boards), load_bench(path) as bench, bench.array() as array:
        boards["b"].server.close()
        with pytest.raises(LinkError, match=r"^b: .*; a had all pulses before; c had none$"):
            array.pulse(everything(3))
        given = [int(boards[name].pulses.sum()) for name in "abc"]
        assert given == [CELLS, 0, 0]
        boards["b"].serve_again()


def test_a_refusal_says_how_many_batches_were_given_where_that_is_so(array: BenchArray) -> None:
    """The second board refuses a pulse that is too wide for it, in front of its guard."""
    first = batch_of(range(4), 3.5, Operation.FORM, width=1e-6, gate=1.2)
    wide = batch_of([CELLS], 3.5, Operation.FORM, width=1.0, gate=1.2)
    with pytest.raises(InstrumentError, match=r"^b: .*no pulse was given; a had all pulses before$") as told:
        array.driver.pulse(first, wide)
    assert told.value.given == 1
    with pytest.raises(InstrumentError) as told:
        array.driver.pulse(batch_of([0, CELLS], 3.5, Operation.FORM, width=1.0, gate=1.2))
    assert str(told.value).startswith("a: ")
    assert told.value.given == 0


@pytest.mark.parametrize(
    ("given", "failed", "shared", "whole"),
    [
        (0, 0, {0: [0], 1: [0]}, 0),
        (0, 1, {0: [0], 1: [0]}, None),
        (1, 1, {0: [0, 1], 1: [0]}, 2),
        (1, 0, {0: [0, 1], 1: [1]}, 1),
        (1, 0, {0: [0, 1], 1: [0]}, None),
        (0, 1, {0: [1], 1: [0]}, None),
        (None, 0, {0: [0]}, None),
    ],
)
def test_given_are_the_first_batches_that_were_given_whole(
    given: int | None, failed: int, shared: dict, whole: int | None
) -> None:
    assert _given(given, failed, shared) == whole


def test_a_run_has_every_parts_snapshot_and_safe_state_and_the_chips_together_a_record(tmp_path: Path) -> None:
    path = write_stack(tmp_path, simulated='state = "NAME.h5"')
    with load_bench(path) as bench, bench.array() as array:
        assert not array.is_volatile
        result = run("forming", array)
        assert [each.instrument for each in result.safe_state] == ["stack", "a", "b"]
    with open_run(result.path) as tree:
        assert tree.attrs["chip_serial"] == "C-a+C-b"
        assert tree["maps"]["conductance"].shape == (2 * ROWS, COLS)
        snapshot = json.loads(tree["provenance"].attrs["snapshot_before"])
    assert set(snapshot) == {"stack", "a", "b"}
    assert snapshot["stack"]["rows"] == {"a": [0, ROWS - 1], "b": [ROWS, 2 * ROWS - 1]}
    assert snapshot["stack"]["chips"] == {"a": "C-a", "b": "C-b"}
    record = chip_record("C-a+C-b", tmp_path / "runs")
    assert record.pulses.sum() == result.summary["pulses"]


def test_one_board_that_forgets_makes_a_chip_that_does(tmp_path: Path) -> None:
    text = write_stack(tmp_path, simulated='state = "NAME.h5"').read_text()
    half = tmp_path / "half.toml"
    half.write_text(text.replace('state = "b.h5"', ""))
    assert load_bench(half).array().is_volatile


def test_every_board_is_leased(tmp_path: Path) -> None:
    with served(tmp_path, "ab") as (path, _), load_bench(path) as bench, bench.array():
        for name in "ab":
            with load_bench(path) as other, pytest.raises(LeaseError, match="is in use by"):
                other.connect(name)


def test_limits_hold_on_every_board(tmp_path: Path) -> None:
    path = write_stack(tmp_path, arrays="[arrays.main.cell_limits]\nmax_pulses = 1")
    with load_bench(path) as bench, bench.array() as array:
        once = batch_of([0, CELLS + 33], 3.5, Operation.FORM, width=1e-6, gate=1.2)
        array.pulse(once)
        with pytest.raises(LimitError, match=r"another FORM pulse on the cell at row 17, column 1 would exceed"):
            array.pulse(replace(once, cells=once.cells[1:], amplitude=once.amplitude[1:]))


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ('boards = ["a"]', r"\$.instruments.stack: boards must name two different instruments, or more"),
        ('boards = ["a", "a"]', r"\$.instruments.stack: boards must name two different instruments, or more"),
        ('boards = ["a", "b.1"]', r"\$.instruments.stack: boards must be whole instruments, not channels of one"),
        ('boards = ["a", "x"]', r"\$.instruments.stack.boards\[1\]: no instrument called 'x'; there are: a, b, stack"),
    ],
)
def test_boards_that_cannot_be_meant_are_refused(wrong: str, sentence: str, tmp_path: Path) -> None:
    path = write_stack(tmp_path)
    path.write_text(path.read_text().replace('boards = ["a", "b"]', wrong))
    with pytest.raises(BenchError, match=sentence):
        load_bench(path)


@pytest.mark.parametrize(
    ("of_b", "sentence"),
    [
        (
            'current_range = "32 uA"',
            r"^boards a and b cannot be one array: their ADC scales differ; give them the same",
        ),
        (
            'read_voltage = "100 mV"',
            r"^boards a and b cannot be one array: their ADC scales differ; give them the same",
        ),
    ],
)
def test_boards_on_other_scales_are_refused(of_b: str, sentence: str, tmp_path: Path) -> None:
    path = write_stack(tmp_path, b=of_b)
    with load_bench(path) as bench, pytest.raises(BenchError, match=sentence), bench.array():
        pass
    with pytest.raises(BenchError, match=sentence):
        prepare("forming", load_bench(path).array().nominal())  # and nothing sent


def test_boards_of_other_columns_or_the_same_chip_and_what_is_no_board_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = write_stack(tmp_path).read_text()
    narrow, twice, clock = (tmp_path / f"{name}.toml" for name in ("narrow", "twice", "clock"))
    of_clock = 'driver = "bench_clock"\nresource_name = "TCPIP0::127.0.0.1::5027::SOCKET"\nvisa_library = "@labctl"\n'
    apart = '[simulated.clock]\nsimulator = "bench_clock"\nof = "a"\nresource_name = "TCPIP0::127.0.0.1::5027::SOCKET"'
    added = text.replace('boards = ["a", "b"]', 'boards = ["a", "clock"]')
    clock.write_text(f"{added}\n[instruments.clock]\n{of_clock}\n{apart}\n")
    head, b, tail = text.partition("[instruments.b]")
    narrow.write_text(head + b + tail.replace(f"cols = {COLS}", "cols = 16"))
    twice.write_text(text.replace('chip = "C-b"', 'chip = "C-a"'))
    for path, sentence in (
        (narrow, "labctl: boards a and b cannot be one array: their columns differ: 32, 16\n"),
        (twice, "labctl: boards a and b hold the same chip twice: C-a, C-a\n"),
    ):
        assert _run(["read-array", "--bench", str(path)]) == 2
        assert capsys.readouterr().err == sentence
    assert _run(["read-array", "--bench", str(clock)]) == 2
    sentence = "clock.toml: $.instruments.clock.driver: 'bench_clock' is no array"
    assert capsys.readouterr().err == f"labctl: {sentence}\n"
    with load_bench(clock) as bench, pytest.raises(BenchError, match="boards: clock is no array"), bench.array():
        pass


def test_the_commands_work_on_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_stack(tmp_path, rows=32)
    target = tmp_path / "target.npy"
    np.save(target, np.random.default_rng(1).uniform(5, 35, (64, 32)))
    arguments = ["program-array", str(target), "--unit", "uS", "--bench", str(path), "--json", "--no-plot", "-q"]
    assert _run(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cells"] == 2048
    assert found["fraction_in_window"] > 0.97
