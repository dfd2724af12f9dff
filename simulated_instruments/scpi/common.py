"""What every instrument answers: the mandatory common commands, SYSTem:ERRor, STATus and FORMat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .commands import Command, setting
from .errors import ScpiError
from .formatting import Answer, ArrayFormat
from .parameters import Keyword, Numeric
from .status import Register, StandardEvent

if TYPE_CHECKING:
    from .instrument import Instrument

SCPI_VERSION = "1999.0"

_BYTE = Numeric(integer=True, minimum=0, maximum=255)
_REGISTER = Numeric(integer=True, minimum=0, maximum=65535)


def common_commands(instrument: Instrument) -> list[Command]:
    """The commands that need nothing from the firmware but `instrument` itself."""
    return [
        *_ieee_488_2(instrument),
        *_system(instrument),
        Command("STATus:PRESet", set=instrument.status.preset),
        *_register("STATus:OPERation", instrument.status.operation),
        *_register("STATus:QUEStionable", instrument.status.questionable),
        *(each for name, own in instrument.status.own.items() for each in _register(f"STATus:{name}", own)),
        *([] if instrument.own_format else _format(instrument)),
    ]


def _ieee_488_2(instrument: Instrument) -> list[Command]:
    """Commands are carried out one by one and to their end, so `*OPC` and `*WAI` never have to wait."""
    status = instrument.status

    def complete() -> None:
        status.events |= StandardEvent.OPERATION_COMPLETE

    return [
        Command("*CLS", set=status.clear),
        _plain("*ESE", _BYTE, status, "event_enable"),
        Command("*ESR", query=status.take_events),
        Command("*IDN", query=lambda: ",".join(instrument.identity), indefinite=True),
        Command("*OPC", set=complete, query=lambda: 1),
        Command("*RST", set=instrument.reset),
        _plain("*SRE", _BYTE, status, "service_enable"),
        Command("*STB", query=instrument.status_byte),
        Command("*TST", query=instrument.self_test),
        Command("*WAI", set=lambda: None),
    ]


def _system(instrument: Instrument) -> list[Command]:
    errors = instrument.status.errors

    def take_all() -> str:
        taken = [errors.pop()]
        while len(errors):
            taken.append(errors.pop())
        return ",".join(taken)

    return [
        Command("SYSTem:ERRor[:NEXT]", query=errors.pop),
        Command("SYSTem:ERRor:COUNt", query=errors.__len__),
        Command("SYSTem:ERRor:ALL", query=take_all),
        Command("SYSTem:VERSion", query=lambda: SCPI_VERSION),
    ]


def _register(header: str, register: Register) -> list[Command]:
    return [
        Command(f"{header}[:EVENt]", query=register.take_event),
        Command(f"{header}:CONDition", query=lambda: register.condition),
        _plain(f"{header}:ENABle", _REGISTER, register, "enable"),
        _plain(f"{header}:PTRansition", _REGISTER, register, "positive_transition"),
        _plain(f"{header}:NTRansition", _REGISTER, register, "negative_transition"),
    ]


def _format(instrument: Instrument) -> list[Command]:
    settings = instrument.format

    def choose(kind: str, length: int | None = None) -> None:
        try:
            settings.data = _ARRAY_FORMATS[kind, length]
        except KeyError:
            raise ScpiError(-224, f"{kind} has no length {length}") from None

    def recall() -> Answer:
        return settings.data.value

    def set_order(word: str) -> None:
        settings.swapped = word == "SWAP"

    return [
        Command(
            "FORMat[:DATA]",
            set=choose,
            query=recall,
            parameters=(Keyword("ASCii", "REAL", "INTeger"), Numeric(integer=True, optional=True)),
        ),
        Command(
            "FORMat:BORDer",
            set=set_order,
            query=lambda: "SWAP" if settings.swapped else "NORM",
            parameters=(Keyword("NORMal", "SWAPped"),),
        ),
    ]


_ARRAY_FORMATS: dict[tuple[str, int | None], ArrayFormat] = {
    ("ASC", None): ArrayFormat.ASCII,
    ("ASC", 0): ArrayFormat.ASCII,
    ("REAL", None): ArrayFormat.REAL_64,
    ("REAL", 32): ArrayFormat.REAL_32,
    ("REAL", 64): ArrayFormat.REAL_64,
    ("INT", None): ArrayFormat.INT_16,
    ("INT", 16): ArrayFormat.INT_16,
}


def _plain(header: str, parameter: Numeric, owner: object, attribute: str) -> Command:
    """A mask: set and queried, without the MIN and MAX that a quantity's query understands."""
    stored = setting(header, parameter, owner, attribute)
    return Command(header, set=stored.set, query=stored.query, parameters=(parameter,))
