"""A bench come alive: leases, limits and safe state with a board behind a real socket."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import numpy as np
import pytest
from benches import write_bench
from boards import ServedBoard, batch_of, served_board

from labctl.array import LineProduct, LineWindow, MemoryArray, Operation, Window
from labctl.bench.clock import WallClock
from labctl.bench.live import Bench, load_bench
from labctl.errors import (
    BenchError,
    InstrumentError,
    LeaseError,
    LimitError,
    LinkClosedError,
    LinkError,
    SafeStateError,
)
from labctl.recording.writer import RunWriter
from labctl.runner import RecordedArray

LIMITS = """
[arrays.main.limits]
max_set_voltage = "3 V"
max_width = "10 us"
[arrays.main.cell_limits]
max_pulses = 3
max_dose = "8 uVs"
"""


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))


@pytest.fixture
def board(tmp_path: Path) -> Iterator[ServedBoard]:
    with served_board(tmp_path) as served:
        yield served


@pytest.fixture
def path(board: ServedBoard, tmp_path: Path) -> Path:
    return write_bench(tmp_path, resource=board.resource_name, library="@py", arrays=LIMITS)


def is_on(board: ServedBoard) -> str:
    """Whether outputs are on, asked through a connection of one's own."""
    with board.driver() as witness:
        return str(witness.link.query(":OUTPut:STATe?"))


# -- limits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pulses", "said"),
    [
        (batch_of([1], 4.6), "the instrument's max_form_voltage of 4.5 V"),
        (batch_of([1], 3.1, Operation.SET), "the bench's max_set_voltage of 3 V"),
        (batch_of([1], width=20e-6), "the bench's max_width of 10 us"),
        (batch_of([1], width=5e-9), "the instrument's min_width of 10 ns"),
        (batch_of([1], gate=3.31), "the instrument's max_gate_voltage of 3.3 V"),
        (batch_of([33], 4.0, width=3e-6), "row 1, column 1 would exceed the cell's max_dose of 8e-06"),
    ],
)
@pytest.mark.parametrize("verify", [False, True])
def test_what_one_batch_may_not_none_of_them_does(
    board: ServedBoard, path: Path, pulses: Any, said: str, verify: bool
) -> None:
    with load_bench(path) as bench, bench.array() as array:
        call = array.pulse_and_verify if verify else array.pulse
        heard = board.board.firmware.clock.now()
        with pytest.raises(LimitError) as raised:
            call(batch_of([5], 2.0), pulses)
        assert said in str(raised.value)
        assert not board.pulses.any()
        assert board.board.firmware.clock.now() == heard
        call(batch_of([5], 2.0))
        assert board.pulses.sum() == 1


def test_pulses_of_a_cell_are_counted_over_batches_and_calls(board: ServedBoard, path: Path) -> None:
    with load_bench(path) as bench, bench.array() as array:
        array.pulse(batch_of([40, 41], 2), batch_of([41], 2))
        array.pulse_and_verify(batch_of([41], 2))
        with pytest.raises(LimitError, match=r"row 1, column 9 would exceed the cell's max_pulses of 3"):
            array.pulse(batch_of([40, 41], 2))
        array.pulse(batch_of([40], 2), batch_of([40], 2))
        assert (board.pulses[40], board.pulses[41]) == (3, 3)


@pytest.mark.parametrize("largest", [0.2, -0.2, math.nan])
def test_a_product_is_held_to_the_voltage_that_cells_may_be_read_at(
    board: ServedBoard, tmp_path: Path, largest: float
) -> None:
    limits = '[arrays.main.cell_limits]\nmax_read_voltage = "0.1 V"'
    path = write_bench(tmp_path, resource=board.resource_name, library="@py", arrays=limits)
    inputs = np.full((2, 32), 0.1, np.float32)
    with load_bench(path) as bench, bench.array() as array:
        recorded = RecordedArray(array.driver, array.guard, Mock(spec=RunWriter))
        assert array.multiply(inputs).shape == recorded.multiply(inputs).shape == (2, 32)
        inputs[1, 3] = largest
        for each in (array, recorded):
            with pytest.raises(
                LimitError, match=r"a multiplication at .* is above the cell's max_read_voltage of 100 mV"
            ):
                each.multiply(inputs)


