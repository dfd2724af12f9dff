"""Recorded on real sockets, faults and all, and replayed: a link cannot tell, and what is new is shown."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from boards import served_board
from wires import Peer, RogueInstrument, scripted

from labctl.errors import LabctlError, LinkClosedError, LinkError, LinkTimeoutError, NoWireLogError, ReplayError
from labctl.links.replay import ReplaySpec, watched
from labctl.links.resources import ResourceManagers
from labctl.links.visa import VisaLink
from labctl.links.wire_log import WireLog, read_lines

Conversation = Callable[[VisaLink], object]


@contextmanager
def recording(path: Path, rogue: RogueInstrument, timeout_s: float = 0.3) -> Iterator[VisaLink]:
    log = WireLog(path)
    link = VisaLink(rogue.resource_name, visa_library="@py", timeout_s=timeout_s, wire_log=log)
    try:
        yield link
    finally:
        link.close()
        log.close()


def replaying(path: Path, options: str = "", name: str = "TCPIP0::h::1::SOCKET", **more: object) -> VisaLink:
    return VisaLink(name, visa_library=f"{path}{options}@replay", timeout_s=0.3, **more)  # type: ignore[arg-type]


def outcome(call: Callable[[], object]) -> str:
    """What came of `call`, as text without the times and names that are not the wire's."""
    try:
        found = call()
    except LabctlError as problem:
        found = f"{type(problem).__name__}: {problem}"
    return re.sub(r"[\d.e-]+ s\b|TCPIP0::[\w.]+::\d+::SOCKET", "", str(found))


def hang_up(peer: Peer) -> None:
    peer.send(b"half an an")
    peer.hang_up()


def late(peer: Peer) -> None:
    time.sleep(0.5)
    peer.send(b'too late;0,"No error"\n')


FAULTS: dict[str, bytes | Callable[[Peer], None]] = {
    b"HANG": hang_up,
    b"LATE": late,
    b"HALF": b"#3200abc",
    b"ODD": b"#12ab,3\n",
    b"REFUSE": b'-222,"Data out of range"\n',
    b"BLOCK": b"#16abc\ndef"[:9] + b';1.5;0,"No error"\n',
}  # type: ignore[dict-item]


def talk(link: VisaLink) -> list[str]:
    """Everything that can happen to a link, in one go."""
    found = [outcome(link.connect)]
    for message in ("ECHO? 1", "HANG?", "ECHO? 2", "REFUSE", "HALF?", "ECHO? 3", "BLOCK?", "ODD?", "ECHO? 4", "LATE?"):
        found.append(f"{message}: {outcome(lambda message=message: link.exchange(message))}")
    time.sleep(0.3)
    found.append(outcome(lambda: link.query("ECHO? 5")))
    found.append(outcome(link.resynchronise))
    return found


