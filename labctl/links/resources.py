"""PyVISA resource managers, closed when the last session in this process is.

PyVISA hands the same manager to everybody in the process who names the same library, and closing it closes all their
sessions; so it is counted for the whole process who still needs it. Closing matters: it is when the in-process backend
saves a simulated chip.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any
from weakref import WeakKeyDictionary

from labctl.errors import LinkClosedError, LinkError

_users: Counter[Any] = Counter()
"""PyVISA's managers, as global as these are, and how many sessions of ours each has."""
_users_lock = threading.Lock()


class ResourceManagers:
    """Opens PyVISA resources and knows when a manager is no longer needed."""

    def __init__(self) -> None:
        self._manager_of: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def open(self, visa_library: str, resource_name: str, timeout_s: float) -> Any:
        """An open PyVISA resource, to be given back with `release`. Raises LinkError with one sentence."""
        import pyvisa

        milliseconds = max(int(timeout_s * 1e3), 1)
        through = visa_library or "VISA"
        try:
            with _users_lock:
                manager = pyvisa.ResourceManager(visa_library)
                _users[manager] += 1
        except (OSError, ValueError, pyvisa.errors.Error) as problem:
            raise LinkError(f"{resource_name}: could not be opened through {through}: {problem}") from None
        try:
            resource = manager.open_resource(resource_name, open_timeout=milliseconds, timeout=milliseconds)
        except BaseException as problem:
            self._let_go(manager)
            if isinstance(problem, pyvisa.errors.VisaIOError):
                raise LinkClosedError(f"{resource_name}: could not be opened: {problem.description}") from None
            if isinstance(problem, (OSError, ValueError, pyvisa.errors.Error)):
                raise LinkError(f"{resource_name}: could not be opened through {through}: {problem}") from None
            if isinstance(problem, Exception):  # pyvisa-py raises a bare one where a host cannot be reached
                raise LinkClosedError(f"{resource_name}: could not be opened: {problem}") from None
            raise
        self._manager_of[resource] = manager
        return resource

    def release(self, resource: Any) -> None:
        """A session that `open` gave has been closed. Raises LinkError where the manager's closing fails."""
        try:
            self._let_go(self._manager_of.pop(resource))
        except Exception as problem:
            raise LinkError(f"{resource.resource_name}: could not be closed: {problem}") from problem

    def _let_go(self, manager: Any) -> None:
        """Close `manager` where nobody needs it: none of ours, and nobody else's sessions either."""
        with _users_lock:
            _users[manager] -= 1
            if _users[manager] > 0:
                return
            del _users[manager]
            if not manager.list_opened_resources():
                manager.close()


def canonical_resource_name(resource_name: str) -> str:
    """`TCPIP::h::5025::SOCKET` as `TCPIP0::h::5025::SOCKET`. Raises ValueError with one sentence."""
    from pyvisa import rname

    try:
        return str(rname.to_canonical_name(resource_name))
    except rname.InvalidResourceName:
        raise ValueError(
            f"{resource_name!r} is not a VISA resource name: write one like 'TCPIP0::192.168.0.5::5025::SOCKET'"
        ) from None
