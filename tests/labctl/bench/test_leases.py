"""One process an instrument: with real processes, and real kills."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from labctl.bench.leases import Held, Lease, list_leases
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


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder of all users, as `/tmp` is; pytest's own are not."""
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        folder = Path(outer) / "leases"
        folder.mkdir()
        folder.chmod(0o1777)
        yield folder


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
        rf"{re.escape(NAME)} is in use by process {holder.pid} \(\w+ on \S*: -c program-array {re.escape(NAME)}\) "
        r"since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}",
        str(raised.value),
    )


def test_a_second_process_is_told_the_bench_file_and_the_run(tmp_path: Path) -> None:
    held = Lease(NAME, bench="/lab/desk3.toml")
    held.acquire()
    run = tmp_path / "20260101T000000Z_forming_R40.h5"
    for path, told in ((run, rf", on bench file /lab/desk3\.toml, recording {re.escape(str(run))}$"), (None, "toml$")):
        held.note_run(path)
        with pytest.raises(LeaseError, match=told):
            Lease(NAME).acquire()
    held.release()
    held.note_run(run)
    assert list_leases() == []


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


# -- notes that killed processes leave ------------------------------------------------------------------------------


def killed_holder(name: str = NAME) -> int:
    with another_process(name) as holder:
        holder.kill()
        holder.wait()
    return holder.pid


def test_a_lease_is_listed_while_it_is_held_and_as_stale_after_a_kill() -> None:
    assert list_leases() == []
    with another_process() as holder:
        (held,) = list_leases()
        assert (held.resource_name, held.state, held.pid) == (NAME, "held", holder.pid)
        assert held.command == f"-c program-array {NAME}"
        holder.kill()
        holder.wait()
        (stale,) = list_leases()
    assert (stale.state, stale.pid, stale.since) == ("stale", holder.pid, held.since)


def test_asking_who_has_it_does_not_keep_anybody_out() -> None:
    """`labctl who` tries every lock; a process that comes in between waits for that moment."""
    killed_holder()
    asking = threading.Event()

    def ask() -> None:
        while not asking.is_set():
            list_leases()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(50):
            lease = Lease(NAME)
            lease.acquire()
            lease.release()
    finally:
        asking.set()
        thread.join()


def test_cleaning_takes_stale_notes_away_and_leaves_held_ones(folder: Path) -> None:
    stale = killed_holder("GPIB0::24::INSTR")
    with another_process() as holder:
        cleaned = list_leases(clean=True)
        assert [(each.resource_name, each.state, each.pid) for each in cleaned] == [
            ("GPIB0::24::INSTR", "stale", stale),
            (NAME, "held", holder.pid),
        ]
        assert [each.pid for each in list_leases()] == [holder.pid]
        with pytest.raises(LeaseError, match=f"process {holder.pid} "):
            Lease(NAME).acquire()
    assert not list(folder.glob("*GPIB0*.json"))


def test_what_is_this_processes_own_leaves_nothing_behind(folder: Path) -> None:
    lease = Lease(f"{NAME} of bench.toml@labctl in process 7", is_private=True)
    lease.acquire()
    lease.release()
    assert list(folder.iterdir()) == []
    killed_holder(f"{NAME} of bench.toml@labctl in process 8")
    list_leases(clean=True)
    assert list(folder.iterdir()) == []


HOARDER = """
import sys
from labctl.bench.leases import Lease
leases = [Lease(name) for name in sys.argv[1:]]
for lease in leases:
    lease.acquire()
print("holding", flush=True)
sys.stdin.read()
"""
RACER = """
import sys, time
from labctl.bench.leases import Lease
from labctl.errors import LeaseError
print("ready", flush=True)
held = []  # a lease that nobody keeps is given back
for line in sys.stdin:
    name, start = line.split()
    while time.time() < float(start):
        pass
    held.append(Lease(name))
    try:
        held[-1].acquire()
        print("won", flush=True)
    except LeaseError as problem:
        print(problem, flush=True)
"""
ROUNDS, RACERS = 20, 3


def process(code: str, *arguments: str) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    assert said_by(started) in ("holding", "ready")
    return started


def said_by(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    return running.stdout.readline().strip()


def test_of_processes_that_race_for_a_stale_lease_exactly_one_wins() -> None:
    names = [f"GPIB0::{number}::INSTR" for number in range(ROUNDS)]
    killed = process(HOARDER, *names)
    killed.kill()
    killed.communicate()
    assert [each.state for each in list_leases()] == ["stale"] * ROUNDS
    racers = [process(RACER) for _ in range(RACERS)]
    wins: list[int] = []
    try:
        for name in names:
            start = time.time() + 0.02
            for racer in racers:
                assert racer.stdin is not None
                racer.stdin.write(f"{name} {start}\n")
            said = {racer.pid: said_by(racer) for racer in racers}
            (winner,) = (pid for pid, text in said.items() if text == "won")
            wins.append(winner)
            losers = [text for text in said.values() if text != "won"]
            assert all(text.startswith(f"{name} is in use by process {winner} (") for text in losers), said
        assert {each.pid for each in list_leases()} == set(wins)
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()


# -- other users' folders --------------------------------------------------------------------------------------------


def test_a_note_that_cannot_be_replaced_is_written_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user's is in a folder of all, and on Windows one that is being read."""
    killed_holder()

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "not yours", str(self), None, str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    lease = Lease(NAME)
    lease.acquire()
    (found,) = list_leases()
    assert (found.state, found.pid) == ("held", os.getpid())
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: refuse(self, self))  # noqa: ARG005
    lease.release()
    assert list_leases() == []
    assert [each.name for each in folder.glob("*.json")] != []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become another user")
def test_another_user_takes_over_what_a_killed_process_of_ours_has_left(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABCTL_LEASES", str(shared))
    killed_holder()
    code = (
        "import os, sys\n"
        "from labctl.bench.leases import Lease, list_leases\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "lease = Lease(sys.argv[1]); lease.acquire()\n"
        "(held,) = list_leases(); print(held.state, held.pid == os.getpid())\n"
        "lease.release(); print(list_leases())\n"
    )
    done = subprocess.run([sys.executable, "-c", code, NAME], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("held True\n[]\n", "")


def test_a_held_lease_without_a_note_is_listed_all_the_same(folder: Path) -> None:
    held = Lease("GPIB0::5::INSTR")
    held.acquire()
    next(folder.glob("*.json")).unlink()
    (found,) = list_leases()
    assert found == Held(found.resource_name, "held")
    assert found.resource_name.startswith("GPIB0-5-INSTR")
    held.release()


def test_a_folder_that_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "file"))
    with pytest.raises(LeaseError, match=r"file: the leases cannot be read: Not a directory"):
        list_leases()
