from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import labctl
from labctl.errors import LinkError, LinkTimeoutError, NoWireLogError
from labctl.links.wire_log import WireLog, read_lines, read_wire_log


@given(st.lists(st.tuples(st.booleans(), st.binary())))
def test_every_message_reads_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, messages: list) -> None:
    path = tmp_path_factory.mktemp("log") / "wire.log"
    log = WireLog(path)
    for sent, data in messages:
        log.sent([data[:3], memoryview(data[3:])]) if sent else log.received(data)
    log.close()
    assert [(direction, data) for _, direction, data in read_wire_log(path)] == [
        (">" if sent else "<", data) for sent, data in messages
    ]


def test_lines_carry_the_wall_clock(tmp_path: Path) -> None:
    log = WireLog(tmp_path / "wire.log")
    log.received(b"x")
    log.close()
    ((seconds, _, _),) = read_wire_log(log.path)
    assert abs(seconds - time.time()) < 5


def test_the_digest_is_that_of_the_bytes_it_says(tmp_path: Path) -> None:
    for _ in range(2):
        log = WireLog(tmp_path / "wire.log")
        log.sent([b"*IDN?\n"])
        log.received(bytes(range(256)))
        log.close()
    start, stop = log.span
    written = log.path.read_bytes()
    assert 0 < start < stop == len(written)
    assert log.digest == hashlib.sha256(written[start:stop]).hexdigest()


def test_a_line_torn_by_a_kill_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    path.write_bytes(b"1.5 > b'one'\n2.5 < b'tw")
    log = WireLog(path)
    log.received(b"three")
    log.close()
    with path.open("ab") as file:
        file.write(b"4.5 > b'fo")
    assert [data for _, _, data in read_wire_log(path)] == [b"one", b"three"]


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match=r"nowhere.wire\.log: no wire log can be written there: No such file"):
        WireLog(tmp_path / "nowhere" / "wire.log")


def test_a_log_says_which_connection_it_is_of_and_how_the_wire_failed(tmp_path: Path) -> None:
    log = WireLog(tmp_path / "wire.log")
    log.opened("GPIB0::24::INSTR", "VISA", "@py")
    log.sent([b"*IDN?\n"])
    log.failed(LinkTimeoutError("no answer"), "reading")
    log.close()
    opened, sent, failed = read_lines(log.path)
    assert opened.facts["resource_name"] == "GPIB0::24::INSTR"
    assert (opened.facts["spoken"], opened.facts["through"], opened.facts["again"]) == ("VISA", "@py", False)
    assert opened.facts["labctl"] == labctl.__version__
    assert opened.facts["process"] == os.getpid()
    assert sent.data == b"*IDN?\n"
    assert (failed.facts["error"], failed.facts["text"], failed.facts["doing"]) == (
        "LinkTimeoutError",
        "no answer",
        "reading",
    )
    start, stop = log.span
    assert log.digest == hashlib.sha256(log.path.read_bytes()[start:stop]).hexdigest()


def test_a_log_from_before_there_were_connections_in_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    path.write_bytes(b"1.5 > b'*IDN?\\n'\n2.5 < b'x\\n'\n")
    assert [(line.direction, line.data) for line in read_lines(path)] == [(">", b"*IDN?\n"), ("<", b"x\n")]


def test_a_log_that_a_windows_editor_has_saved_is_read(tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    path.write_bytes(b'1.5 > b\'one\'\r\n2.5 ! {"doing": "reading"}\r\n')
    assert [(line.direction, line.data, dict(line.facts)) for line in read_lines(path)] == [
        (">", b"one", {}),
        ("!", b"", {"doing": "reading"}),
    ]


@pytest.mark.parametrize(
    "torn",
    [b"1.5 > b'two\n", b"1.5 > b'two\\'\n", b'1.5 > "two"\n', b"1.5 > b\n", b'1.5 ! {"er\n', b"1.5 ? b'two'\n"],
)
def test_what_is_no_whole_line_is_told_unless_a_connection_ends_there(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "wire.log"
    path.write_bytes(b"1.0 > b'one'\n" + torn + b"\n2.0 < b'three'\n" + torn)
    first, unread, last = read_lines(path)
    assert (first.data, last.data) == (b"one", b"three")
    assert (unread.number, unread.seconds, unread.direction) == (2, 1.0, "?")
    opening = b'3.0 = {"resource_name": "GPIB0::3::INSTR"}\n'
    path.write_bytes(opening + torn + opening + torn + b"4.0 > b'four'\n" + torn + torn)
    assert [(line.number, line.direction) for line in read_lines(path)] == [
        (1, "="),
        (3, "="),
        (4, "?"),
        (5, ">"),
        (6, "?"),
    ]


@pytest.mark.parametrize("content", [b"notes of mine\n" * 300, b"\x93NUMPY\x01\x00" + bytes(range(256)) * 40, b"x"])
def test_a_file_that_is_something_else_is_not_written_to(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "target.npy"
    path.write_bytes(content)
    with pytest.raises(NoWireLogError, match=r"target\.npy: is there and is no wire log, and is left as it is: name"):
        WireLog(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("length", range(14))
def test_a_log_whose_first_line_a_kill_tore_goes_on(tmp_path: Path, length: int) -> None:
    path = tmp_path / "wire.log"
    path.write_bytes(b"17.012345 > b'one'"[:length])
    for _ in range(2):
        log = WireLog(path)
        log.opened("GPIB0::3::INSTR", "VISA")
        log.close()
    assert [line.direction for line in read_lines(path)] == ["=", "="]


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.mktemp("log") / "wire.log"
    path.write_bytes(b"1.0 > b'one'\n" + noise.replace(b"\\", b"/") + b"\n2.0 < b'two'\n")
    found = [line.data for line in read_lines(path)]
    assert (found[0], found[-1]) == (b"one", b"two")


@pytest.mark.parametrize("content", [b"a b c\n" * 300, bytes(range(256)), b"1.5 > b'torn"])
def test_a_file_that_is_no_log_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(NoWireLogError, match=r"notes\.txt: holds no line of a wire log$"):
        list(read_lines(path))


def test_a_log_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NoWireLogError, match=r"absent\.log: cannot be read as a wire log: No such file"):
        list(read_lines(tmp_path / "absent.log"))


def test_a_log_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wire.log"
    path.write_text('1.5 = {"wire_log": 2, "labctl": "9.0"}\n')
    with pytest.raises(NoWireLogError, match=r"line 1 is of wire log format 2, written by labctl 9\.0; this one reads"):
        list(read_lines(path))