@pytest.mark.parametrize("voltage", [0.2, -0.2, math.nan])
def test_a_bit_serial_product_is_held_to_it_too(board: ServedBoard, tmp_path: Path, voltage: float) -> None:
    limits = '[arrays.main.cell_limits]\nmax_read_voltage = "0.1 V"'
    path = write_bench(tmp_path, resource=board.resource_name, library="@py", arrays=limits)
    window = Window(*(np.array([line], np.uint16) for line in (0, 1, 5)))
    codes = np.array([[3], [1]], np.uint8)
    with load_bench(path) as bench, bench.array() as array:
        recorded = RecordedArray(array.driver, array.guard, Mock(spec=RunWriter))
        for each in (array, recorded):
            assert each.multiply_bits(codes, window, 2, 0.1, 125e-6).sums.shape == (2, 1)
            with pytest.raises(
                LimitError, match=r"a multiplication at .* is above the cell's max_read_voltage of 100 mV"
            ):
                each.multiply_bits(codes, window, 2, voltage, 125e-6)
        assert recorded.time == array.clock.now() > recorded.began
    assert board.board.firmware.chip.multiplications == 2 * 2 * 2


@pytest.mark.parametrize("voltage", [0.2, -0.2, math.nan])
def test_products_of_signed_codes_are_held_to_it_too(board: ServedBoard, tmp_path: Path, voltage: float) -> None:
    limits = '[arrays.main.cell_limits]\nmax_read_voltage = "0.1 V"'
    path = write_bench(tmp_path, resource=board.resource_name, library="@py", arrays=limits)
    window = LineWindow(*(np.array([line], np.uint16) for line in (0, 1, 5)))
    good = LineProduct(np.array([[3], [1]], np.int16), window, 0.1, 125e-6)
    with load_bench(path) as bench, bench.array() as array:
        recorded = RecordedArray(array.driver, array.guard, Mock(spec=RunWriter))
        for each in (array, recorded):
            assert [found.codes.shape for found in each.multiply_lines(good, good)] == [(2, 1), (2, 1)]
            with pytest.raises(
                LimitError, match=r"a multiplication at .* is above the cell's max_read_voltage of 100 mV"
            ):
                each.multiply_lines(good, dataclasses.replace(good, voltage=voltage))
        assert recorded.time == array.clock.now() > recorded.began
    assert board.board.firmware.chip.multiplications == 2 * 2 * 2


def test_a_malformed_batch_never_reaches_the_board(board: ServedBoard, path: Path) -> None:
    with load_bench(path) as bench, bench.array() as array:
        for cells in ([2, 1], [1, 1], [1024]):
            with pytest.raises(ValueError, match="strictly increasing"):
                array.pulse(batch_of(cells, 2))
    assert not board.pulses.any()


def test_the_limits_of_an_array_are_the_strictest_of_all(path: Path) -> None:
    with load_bench(path) as bench, bench.array() as array:
        assert (array.limits.max_form_voltage, array.limits.max_set_voltage) == (4.5, 3.0)
        assert (array.limits.max_width, array.limits.max_pulses) == (pytest.approx(1e-5), 3)
        assert isinstance(array, MemoryArray)


# -- life -------------------------------------------------------------------------------------------------------


def test_nothing_is_touched_before_it_is_connected(board: ServedBoard, path: Path) -> None:
    bench = load_bench(path)
    array = bench.array()
    plan = array.nominal()
    assert plan.geometry.cells == 1024
    for ask in (lambda: array.geometry, lambda: array.limits, lambda: array.read()):
        with pytest.raises(LinkClosedError, match=r"the array 'main' is not connected: use `with bench.array"):
            ask()
    bench.close()
    assert not board.server._listener._clients


def test_what_the_bench_plans_is_what_the_board_is(path: Path) -> None:
    with load_bench(path) as bench, bench.array() as array:
        plan = array.nominal()
        assert (plan.geometry.rows, plan.geometry.cols) == (array.geometry.rows, array.geometry.cols)
        assert plan.capabilities == array.capabilities
        assert plan.dac == array.dac
        assert plan.adc.step == pytest.approx(array.adc.step)
        assert plan.adc.offset == pytest.approx(array.adc.offset)


def test_leaving_puts_outputs_off(board: ServedBoard, path: Path) -> None:
    with load_bench(path) as bench:
        with bench.array() as array:
            array.pulse(batch_of([1], 2))
            assert board.board.firmware.output
        assert not board.board.firmware.output
    assert is_on(board) == "0"


