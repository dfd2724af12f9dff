"""One connection's exchange of messages: bytes in, commands carried out, answers out, and the -400 errors.

Two kinds of transport carry messages. One marks ends and is asked to talk (GPIB, USB, HiSLIP): a new
message interrupts an answer that was not read (-410), and reading with nothing to say is an error (-420).
The other is a plain stream (raw socket, serial port), on which an instrument sees neither: answers follow
one another.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from labctl.links.blocks import Buffer

from .commands import Command, KnownUnit, convert
from .errors import ScpiError
from .formatting import Answer, Array, Response, Segment
from .framing import INCOMPLETE, Framer
from .input_buffer import InputBuffer
from .lexer import Element, Unit, units
from .output_queue import OutputQueue
from .parameters import Parameter
from .service import Serviced

if TYPE_CHECKING:
    from .instrument import Instrument

_BLANK = re.compile(rb"[\x00-\x20]*+")
_LITTLE = 16 * 1024  # bytes
_SENT_AHEAD = 64 * 1024  # a stream's answers that may wait before the next message of the stream does


class Exchange(Serviced):
    """Made by `Instrument.connect`. Its buffers are its own; status and settings are the instrument's."""

    def __init__(self, instrument: Instrument, stream: bool) -> None:
        super().__init__(instrument.status, instrument.lock)
        self._instrument = instrument
        self._stream = stream
        self._input = InputBuffer()
        self._output = OutputQueue()
        self._framer = Framer(instrument.text_limit, instrument.block_limit, end_flag=not stream)
        self._path = instrument.tree.root
        self._response: Response | None = None
        self._lent: list[weakref.ref[Array]] = []

    def write(self, data: Buffer, end: bool = False) -> None:
        """Take a fragment and carry out the messages it completes. `end`: the transport's END came with it.

        What is whole in `bytes`, which cannot change, is executed in place; the rest is copied once.
        """
        with self._instrument.lock:
            if type(data) is not bytes or len(self._input):
                self._input.append(data, self._expected)
                self._run_input(end)
                return
            begin, scanned = self._run(data, 0, 0, len(data), end)
            if begin < len(data):
                self._input.append(memoryview(data)[begin:], self._expected)
                self._input.scanned = scanned - begin

    def writable(self) -> memoryview:
        """Memory to receive into, with room for the block that is arriving. `received` says how much came.

        For servers: the bytes go from the socket to where the handler's array looks at them, uncopied.
        """
        return self._input.room(self._expected)

    def received(self, count: int, end: bool = False) -> None:
        """`count` bytes were put into `writable()`: carry out the messages they complete."""
        with self._instrument.lock:
            self._input.received(count)
            self._run_input(end)

    @property
    def pending(self) -> int:
        """Bytes that wait to be read."""
        return self._output.pending

    @property
    def message_available(self) -> bool:
        """The status byte's MAV: an answer waits, or stands earlier in the message being executed."""
        return self._output.pending > 0 or bool(self._response)

    def read(self, size: int, until: int | None = None) -> tuple[Segment, bool]:
        """Up to `size` bytes of the answer, and whether they end it; `(b"", False)` with nothing to say.

        `until`: a byte that ends the reading where it stands, as VISA's termination character does. A
        transport that marks ends gets -420 with nothing to say, and loses what it sent of an unfinished
        message.
        """
        with self._instrument.lock:
            if not self._output.pending:
                if not self._stream:
                    self._forget_input()
                    self._report(ScpiError(-420))
                return b"", False
            data = self._output.take(size, until)
            end = not self._output.pending
            self._catch_up()
            return data, end

    def take(self) -> list[Segment]:
        """Everything a stream has to send, as pieces that are not copied; an empty list once that is all.

        Ask again after sending: messages that waited for their predecessors' answers to leave run meanwhile.
        """
        with self._instrument.lock:
            segments = self._output.take_all()
            self._catch_up()
            return segments

    def clear(self) -> None:
        """Device clear: what was sent and not carried out, and what was answered and not read, is dropped."""
        with self._instrument.lock:
            self._forget_input()
            self._output.clear()
            self._update_request()

    def interrupt(self) -> None:
        """What was given out was not read, says the transport, and a new message has come: -410."""
        with self._instrument.lock:
            self._report(ScpiError(-410))

    @property
    def backlog(self) -> int:
        """Bytes of a stream's messages that wait for their predecessors' answers to leave."""
        return len(self._input) if self._is_ahead else 0

    @property
    def _expected(self) -> int:
        return 0 if self._framer.overrun else self._framer.expected

    def _run_input(self, end: bool = False) -> None:
        """A little is copied: `bytes` are looked at more quickly, and who keeps a view of them leaves us our memory."""
        waiting = self._input
        if len(waiting) <= _LITTLE:
            start = waiting.start
            data = bytes(waiting.memory[start : waiting.stop])
            begin, scanned = self._run(data, 0, waiting.scanned - start, len(data), end)
            waiting.consumed(start + begin, start + scanned)
            return
        try:
            waiting.consumed(*self._run(waiting.memory, waiting.start, waiting.scanned, waiting.stop, end))
        finally:
            if any(array() is not None for array in self._lent):
                waiting.leave()

    def _run(self, data: Buffer, begin: int, scanned: int, stop: int, end: bool) -> tuple[int, int]:
        """Carry out the messages of `data[begin:stop]`, in which none ends before `scanned`.

        Returns where what is left begins, and up to where it is scanned. Should a handler fail, all input is
        dropped, so that nothing is ever carried out twice.
        """
        framer = self._framer
        self._lent.clear()
        try:
            while scanned < stop and not self._is_ahead:
                found = framer.scan(data, scanned, stop)
                scanned = stop if found == INCOMPLETE else found
                if found != INCOMPLETE:
                    begin = self._message(data, begin, found - 1, found)
            if end and (begin < stop or framer.overrun):
                newline = framer.open_ended and stop > begin and data[stop - 1] == 0x0A
                begin = self._message(data, begin, stop - newline, stop)
        except BaseException:
            self._forget_input()
            raise
        return (scanned if framer.overrun else begin), scanned

    def _message(self, data: Buffer, begin: int, stop: int, beyond: int) -> int:
        """Carry out the message `data[begin:stop]`; returns `beyond`, where the next one begins."""
        overrun = self._framer.overrun
        self._framer.reset()
        if overrun:
            self._report(overrun)
        elif not _BLANK.fullmatch(data, begin, stop):
            self._execute(data, begin, stop)
        return beyond

    def _execute(self, data: Buffer, begin: int, stop: int) -> None:
        instrument = self._instrument
        if self._output.pending and not self._stream:
            self._output.clear()
            self._report(ScpiError(-410))
        instrument.speaker = self
        instrument.on_message()
        self._path = instrument.tree.root
        self._response = Response(instrument.format)
        parsed = units(data, begin, stop, instrument.forgiving)
        while self._next_unit(parsed):
            pass
        if self._response:
            self._output.put(self._response.finish())
        self._response = None
        self._update_request()

    def _next_unit(self, parsed: Iterator[Unit]) -> bool:
        """Carry out one unit. False where the message ends, or cannot be understood or answered further."""
        unit = None
        try:
            unit = next(parsed, None)
            if unit is None:
                return False
            self._perform(unit)
        except ScpiError as error:
            if unit is not None and error.number < 0 and not error.detail:
                error = ScpiError(error.number, unit.header)
            self._report(error)
            self._instrument.on_refusal()
            return not error.ends_message
        self._update_request()  # now, as a reason may go and come again within one message
        return True

    def _perform(self, unit: Unit) -> None:
        known = self._instrument.known(unit.text)
        if known is not None:
            self._perform_known(known, unit)
            return
        command, suffixes, self._path = self._instrument.tree.resolve(self._path, unit.header)
        if unit.is_query and command.query is not None:
            self._answer(command.query, (*suffixes, *self._arguments(command.query_parameters, unit.elements)), command)
        elif not unit.is_query and command.set is not None:
            command.set(*suffixes, *self._arguments(command.parameters, unit.elements))
        else:
            raise ScpiError(-113)

    def _perform_known(self, known: KnownUnit, unit: Unit) -> None:
        command, self._path = known.command, known.path
        arguments = known.arguments
        if known.parameters or len(unit.elements) > known.converted:
            arguments = (*arguments, *self._arguments(known.parameters, unit.elements[known.converted :]))
        if not known.is_query:
            assert command.set is not None
            command.set(*arguments)
        else:
            assert command.query is not None
            self._answer(command.query, arguments, command)

    def _arguments(self, parameters: Sequence[Parameter], elements: Sequence[Element]) -> list[Any]:
        arguments = convert(parameters, elements, self._instrument.format)
        self._lent += [weakref.ref(argument) for argument in arguments if isinstance(argument, np.ndarray)]
        return arguments

    def _answer(self, query: Callable[..., Answer], arguments: tuple[Any, ...], command: Command) -> None:
        response = self._response
        assert response is not None  # units are only carried out within a message
        if response.indefinite:
            raise ScpiError(-440)
        response.add(query(*arguments))
        response.indefinite = command.indefinite
        if response.size > self._instrument.output_limit:
            self._response = Response(self._instrument.format)
            raise ScpiError(-430, f"an answer of more than {self._instrument.output_limit} bytes")

    @property
    def _is_ahead(self) -> bool:
        return self._stream and self._output.pending >= _SENT_AHEAD

    def _catch_up(self) -> None:
        """Carry out what waited for answers to leave, now that some have."""
        if len(self._input) and not self._is_ahead:
            self._run_input()
        self._update_request()

    def _forget_input(self) -> None:
        self._framer.reset()
        self._input.clear()
        self._response = None
