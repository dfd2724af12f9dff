"""What can go wrong, one class a kind, and what each kind can be told.

A fault that leaves something to chance (`at` which byte) is `settled` for the message it meets: then it says all of
it, and done again it does the same.
"""

from __future__ import annotations

import math
import random
from itertools import compress
from typing import Literal, Self

import msgspec

from labctl.links.blocks import Buffer

from .messages import header_of

Direction = Literal["to", "from"]
"""To the instrument, or from it."""


class Fault(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"
):
    """When a fault strikes. Just one of the four says so; messages to an instrument are counted from 1.

    probability: of each message. messages: their numbers. times: s on the instrument's clock since it was switched on.
    pulses: how many the chip has had since then. instruments: which of a bench; all where empty. most: how often it
    strikes at most.
    """

    probability: float | None = None
    messages: tuple[int, ...] = ()
    times: tuple[float, ...] = ()
    pulses: tuple[int, ...] = ()
    instruments: tuple[str, ...] = ()
    most: int | None = None

    def __post_init__(self) -> None:
        given = [self.probability is not None, bool(self.messages), bool(self.times), bool(self.pulses)]
        if sum(given) != 1:
            raise ValueError("say when it strikes: one of probability, messages, times and pulses")
        if self.probability is not None and not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be 0 to 1, not {self.probability:g}")
        if any(number < 1 for number in (*self.messages, *self.pulses)):
            raise ValueError("messages and pulses are counted from 1")
        if any(not 0 <= moment < math.inf for moment in self.times):
            raise ValueError("times are s from 0 on")
        if self.most is not None and self.most < 1:
            raise ValueError(f"most must be 1 or more, not {self.most}")

    @property
    def name(self) -> str:
        """Its `kind` in a plan."""
        return str(type(self).__struct_config__.tag)

    def at_message(self, number: int, instrument: str) -> Self:
        """The same fault of this one message alone."""
        return msgspec.structs.replace(
            self,
            probability=None,
            messages=(number,),
            times=(),
            pulses=(),
            instruments=(instrument,),
            most=None,
        )

    def settled(self, message: Buffer, chance: random.Random) -> Self | None:
        """With nothing left to chance, for `message`. None: there is nothing in it that this fault could meet."""
        del message, chance
        return self


class WireFault(Fault, frozen=True, kw_only=True):
    """What befalls a message on its way `to` the instrument, or the answer to it on the way `from` there."""

    direction: Direction = "from"


class Latency(WireFault, frozen=True, kw_only=True, tag="latency"):
    """`seconds` late on the wall clock, and up to `jitter` more."""

    seconds: float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.seconds <= 3600 and 0 <= self.jitter <= 3600):
            raise ValueError("seconds and jitter must be 0 to 3600")

    def settled(self, message: Buffer, chance: random.Random) -> Self:
        del message
        late = self.seconds + self.jitter * chance.random()
        return msgspec.structs.replace(self, seconds=late, jitter=0.0)


class Drop(WireFault, frozen=True, kw_only=True, tag="drop"):
    """Lost."""


class Duplicate(WireFault, frozen=True, kw_only=True, tag="duplicate"):
    """It comes twice."""


class _AtByte(WireFault, frozen=True, kw_only=True):
    at: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at is not None and self.at < 0:
            raise ValueError(f"at is the number of a byte from 0 on, not {self.at}")

    def settled(self, message: Buffer, chance: random.Random) -> Self:
        drawn = chance.randrange(len(message))
        return msgspec.structs.replace(self, at=min(drawn if self.at is None else self.at, len(message)))


class Truncate(_AtByte, frozen=True, kw_only=True, tag="truncate"):
    """The bytes from `at` on are lost; by chance where it is not said."""


class Close(_AtByte, frozen=True, kw_only=True, tag="close"):
    """The connection ends before byte `at`; by chance where it is not said."""


