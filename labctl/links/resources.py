"""PyVISA resource managers, closed when the last session in this process is.

PyVISA hands the same manager to everybody in the process who names the same library, and closing it closes all their
sessions; so it is counted for the whole process who still needs it. Closing matters: it is when the in-process backend
saves a simulated chip.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from labctl.errors import LinkClosedError, LinkError

if TYPE_CHECKING:
    from labctl.links.replay import Recording

_users: Counter[Any] = Counter()
"""PyVISA's managers, as global as these are, and how many sessions of ours each has."""
_users_lock = threading.Lock()


class ResourceManagers:
    """Opens PyVISA resources and knows when a manager is no longer needed."""

    def __init__(self) -> None:
        self._manager_of: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        self._recordings: dict[str, Recording] = {}

    def recording(self, library: str) -> Recording | None:
        """What answers where `library` is `LOG@replay`, the same for all its connections; None where it is another.

        Raises NoWireLogError, and LinkError where no recording can be called that.
        """
        if not library.endswith("@replay"):
            return None
        from labctl.links.replay import Recording, ReplaySpec

        if library not in self._recordings:
            try:
                self._recordings[library] = Recording(ReplaySpec.parse(library))
            except ValueError as problem:
                raise LinkError(str(problem)) from None
        return self._recordings[library]

    def open(self, visa_library: str, resource_name: str, timeout_s: float, again: bool = False) -> Any:
        """An open PyVISA resource, or the transport of a replay, to be given back with `release`.

        again: the one who had it before has lost its place. Raises LinkError with one sentence.
        """
        recording = self.recording(visa_library)
        if recording is not None:
            return recording.session(resource_name, again)
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
        if resource not in self._manager_of:
            return
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
