"""Names of run files, and the lock that says a run is being written.

While a run is live its process holds `<name>.h5.lock`; the operating system lets go of it when the process
dies, however it dies, so "running" in a file that nobody holds means killed. It also reserves the name.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from labctl.errors import NoRunError, RecordingError

_PATIENCE_S = 0.02  # somebody else asking holds the lock for less
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")


def new_run_path(folder: Path, protocol: str, chip_serial: str, time: float) -> Path:
    """A name no other process gets, made of UTC time, protocol and chip: sorts by time, safe on every system.

    The folder is made where missing. Hand the path to `RunWriter.create`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    moment = dt.datetime.fromtimestamp(time, dt.UTC)
    stem = f"{moment:%Y%m%dT%H%M%SZ}_{_safe(protocol)}_{_safe(chip_serial)}"
    attempt = 1
    while True:
        path = folder / (f"{stem}.h5" if attempt == 1 else f"{stem}_{attempt}.h5")
        if _reserve(path):
            return path
        attempt += 1


def lock_path(path: Path) -> Path:
    """The lock file beside the run at `path`; NoRunError where `path` names a folder."""
    path = path.resolve()  # one run has one lock, by whatever link it is reached
    if not path.name or path.is_dir():
        raise NoRunError(f"{path} is a folder, not a run file")
    return path.with_name(path.name + ".lock")


def hold(path: Path) -> BaseFileLock:
    """Mark the run at `path` as live until the lock is let go of (`let_go`) or this process ends."""
    lock = FileLock(lock_path(path), is_singleton=False, thread_local=False)
    try:
        lock.acquire(timeout=_PATIENCE_S, poll_interval=_PATIENCE_S / 4)
    except Timeout:
        raise RecordingError(f"{path} is being written by another run") from None
    except OSError as error:
        raise RecordingError(f"cannot write into {path.parent}: {error.strerror}") from error
    return lock


def let_go(path: Path, lock: BaseFileLock) -> None:
    """The run at `path` is over."""
    if os.name != "nt":  # unlinked once it is let go of, it might be somebody else's by then
        with contextlib.suppress(OSError):
            lock_path(path).unlink()
    lock.release()
    if os.name == "nt":
        with contextlib.suppress(OSError):  # somebody may just be asking `is_live`
            lock_path(path).unlink()


def is_live(path: Path) -> bool:
    """Whether some process is writing the run at `path`. One we may not ask about counts as live."""
    if not lock_path(path).exists():
        return False
    lock = FileLock(lock_path(path), is_singleton=False, thread_local=False)
    try:
        lock.acquire(timeout=_PATIENCE_S, poll_interval=_PATIENCE_S / 4)
    except (Timeout, PermissionError):
        return True
    lock.release()
    return False


def _reserve(path: Path) -> bool:
    """Take the name by creating its lock file; then make sure that no finished run had it before."""
    try:
        os.close(os.open(lock_path(path), os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return False
    if path.exists():
        lock_path(path).unlink()
        return False
    return True


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text).strip("-.")[:40] or "unnamed"
