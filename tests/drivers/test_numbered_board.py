"""Both boards, SCPI and frames: everything once and the same, whatever the wire does; a board that restarts is told."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boards import ServedBoard, ServedSerialBoard, batch_of, served_board
from wires import Cable

from labctl.array import Operation, Readout
from labctl.drivers.numbered_board import NumberedBoard
from labctl.errors import LinkError, LinkTimeoutError
from labctl.links.board_frames import Kind
from labctl.simulated_instruments.wire import Conversation, HungUp, Wire

CELLS = 1024
BOTH = pytest.mark.parametrize("kind", [ServedBoard, ServedSerialBoard], ids=["scpi", "frames"])
FAULTS = pytest.mark.parametrize("fault", ["before", "half", "after", "swallow"])


class BreakingBoard:
    """Serves a board so that its first connections end behind so many bytes in one direction, a number for each."""

    def __init__(self, wire: Wire, direction: str, after: list[int]) -> None:
        self.wire, self.direction, self.after = wire, direction, deque(after)
        self.connections = 0

    def connect(self, stream: bool = False) -> Any:
        conversation = self.wire.connect(stream)
        self.connections += 1
        return Breaking(conversation, self.direction, self.after.popleft()) if self.after else conversation


class Breaking:
    """Of what comes or goes, the first `left` bytes pass; then the connection is gone."""

    def __init__(self, conversation: Conversation, direction: str, left: int) -> None:
        self._conversation, self._direction, self._left = conversation, direction, left
        self._arriving = bytearray(1 << 16)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conversation, name)

    def writable(self) -> memoryview:
        return memoryview(self._arriving)

    def received(self, count: int, end: bool = False) -> None:
        data = bytes(self._arriving[:count])
        if self._direction == "in":
            data, self._left = data[: self._left], self._left - count
        self._conversation.write(data, end)
        if self._left < 0:
            raise HungUp

    def take(self) -> list[Any]:
        if self._left <= 0:
            raise HungUp
        taken = b"".join(self._conversation.take())
        if self._direction == "out":
            taken, self._left = taken[: self._left], self._left - len(taken)
        return [taken] if taken else []


def shown(readouts: tuple[Readout, ...] | list[Readout]) -> list[object]:
    return [(each.cells.tolist(), each.codes.tolist(), each.time, each.scale) for each in readouts]


def session(driver: NumberedBoard, before: Callable[[], None] = lambda: None) -> list[object]:
    """Some of everything, `before` each call; what it showed."""
    single = np.array([1, 7], np.uint32)
    found: list[object] = []
    calls: list[Callable[[], object]] = [
        lambda: shown(driver.pulse_and_verify(batch_of([1, 2], 4.3), batch_of(range(0, 100, 2), 4.3))),
        lambda: shown([driver.read(repeats=2)]),
        lambda: shown([driver.read(single, voltage=0.3)]),
        lambda: shown([driver.read(single)]),
        lambda: driver.pulse(batch_of([5]), batch_of([5, 6], 2.0, Operation.RESET)),
        lambda: driver.multiply(np.full((3, 32), 0.1, np.float32)).tolist(),
        lambda: driver.clock.sleep_until(driver.clock.now() + 12.5),
        lambda: shown(driver.pulse_and_verify(batch_of(range(CELLS), 4.0))),
        lambda: (driver.clock.now(), driver.sequence, driver.snapshot()["sequence"]),
    ]
    for call in calls:
        before()
        found.append(call())
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[object], np.ndarray, np.ndarray]]:
    """What a session over SCPI shows without faults, and the pulses and reads it gives."""
    with served_board(tmp_path_factory.mktemp("plain")) as board, board.driver() as driver:
        yield session(driver), board.pulses, board.reads


def check(board: ServedBoard, found: list[object], expected: tuple[list[object], np.ndarray, np.ndarray]) -> None:
    for one, other in zip(found, expected[0], strict=True):
        assert one == other
    np.testing.assert_array_equal(board.pulses, expected[1])
    np.testing.assert_array_equal(board.reads, expected[2])


def through(cable: Cable, kind: type[ServedBoard]) -> str:
    if kind is ServedBoard:
        return cable.resource_name
    return f"ASRLsocket://127.0.0.1:{cable.resource_name.split('::')[2]}::INSTR"


@BOTH
@FAULTS
def test_with_faults_everything_is_as_without(
    tmp_path: Path, kind: type[ServedBoard], fault: str, expected: tuple[list[object], np.ndarray, np.ndarray]
) -> None:
    with served_board(tmp_path, kind) as board, Cable(board.port, trigger=b"") as cable:
        with board.driver(through(cable, kind), timeout=0.4) as driver:
            found = session(driver, lambda: cable.faults.append(fault))
            assert not cable.faults
        check(board, found, expected)


@BOTH
@pytest.mark.parametrize("faults", [["before", "after"], ["after", "before"], ["after", "after"], ["half", "swallow"]])
def test_two_faults_in_a_row_are_survived_too(
    tmp_path: Path, kind: type[ServedBoard], faults: list[str], expected: tuple[list[object], np.ndarray, np.ndarray]
) -> None:
    with served_board(tmp_path, kind) as board, Cable(board.port, trigger=b"") as cable:
        with board.driver(through(cable, kind), timeout=0.4) as driver:
            found = session(driver, lambda: cable.faults.extend(faults))
        check(board, found, expected)


def cut_session(
    tmp_path: Path,
    kind: type[ServedBoard],
    direction: str,
    after: list[int],
    expected: tuple[list[object], np.ndarray, np.ndarray],
) -> None:
    class Cut(kind):  # type: ignore[valid-type, misc]
        def wrap(self, wire: Wire) -> Wire:
            self.breaking = BreakingBoard(wire, direction, after)
            return self.breaking

    with served_board(tmp_path, Cut) as board:
        driver = board.driver(timeout=0.5)
        for _ in after:  # as somebody who starts a run again that could not connect
            try:
                driver.connect()
                break
            except LinkError:
                continue
        else:
            driver.connect()
        with driver:
            found = session(driver)
        assert board.breaking.connections > 1
        check(board, found, expected)


@BOTH
@pytest.mark.parametrize("direction", ["in", "out"])
def test_the_connection_may_end_between_any_bytes(
    tmp_path: Path,
    kind: type[ServedBoard],
    direction: str,
    expected: tuple[list[object], np.ndarray, np.ndarray],
) -> None:
    """At 40 places of what is said in a session, drawn evenly, and at another one again soon after."""
    rng = np.random.default_rng(7)
    most = 3_300 if direction == "in" else 7_300
    for first in rng.permutation(most)[:40]:
        cut_session(tmp_path, kind, direction, [int(first), int(rng.integers(1, 3000))], expected)


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("direction", ["in", "out"])
def test_the_connection_may_end_between_every_two_bytes(
    tmp_path: Path,
    kind: type[ServedBoard],
    direction: str,
    expected: tuple[list[object], np.ndarray, np.ndarray],
) -> None:
    for after in range(3_300 if direction == "in" else 7_300):
        cut_session(tmp_path, kind, direction, [after], expected)


# -- a board that is not the same any more ------------------------------------------------------------------------


@BOTH
def test_a_board_that_was_restarted_meanwhile_is_told_and_not_pulsed(tmp_path: Path, kind: type[ServedBoard]) -> None:
    with served_board(tmp_path, kind, state="chip.h5") as board:
        driver = board.driver()
        driver.connect()
        driver.pulse(batch_of([1]))
        board.restart()
        for call in (
            lambda: driver.pulse(batch_of([2])),
            lambda: driver.read(),
            lambda: driver.multiply(np.zeros((1, 32), np.float32)),
        ):
            with pytest.raises(LinkError, match="the board has been restarted, its settings are lost: connect anew"):
                call()
        assert board.pulses.sum() == 1
        driver.close()
        with driver:
            driver.pulse(batch_of([2]))
        assert board.pulses.sum() == 2


@BOTH
def test_a_strangers_read_does_not_pass_for_ours(tmp_path: Path, kind: type[ServedBoard]) -> None:
    """Somebody else reads as many cells, while our own request is lost."""
    with (
        served_board(tmp_path, kind) as board,
        Cable(board.port, trigger=b"") as cable,
        board.driver(through(cable, kind)) as driver,
    ):
        with board.board.wire.lock:
            for _ in range(2):
                board.board.firmware.begin_message()
                board.board.firmware.read(None)
        cable.faults.append("before")
        with pytest.raises(LinkError, match=r"last work is now 2, not one of ours \(0 to 1\): .* used by someone else"):
            driver.read()
        assert driver.read().codes.shape == (1, CELLS)


@pytest.mark.parametrize("applied", [0, 1, 2, 3])
def test_a_batch_in_parts_that_breaks_off_counts_once(tmp_path: Path, applied: int) -> None:
    with served_board(tmp_path, ServedSerialBoard, max_payload=1024) as board, board.driver() as driver:
        whole = batch_of(range(1000))
        driver.pulse(whole)
        assert (driver.sequence, driver.snapshot()["sequence"]) == (2, 3)
        request, left = driver._request, applied

        def breaking(kind: Kind, *pieces: Any, **limits: Any) -> memoryview:
            nonlocal left
            left -= kind is Kind.PULSE
            if left < 0:
                raise LinkTimeoutError("gone")
            return request(kind, *pieces, **limits)

        driver._request = breaking
        if applied < 3:
            with pytest.raises(LinkTimeoutError):
                driver.pulse(whole)
        else:
            driver.pulse(whole)
        driver._request = request
        assert driver.sequence == 2 + (applied > 0)
        driver.pulse(whole)
        assert driver.sequence == 3 + (applied > 0)


@BOTH
def test_safe_state_is_reached_within_its_time_though_the_place_is_lost(
    tmp_path: Path, kind: type[ServedBoard]
) -> None:
    with (
        served_board(tmp_path, kind) as board,
        Cable(board.port, trigger=b"") as cable,
        board.driver(through(cable, kind), timeout=0.4) as driver,
    ):
        driver.pulse(batch_of([1]))
        assert board.board.firmware.output
        cable.faults.extend(["before", "swallow"])
        started = time.monotonic()
        driver.safe_state(2.0)
        assert time.monotonic() - started < 2.0
        assert not board.board.firmware.output
