"""The instruments that other people's software wants to see, on labctl's SCPI engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from labctl.links.blocks import Buffer
from labctl.simulated_instruments.scpi import Block, Boolean, Command, Instrument, Numeric, Text, quoted, setting
from labctl.simulated_instruments.scpi.exchange import Exchange


class EchoInstrument(Instrument):
    """What PyVISA's own tests want: RECEIVE, then a message of any bytes, which SEND gives back."""

    def __init__(self) -> None:
        super().__init__(
            ("labctl", "ECHO", "1", "1"), [Command("RECEIVE", set=self._receive), Command("SEND", set=self._send)]
        )
        self.is_receiving = False
        self.received = b""

    def connect(self, stream: bool = False) -> Exchange:
        return _EchoExchange(self, stream)

    def _receive(self) -> None:
        self.is_receiving, self.received = True, b""

    def _send(self) -> None:
        assert self.speaker is not None
        self.speaker._output.put([self.received])


class _EchoExchange(Exchange):
    """After RECEIVE what comes is kept as it is up to a newline, whatever the transport says of ends."""

    def _message(self, data: Buffer, begin: int, stop: int, beyond: int) -> int:
        echo: Any = self._instrument
        if not echo.is_receiving:
            return super()._message(data, begin, stop, beyond)
        self._framer.reset()
        echo.received += bytes(data[begin:beyond])
        echo.is_receiving = not echo.received.endswith(b"\n")
        return beyond


def rohde_schwarz() -> Instrument:
    """An instrument that RsInstrument takes for one of its maker's, with a number, a text and a trace."""
    state = _State()
    return Instrument(
        ("Rohde&Schwarz", "NRX", "1424.7005k02/101234", "02.70"),
        [
            Command("*OPT", query=lambda: quoted("K0")),
            setting("FREQuency", Numeric(unit="HZ", minimum=1.0, maximum=1e12), state, "frequency"),
            Command("TEXT", set=state.set_text, parameters=(Text(),), query=lambda: quoted(state.text)),
            Command("TRACe", set=state.set_trace, parameters=(Block(dtype=np.float32),), query=lambda: state.trace),
        ],
    )


def power_supply() -> Instrument:
    """A Rigol DP832 as far as sigrok asks it: three channels that measure what they are, and nothing to set."""
    chosen = [1]

    def choose(channel: int) -> None:
        chosen[0] = channel

    return Instrument(
        ("RIGOL TECHNOLOGIES", "DP832", "DP8A000001", "00.01.14"),
        [
            Command("INSTrument:NSELect", set=choose, parameters=(Numeric(integer=True, minimum=1, maximum=3),)),
            Command("MEASure[:SCALar]:VOLTage[:DC]", query=lambda: 1.5 * chosen[0]),
            Command("MEASure[:SCALar]:CURRent[:DC]", query=lambda: 0.25),
            Command("MEASure[:SCALar]:POWEr[:DC]", query=lambda: 0.375 * chosen[0]),
            Command("SYSTem:BEEPer:STATe", set=lambda _: None, query=lambda: False, parameters=(Boolean(),)),
            Command("SYSTem:REMote", set=lambda: None),
            Command("SYSTem:LOCal", set=lambda: None),
        ],
    )


class _State:
    def __init__(self) -> None:
        self.frequency = 1e6
        self.text = ""
        self.trace = np.linspace(-1, 1, 4001, dtype=np.float32)

    def set_text(self, text: str) -> None:
        self.text = text

    def set_trace(self, trace: np.ndarray) -> None:
        self.trace = trace.copy()
