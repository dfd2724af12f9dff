"""What an associative chip is like: shift errors, margin of its searches, yield of its writes and reads, retention.

One run does the kinds that it is asked for, one after another. Columns and tracks that it uses are overwritten.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any, Literal

import msgspec
import numpy as np

from labctl.array import Capability, Geometry, Scale
from labctl.associative import AssociativeArray, Configure
from labctl.protocols.associative import bit_retention, search_margin, shift_errors, write_yield
from labctl.protocols.associative.bit_retention import BitRetentionSettings
from labctl.protocols.associative.counting import COUNTER_VARIABLES, Counting
from labctl.protocols.associative.search_margin import SearchMarginSettings
from labctl.protocols.associative.shift_errors import ShiftErrorSettings
from labctl.protocols.associative.write_yield import WriteYieldSettings
from labctl.steps import Cost, Procedure, Result, Step, Steps, StopRequested

Kind = Literal["shift-errors", "search-margin", "write-yield", "retention"]


class CharacterisationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """kinds: what is measured, in this order; a table of settings each. sense_threshold, verify_every: the board's,
    while nothing else is measured than what they are about, and in the end.
    """

    kinds: tuple[Kind, ...] = ("shift-errors", "search-margin", "write-yield", "retention")
    shift_errors: ShiftErrorSettings = ShiftErrorSettings()
    search_margin: SearchMarginSettings = SearchMarginSettings()
    write_yield: WriteYieldSettings = WriteYieldSettings()
    retention: BitRetentionSettings = BitRetentionSettings()
    sense_threshold: float = 0.5
    verify_every: int = 1

    def __post_init__(self) -> None:
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ValueError("kinds must be one or more, each once")
        if self.verify_every < 0:
            raise ValueError(f"verify_every must not be negative, not {self.verify_every}")


def _steps(array: AssociativeArray, settings: CharacterisationSettings, rng: np.random.Generator) -> Steps:
    counting = Counting(array)
    found: dict[str, Any] = {}
    done: list[str] = []
    kept = Configure(settings.sense_threshold, settings.verify_every)
    if "shift-errors" in settings.kinds:
        shift_errors.check(settings.shift_errors, array.associative)
    with contextlib.suppress(StopRequested):  # the kinds that are done are a measurement too
        for kind in settings.kinds:
            found |= yield from _measuring(kind, array, settings, counting, rng)
            done.append(kind)
            array.perform(kept)
    with contextlib.suppress(StopRequested):
        array.perform(kept)
        yield Step("done", counting.step())
    return {"kinds": done, "counters": counting.total.as_values(), **found}


def _measuring(
    kind: Kind,
    array: AssociativeArray,
    settings: CharacterisationSettings,
    counting: Counting,
    rng: np.random.Generator,
) -> Generator[Step, None, dict[str, Result]]:
    match kind:
        case "shift-errors":
            return shift_errors.measure(array, settings.shift_errors, counting)
        case "search-margin":
            return search_margin.measure(array, settings.search_margin, counting, rng)
        case "write-yield":
            return write_yield.measure(array, settings.write_yield, counting, rng)
        case "retention":
            return bit_retention.measure(array, settings.retention, counting, rng)


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: CharacterisationSettings) -> Cost:  # noqa: ARG001
    """No voltage is of choice."""
    return Cost(0, 0, {}, {}, {})


associative_characterisation = Procedure(
    name="associative_characterisation",
    title="Characterisation of an associative chip",
    settings=CharacterisationSettings,
    phases=("shift_errors", "search_margin", "write_yield", "retention", "done"),
    variables=(
        *COUNTER_VARIABLES,
        *shift_errors.VARIABLES,
        *search_margin.VARIABLES,
        *write_yield.VARIABLES,
        *bit_retention.VARIABLES,
    ),
    needs=Capability.ASSOCIATE,
    steps=_steps,
    plan=_plan,
    measurement="associative-characterisation",
)
