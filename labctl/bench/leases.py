"""One process per instrument, by an operating-system file lock on the canonical resource name.

The lock dies with its process, so a crash leaves nothing that keeps others out; a note beside it says who holds it,
since when, for what. A killed process leaves its note: that is stale, because the lock is free, and whoever takes the
lock next puts a note of its own in its place.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from labctl.errors import LeaseError

_PATIENCE_S = 0.25  # who only asks holds a lock for less, and who takes it has written its note by then
_POLL_S = 0.01
_LONGEST_COMMAND = 160
_PRIVATE = re.compile(r"-in-process-\d+-[0-9a-f]{8}")


def lease_folder() -> Path:
    """`$LABCTL_LEASES`, else a folder in the system's for temporary files, which users of one machine mostly share."""
    return Path(os.environ.get("LABCTL_LEASES") or Path(tempfile.gettempdir()) / "labctl-leases")


class Lease:
    """The right to talk to one instrument. `acquire` raises LeaseError that says who has it, since when, for what.

    bench: the bench file it is leased for. is_private: no other process can want it, so that nothing of it is left
    behind.
    """

    def __init__(self, resource_name: str, *, bench: str = "", is_private: bool = False) -> None:
        self.resource_name = resource_name
        self._bench = bench
        self._is_private = is_private
        digest = hashlib.sha256(resource_name.encode()).hexdigest()[:8]
        stem = re.sub(r"[^A-Za-z0-9]+", "-", resource_name).strip("-")[-60:]
        self._note = lease_folder() / f"{stem}-{digest}.json"
        self._lock = _lock_of(self._note)
        self._told: dict[str, Any] = {}

    def acquire(self) -> None:
        if self._lock.is_locked:
            return
        folder = self._note.parent
        try:
            _share(folder)
            self._lock.acquire(timeout=_PATIENCE_S, poll_interval=_POLL_S)
        except Timeout:
            raise LeaseError(f"{self.resource_name} is in use by {_told(_read(self._note))}") from None
        except OSError as problem:
            raise LeaseError(
                f"{self.resource_name}: no lease can be taken in {folder}: {problem.strerror or problem}"
            ) from None
        self._told = {"resource_name": self.resource_name, **_who_we_are(), "bench": self._bench}
        _write(self._note, self._told)

    def note_run(self, path: Path | None) -> None:
        """Which run has the instrument now; None: none any more."""
        if self._lock.is_locked:
            run = {"run": path.stem, "run_path": str(path.absolute())} if path is not None else {}
            _write(self._note, {**self._told, **run})

    def release(self) -> None:
        """May be called twice."""
        if self._lock.is_locked:
            _remove(self._note)
            if self._is_private:
                _remove(Path(self._lock.lock_file))
            self._lock.release()


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as its note tells it. state: `held`; `stale` where its process is gone; `unknown` where the lock may not
    be asked about. What a note does not say is empty.

    since: ISO 8601. run, run_path: of the run that is being recorded.
    """

    resource_name: str
    state: str
    pid: int | None = None
    user: str = ""
    host: str = ""
    since: str = ""
    command: str = ""
    bench: str = ""
    run: str = ""
    run_path: str = ""


def list_leases(clean: bool = False) -> list[Held]:
    """Every lease of this machine, by name. clean: take away what killed processes have left; it is still listed.

    Raises LeaseError where the folder cannot be read.
    """
    folder = lease_folder()
    try:
        files = sorted(folder.iterdir()) if folder.exists() else []
    except OSError as problem:
        raise LeaseError(f"{folder}: the leases cannot be read: {problem.strerror or problem}") from None
    found = []
    notes = {each.stem: each for each in files if each.suffix == ".json"}
    for lock in (each for each in files if each.suffix == ".lock"):
        notes.setdefault(lock.stem, lock.with_suffix(".json"))
    for stem, note in sorted(notes.items()):
        with _tried(note) as state:
            facts = _read(note)
            if clean and state == "stale":
                _remove(note)
                if _PRIVATE.search(stem):
                    _remove(note.with_suffix(".lock"))
        if facts or state == "held":
            found.append(_held(stem, state, facts))
    return found


# -- inside -------------------------------------------------------------------------------------------------------


def _lock_of(note: Path) -> FileLock:
    lock = FileLock(note.with_suffix(".lock"), timeout=0, mode=0o666, thread_local=False)  # any thread may release it
    assert isinstance(lock, FileLock)
    return lock


@contextlib.contextmanager
def _tried(note: Path) -> Iterator[str]:
    """Whether the lock of `note` is held; where it is not, nobody else can take it inside."""
    lock = _lock_of(note)
    try:
        if note.with_suffix(".lock").exists():
            lock.acquire()
        state = "stale"
    except Timeout:
        state = "held"
    except OSError:
        state = "unknown"
    try:
        yield state
    finally:
        lock.release()


def _held(stem: str, state: str, facts: Mapping[str, Any]) -> Held:
    texts = {
        name: str(facts.get(name, "")) for name in ("user", "host", "since", "command", "bench", "run", "run_path")
    }
    pid = facts.get("pid")
    return Held(str(facts.get("resource_name", stem)), state, pid if isinstance(pid, int) else None, **texts)


def _told(facts: Mapping[str, Any]) -> str:
    """Who that is, in one clause."""
    try:
        who = f"process {facts['pid']} ({facts['user']} on {facts['host']}: {facts['command']}) since {facts['since']}"
    except KeyError:
        return "another process"
    bench = f", on bench file {facts['bench']}" if facts.get("bench") else ""
    run = f", recording {facts['run_path']}" if facts.get("run_path") else ""
    return f"{who}{bench}{run}"


def _read(note: Path) -> Mapping[str, Any]:
    """What a note says; nothing where it cannot be read."""
    try:
        facts = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _write(note: Path, facts: Mapping[str, Any]) -> None:
    """Whole or not at all, for those who read meanwhile. The lock is what counts: without a note others know less."""
    text = json.dumps(facts).encode()
    with contextlib.suppress(OSError):
        number, name = tempfile.mkstemp(dir=note.parent, prefix=note.stem, suffix=".tmp")
        try:
            with os.fdopen(number, "wb") as file:
                file.write(text)
            Path(name).chmod(0o666)  # for the next holder, who may be another user
            Path(name).replace(note)
        except OSError:  # a stale note of another user in a folder of all, or on Windows one that is being read
            Path(name).unlink(missing_ok=True)
            _write_over(note, text)


def _write_over(note: Path, text: bytes) -> None:
    number = os.open(note, os.O_WRONLY | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(number, "wb") as file:
        file.write(text)


def _remove(path: Path) -> None:
    """Or make it say nothing, where it may not be removed."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        with contextlib.suppress(OSError):
            _write_over(path, b"")


def _share(folder: Path) -> None:
    """Make `folder` where there is none, for every user of this machine."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            folder.chmod(0o1777)


def _who_we_are() -> dict[str, str | int]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        user = "unknown"
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    if len(command) > _LONGEST_COMMAND:
        command = f"{command[: _LONGEST_COMMAND - 3]}..."
    return {
        "pid": os.getpid(),
        "user": user,
        "host": platform.node(),
        "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": command,
    }