def test_a_conversation_with_every_fault_replays_to_the_same_results(tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    with RogueInstrument(scripted(FAULTS)) as rogue, recording(path, rogue) as link:
        recorded = talk(link)
    assert [text for text in recorded if "Error:" in text] != []
    replay = replaying(path)
    assert talk(replay) == recorded
    replay.close()


def test_a_replay_recorded_once_more_is_the_same_conversation(tmp_path: Path) -> None:
    with RogueInstrument(scripted(FAULTS)) as rogue, recording(tmp_path / "first.log", rogue) as link:
        talk(link)
    log = WireLog(tmp_path / "second.log")
    replay = replaying(tmp_path / "first.log", wire_log=log)
    talk(replay)
    replay.close()
    log.close()
    first, second = (
        [(line.direction, line.data, line.facts.get("error"), line.facts.get("again")) for line in read_lines(each)]
        for each in (tmp_path / "first.log", tmp_path / "second.log")
    )
    assert second == first


def test_an_instrument_that_could_not_be_reached_cannot_in_the_replay(tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    with RogueInstrument(scripted({})) as rogue:
        name = rogue.resource_name
    log = WireLog(path)
    with pytest.raises(LinkClosedError) as recorded:
        VisaLink(name, visa_library="@py", timeout_s=0.3, wire_log=log).connect()
    log.close()
    with pytest.raises(LinkClosedError) as replayed:
        replaying(path).connect()
    assert str(replayed.value) == str(recorded.value)


def test_time_is_not_taken_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    for seconds, options, least in ((1e9, "", 0.0), (0.4, ",pace", 0.4)):
        path.write_text(f"1000.0 > b'*IDN?\\n'\n{1000 + seconds} < b'A,B,C,D\\n'\n")
        started = time.monotonic()
        with replaying(path, options) as link:
            assert link.idn == "A,B,C,D"
        assert time.monotonic() - started >= least


def recorded_twice(path: Path) -> None:
    for word in ("one", "two"):
        with RogueInstrument(scripted({})) as rogue, recording(path, rogue) as link:
            link.connect()
            link.query(f"ECHO? {word}")


def test_connections_follow_each_other_and_one_can_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    recorded_twice(path)
    managers = ResourceManagers()
    for word in ("one", "two"):
        with replaying(path, managers=managers) as link:
            assert link.query(f"ECHO? {word}") == word
    with pytest.raises(ReplayError, match="at its end: the log has no connection number 3"):
        replaying(path, managers=managers).connect()
    with replaying(path, ",connection=2") as link:
        assert link.query("ECHO? two") == "two"
    with pytest.raises(NoWireLogError, match=r"wire\.log: has no connection 3: there are 2"):
        replaying(path, ",connection=3").connect()


def test_what_parts_stops_the_replay_and_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    with RogueInstrument(scripted({})) as rogue, recording(path, rogue) as link:
        link.connect()
        link.query("ECHO? 17")
    replay = replaying(path)
    replay.connect()
    with pytest.raises(ReplayError) as parted:
        replay.query("ECHO? 18")
    assert str(parted.value) == (f"{path}: line 4: ECHO? 18;:SYSTem:ERRor? parts from what was sent then at byte 7")
    (diff,) = parted.value.__notes__
    lines = diff.splitlines()
    assert lines[0] == "the conversation before that:"
    assert lines[3].endswith("3 < Rogues,R1,7,1.0")
    assert [line.split() for line in lines if line.startswith("  *")] == [["*", "ECHO?", "17;", "|", "ECHO?", "18;"]]
    with pytest.raises(ReplayError, match="this is a replay, and it is over"):
        replay.query("ECHO? 17")


def test_a_replay_that_goes_on_beyond_the_recording_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    with RogueInstrument(scripted({})) as rogue, recording(path, rogue) as link:
        link.connect()
    with replaying(path) as link, pytest.raises(ReplayError, match=r"at its end: the recording ends where ECHO\? 1"):
        link.query("ECHO? 1")


def test_a_recording_knows_what_was_not_played(tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    recorded_twice(path)
    with watched() as recordings, replaying(path):
        pass
    (found,) = recordings
    with pytest.raises(ReplayError, match=r"line 4: the recording goes on with ECHO\? one;.*, and 1 message in all"):
        found.leave()
    assert found.further() == 1


def test_a_line_that_cannot_be_read_ends_the_replay(tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    recorded_twice(path)
    lines = path.read_bytes().splitlines(keepends=True)
    for broken in (2, 3, 4):  # what is sent, the answer to that, what is sent then
        torn = [line[:25] + b"\n" if number == broken else line for number, line in enumerate(lines, 1)]
        path.write_bytes(b"".join(torn))
        link = replaying(path)
        said = [outcome(link.connect), outcome(lambda link=link: link.query("ECHO? one"))]
        assert f"ReplayError: {path}: line {broken}: cannot be read, and so not be replayed" in said
        link.close()


def test_an_empty_log_answers_for_nobody(tmp_path: Path) -> None:
    (tmp_path / "wire.log").touch()
    with pytest.raises(NoWireLogError, match=r"wire\.log: is empty: it has 0 lines in 0 connections"):
        replaying(tmp_path / "wire.log").connect()


def test_a_log_without_connections_in_it_replays(tmp_path: Path) -> None:
    path = tmp_path / "old.log"
    path.write_text(
        "1.5 > b'*IDN?\\n'\n1.6 < b'A,B,C,D\\n'\n1.7 > b'X?;:SYSTem:ERRor?\\n'\n"
        "2.0 > b'*IDN?\\n'\n2.1 > b'*IDN?\\n'\n2.2 < b'A,B,C,D\\n'\n2.3 > b':SYSTem:ERRor?\\n'\n2.4 < b'0,\"ok\"\\n'\n"
        "2.5 > b'Y?;:SYSTem:ERRor?\\n'\n2.6 < b'7;0,\"ok\"\\n'\n"
    )
    with replaying(path) as link:
        assert link.idn == "A,B,C,D"
        with pytest.raises(LinkTimeoutError, match="no answer"):
            link.query("X?")
        assert link.query("Y?") == "7"


def test_a_serial_log_is_no_visa_instruments(tmp_path: Path) -> None:
    log = WireLog(tmp_path / "wire.log")
    log.opened("ASRL3::INSTR", "serial")
    log.close()
    with pytest.raises(ReplayError, match="was recorded by way of serial and is opened by way of VISA"):
        replaying(log.path).connect()


def test_large_answers_replay_in_place(tmp_path: Path) -> None:
    path, block = tmp_path / "wire.log", np.random.default_rng(1).bytes(3_000_000)
    answer = b"#73000000" + block + b';0,"No error"\n'
    with RogueInstrument(scripted({b"BLOCK?": answer})) as rogue, recording(path, rogue, 5.0) as link:
        link.connect()
        link.exchange("BLOCK?")
    with replaying(path) as link:
        (found,) = link.exchange("BLOCK?")
    assert found.tobytes() == block


def test_a_replay_has_the_time_of_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    path.write_text("1000.5 > b'*IDN?\\n'\n1001.5 < b'A,B,C,D\\n'\n")
    link = replaying(path)
    assert link.recorded_time is not None
    link.connect()
    assert link.recorded_time() == 1001.5
    assert VisaLink("TCPIP0::h::1::SOCKET", visa_library="@py").recorded_time is None


@pytest.mark.parametrize("library", ["@replay", "wire.log,connection=0@replay"])
def test_a_specification_that_names_no_recording_is_one_sentence(library: str, tmp_path: Path) -> None:
    del tmp_path
    with pytest.raises((LinkError, NoWireLogError), match=r"names no recording: write LOG@replay|No such file"):
        VisaLink("TCPIP0::h::1::SOCKET", visa_library=library).connect()


def test_a_specification_reads_back_as_it_was() -> None:
    for text in ("wire.log@replay", "a,b.log,connection=3@replay", "C:\\logs\\wire.log,connection=2,pace@replay"):
        assert str(ReplaySpec.parse(text)) == text
    assert ReplaySpec.parse("a,b.log,connection=3@replay").log == Path("a,b.log")


def test_a_driver_cannot_tell(tmp_path: Path) -> None:
    log = tmp_path / "wire.log"
    cells = np.arange(5, 25, dtype=np.uint32)
    with served_board(tmp_path) as board, board.driver(wire_log=str(log)) as driver:
        recorded = [driver.read(cells, repeats=3), driver.read(), driver.clock.now(), driver.snapshot()["idn"]]
    settings = driver.settings
    replay = type(driver)(type(settings)(**{**_plain(settings), "visa_library": f"{log}@replay", "wire_log": None}))
    with replay:
        found = [replay.read(cells, repeats=3), replay.read(), replay.clock.now(), replay.snapshot()["idn"]]
    assert [each.codes.tolist() if hasattr(each, "codes") else each for each in found] == [
        each.codes.tolist() if hasattr(each, "codes") else each for each in recorded
    ]


def _plain(settings: object) -> dict[str, object]:
    return {name: getattr(settings, name) for name in settings.__struct_fields__}  # type: ignore[attr-defined]