class Corrupt(WireFault, frozen=True, kw_only=True, tag="corrupt"):
    """`bytes` of the message arrive as others: those `at`, exclusive-ored with `flips`; by chance where not said.

    span: `header` meets only what says what a message is: of a command the text up to its first parameter, of an
    answer the `#` that a block begins with, of a frame its 16 bytes. That is where a command and its answer on a raw
    socket, which have no checksum, show that they have suffered.
    """

    bytes: int = 1
    at: tuple[int, ...] = ()
    flips: tuple[int, ...] = ()
    span: Literal["any", "header"] = "any"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bytes < 1:
            raise ValueError(f"bytes must be 1 or more, not {self.bytes}")
        if any(place < 0 for place in self.at):
            raise ValueError("at are numbers of bytes from 0 on")
        if self.flips and (len(self.flips) != len(self.at) or any(not 0 < flip < 256 for flip in self.flips)):
            raise ValueError("flips are numbers from 1 to 255, one for each of `at`")

    def settled(self, message: Buffer, chance: random.Random) -> Self | None:
        reach = len(message) if self.span == "any" else header_of(message)
        at = self.at or tuple(sorted(chance.sample(range(reach), min(self.bytes, reach))))
        flips = self.flips or tuple(chance.randrange(1, 256) for _ in at)
        within = [place < len(message) for place in at]
        at, flips = tuple(compress(at, within)), tuple(compress(flips, within))
        return msgspec.structs.replace(self, bytes=len(at), at=at, flips=flips, span="any") if at else None


class Hang(WireFault, frozen=True, kw_only=True, tag="hang"):
    """The board stops, before it carries the message out (`to`) or answers it (`from`), for everybody who talks to it:
    for `seconds`, or for good where they are not said. What came meanwhile it then carries out."""

    seconds: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seconds is not None and not 0 < self.seconds <= 3600:
            raise ValueError("seconds must be more than 0, and 3600 at most: leave them out for a board that is gone")


class Trickle(WireFault, frozen=True, kw_only=True, tag="trickle"):
    """It comes in pieces of `piece` bytes, `rate` bytes a second."""

    rate: float
    piece: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.rate > 0 and self.piece >= 1):
            raise ValueError("rate must be more than 0, and piece 1 or more")


class Reboot(WireFault, frozen=True, kw_only=True, tag="reboot"):
    """The board is switched off and on, before it carries the message out (`to`) or answers it (`from`).

    It loses its settings, its numbers and its connections, not its cells; `seconds` later it answers again.
    """

    seconds: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.seconds <= 3600:
            raise ValueError("seconds must be 0 to 3600")


class FullErrorQueue(Fault, frozen=True, kw_only=True, tag="full_error_queue"):
    """Errors that nobody caused fill the board's queue before the message is carried out."""


class Passing(Fault, frozen=True, kw_only=True):
    """What is wrong with a chip, from before a message is carried out and for `exchanges` of them; for good where they
    are not said."""

    exchanges: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.exchanges is not None and self.exchanges < 1:
            raise ValueError(f"exchanges must be 1 or more, not {self.exchanges}")


class AdcSaturation(Passing, frozen=True, kw_only=True, tag="adc_saturation"):
    """Every reading is the converter's highest code."""


class StuckColumns(Passing, frozen=True, kw_only=True, tag="stuck_columns"):
    """Every reading of a cell in `columns` is `code`."""

    columns: tuple[int, ...]
    code: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.columns or any(column < 0 for column in self.columns):
            raise ValueError("columns must be one or more numbers from 0 on")
        if not 0 <= self.code < 1 << 14:
            raise ValueError(f"code must be one of the converter's, 0 to {(1 << 14) - 1}, not {self.code}")


class TemperatureStep(Passing, frozen=True, kw_only=True, tag="temperature_step"):
    """The chip is `kelvin` warmer than it was."""

    kelvin: float


AnyFault = (
    Latency
    | Drop
    | Duplicate
    | Truncate
    | Close
    | Corrupt
    | Hang
    | Trickle
    | Reboot
    | FullErrorQueue
    | AdcSaturation
    | StuckColumns
    | TemperatureStep
)
