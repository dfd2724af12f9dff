"""A serial link recorded on a line that fails, and replayed to the very same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from demo_boards import DemoLine, compile_demo_board, demo_line

from labctl.errors import InstrumentError, LabctlError, ReplayError
from labctl.links.board_frames import Advance, Kind, Time
from labctl.links.serial import SerialLink
from labctl.links.wire_log import WireLog, read_lines

NAME = "ASRL3::INSTR"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_demo_board(tmp_path_factory.mktemp("firmware"))


def once(harm: Callable[[bytes], bytes], line: DemoLine) -> None:
    def spoil(data: bytes) -> bytes:
        line.to_link = None
        return harm(data)

    line.to_link = spoil


def advanced(link: SerialLink) -> str:
    """The board's time after a second, or why not."""
    try:
        return str(Time.unpack(link.request(Kind.ADVANCE, *Advance(1.0).pack())).time)
    except LabctlError as problem:
        return type(problem).__name__


def talk(link: SerialLink, line: DemoLine | None) -> list[object]:
    """A conversation; the line, where there is one, damages an answer, loses one, and breaks."""
    link.connect()
    found: list[object] = [link.idn, advanced(link)]
    for harm in (lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: b"noise" + data, lambda data: b""):  # noqa: ARG005
        if line is not None:
            once(harm, line)
        found.append(advanced(link))
    with pytest.raises(InstrumentError) as refused:
        link.request(0x7E)
    found.append(refused.value.errors)
    if line is not None:
        line.hang_up()
    found += [advanced(link), advanced(link), link.sessions]
    link.close()
    return found


@pytest.fixture
def recorded(program: Path, tmp_path: Path) -> tuple[Path, list[object]]:
    log = WireLog(tmp_path / "wire.log")
    with demo_line(program, "socket") as line:
        link = SerialLink(line.resource_name, timeout_s=1.0, wire_log=log)
        found = talk(link, line)
    log.close()
    return log.path, found


def test_a_conversation_on_a_bad_line_replays_to_the_same_results(recorded: tuple[Path, list[object]]) -> None:
    path, found = recorded
    directions = [line.direction for line in read_lines(path)]
    assert directions.count("=") == 2
    assert directions.count("!") == 1
    assert talk(SerialLink(NAME, serial_library=f"{path}@replay", timeout_s=1.0), None) == found


def test_a_replay_recorded_once_more_is_the_same_to_the_byte(
    recorded: tuple[Path, list[object]], tmp_path: Path
) -> None:
    path, found = recorded
    log = WireLog(tmp_path / "again.log")
    assert talk(SerialLink(NAME, serial_library=f"{path}@replay", timeout_s=1.0, wire_log=log), None) == found
    log.close()
    first, second = ([(line.direction, line.data) for line in read_lines(each)] for each in (path, log.path))
    assert second == first


def test_another_request_parts_and_both_are_shown(recorded: tuple[Path, list[object]]) -> None:
    link = SerialLink(NAME, serial_library=f"{recorded[0]}@replay", timeout_s=1.0)
    link.connect()
    with pytest.raises(
        ReplayError, match=r"line 4: ADVANCE number \d+ <8 bytes .* parts from what was sent then"
    ) as parted:
        link.request(Kind.ADVANCE, *Advance(2.0).pack())
    (diff,) = parted.value.__notes__
    (row,) = (line for line in diff.splitlines() if line.startswith("  *"))
    assert row.count("<8 bytes ") == 2
    link.close()


def test_a_visa_log_is_no_serial_boards(tmp_path: Path) -> None:
    log = WireLog(tmp_path / "wire.log")
    log.opened(NAME, "VISA")
    log.close()
    with pytest.raises(ReplayError, match="was recorded by way of VISA and is opened by way of serial"):
        SerialLink(NAME, serial_library=f"{log.path}@replay").connect()
