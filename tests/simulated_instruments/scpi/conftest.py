"""A small instrument with one command of every kind, and short ways to talk to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from labctl.simulated_instruments.scpi import (
    Block,
    Boolean,
    ChannelList,
    Command,
    Exchange,
    Instrument,
    Keyword,
    Numeric,
    ScpiError,
    Text,
    quoted,
    setting,
)

settings.register_profile("unhurried", deadline=None)  # a busy machine is not a fault of what is tested
settings.load_profile("unhurried")


@dataclass
class Board:
    """The firmware's state, and what its handlers were called with."""

    width: float = 1e-7
    count: int = 1
    frequency: float = 1e3
    output: bool = False
    mode: str = "VOLT"
    label: str = ""
    answer: Any = 0
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    resets: int = 0
    test_result: int = 0

    def record(self, *arguments: Any) -> None:
        self.calls.append(arguments)

    def reset(self) -> None:
        self.resets += 1
        self.width = 1e-7

    def refuse(self) -> None:
        raise ScpiError(-221, "output is on")

    def fail(self) -> None:
        raise ScpiError(42, "Cell stuck")


def make_instrument(board: Board, **limits: int) -> Instrument:
    return Instrument(
        ("Maker", "Model", "serial", "1.0"),
        [
            setting(
                "[:SOURce]:PULSe:WIDTh",
                Numeric(unit="S", minimum=1e-8, maximum=1.0, default=1e-7),
                board,
                "width",
            ),
            setting("[:SOURce]:PULSe:COUNt", Numeric(integer=True, minimum=1, maximum=1000), board, "count"),
            setting("FREQuency", Numeric(unit="HZ"), board, "frequency"),
            setting("OUTPut[:STATe]", Boolean(), board, "output"),
            setting("FUNCtion", Keyword("VOLTage", "CURRent"), board, "mode"),
            setting("LABel", Text(max_length=100), board, "label"),
            Command("CHANnel<1:4>:LEVel<0:9>", set=board.record, query=lambda *numbers: numbers),
            Command("ROUTe:CLOSe", set=board.record, parameters=(ChannelList(maximum=99),)),
            Command("LIST", set=board.record, parameters=(Numeric(unit="V", repeat=True),)),
            Command("OPTional", set=board.record, parameters=(Numeric(), Numeric(optional=True))),
            Command("DATA:BYTes", set=board.record, parameters=(Block(),)),
            Command("DATA:CODes", set=board.record, parameters=(Numeric(), Block(dtype=np.uint16))),
            Command("KEEP", set=lambda codes: board.record(codes[1:].view(np.uint16)[::2]), parameters=(Block(),)),
            Command("FORGet", set=lambda _: None, parameters=(Block(),)),
            Command("ANSWer", query=lambda: board.answer),
            Command("ECHO", query=quoted, query_parameters=(Text(max_length=70000),)),
            Command("REFuse", set=board.refuse, query=board.refuse),
            Command("FAIL", set=board.fail),
            Command("CRASh", set=lambda: [][1]),
        ],
        on_reset=board.reset,
        self_test=lambda: board.test_result,
        **limits,
    )


class Client:
    """One connection, spoken to as a message-based transport does."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def send(self, message: str | bytes) -> None:
        data = message if isinstance(message, bytes) else message.encode("latin-1")
        self.exchange.write(data + b"\n", end=True)

    def receive(self) -> bytes:
        answer = bytearray()
        end = False
        while not end:
            data, end = self.exchange.read(1 << 20)
            assert data, "nothing to read"
            answer += data
        return bytes(answer)

    def ask(self, message: str | bytes) -> str:
        self.send(message)
        answer = self.receive()
        assert answer.endswith(b"\n")
        return answer[:-1].decode("latin-1")

    def errors(self) -> list[int]:
        """The numbers in the error queue, which is empty then."""
        numbers = []
        while (entry := self.ask("SYST:ERR?")) != '0,"No error"':
            numbers.append(int(entry.partition(",")[0]))
        return numbers


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def instrument(board: Board) -> Instrument:
    return make_instrument(board)


@pytest.fixture
def client(instrument: Instrument) -> Client:
    return Client(instrument.connect())