def test_leaving_by_an_exception_puts_outputs_off_too(board: ServedBoard, path: Path) -> None:
    def fail() -> None:
        with load_bench(path) as bench, bench.array() as array:
            array.pulse(batch_of([1], 2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not board.board.firmware.output


def test_leaving_one_array_leaves_another_on_its_instrument(tmp_path: Path, board: ServedBoard) -> None:
    path = write_bench(
        tmp_path, resource=board.resource_name, library="@py", arrays='[arrays.second]\ninstrument = "board"'
    )
    with load_bench(path) as bench, bench.array("main") as first:
        with bench.array("second") as second:
            second.pulse(batch_of([1], 2))
        first.read(np.array([1], np.uint32))
        first.close()
        first.close()
        with pytest.raises(LinkClosedError):
            first.read()
        assert not bench.snapshot()


def test_pulses_of_a_cell_count_through_whichever_array_they_come(tmp_path: Path, board: ServedBoard) -> None:
    arrays = '[arrays.second]\ninstrument = "board"\n[arrays.second.cell_limits]\nmax_pulses = 2'
    path = write_bench(tmp_path, resource=board.resource_name, library="@py", arrays=arrays)
    with load_bench(path) as bench, bench.array("main") as first, bench.array("second") as second:
        first.pulse(batch_of([1], 2))
        second.pulse(batch_of([1], 2))
        with pytest.raises(LimitError, match="max_pulses of 2"):
            second.pulse(batch_of([1], 2))


def test_arrays_of_a_bench_can_be_used_one_after_the_other(path: Path) -> None:
    with load_bench(path) as bench:
        for _ in range(2):
            with bench.array() as array:
                array.read(np.array([1], np.uint32))


def test_an_unknown_instrument_is_told_the_others(path: Path) -> None:
    with load_bench(path) as bench, pytest.raises(BenchError, match=r"no instrument called 'smu'; there are: board$"):
        bench.connect("smu")


def test_a_board_that_is_not_what_the_file_says_is_let_go_of(tmp_path: Path, board: ServedBoard) -> None:
    path = write_bench(tmp_path, resource=board.resource_name, library="@py", rows=16)
    bench = load_bench(path)
    for _ in range(2):  # the second time the lease must be free again
        with pytest.raises(BenchError, match=r"32 rows and 32 columns where the bench file says 16 and 32: set rows"):
            bench.array().connect()
    assert not board.board.firmware.output


def test_a_board_that_is_not_there_is_a_link_error_and_no_lease_is_kept(tmp_path: Path) -> None:
    bench = load_bench(write_bench(tmp_path, resource="TCPIP0::127.0.0.1::9::SOCKET", library="@py"))
    for _ in range(2):
        with pytest.raises(LinkError, match=r"^TCPIP0::127\.0\.0\.1::9::SOCKET: nothing answers there"):
            bench.array().connect()


# -- leases -----------------------------------------------------------------------------------------------------


def test_a_second_bench_in_this_process_is_refused_until_the_first_is_closed(path: Path) -> None:
    with load_bench(path) as first, first.array() as array:
        with load_bench(path) as second, pytest.raises(LeaseError, match=f"in use by process {os.getpid()} "):
            second.array().connect()
        array.read(np.array([1], np.uint32))
    with load_bench(path) as second, second.array():
        pass


def test_another_process_is_refused_before_it_says_a_word_to_the_board(board: ServedBoard, path: Path) -> None:
    code = (
        "import sys; import labctl\n"
        "from labctl.errors import LeaseError\n"
        "try:\n"
        "    labctl.load_bench(sys.argv[1]).array().connect()\n"
        "except LeaseError as problem:\n"
        "    print(problem)\n"
    )
    with load_bench(path) as bench, bench.array() as array:
        array.pulse(batch_of([1], 2))
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
        assert board.board.firmware.output  # connecting would have reset it
        assert len(board.server._listener._clients) == 1
    assert done.stdout.startswith(f"{board.resource_name} is in use by process {os.getpid()} (")


def test_the_instruments_of_this_very_process_are_each_processes_own(tmp_path: Path) -> None:
    path = write_bench(tmp_path)
    with load_bench(path) as bench, bench.array() as array:
        assert array.is_in_process
        array.read(np.array([1], np.uint32))
        code = "import sys, labctl\nwith labctl.load_bench(sys.argv[1]).array() as a: a.read(); print('read')"
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "read\n"


def test_the_same_chip_shows_the_same_in_this_process_and_over_the_wire(path: Path, tmp_path: Path) -> None:
    found = []
    for bench_path in (path, write_bench(tmp_path, name="inside.toml", arrays=LIMITS)):
        with load_bench(bench_path) as bench, bench.array() as array:
            (verified,) = array.pulse_and_verify(batch_of(range(0, 1024, 2), 4.2))
            product = array.multiply(np.full((2, 32), 0.1, np.float32))
            found.append((verified.codes, array.read(repeats=2).codes, product, array.clock.now()))
    for over_the_wire, inside in zip(*found, strict=True):
        np.testing.assert_array_equal(over_the_wire, inside)


# -- safe state -------------------------------------------------------------------------------------------------


class FakeDriver:
    """A driver on no wire, for the order of things and for failing on demand."""

    def __init__(self, name: str, events: list[str], fault: BaseException | None = None) -> None:
        self.name, self.events, self.fault = name, events, fault

    def safe_state(self, timeout_s: float) -> None:
        self.events.append(f"{self.name} safe within {timeout_s:g}")
        if self.fault:
            raise self.fault

    def close(self) -> None:
        self.events.append(f"{self.name} closed")
        if self.fault:
            raise self.fault


class FakeLease:
    def __init__(self, name: str, events: list[str]) -> None:
        self.release = lambda: events.append(f"{name} released")


def faked(path: Path, events: list[str], faults: dict[str, BaseException]) -> Bench:
    bench = load_bench(path)
    for name in ("a", "b", "c"):
        bench._connected[name] = (FakeDriver(name, events, faults.get(name)), FakeLease(name, events))  # type: ignore[assignment]
    return bench


def test_every_instrument_has_its_turn_in_the_benchs_order_whatever_befalls_the_others(path: Path) -> None:
    events: list[str] = []
    bench = faked(path, events, {"b": RuntimeError("driver fell over"), "c": LinkError("c: no answer")})
    bench.file.settings = msgspec.structs.replace(bench.file.settings, safe_state_order=["c", "b"])
    reports = bench.safe_state()
    assert [(each.instrument, each.problem) for each in reports] == [
        ("c", "c: no answer"),
        ("b", "driver fell over"),
        ("a", ""),
    ]
    assert events == ["c safe within 2", "b safe within 2", "a safe within 2"]


def test_closing_lets_go_of_all_even_where_one_will_not_close(path: Path) -> None:
    events: list[str] = []
    bench = faked(path, events, {"b": RuntimeError("stuck")})
    with pytest.raises(SafeStateError, match="NOT in safe state: b: stuck"):
        bench.close()
    assert {event for event in events if "closed" in event or "released" in event} == {
        f"{name} {what}" for name in "abc" for what in ("closed", "released")
    }
    assert events.index("a safe within 2") < events.index("c closed")
    bench.close()


def test_an_interrupt_in_one_safe_state_takes_no_other_its_turn(path: Path) -> None:
    events: list[str] = []
    bench = faked(path, events, {"a": KeyboardInterrupt(), "b": LinkError("b: no answer")})
    with pytest.raises(KeyboardInterrupt) as caught:
        bench.safe_state()
    assert events == [f"{name} safe within 2" for name in "abc"]
    assert caught.value.__notes__ == ["NOT in safe state: a: interrupted; b: b: no answer"]


def test_what_runs_share_is_made_safe_by_the_last_of_them_to_end(path: Path) -> None:
    bench = faked(path, [], {})
    with bench._reservations.reserve(["a"], ["c"]) as one, bench._reservations.reserve(["b"], ["c"]) as two:
        assert [each.instrument for each in bench.safe_state(after=one)] == ["a"]
        assert [each.instrument for each in bench.safe_state(after=two)] == ["b", "c"]


def test_leaving_without_safe_state_is_told(path: Path) -> None:
    def leave(bench: Bench, problem: Exception | None = None) -> None:
        with bench, bench.array() as array:
            array.driver.safe_state = failing  # type: ignore[method-assign]
            if problem:
                raise problem

    def failing(timeout_s: float) -> None:  # noqa: ARG001
        raise LinkError("outputs stay on")

    with pytest.raises(SafeStateError, match=r"^NOT in safe state: board: outputs stay on$"):
        leave(load_bench(path))
    with pytest.raises(ValueError, match="mine") as caught:
        leave(load_bench(path), ValueError("mine"))
    assert caught.value.__notes__ == ["NOT in safe state: board: outputs stay on"]
    with load_bench(path) as bench:  # and it was let go of
        bench.connect("board")


def test_safe_state_that_is_not_reached_is_reported_within_its_deadline(tmp_path: Path) -> None:
    with served_board(tmp_path) as board:
        path = write_bench(tmp_path, resource=board.resource_name, library="@py", top='safe_state_timeout = "300 ms"')
        bench = load_bench(path)
        array = bench.array()
        array.connect()
        array.pulse(batch_of([1], 2))
        with board.board.wire.lock:  # the board hangs
            started = time.monotonic()
            (report,) = bench.safe_state()
            assert time.monotonic() - started < 1.2
        assert "waiting for the answer to :OUTPut:SAFE" in report.problem
        assert report.seconds > 0.29
        (report,) = bench.safe_state()
        assert report.problem == ""
        assert not board.board.firmware.output
        bench.close()


def test_an_instrument_error_in_use_is_the_instruments(path: Path) -> None:
    with load_bench(path) as bench, bench.array() as array:
        with pytest.raises(InstrumentError, match="-222"):
            array.read(np.array([1], np.uint32), repeats=0)
        assert array.read(np.array([1], np.uint32)).codes.shape == (1, 1)


def test_the_wall_clock_keeps_its_schedule() -> None:
    clock = WallClock()
    moment = clock.now() + 0.05
    clock.sleep_until(moment)
    assert moment <= clock.now() < moment + 0.1
    clock.sleep_until(moment - 10)
    clock.sleep_until(-math.inf)
    assert clock.now() < moment + 0.1
