"""One process per instrument, by an operating-system file lock on the canonical resource name.

The lock dies with its process, so a crash leaves nothing to clean up; a note beside it says who holds it.
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
from pathlib import Path

from filelock import FileLock, Timeout

from labctl.errors import LeaseError


def lease_folder() -> Path:
    """`$LABCTL_LEASES`, else a folder every user of this machine shares."""
    return Path(os.environ.get("LABCTL_LEASES") or Path(tempfile.gettempdir()) / "labctl-leases")


class Lease:
    """The right to talk to one instrument. `acquire` raises LeaseError that says who has it and since when."""

    def __init__(self, resource_name: str) -> None:
        self.resource_name = resource_name
        digest = hashlib.sha256(resource_name.encode()).hexdigest()[:8]
        stem = re.sub(r"[^A-Za-z0-9]+", "-", resource_name).strip("-")[-60:]
        self._note = lease_folder() / f"{stem}-{digest}.json"
        lock = self._note.with_suffix(".lock")
        self._lock = FileLock(lock, timeout=0, mode=0o666, thread_local=False)  # whichever thread releases it

    def acquire(self) -> None:
        if self._lock.is_locked:
            return
        folder = self._note.parent
        try:
            _share(folder)
            self._lock.acquire()
        except Timeout:
            raise LeaseError(f"{self.resource_name} is in use by {self._holder()}") from None
        except OSError as problem:
            raise LeaseError(
                f"{self.resource_name}: no lease can be taken in {folder}: {problem.strerror or problem}"
            ) from None
        with contextlib.suppress(OSError):  # the lock is what counts; without a note others learn less
            self._note.unlink(missing_ok=True)
            self._note.write_text(json.dumps(_who_we_are()), encoding="utf-8")

    def release(self) -> None:
        """May be called twice."""
        if self._lock.is_locked:
            with contextlib.suppress(OSError):
                self._note.unlink(missing_ok=True)
            self._lock.release()

    def _holder(self) -> str:
        try:
            who = json.loads(self._note.read_text(encoding="utf-8"))
            return f"process {who['pid']} ({who['user']} on {who['host']}, {who['command']}) since {who['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"


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
    return {
        "pid": os.getpid(),
        "user": user,
        "host": platform.node(),
        "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]),
    }
