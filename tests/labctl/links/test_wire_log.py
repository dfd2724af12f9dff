from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.errors import LinkError
from labctl.links.wire_log import WireLog, read_wire_log


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
