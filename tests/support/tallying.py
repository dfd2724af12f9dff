"""A protocol of an associative array: each round copies random words on the chip, reads them back and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.array import Capability, Geometry, Scale
from labctl.associative import (
    AssociativeArray,
    Check,
    Configure,
    Load,
    Pass,
    Program,
    Read,
    ReadTags,
    Run,
    Search,
    SetTags,
    Shift,
    Table,
    Write,
    instructions,
    planes_of,
    values_of,
    word_columns,
)
from labctl.steps import Cost, Procedure, Result, Step, Steps, StopRequested, Variable

BITS = 4
COPY = Table("copy", "ad", (Pass("--", "-0"), Pass("1-", "-1")))


class TallySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """every: rounds from one checkpoint to the next. trace: record every pass."""

    rounds: int = 6
    every: int = 2
    trace: bool = False


def program(array: AssociativeArray) -> Program:
    """Copies a word of `BITS` from the first track to the second."""
    domains = array.associative.domains
    return Program((COPY,), instructions([(0, BITS, (0, domains), (1, 1))]), "copy")


def plan(geometry: Geometry, dac: Scale, adc: Scale, settings: TallySettings) -> Cost:  # noqa: ARG001
    return Cost(max_pulses=0, max_reads=0, amplitudes={}, gates={}, widths={})


def steps(
    array: AssociativeArray,
    settings: TallySettings,
    rng: np.random.Generator,
    checkpoint: Mapping[str, NDArray[Any]] | None,
) -> Steps:
    rows, copy = array.associative.rows, program(array)
    source, target = word_columns([0], BITS), word_columns([array.associative.domains], BITS)
    tags = np.zeros(array.associative.row_bytes, np.uint8)
    array.perform(Configure(sense_threshold=0.5), Configure(verify_every=4))
    sums = [] if checkpoint is None else checkpoint["sums"].tolist()
    wrong = 0
    try:
        for number in range(len(sums), settings.rounds):
            drawn = rng.integers(0, 1 << BITS, (rows, 1))
            array.perform(Load(source, planes_of(drawn, BITS, rows)), Shift(2, 1), SetTags(tags))
            (execution,) = array.perform(Run(copy, settings.trace))
            found, odd, _ = array.perform(
                Search(source[:1], np.ones(1, np.uint8)), ReadTags(), Write(target[:0], np.zeros(0, np.uint8))
            )
            (planes,) = array.perform(Read(target))
            array.perform(Check(np.arange(2, dtype=np.uint16)))
            array.perform(Shift(2, -1))
            wrong += int(np.count_nonzero(values_of(planes, BITS, rows, signed=False) != drawn))
            assert found == np.unpackbits(odd, bitorder="little").sum() == (drawn & 1).sum()
            sums.append(int(drawn.sum()))
            done = {"sums": np.array(sums)}
            yield Step(
                "tally",
                {"sum": sums[-1], "matches": execution.counters.matches, "wrong": wrong},
                progress=(number + 1, settings.rounds),
                checkpoint=done if (number + 1) % settings.every == 0 else None,
            )
    except StopRequested:
        array.perform(SetTags(tags))
        yield Step("end")
        return {"rounds": len(sums)}
    return {"rounds": len(sums), "wrong": wrong, "sums": Result(np.array(sums), ("round",), "sum of what was drawn")}


def sums_of(seed: int, rounds: int, rows: int) -> list[int]:
    """What a run with this `seed` draws, however often it was interrupted."""
    rng = np.random.default_rng(seed)
    return [int(rng.integers(0, 1 << BITS, (rows, 1)).sum()) for _ in range(rounds)]


TALLY = Procedure(
    name="tally",
    title="Copy words, and count them",
    settings=TallySettings,
    phases=("tally", "end"),
    variables=(
        Variable("sum", "sum of what was drawn", dtype="u4"),
        Variable("matches", "rows tagged", dtype="u4"),
        Variable("wrong", "words that differ", dtype="u4"),
    ),
    needs=Capability.ASSOCIATE,
    steps=steps,
    plan=plan,
    checkpoints=True,
)


def steps_without(*given: Any) -> Steps:
    summary = yield from (replace(step, checkpoint=None) for step in steps(*given, None))
    return summary or {}


WITHOUT_CHECKPOINTS = replace(TALLY, checkpoints=False, steps=steps_without)
