"""What is compiled and what comes of it: a ternary layer, the compiler's options, stages and a compiled layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from labctl.associative import AssociativeGeometry, Counters, Program
from labctl.compiler.counting import Heads, counters_of_stage
from labctl.errors import UsageError


class CompileError(UsageError):
    """A layer cannot be compiled for an array."""


@dataclass(frozen=True)
class TernaryLayer:
    """A matrix of -1, 0 and 1, (outputs * pool, inputs) i8, on whole numbers of `input_bits`.

    Result o is the greatest of the sums of rows o * pool to o * pool + pool - 1, and no less than 0 with `relu`.
    channel: how many consecutive inputs make one input channel (of a convolution: its kernel's or patch's size).
    """

    name: str
    weights: NDArray[np.int8]
    input_bits: int = 4
    signed_inputs: bool = False
    pool: int = 1
    relu: bool = False
    channel: int | None = None

    def __post_init__(self) -> None:
        weights = self.weights
        if (
            weights.ndim != 2
            or not weights.size
            or weights.dtype.kind not in "iu"
            or not np.isin(weights, (-1, 0, 1)).all()
        ):
            raise CompileError(f"layer {self.name}: weights must be a matrix of -1, 0 and 1")
        if self.pool < 1 or len(weights) % self.pool:
            raise CompileError(f"layer {self.name}: {len(weights)} rows of weights are not in pools of {self.pool}")
        if not 1 <= self.input_bits <= 16:
            raise CompileError(f"layer {self.name}: inputs have 1 to 16 bits, not {self.input_bits}")
        if self.channel is not None and (self.channel < 1 or weights.shape[1] % self.channel):
            raise CompileError(f"layer {self.name}: {weights.shape[1]} inputs are not in channels of {self.channel}")

    @property
    def outputs(self) -> int:
        return len(self.weights) // self.pool

    @property
    def inputs(self) -> int:
        return int(self.weights.shape[1])

    @property
    def input_range(self) -> tuple[int, int]:
        """The least and the greatest input."""
        half = 1 << self.input_bits - 1
        return (-half, half - 1) if self.signed_inputs else (0, 2 * half - 1)


@dataclass(frozen=True, slots=True)
class Options:
    """How to compile.

    unroll: input channels in one group, in which common subexpressions are looked for (times eight inputs, where
    channels are smaller; times 16 of a layer without channels), fewer where these would take most of the tracks. cse:
    look for them. order: of tiles, where neither all inputs nor all sums fit at once: "outputs" finishes some outputs
    before the next, and loads inputs again; "inputs" loads every input once, and carries unfinished sums to the host
    and back. output_tile: sums held at once at most; None: what half of the tracks hold.
    """

    unroll: int = 1
    order: Literal["outputs", "inputs"] = "outputs"
    cse: bool = True
    output_tile: int | None = None

    def __post_init__(self) -> None:
        if self.unroll < 1:
            raise CompileError(f"unroll must be 1 or more, not {self.unroll}")
        if self.order not in ("outputs", "inputs"):
            raise CompileError(f"order must be outputs or inputs, not {self.order!r}")
        if self.output_tile is not None and self.output_tile < 1:
            raise CompileError(f"output_tile must be 1 or more, not {self.output_tile}")


@dataclass(frozen=True)
class Words:
    """Numbers on the array, (n,) each: which (inputs, or rows of weights), first columns, widths, whether signed."""

    which: NDArray[np.int64]
    columns: NDArray[np.int64]
    bits: NDArray[np.int64]
    signed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.which)

    @property
    def all_columns(self) -> NDArray[np.uint32]:
        """Every column of every word, in order."""
        begins = np.repeat(self.columns - np.cumsum(self.bits) + self.bits, self.bits)
        return (begins + np.arange(int(self.bits.sum()))).astype(np.uint32)


@dataclass(frozen=True)
class Stage:
    """Load `inputs` and the unfinished sums `partials`, run the program, read `outputs`.

    inputs: which inputs. partials: which rows of weights. outputs: of a final stage, which outputs of the layer; else,
    which rows of weights, to come back as partials.
    """

    inputs: Words
    partials: Words
    program: Program
    outputs: Words
    final: bool
    additions: int

    @property
    def input_columns(self) -> NDArray[np.uint32]:
        """Every column that inputs are loaded to."""
        return self.inputs.all_columns

    @property
    def output_columns(self) -> NDArray[np.uint32]:
        """Every column that is read at the end."""
        return self.outputs.all_columns


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a compiled layer takes, for all rows of the array at once.

    operations: additions and subtractions of words; operations_without_cse: those without common subexpressions.
    columns: most in use at once. cycles: searches and writes. Others as in `labctl.associative.Counters`; shifts from
    heads at 0.
    """

    operations_without_cse: int
    operations: int
    columns: int
    passes: int
    searches: int
    searched_columns: int
    writes: int
    written_columns: int
    shifts: int
    cycles: int
    loaded_columns: int
    read_columns: int
    instructions: int
    stages: int


@dataclass(frozen=True)
class CompiledLayer:
    """A layer as stages, done in order."""

    layer: TernaryLayer
    geometry: AssociativeGeometry
    options: Options
    stages: tuple[Stage, ...]
    statistics: Statistics

    def counters(self, times: int = 1, heads: Heads | None = None) -> Counters:
        """What the array will count in so many runs one after another, but for matches and written bits: they depend
        on the data, and are 0 here. heads: of the tracks at first, and after it at last; None: all at 0.
        """
        heads = np.zeros(self.geometry.tracks, np.int64) if heads is None else heads
        total = Counters()
        for _ in range(times):
            for stage in self.stages:
                total += counters_of_stage(
                    self.geometry,
                    [stage.input_columns, stage.partials.all_columns],
                    stage.program,
                    stage.output_columns,
                    heads,
                )
        return total
