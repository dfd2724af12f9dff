"""A VISA session that says who waited for what, keeps the error queue empty and recovers its place after a time-out.

    with VisaLink("TCPIP0::127.0.0.1::5025::SOCKET", visa_library="@py", timeout_s=5) as link:
        link.query("*IDN?")
        codes, status = link.exchange(":READ:INDexed? 1,", cells)   # an array goes out and comes back as a block

Building a link touches no hardware; `connect` does.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from labctl.errors import InstrumentError, LinkClosedError, LinkError, LinkTimeoutError
from labctl.links.blocks import encode_header
from labctl.links.resources import ResourceManagers
from labctl.links.transports import Transport, open_transport
from labctl.links.units import parse_error, split_units

if TYPE_CHECKING:
    from types import TracebackType

    from numpy.typing import NDArray
    from pyvisa.resources import MessageBasedResource

    from labctl.links.wire_log import WireLog

Unit = "str | NDArray[np.uint8]"
_MAX_DRAINED = 32
_SHOWN = 60


class VisaLink:
    """One instrument on VISA, spoken to in IEEE 488.2 program messages.

    resource_name: canonical or not. visa_library: PyVISA's specification (`@py`, `bench.toml@labctl`, empty for what
    is installed). timeout_s: how long one exchange may take. error_query: the device's own word for "next error".
    """

    def __init__(
        self,
        resource_name: str,
        *,
        visa_library: str = "",
        timeout_s: float = 5.0,
        error_query: str = ":SYSTem:ERRor?",
        wire_log: WireLog | None = None,
        managers: ResourceManagers | None = None,
    ) -> None:
        self.resource_name = resource_name
        self.visa_library = visa_library
        self.timeout_s = timeout_s
        self.error_query = error_query
        self.wire_log = wire_log
        self.idn = ""
        self._managers = managers or ResourceManagers()
        self._resource: MessageBasedResource | None = None
        self._transport: Transport | None = None
        self._in_step = True  # no answer is outstanding and no message half sent
        self._last_sent = ""

    # -- life -------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the session and read `*IDN?`. Raises LinkError."""
        if self._transport is not None:
            return
        self._open()
        try:
            self.idn = self._ask_identity()
        except LinkError:
            self.close()
            raise

    def close(self) -> None:
        """Give the session back. May be called twice."""
        if self._resource is not None:
            self._close_session()
            self._managers.release(self.visa_library)

    def __enter__(self) -> VisaLink:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- traffic ----------------------------------------------------------------------------------------------

    def query(self, message: str, *, timeout_s: float | None = None) -> str:
        """One text answer to `message`, errors checked."""
        answer = self.exchange(message, timeout_s=timeout_s)
        if len(answer) != 1 or not isinstance(answer[0], str):
            raise InstrumentError(f"{self.resource_name}: {message} was not answered in one word", command=message)
        return answer[0]

    def write(self, message: str, *, timeout_s: float | None = None) -> None:
        """`message`, which asks nothing, errors checked."""
        self.exchange(message, timeout_s=timeout_s)

    def exchange(self, *parts: str | np.ndarray, timeout_s: float | None = None) -> list[Any]:
        """Send `parts` as one program message, arrays as definite-length blocks; return the answer's units.

        The error query rides on the same message, so that a refusal is known in the same crossing of the wire.
        A unit is text, or (n,) u8 for a block. Raises InstrumentError with the drained queue, LinkTimeoutError,
        LinkClosedError.
        """
        if not self._in_step:
            self.resynchronise()
        message = [*self._pieces(parts), f";{self.error_query}\n".encode("ascii")]
        try:
            units = self._converse(message, timeout_s)
        except LinkTimeoutError:
            self._raise_queued_error()
            raise
        error = parse_error(str(units.pop())) if units else (0, "")
        if error[0] != 0:
            self._refused(error)
        return units

    def resynchronise(self) -> list[tuple[int, str]]:
        """Find the place again after a time-out: late answers are thrown away, never taken for the next one.

        Clears the device where the interface can, else asks for the identity until it comes; where that fails the
        session is opened anew. Returns what stood in the error queue, which is then empty.
        """
        try:
            if not self._try_resynchronise():
                self._reopen()
        except LinkError as problem:
            raise type(problem)(f"{self.resource_name}: could not find its place again: {problem}") from None
        self._in_step = True
        return self._drain()

    # -- inside -----------------------------------------------------------------------------------------------

    def _open(self) -> None:
        resource = self._managers.open(self.visa_library, self.resource_name, self.timeout_s)
        self._resource = resource
        try:
            self._transport = open_transport(resource)
        except LinkError as problem:
            self.close()
            raise type(problem)(f"{self.resource_name}: {problem}") from None

    def _close_session(self) -> None:
        resource, self._resource, self._transport = self._resource, None, None
        with contextlib.suppress(Exception):  # a session that is already dead is closed enough
            resource.close()

    def _ask_identity(self) -> str:
        return str(self._converse([b"*IDN?\n"], None)[0])

    def _pieces(self, parts: tuple[str | np.ndarray, ...]) -> list[Any]:
        pieces: list[Any] = []
        for part in parts:
            if isinstance(part, str):
                pieces.append(part.encode("ascii"))
            else:
                block = np.ascontiguousarray(part)
                pieces += [encode_header(block.nbytes), block.data.cast("B") if block.size else b""]
        return pieces

    def _converse(self, message: list[Any], timeout_s: float | None) -> list[Any]:
        """Send and read the whole answer; leaves `_in_step` false unless both were complete."""
        if self._transport is None:
            raise LinkClosedError(f"{self.resource_name}: not connected")
        allowed = self.timeout_s if timeout_s is None else timeout_s
        started = time.monotonic()
        self._in_step = False
        self._last_sent = _shorten(message[0])
        if self.wire_log is not None:
            self.wire_log.sent(message)
        try:
            self._transport.send(message, started + allowed)
            units = self._read_units(self._transport, started + allowed)
        except LinkError as problem:
            waited = time.monotonic() - started
            raise type(problem)(
                f"{self.resource_name}: {problem} after {waited:.3g} s of {allowed:g} s, "
                f"waiting for the answer to {self._last_sent}"
            ) from None
        self._in_step = True
        return units

    def _read_units(self, transport: Transport, deadline: float) -> list[Any]:
        """The units of one response message: any blocks first, then text up to the newline."""
        units: list[Any] = []
        first = memoryview(bytearray(1))
        while True:
            transport.read_into(first, deadline)
            if first[0] != ord("#"):
                break
            units.append(self._read_block(transport, deadline))
            transport.read_into(first, deadline)
            if first[0] != ord(";"):
                return units
        line = bytes(first) if first[0] == ord("\n") else bytes(first) + transport.read_line(deadline)
        if self.wire_log is not None:
            self.wire_log.received(line + b"\n")
        return units + split_units(line.decode("latin-1"))

    def _read_block(self, transport: Transport, deadline: float) -> NDArray[np.uint8]:
        digit = memoryview(bytearray(1))
        transport.read_into(digit, deadline)
        width = digit[0] - ord("0")
        if not 1 <= width <= 9:
            raise LinkError(f"a block with header #{chr(digit[0])} has no definite length")
        size = memoryview(bytearray(width))
        transport.read_into(size, deadline)
        block = np.empty(int(bytes(size)), np.uint8)
        transport.read_into(block.data, deadline)
        if self.wire_log is not None:
            self.wire_log.received(b"#" + bytes(digit) + bytes(size) + block.tobytes() + b";")
        return block

    def _try_resynchronise(self) -> bool:
        if self._transport is None:
            return False
        deadline = time.monotonic() + self.timeout_s
        try:
            self._transport.discard(deadline)
            self._transport.send([b"*IDN?\n"], deadline)
            while self._transport.read_line(deadline).decode("latin-1") != self.idn:
                pass
        except LinkError:
            return False
        return True

    def _reopen(self) -> None:
        """A new session under the same manager: letting go of that would switch an in-process instrument off."""
        held = self._resource is not None
        if held:
            self._close_session()
        try:
            self._open()
        finally:
            if held:
                self._managers.release(self.visa_library)
        found = self._ask_identity()
        if found != self.idn:
            raise LinkError(f"{found!r} answers where {self.idn!r} was")

    def _drain(self) -> list[tuple[int, str]]:
        """The error queue, oldest first, at most `_MAX_DRAINED` deep."""
        errors: list[tuple[int, str]] = []
        while len(errors) < _MAX_DRAINED:
            number, text = parse_error(str(self._converse([f"{self.error_query}\n".encode("ascii")], None)[0]))
            if number == 0:
                break
            errors.append((number, text))
        return errors

    def _refused(self, first: tuple[int, str]) -> None:
        command = self._last_sent
        errors = [first, *self._drain()]
        listed = "; ".join(f'{number},"{text}"' for number, text in errors)
        raise InstrumentError(
            f"{self.resource_name}: the instrument refused {command}: {listed}", command=command, errors=errors
        )

    def _raise_queued_error(self) -> None:
        """After a time-out: if the instrument had refused the message, that is the better story."""
        command = self._last_sent
        try:
            errors = [error for error in self.resynchronise() if error[0] not in (-410, -420)]
        except LinkError:
            return
        if errors:
            listed = "; ".join(f'{number},"{text}"' for number, text in errors)
            raise InstrumentError(
                f"{self.resource_name}: the instrument refused {command}: {listed}", command=command, errors=errors
            )


def _shorten(first: bytes) -> str:
    text = first.decode("ascii", "replace").strip()
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
