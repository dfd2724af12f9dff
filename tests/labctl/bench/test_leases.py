"""One process an instrument: with real processes, and real kills."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labctl.bench.leases import Lease
from labctl.errors import LeaseError

NAME = "TCPIP0::127.0.0.1::5025::SOCKET"
HOLDER = """
import sys
from labctl.bench.leases import Lease
lease = Lease(sys.argv[2])
lease.acquire()
print("holding", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))
    return tmp_path / "leases"


@contextmanager
def another_process(name: str = NAME) -> Iterator[subprocess.Popen[str]]:
    """One that holds the lease until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, "program-array", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        try:
            yield holder
        finally:
            holder.kill()


def test_a_second_process_is_told_who_has_it_and_since_when() -> None:
    with another_process() as holder:
        with pytest.raises(LeaseError) as raised:
            Lease(NAME).acquire()
        Lease("GPIB0::24::INSTR").acquire()
    assert re.fullmatch(
        rf"{re.escape(NAME)} is in use by process {holder.pid} \(\w+ on \S*, -c program-array\) "
        r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}",
        str(raised.value),
    )


def test_a_killed_holder_leaves_nothing_behind(folder: Path) -> None:
    with another_process() as holder:
        holder.kill()
        holder.wait()
    lease = Lease(NAME)
    lease.acquire()
    (note,) = folder.glob("*.json")
    assert json.loads(note.read_text())["pid"] == os.getpid()
    lease.release()
    assert not list(folder.glob("*.json"))


def test_releasing_twice_does_not_release_somebody_elses() -> None:
    first, second = Lease(NAME), Lease(NAME)
    first.acquire()
    first.release()
    second.acquire()
    first.release()
    with pytest.raises(LeaseError):
        first.acquire()
    second.release()


def test_what_one_has_one_keeps_having() -> None:
    lease = Lease(NAME)
    lease.acquire()
    lease.acquire()
    lease.release()
    Lease(NAME).acquire()


def test_two_in_one_process_exclude_each_other_in_every_thread() -> None:
    held = Lease(NAME)
    held.acquire()
    said: list[str] = []

    def try_it() -> None:
        try:
            Lease(NAME).acquire()
        except LeaseError as problem:
            said.append(str(problem))

    thread = threading.Thread(target=try_it)
    thread.start()
    thread.join()
    assert f"in use by process {os.getpid()} " in said[0]
    held.release()


def test_what_one_thread_took_another_can_give_back() -> None:
    lease = Lease(NAME)
    thread = threading.Thread(target=lease.acquire)
    thread.start()
    thread.join()
    lease.release()
    Lease(NAME).acquire()


def test_a_note_that_cannot_be_read_still_means_taken(folder: Path) -> None:
    held = Lease(NAME)
    held.acquire()
    for text in ("", "[1, 2]", '{"pid": 3}'):
        next(folder.glob("*.json")).write_text(text)
        with pytest.raises(LeaseError, match=r"is in use by another process$"):
            Lease(NAME).acquire()
    held.release()


def test_names_that_differ_only_in_odd_characters_are_different_instruments() -> None:
    leases = [Lease(f"ASRL/dev/tty{odd}0::INSTR") for odd in ("-", "_", "/")]
    for lease in leases:
        lease.acquire()
    for lease in leases:
        lease.release()


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_a_folder_that_cannot_be_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "file" / inside))
    with pytest.raises(LeaseError, match=rf"^{NAME}: no lease can be taken in .*file"):
        Lease(NAME).acquire()
