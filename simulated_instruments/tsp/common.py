"""What every instrument that runs scripts has: tables of its node, errors, status and time; the common commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..scpi.status import Register, StandardEvent
from .errors import SEVERITY
from .output import number_functions
from .tables import Attribute, Function, Numbered, Table, Value, constants, number, one_of, stored, text, whole

if TYPE_CHECKING:
    from .instrument import TspInstrument

_ARGUMENTS = 250
_LONGEST_DELAY = 100_000.0  # s
_STANDARD = constants(OPC=1, QYE=4, DDE=8, EXE=16, CME=32, URQ=64, PON=128)
_SUMMARY = constants(MSB=1, SSB=2, EAV=4, QSB=8, MAV=16, ESB=32, MSS=64, OSB=128)


def common_tables(instrument: TspInstrument) -> dict[str, Table | Function]:
    """By the names that scripts know them by."""
    node = local_node(instrument)
    return {
        **number_functions(instrument.format, instrument.send, _ARGUMENTS),
        "errorqueue": _error_queue(instrument),
        "status": instrument.status_table,
        "format": instrument.format.table,
        "localnode": node,
        "node": Numbered({1: node}),  # there is no other on its link
        "timer": _timer(instrument),
        "eventlog": _event_log(),
        "delay": Function(lambda seconds: instrument.spend(number(0, _LONGEST_DELAY)(seconds)), 1, 1),
        "reset": Function(lambda *_: instrument.reset(), 0, 1),
        "waitcomplete": Function(lambda *_: None, 0, 1),
        "opc": Function(instrument.complete),
        "exit": Function(instrument.exit),
    }


def local_node(instrument: TspInstrument) -> Table:
    maker, model, serial, firmware = instrument.identity
    return Table(
        {
            "model": model.removeprefix("Model ").removeprefix("MODEL "),
            "serialno": serial,
            "revision": firmware,
            "description": f"{maker} {model}",
            "linefreq": stored(instrument, "line_frequency", one_of(50, 60)),
            "prompts": stored(instrument, "prompts", one_of(0, 1)),
            "showerrors": stored(instrument, "show_errors", one_of(0, 1)),
            "reset": Function(lambda *_: instrument.reset(), 0, 1),
        }
    )


def _error_queue(instrument: TspInstrument) -> Table:
    errors = instrument.status.errors

    def take() -> tuple[int, str, int, int]:
        code, what = errors.take()
        return (code, what, SEVERITY, 1) if code else (0, "Queue Is Empty", 0, 1)

    return Table(
        {
            "next": Function(take),
            "count": Attribute(errors.__len__),
            "clear": Function(errors.clear),
        }
    )


def _timer(instrument: TspInstrument) -> Table:
    def restart() -> None:
        instrument.timer_started = instrument.now()

    measure = Table({"t": Function(lambda: instrument.now() - instrument.timer_started)})
    return Table({"reset": Function(restart), "measure": measure})


def _event_log() -> Table:
    """Of events of the LAN, of which there are none here."""

    class Log:
        enable = 1
        overwrite_method = 1

    log = Log()
    return Table(
        {
            "enable": stored(log, "enable", one_of(0, 1)),
            "overwritemethod": stored(log, "overwrite_method", one_of(0, 1)),
            "count": 0,
            "next": Function(lambda: None),
            "all": Function(lambda: None),
            "clear": Function(lambda: None),
            **constants(DISCARD_NEWEST=0, DISCARD_OLDEST=1),
        }
    )


def register_table(register: Register, members: dict[str, Value] | None = None) -> Table:
    """A register as scripts see it; `members` besides."""
    bits = whole(0, 0xFFFF)
    return Table(
        {
            "condition": Attribute(lambda: register.condition),
            "event": Attribute(register.take_event),
            "enable": stored(register, "enable", bits),
            "ptr": stored(register, "positive_transition", bits),
            "ntr": stored(register, "negative_transition", bits),
            **(members or {}),
        }
    )


def status_table(instrument: TspInstrument, members: dict[str, Value]) -> Table:
    """`status`, with the instrument's own registers in `members`."""
    status = instrument.status
    standard = Table(
        {
            "event": Attribute(status.take_events),
            "condition": Attribute(lambda: int(status.events)),
            "enable": stored(status, "event_enable", whole(0, 255)),
            **_STANDARD,
        }
    )
    return Table(
        {
            "condition": Attribute(instrument.status_byte),
            "request_enable": stored(status, "service_enable", whole(0, 255)),
            "node_enable": stored(instrument, "node_enable", whole(0, 255)),
            "reset": Function(status.preset),
            "standard": standard,
            "operation": register_table(status.operation),
            "questionable": register_table(status.questionable),
            **_SUMMARY,
            **members,
        }
    )


def display_table(instrument: TspInstrument, members: dict[str, Value]) -> Table:
    """`display`: what is written on it can be read again; its keys do nothing."""

    def clear() -> None:
        instrument.shown = ""

    def show(what: Value) -> None:
        instrument.shown += text(what)

    def nothing(*_: Value) -> None:
        """Cursor, keys: there is nobody who would see."""

    return Table(
        {
            "clear": Function(clear),
            "settext": Function(show, 1, 1),
            "gettext": Function(lambda *_: instrument.shown, 0, 4),
            "setcursor": Function(nothing, 2, 3),
            "sendkey": Function(nothing, 1, 1),
            "locallockout": stored(instrument, "lockout", one_of(0, 1)),
            **constants(UNLOCK=0, LOCK=1),
            **members,
        }
    )


def common_commands(instrument: TspInstrument) -> dict[str, Callable[[str], str | None]]:
    """IEEE 488.2's, each given what stands behind it; what it returns is the answer."""
    status = instrument.status

    def enable(name: str) -> Callable[[str], None]:
        return lambda given: setattr(status, name, whole(0, 255)(_number(given)))

    def reset(_: str) -> None:
        instrument.reset()

    def complete(_: str) -> None:
        status.events |= StandardEvent.OPERATION_COMPLETE

    def clear(_: str) -> None:
        status.clear()

    return {
        "*CLS": clear,
        "*ESE": enable("event_enable"),
        "*ESE?": lambda _: str(status.event_enable),
        "*ESR?": lambda _: str(status.take_events()),
        "*IDN?": lambda _: ", ".join(instrument.identity),
        "*OPC": complete,
        "*OPC?": lambda _: "1",
        "*RST": reset,
        "*SRE": enable("service_enable"),
        "*SRE?": lambda _: str(status.service_enable),
        "*STB?": lambda _: str(instrument.status_byte()),
        "*TRG": lambda _: None,
        "*TST?": lambda _: "0",
        "*WAI": lambda _: None,
    }


def _number(given: str) -> Value:
    try:
        return float(given)
    except ValueError:
        return given
