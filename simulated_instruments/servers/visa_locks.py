"""VISA's locks: one session keeps others, or all without the key, from using a resource."""

from __future__ import annotations

import threading
import uuid

from pyvisa.constants import AccessModes


class ResourceLocks:
    """The locks of one resource. Sessions are their numbers; locks nest, and each needs its own release."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._exclusive: dict[int, int] = {}
        self._shared: dict[int, int] = {}
        self._key = ""

    def admits(self, session: int) -> bool:
        """Whether `session` may use the resource now."""
        if self._exclusive:
            return session in self._exclusive
        return not self._shared or session in self._shared

    def wait_admitted(self, session: int, timeout: float) -> bool:
        """Whether `session` may use the resource, now or within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self.admits(session), timeout)

    def held_by(self, session: int) -> AccessModes:
        """The lock that `unlock` would release."""
        if session in self._exclusive:
            return AccessModes.exclusive_lock
        return AccessModes.shared_lock if session in self._shared else AccessModes.no_lock

    @property
    def holders(self) -> int:
        """How many sessions hold a lock."""
        return len(self._exclusive.keys() | self._shared.keys())

    @property
    def state(self) -> AccessModes:
        """What VI_ATTR_RSRC_LOCK_STATE says."""
        if self._exclusive:
            return AccessModes.exclusive_lock
        return AccessModes.shared_lock if self._shared else AccessModes.no_lock

    def lock_exclusive(self, session: int, timeout: float | None) -> bool:
        """False where another session's lock did not go within `timeout` seconds (None: ever)."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._can_exclude(session), timeout):
                return False
            self._exclusive[session] = self._exclusive.get(session, 0) + 1
            return True

    def lock_shared(self, session: int, timeout: float | None, key: str | None) -> str | None:
        """The key with which others may share the lock; None where another lock did not go in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._can_share(session, key), timeout):
                return None
            if not self._shared:
                self._key = key or uuid.uuid4().hex
            self._shared[session] = self._shared.get(session, 0) + 1
            return self._key

    def unlock(self, session: int) -> bool:
        """Release the session's last exclusive lock, else its last shared one; False where it has none."""
        with self._changed:
            for held in (self._exclusive, self._shared):
                if session in held:
                    held[session] -= 1
                    if not held[session]:
                        del held[session]
                    self._changed.notify_all()
                    return True
            return False

    def release(self, session: int) -> None:
        """Drop every lock of a session that closes."""
        while self.unlock(session):
            pass

    def _can_exclude(self, session: int) -> bool:
        return not (self._exclusive.keys() | self._shared.keys()) - {session}

    def _can_share(self, session: int, key: str | None) -> bool:
        if self._exclusive and session not in self._exclusive:
            return False
        return not self._shared or session in self._shared or key == self._key
