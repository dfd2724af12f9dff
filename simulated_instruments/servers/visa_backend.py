"""A PyVISA backend whose resources are the simulated instruments of a bench file, in this very process.

`pyvisa.ResourceManager("bench.toml@labctl")` opens a file's instruments and `"@labctl"` the package's own;
with the environment variable `PYVISA_LIBRARY` set to either, any program that uses PyVISA talks to them
unchanged. They are powered on by the resource manager, and switched off, their state saved, when it closes.
"""

# ruff: noqa: ARG002 -- the signatures are PyVISA's

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyvisa import constants, errors, highlevel, rname
from pyvisa.constants import EventMechanism, EventType, ResourceAttribute, StatusCode
from pyvisa.typing import VISAEventContext, VISARMSession, VISASession
from pyvisa.util import DebugInfo, LibraryPath

from .hosting import SimulatedBench
from .sharing import Hold, hold
from .visa_locks import ResourceLocks
from .visa_session import VisaSession

_EMBEDDED = "<embedded>"  # PyVISA has no library without a path; no file is called this


class LabctlVisaLibrary(highlevel.VisaLibraryBase):
    """The low-level operations PyVISA asks of a backend. What instruments here cannot do is not supported.

    PyVISA keeps one library for a path as long as somebody holds it, and gives it to the next resource
    manager. Hence the file is read, and everything begins anew, when a resource manager opens and not when
    this is made.
    """

    _hold: Hold | None
    _manager: VISARMSession

    @staticmethod
    def get_library_paths() -> Iterable[LibraryPath]:
        return (LibraryPath(_EMBEDDED, "the bench that comes with labctl"),)

    @staticmethod
    def get_debug_info() -> DebugInfo:
        return {"Simulated instruments": "of a bench file, as in 'bench.toml@labctl', or the default, '@labctl'"}

    def _init(self) -> None:
        self._numbers = itertools.count(1)
        self._hold = None
        self._manager = VISARMSession(0)
        self._sessions: dict[int, VisaSession] = {}
        self._contexts: dict[int, EventType] = {}
        self._locks: dict[str, ResourceLocks] = {}

    # Resource manager

    def open_default_resource_manager(self) -> tuple[VISARMSession, StatusCode]:
        """Raises HostingError, a ValueError, where the bench file is wrong."""
        path = str(self.library_path)
        self._hold = hold(None if path == _EMBEDDED else Path(path))
        self._manager = VISARMSession(next(self._numbers))
        return self._manager, self.handle_return_value(self._manager, StatusCode.success)

    def list_resources(self, session: VISARMSession, query: str = "?*::INSTR") -> tuple[str, ...]:
        bench = self._opened(session)
        return rname.filter([entry.resource_name for entry in bench.wired], query)

    def open(
        self,
        session: VISARMSession,
        resource_name: str,
        access_mode: constants.AccessModes = constants.AccessModes.no_lock,
        open_timeout: int = constants.VI_TMO_IMMEDIATE,
    ) -> tuple[VISASession, StatusCode]:
        """Raises HostingError where the instrument's simulator refuses what the bench file says of it."""
        bench = self._opened(session)
        try:
            parsed = rname.ResourceName.from_string(resource_name)
        except rname.InvalidResourceName:
            return VISASession(0), self.handle_return_value(None, StatusCode.error_invalid_resource_name)
        entry = bench.find(resource_name)
        if entry is None:
            return VISASession(0), self.handle_return_value(None, StatusCode.error_resource_not_found)
        number = VISASession(next(self._numbers))
        locks = self._locks.setdefault(entry.name, ResourceLocks())
        opened = VisaSession(number, session, parsed, bench.wire(entry), locks)
        if not _lock_on_opening(opened, access_mode, open_timeout):
            return VISASession(0), self.handle_return_value(None, StatusCode.error_resource_locked)
        self._sessions[number] = opened
        return number, self.handle_return_value(number, StatusCode.success)

    def close(self, session: VISASession | VISAEventContext | VISARMSession) -> StatusCode:
        """Of the resource manager: switch every instrument off. Raises InvalidSession where it is closed."""
        if session in self._sessions:
            closed = self._sessions.pop(session)
            closed.locks.release(closed.number)
        elif session in self._contexts:
            del self._contexts[session]
        elif session != self._manager:
            return self.handle_return_value(None, StatusCode.error_invalid_object)
        else:
            self._opened(session)
            holding, self._hold = self._hold, None
            self._sessions.clear()
            self._contexts.clear()
            self._locks.clear()
            if holding is not None:
                holding.close()
        return self.handle_return_value(None, StatusCode.success)

    # Messages

    def write(self, session: VISASession, data: bytes) -> tuple[int, StatusCode]:
        status = self._admitted(session).write(bytes(data))
        return len(data), self.handle_return_value(session, status)

    def read(self, session: VISASession, count: int) -> tuple[bytes, StatusCode]:
        data, status = self._admitted(session).read(count)
        return data, self.handle_return_value(session, status)

    def buffer_write(self, session: VISASession, data: bytes) -> tuple[int, StatusCode]:
        return self.write(session, data)

    def buffer_read(self, session: VISASession, count: int) -> tuple[bytes, StatusCode]:
        return self.read(session, count)

    def clear(self, session: VISASession) -> StatusCode:
        return self.handle_return_value(session, self._admitted(session).clear())

    def flush(self, session: VISASession, mask: constants.BufferOperation) -> StatusCode:
        return self.handle_return_value(session, self._admitted(session).flush(mask))

    def read_stb(self, session: VISASession) -> tuple[int, StatusCode]:
        byte, status = self._admitted(session).status_byte()
        return byte, self.handle_return_value(session, status)

    def assert_trigger(self, session: VISASession, protocol: constants.TriggerProtocol) -> StatusCode:
        """`*TRG`, which means the same as a trigger on the bus."""
        if protocol != constants.TriggerProtocol.default:
            return self.handle_return_value(session, StatusCode.error_invalid_protocol)
        return self.handle_return_value(session, self._admitted(session).write(b"*TRG\n"))

    def gpib_control_ren(self, session: VISASession, mode: constants.RENLineOperation) -> StatusCode:
        """There is no front panel to lock out."""
        self._session(session)
        return self.handle_return_value(session, StatusCode.success)

    # Attributes

    def get_attribute(
        self, session: VISASession | VISAEventContext | VISARMSession, attribute: int
    ) -> tuple[Any, StatusCode]:
        if session in self._contexts and attribute == constants.EventAttribute.event_type:
            return self._contexts[session], self.handle_return_value(None, StatusCode.success)
        opened = self._session(session)
        try:
            value = self._dynamic_attribute(opened, attribute)
        except KeyError:
            return None, self.handle_return_value(session, StatusCode.error_nonsupported_attribute)
        return value, self.handle_return_value(session, StatusCode.success)

    def set_attribute(self, session: VISASession, attribute: int, attribute_state: Any) -> StatusCode:
        status = self._session(session).attributes.set(attribute, attribute_state)
        return self.handle_return_value(session, status)

    # Locks

    def lock(
        self,
        session: VISASession,
        lock_type: constants.Lock,
        timeout: int,
        requested_key: str | None = None,
    ) -> tuple[str, StatusCode]:
        key = _lock(self._session(session), lock_type, timeout, requested_key)
        status = StatusCode.error_resource_locked if key is None else StatusCode.success
        return key or "", self.handle_return_value(session, status)

    def unlock(self, session: VISASession) -> StatusCode:
        released = self._session(session).locks.unlock(session)
        status = StatusCode.success if released else StatusCode.error_session_not_locked
        return self.handle_return_value(session, status)

    # Events: service requests, by queue

    def enable_event(
        self, session: VISASession, event_type: EventType, mechanism: EventMechanism, context: None = None
    ) -> StatusCode:
        opened = self._session(session)
        if event_type != EventType.service_request:
            return self.handle_return_value(session, StatusCode.error_invalid_event)
        if mechanism != EventMechanism.queue:
            return self.handle_return_value(session, StatusCode.error_nonsupported_mechanism)
        opened.enable_events()
        return self.handle_return_value(session, StatusCode.success)

    def disable_event(self, session: VISASession, event_type: EventType, mechanism: EventMechanism) -> StatusCode:
        self._session(session).events_enabled = False
        return self.handle_return_value(session, StatusCode.success)

    def discard_events(self, session: VISASession, event_type: EventType, mechanism: EventMechanism) -> StatusCode:
        self._session(session).take_service_request()
        return self.handle_return_value(session, StatusCode.success)

    def wait_on_event(
        self, session: VISASession, in_event_type: EventType, timeout: int
    ) -> tuple[EventType, VISAEventContext, StatusCode]:
        """The service request that is there, or a time-out at once: nothing happens while one waits."""
        opened = self._session(session)
        context = VISAEventContext(0)
        if not opened.events_enabled:
            return in_event_type, context, self.handle_return_value(session, StatusCode.error_not_enabled)
        if not opened.take_service_request():
            return in_event_type, context, self.handle_return_value(session, StatusCode.error_timeout)
        context = VISAEventContext(next(self._numbers))
        self._contexts[context] = EventType.service_request
        return EventType.service_request, context, self.handle_return_value(session, StatusCode.success)

    # What the handles stand for

    def _opened(self, session: int) -> SimulatedBench:
        if self._hold is None or session != self._manager:
            raise errors.InvalidSession
        return self._hold.bench

    def _session(self, session: int) -> VisaSession:
        try:
            return self._sessions[session]
        except KeyError:
            raise errors.InvalidSession from None

    def _admitted(self, session: int) -> VisaSession:
        """The session, unless another one's lock keeps it out."""
        opened = self._session(session)
        if not opened.locks.admits(session):
            self.handle_return_value(VISASession(session), StatusCode.error_resource_locked)
        return opened

    @staticmethod
    def _dynamic_attribute(opened: VisaSession, attribute: int) -> Any:
        if attribute == ResourceAttribute.resource_lock_state:
            return opened.locks.state
        if attribute == constants.VI_ATTR_ASRL_AVAIL_NUM:
            return opened.pending
        return opened.attributes[attribute]


def _lock_on_opening(opened: VisaSession, access_mode: constants.AccessModes, timeout: int) -> bool:
    if access_mode == constants.AccessModes.no_lock:
        return True
    return _lock(opened, constants.Lock(access_mode), timeout, None) is not None


def _lock(opened: VisaSession, kind: constants.Lock, timeout: int, key: str | None) -> str | None:
    """The key; empty for an exclusive lock, None where it cannot be had within `timeout` ms."""
    seconds = None if timeout == constants.VI_TMO_INFINITE else timeout / 1000
    if kind == constants.Lock.shared:
        return opened.locks.lock_shared(opened.number, seconds, key)
    return "" if opened.locks.lock_exclusive(opened.number, seconds) else None
