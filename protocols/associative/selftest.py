"""The protocol of the arithmetic self-test: truth tables in all states, random words on all rows, and a layer at will.

Words lie on tracks and at domains that are chosen by chance anew for every program, so that much of the array has its
turn. A result that is not numpy's is a mismatch: they are counted and not an error, as they are what is measured.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from labctl.array import Capability, Geometry, Scale
from labctl.associative import (
    ROLES,
    AssociativeArray,
    AssociativeGeometry,
    Execution,
    Load,
    Program,
    Read,
    Run,
    Table,
    instructions,
    planes_of,
    values_of,
    word_columns,
)
from labctl.compiler import TABLES, after
from labctl.errors import SettingsError
from labctl.protocols.associative.arithmetic import KINDS, operands, work
from labctl.protocols.associative.counting import COUNTER_VARIABLES, NOT_COUNTED, Counting
from labctl.protocols.associative.whole_layer import LayerRun, LayerSettings, run_on_all_rows
from labctl.steps import Cost, Procedure, Result, Step, Steps, Variable

_SCRATCH = "f"
"""The role of a column whose content is of no use after a table."""


class SelfTestSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """operations: how many on random words at least; whole rounds are done, one program of each kind on all rows.

    bits: of a word. kinds: which word operations of the compiler. layer: a ternary layer to be run as well, on random
    inputs. trace: record what every pass matched.
    """

    operations: int = 1_000_000
    bits: int = 8
    kinds: tuple[str, ...] = tuple(KINDS)
    layer: LayerSettings | None = None
    trace: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.operations <= 10**12:
            raise ValueError(f"operations must be 0 to 10^12, not {self.operations}")
        if not 2 <= self.bits <= 24:
            raise ValueError(f"bits must be 2 to 24, not {self.bits}")
        unknown = [each for each in self.kinds if each not in KINDS]
        if unknown or not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ValueError(f"kinds must be some of {', '.join(KINDS)}, each once, not {', '.join(self.kinds)}")


def _steps(
    array: AssociativeArray,
    settings: SelfTestSettings,
    rng: np.random.Generator,
    checkpoint: Mapping[str, NDArray[Any]] | None,
) -> Steps:
    test = _SelfTest(array, settings, rng, checkpoint)
    yield from test.tables()
    yield from test.arithmetic()
    yield from test.layer()
    return test.summary()


class _SelfTest:
    """A run under way: what is done of it so far.

    compared, wrong: (tables,) rows of each table. operations, mismatches, passes, seconds: (kinds,). wrong_bits:
    (kinds, bits of a result) how often each bit was not as it should be. of_layer: its sums, how many of them were
    wrong, and passes; layer_seconds: s of the board. taken: passes of all programs so far, and s of the board.
    """

    def __init__(
        self,
        array: AssociativeArray,
        settings: SelfTestSettings,
        rng: np.random.Generator,
        checkpoint: Mapping[str, NDArray[Any]] | None,
    ) -> None:
        self.array, self.settings, self.rng = array, settings, rng
        self.counting = Counting(array, checkpoint)
        kinds = len(settings.kinds)
        self.compared, self.wrong = np.zeros((2, len(TABLES)), np.int64)
        self.operations, self.mismatches, self.passes = np.zeros((3, kinds), np.int64)
        self.seconds = np.zeros(kinds)
        self.wrong_bits = np.zeros((kinds, settings.bits + 1), np.int64)
        self.of_layer, self.layer_seconds = np.zeros(3, np.int64), np.zeros(1)
        self.taken = np.zeros(2)
        if checkpoint is not None:
            for name in _KEPT:
                setattr(self, name, checkpoint[name].copy())

    # -- truth tables ---------------------------------------------------------------------------------------------

    def tables(self) -> Generator[Step, None, None]:
        """Every table of the compiler on every state of its columns; rows have the states in turn."""
        for number, table in enumerate(TABLES.values()):
            if self.compared[number]:
                continue  # before the run was resumed
            found = self._table(table)
            self.compared[number], self.wrong[number] = self._rows, found.wrong
            values = self._values(self._rows, found)
            yield Step("tables", values, progress=(number + 1, len(TABLES)), checkpoint=self._checkpoint())

    def _table(self, table: Table) -> _Compared:
        count = len(table.roles)
        if count > self._geometry.tracks:
            raise SettingsError(
                f"the truth tables take up to {ROLES} tracks, and this array has {self._geometry.tracks}"
            )
        states = np.arange(self._rows)[:, None] >> np.arange(count) & 1
        tracks = self.rng.permutation(self._geometry.tracks)[:count]
        columns = tracks * self._geometry.domains + self.rng.integers(self._geometry.domains, size=count)
        program = Program((table,), instructions([(0, 1, columns.tolist(), [0] * count)]), f"table {table.name}")
        ran, found = self._run(columns, planes_of(states, 1, self._rows), program, columns, 1)
        differs = (found != _expected(table, states)) & np.array([role != _SCRATCH for role in table.roles])
        return _Compared(int(np.count_nonzero(differs.any(axis=1))), program.passes, ran.seconds)

    # -- words ----------------------------------------------------------------------------------------------------

    def arithmetic(self) -> Generator[Step, None, None]:
        """Rounds of all kinds, until there are enough operations."""
        kinds = self.settings.kinds
        rounds = -(-self.settings.operations // (self._rows * len(kinds)))
        while (done := int(self.operations.sum()) // self._rows) < rounds * len(kinds):
            place = done % len(kinds)
            found = self._words(place)
            values = {"kind": place, **self._values(self._rows, found)}
            progress = (done + 1, rounds * len(kinds))
            yield Step("arithmetic", values, progress=progress, checkpoint=self._checkpoint())

    def _words(self, place: int) -> _Compared:
        """One program on random words of all rows."""
        name, bits = self.settings.kinds[place], self.settings.bits
        task = work(name, bits, self._geometry, self.rng)
        given = operands(name, bits, self._rows, task.signed, self.rng)
        loaded = [
            (word_columns(word.first, word.bits), planes_of(values[:, None], word.bits, self._rows))
            for word, values in zip(task.operands, given.T, strict=True)
        ]
        columns, planes = (np.concatenate(each) for each in zip(*loaded, strict=True))
        gives = word_columns(task.result.first, task.result.bits)
        ran, found = self._run(columns, planes, task.program, gives, task.result.bits)
        expected = KINDS[name].truth(*given.T).astype(np.int64)
        wrong = self._compare(place, found[:, 0], expected, task.result.bits)
        self.operations[place] += self._rows
        self.mismatches[place] += wrong
        self.passes[place] += task.program.passes
        self.seconds[place] += ran.seconds
        return _Compared(wrong, task.program.passes, ran.seconds)

    def _compare(self, place: int, found: NDArray[np.int64], expected: NDArray[np.int64], bits: int) -> int:
        """How many differ; their bits are counted."""
        differs = (found ^ expected) & (1 << bits) - 1
        self.wrong_bits[place, :bits] += (differs[:, None] >> np.arange(bits) & 1).sum(axis=0)
        return int(np.count_nonzero(differs))

    def _run(
        self, given: NDArray[Any], planes: NDArray[np.uint8], program: Program, gives: NDArray[Any], bits: int
    ) -> tuple[Execution, NDArray[np.int64]]:
        """Load, run and read; gives what the program took, and (rows, words) of what is read, unsigned."""
        actions = Load(given.astype(np.uint32), planes), Run(program, trace=self.settings.trace)
        _, ran, read = self.array.perform(*actions, Read(gives.astype(np.uint32)))
        return ran, values_of(read, bits, self._rows, signed=False)

    # -- a layer --------------------------------------------------------------------------------------------------

    def layer(self) -> Generator[Step, None, None]:
        """The layer of the settings, if there is one."""
        wanted = self.settings.layer
        if wanted is None or self.of_layer.any():
            return
        compiled = wanted.compile(self.array)
        found = run_on_all_rows(compiled, self.array, self.rng, trace=self.settings.trace)
        self.of_layer[:] = found.sums, found.wrong, found.passes
        self.layer_seconds[0] = found.seconds
        yield Step("layer", self._values(found.sums, found), progress=(1, 1), checkpoint=self._checkpoint())

    def _told_layer(self) -> dict[str, Any]:
        wanted = self.settings.layer
        if wanted is None:
            return {}
        sums, wrong, passes = self.of_layer.tolist()
        told = {"name": wanted.name, "inputs": wanted.ternary.inputs, "outputs": wanted.ternary.outputs, "sums": sums}
        return {"layer": {**told, "mismatches": wrong, "passes": passes, "board_seconds": float(self.layer_seconds[0])}}

    # -- what is recorded -----------------------------------------------------------------------------------------

    @property
    def _geometry(self) -> AssociativeGeometry:
        return self.array.associative

    @property
    def _widths(self) -> NDArray[np.int64]:
        """(kinds,) bits of a result."""
        return np.array([KINDS[name].widths(self.settings.bits)[-1] for name in self.settings.kinds])

    @property
    def _rows(self) -> int:
        return self.array.associative.rows

    def _values(self, compared: int, found: _Compared | LayerRun) -> dict[str, float | int]:
        """Of a step, of so many results; what its program took is added up."""
        self.taken += found.passes, found.seconds
        values = {"operations": compared, "mismatches": found.wrong, "passes": found.passes}
        return {**values, "board_seconds": found.seconds, **self.counting.step()}

    def _checkpoint(self) -> dict[str, NDArray[Any]]:
        return {**{name: getattr(self, name) for name in _KEPT}, **self.counting.state()}

    def summary(self) -> dict[str, Any]:
        """JSON values, and Results of their names."""
        names, bits = self.settings.kinds, np.arange(self.settings.bits + 1)
        columns = ("operations", "mismatches", "passes")
        kinds = {
            name: {column: int(getattr(self, column)[place]) for column in columns}
            | {"board_seconds": float(self.seconds[place])}
            for place, name in enumerate(names)
        }
        return {
            "operations": int(self.operations.sum()),
            "mismatches": int(self.mismatches.sum()),
            "tables": len(TABLES),
            "table_states": sum(1 << len(table.roles) for table in TABLES.values()),
            "table_rows": int(self.compared.sum()),
            "table_mismatches": int(self.wrong.sum()),
            "tables_wrong": [name for name, wrong in zip(TABLES, self.wrong, strict=True) if wrong],
            "bits": self.settings.bits,
            "rows": self._rows,
            "kinds": kinds,
            **self._told_layer(),
            "passes": int(self.taken[0]),
            "board_seconds": float(self.taken[1]),
            "counters": self.counting.total.as_values(),
            "bit": Result(bits, ("bit",), "bit of a result, from the lowest"),
            "wrong_bits": Result(
                np.where(bits < self._widths[:, None], self.wrong_bits, NOT_COUNTED),
                ("kind", "bit"),
                "how often the bit was wrong, -1 where a result has no such bit; kinds in their order",
            ),
        }


_KEPT = (
    "compared",
    "wrong",
    "operations",
    "mismatches",
    "passes",
    "seconds",
    "wrong_bits",
    "of_layer",
    "layer_seconds",
    "taken",
)
"""What of a self-test its checkpoints hold."""


@dataclass(frozen=True, slots=True)
class _Compared:
    """Of a program on all rows: rows that are wrong, passes, and s of the board."""

    wrong: int
    passes: int
    seconds: float


def _expected(table: Table, states: NDArray[np.int64]) -> NDArray[np.int64]:
    """(rows, roles) what `table` has to make of `states`."""
    each = np.arange(1 << len(table.roles))[:, None] >> np.arange(len(table.roles)) & 1
    truth = [list(after(table.name, dict(zip(table.roles, state, strict=True))).values()) for state in each.tolist()]
    found: NDArray[np.int64] = np.array(truth, np.int64)[states @ (1 << np.arange(len(table.roles)))]
    return found


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: SelfTestSettings) -> Cost:  # noqa: ARG001
    """It costs no pulses. Raises SettingsError where not every state of a table has a row of its own."""
    states = max(1 << len(table.roles) for table in TABLES.values())
    if geometry.rows < states:
        raise SettingsError(f"the truth tables have up to {states} states, and this array has {geometry.rows} rows")
    if settings.layer is not None:
        assert settings.layer.ternary.inputs
    return Cost(0, 0, {}, {}, {})


VARIABLES = (
    Variable("kind", "which of the kinds of operation, by its place in the settings", dtype="i2", fill=NOT_COUNTED),
    Variable("operations", "operations, or rows of a truth table, in this step", dtype="i8", fill=NOT_COUNTED),
    Variable("mismatches", "of these, how many came out otherwise than numpy's", dtype="i8", fill=NOT_COUNTED),
    Variable("passes", "passes of the programs of this step", dtype="i8", fill=NOT_COUNTED),
    Variable("board_seconds", "time of the board that they took", dtype="f8", unit="s"),
    *COUNTER_VARIABLES,
)

associative_selftest = Procedure(
    name="associative_selftest",
    title="Arithmetic on every row of an associative array, beside numpy's",
    settings=SelfTestSettings,
    phases=("tables", "arithmetic", "layer"),
    variables=VARIABLES,
    needs=Capability.ASSOCIATE,
    steps=_steps,
    plan=_plan,
    measurement="associative-selftest",
    checkpoints=True,
)
