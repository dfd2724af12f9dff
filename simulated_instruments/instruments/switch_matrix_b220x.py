"""A Keysight B2201A switching matrix in SCPI: 14 inputs, four cards of 12 outputs.

Channels are `(@CIIOO)`: card, input, output. In the automatic configuration the four cards are one, card 0, with
outputs 1 to 48; in the normal one they are cards 1 to 4 with outputs 1 to 12 each (the inputs of all are joined here).
Commands and reset states are those of the B2200A/B2201A user's guide (B2200-90010), from memory of it: not checked word
by word. Left out: light pen, set-ups in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..network import Device
from ..scpi import Answer, Boolean, ChannelList, Command, Instrument, Keyword, Numeric, ScpiError, Text
from .switch_matrix import Crosspoint, MatrixOptions, Relays

_INPUTS, _CARDS, _OUTPUTS = 14, 4, 12
_SETTLING = 10e-3  # s, of its relays, an estimate
_COUPLED = (1, 3, 5, 7, 9, 11, 13)
_NO_PORT = -1
_ALL = -1
_EVERY_OUTPUT = frozenset(range(1, _CARDS * _OUTPUTS + 1))


class _CardOrAll(Numeric):
    """The number of a card, or ALL, which arrives as _ALL."""

    def _named(self, name: str) -> float | int:
        return _ALL if name.upper() == "ALL" else Numeric._named(self, name)


_CARD = Numeric(integer=True, minimum=0, maximum=_CARDS)
_CARD_OR_ALL = _CardOrAll(integer=True, minimum=0, maximum=_CARDS)


@dataclass(slots=True)
class _Port:
    """An input that unconnected outputs may go to: the bias or the ground port. enabled: outputs that may."""

    number: int
    on: bool = False
    enabled: frozenset[int] = _EVERY_OUTPUT


@dataclass(slots=True)
class _Card:
    """rule: SROU (an input has one output, and an output one input) or FREE. sequence: NSEQ, BBM or MBBR."""

    rule: str = "SROU"
    sequence: str = "BBM"
    bias: _Port = field(default_factory=lambda: _Port(10))
    ground: _Port = field(default_factory=lambda: _Port(12))
    unused: tuple[int, ...] = ()
    coupling: bool = False
    coupled: tuple[int, ...] = ()


class KeysightB2201A:
    """The firmware."""

    def __init__(self, relays: Relays, serial: str) -> None:
        self._relays = relays
        self._reset()
        self.wire = Instrument(
            ("AGILENT TECHNOLOGIES", "B2201A", serial, "A.01.00"),
            [*self._routes(), *self._rules(), *self._ports("BIAS", "bias"), *self._ports("AGND", "ground")],
            on_reset=self._reset,
        )

    @classmethod
    def of(cls, options: MatrixOptions, device: Device) -> tuple[Relays, KeysightB2201A]:
        relays = Relays(_INPUTS, _CARDS * _OUTPUTS, device, _SETTLING, options.ground)
        return relays, cls(relays, options.serial)

    def _reset(self) -> None:
        self._automatic = True
        self._cards = {number: _Card() for number in range(_CARDS + 1)}
        self._closed: frozenset[Crosspoint] = frozenset()
        self._settle()

    # -- commands -------------------------------------------------------------------------------------------------

    def _routes(self) -> list[Command]:
        channels = ChannelList(minimum=0, maximum=99_999)
        return [
            Command("[:ROUTe]:CLOSe", set=self._close, query=self._is_closed, parameters=(channels,),
                    query_parameters=(channels,)),
            Command("[:ROUTe]:CLOSe:CARD", query=self._closed_of, query_parameters=(_CARD,)),
            Command("[:ROUTe]:OPEN[:LIST]", set=self._open, query=self._is_open, parameters=(channels,),
                    query_parameters=(channels,)),
            Command("[:ROUTe]:OPEN:CARD", set=self._open_card, parameters=(_CARD_OR_ALL,)),
            Command("[:ROUTe]:FUNCtion", set=self._configure, query=lambda: "ACON" if self._automatic else "NCON",
                    parameters=(Keyword("ACONfig", "NCONfig"),)),
        ]  # fmt: skip

    def _rules(self) -> list[Command]:
        return [
            self._setting("[:ROUTe]:CONNection:RULE", Keyword("FREE", "SROUte"), "rule"),
            self._setting("[:ROUTe]:CONNection:SEQuence", Keyword("NSEQ", "BBM", "MBBR"), "sequence"),
            self._setting("[:ROUTe]:COUPle[:STATe]", Boolean(), "coupling"),
            self._listing("[:ROUTe]:COUPle:PORT", "coupled", _COUPLED),
            Command("[:ROUTe]:COUPle:PORT:DETect", set=lambda: None),  # no Kelvin cables are there to be found
            self._listing("[:ROUTe]:AGND:UNUSED", "unused", tuple(range(1, 9))),
        ]

    def _ports(self, word: str, name: str) -> list[Command]:
        """Of the bias or the ground port."""
        channels = ChannelList(minimum=0, maximum=99_999)

        def port(card: int) -> _Port:
            found: _Port = getattr(self._card(card), name)
            return found

        def set_number(card: int, number: int) -> None:
            port(card).number = number
            self._settle()

        def set_state(card: int, on: bool) -> None:
            port(card).on = on
            self._settle()

        def enable(given: tuple[int, ...], on: bool) -> None:
            for card, point in self._points(given):
                chosen = port(card)
                chosen.enabled = chosen.enabled | {point[1]} if on else chosen.enabled - {point[1]}
            self._settle()

        def enable_card(card: int, on: bool) -> None:
            port(card).enabled = self._outputs(card) if on else frozenset()
            self._settle()

        number = Numeric(integer=True, minimum=_NO_PORT, maximum=_INPUTS)
        return [
            Command(f"[:ROUTe]:{word}[:STATe]", set=set_state, query=lambda card: port(card).on,
                    parameters=(_CARD, Boolean()), query_parameters=(_CARD,)),
            Command(f"[:ROUTe]:{word}:PORT", set=set_number, query=lambda card: port(card).number,
                    parameters=(_CARD, number), query_parameters=(_CARD,)),
            Command(f"[:ROUTe]:{word}:CHANnel:ENABle[:LIST]", set=lambda given: enable(given, True),
                    parameters=(channels,)),
            Command(f"[:ROUTe]:{word}:CHANnel:DISable[:LIST]", set=lambda given: enable(given, False),
                    parameters=(channels,)),
            Command(f"[:ROUTe]:{word}:CHANnel:ENABle:CARD", set=lambda card: enable_card(card, True),
                    parameters=(_CARD,)),
            Command(f"[:ROUTe]:{word}:CHANnel:DISable:CARD", set=lambda card: enable_card(card, False),
                    parameters=(_CARD,)),
        ]  # fmt: skip

    def _setting(self, header: str, parameter: Keyword | Boolean, name: str) -> Command:
        def store(card: int, value: object) -> None:
            setattr(self._card(card), name, value)
            self._settle()

        def recall(card: int) -> Answer:
            found: Answer = getattr(self._card(card), name)
            return found

        return Command(header, set=store, query=recall, parameters=(_CARD, parameter), query_parameters=(_CARD,))

    def _listing(self, header: str, name: str, allowed: tuple[int, ...]) -> Command:
        """A list of inputs in a string: `'1, 3, 5'`."""

        def store(card: int, given: str) -> None:
            words = [word.strip() for word in given.split(",") if word.strip()]
            if not all(word.isdigit() and int(word) in allowed for word in words):
                raise ScpiError(-224, given)
            setattr(self._card(card), name, tuple(sorted({int(word) for word in words})))
            self._settle()

        def recall(card: int) -> Answer:
            return f"'{','.join(map(str, getattr(self._card(card), name)))}'"

        return Command(header, set=store, query=recall, parameters=(_CARD, Text()), query_parameters=(_CARD,))

    # -- cards and channels ---------------------------------------------------------------------------------------

    def _card(self, number: int) -> _Card:
        """Raises ScpiError where the configuration has no such card."""
        if (number == 0) != self._automatic:
            raise ScpiError(-222, f"there is no card {number} in this configuration")
        return self._cards[number]

    def _outputs(self, card: int) -> frozenset[int]:
        """Of all cards' outputs, those of this one."""
        self._card(card)
        first = (card - 1) * _OUTPUTS
        return _EVERY_OUTPUT if card == 0 else frozenset(range(first + 1, first + _OUTPUTS + 1))

    def _card_of(self, output: int) -> int:
        return 0 if self._automatic else (output - 1) // _OUTPUTS + 1

    def _points(self, channels: tuple[int, ...]) -> list[tuple[int, Crosspoint]]:
        """Each channel's card and crosspoint. Raises ScpiError."""
        found = []
        for channel in channels:
            card, rest = divmod(channel, 10_000)
            number, output = divmod(rest, 100)
            self._card(card)
            last = _CARDS * _OUTPUTS if card == 0 else _OUTPUTS
            if not (1 <= number <= _INPUTS and 1 <= output <= last):
                raise ScpiError(-222, f"there is no channel {channel:05d}")
            found.append((card, (number, output if card == 0 else (card - 1) * _OUTPUTS + output)))
        return found

    def _name(self, point: Crosspoint) -> str:
        card = self._card_of(point[1])
        return f"{card}{point[0]:02d}{point[1] if card == 0 else (point[1] - 1) % _OUTPUTS + 1:02d}"

    # -- switching ------------------------------------------------------------------------------------------------

    def _close(self, channels: tuple[int, ...]) -> None:
        for card, point in self._points(channels):
            chosen = self._cards[card]
            points = frozenset(self._with_coupled(chosen, point))
            kept = self._closed
            if chosen.rule == "SROU":
                taken = {each for each in kept if any(each[0] == p[0] or each[1] == p[1] for p in points)}
                kept -= taken - points
            if chosen.sequence == "BBM" and kept != self._closed:
                self._settle(kept)
            elif chosen.sequence == "MBBR" and kept != self._closed:
                self._settle(self._closed | points)
            self._settle(kept | points)

    def _open(self, channels: tuple[int, ...]) -> None:
        opened = {p for card, point in self._points(channels) for p in self._with_coupled(self._cards[card], point)}
        self._settle(self._closed - opened)

    def _open_card(self, card: int) -> None:
        outputs = _EVERY_OUTPUT if card == _ALL else self._outputs(card)
        self._settle(frozenset(point for point in self._closed if point[1] not in outputs))

    def _configure(self, word: str) -> None:
        """Another configuration begins with everything open."""
        if (word == "ACON") != self._automatic:
            self._automatic = word == "ACON"
            self._settle(frozenset())

    def _with_coupled(self, card: _Card, point: Crosspoint) -> list[Crosspoint]:
        """`point`, and of a coupled pair of inputs also the other one, on the neighbouring output."""
        first, output = (point[0] - 1) // 2 * 2 + 1, (point[1] - 1) // 2 * 2 + 1
        if not (card.coupling and first in card.coupled):
            return [point]
        return [(first, output), (first + 1, output + 1)]

    def _settle(self, closed: frozenset[Crosspoint] | None = None) -> None:
        """Close exactly these (None: those that are), and what the bias and ground ports add."""
        if closed is not None:
            self._closed = closed
        added, joined = set(), set()
        taken, used = {point[1] for point in self._closed}, {point[0] for point in self._closed}
        for output in _EVERY_OUTPUT - taken:
            card = self._cards[self._card_of(output)]
            port = next((p for p in (card.bias, card.ground) if p.on and output in p.enabled), None)
            if port is not None and port.number != _NO_PORT:
                added.add((port.number, output))
        for number in [0] if self._automatic else range(1, _CARDS + 1):
            card = self._cards[number]
            if card.ground.on and card.ground.number != _NO_PORT:
                joined |= {(each, card.ground.number) for each in card.unused if each not in used}
        self._relays.switch(self._closed | added, joined)

    # -- what is so -----------------------------------------------------------------------------------------------

    def _is_closed(self, channels: tuple[int, ...]) -> Answer:
        return ",".join(str(int(point in self._closed)) for _, point in self._points(channels))

    def _is_open(self, channels: tuple[int, ...]) -> Answer:
        return ",".join(str(int(point not in self._closed)) for _, point in self._points(channels))

    def _closed_of(self, card: int) -> Answer:
        outputs = self._outputs(card)
        return f"(@{','.join(self._name(point) for point in sorted(self._closed) if point[1] in outputs)})"
