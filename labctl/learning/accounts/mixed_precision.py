"""Mixed-precision training, an image: products on PCM arrays and accumulators beside them, or all of it in 32 bit.

The system is that of Nandakumar et al., Front. Neurosci. 14, 406 (2020). A weight stands on the array as pairs of
cells; products forward and backward are the array's. For every vector that teaches, a digital unit takes the outer
product of a layer's inputs and of what its outputs erred by, adds it to an accumulator of each weight, and gives blind
SET pulses where that holds a whole granule. For a layer of n inputs, a share d of which is not zero, and m outputs:

    outer product       n d m multiply-adds for each vector, both operands through local memories
    accumulator memory  n s m accumulators read and written for each update, s the share of inputs that are not zero in
                        some vector of the update: the outer products of a batch are summed for one accumulator after
                        another; and as many comparisons with the granule
    programming         pulses as they were counted, and reads for the refresh

The dedicated design does the same in three multiply-adds a weight, forward, backward and for the gradient. For an
update it fetches each weight once forward and once backward, then reads and writes it: in a memory like that of the
accumulators, on the chip if they fit there. Activations, errors, and vectors that go through buffers are the same for
both, and counted alike. That memories are as fast as the multiply-adds is taken for granted for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from labctl.learning.accounts.account import Account, Entry
from labctl.learning.accounts.comparing import Comparison, compare
from labctl.learning.accounts.crossbar import Pulses, Written, controlled, writing
from labctl.learning.accounts.figures import Figures
from labctl.learning.accounts.line_products import line_products
from labctl.learning.accounts.training_counts import LayerWork, TrainingCounts
from labctl.learning.networks.network import Layer

_BITS = 32


def compare_mixed_precision(
    layers: Sequence[Layer], figures: Figures, counts: TrainingCounts, task: str = ""
) -> Comparison:
    """A training image: mixed precision beside the dedicated 32-bit design, and beside what was published for `task`.

    Inputs that are zero are skipped by the digital unit; the design does so too in the first of two references, and has
    no such provision in the second. Raises SettingsError.
    """
    designs = [partial(_dedicated, layers, counts, skipping=skipping) for skipping in (True, False)]
    return compare(partial(_mixed_precision, layers, counts), designs, figures, task)


def _mixed_precision(layers: Sequence[Layer], counts: TrainingCounts, figures: Figures) -> Account:
    done = counts.of(layers)
    bits = figures.positive("accumulator_bits", "1")
    kept = bits * sum(work.weights for work in done)
    entries = [
        entry
        for work in done
        for entry in (
            *line_products(work, figures),
            *_activations(work, figures),
            *_multiplied(work, "outer products", work.outer * work.driven * work.weights, figures),
            *_accumulated(work, bits, kept, figures),
        )
    ]
    written = writing(Written(_pulses(done, figures), reads=sum(work.reads for work in done)), figures)
    run = controlled(Account(figures.title, tuple(entries)), figures).plus(written)
    return run.times(1 / counts.images)


def _dedicated(layers: Sequence[Layer], counts: TrainingCounts, figures: Figures, *, skipping: bool) -> Account:
    done = (counts if skipping else counts.without_zeros()).of(layers)
    kept = _BITS * sum(work.weights for work in done)
    entries = [
        entry
        for work in done
        for entry in (
            *_multiplied(work, "forward", work.forward * work.driven * work.weights, figures),
            *_multiplied(work, "backward", work.backward * work.weights_back, figures),
            *_multiplied(work, "gradient", work.outer * work.driven * work.weights, figures),
            *_weights(work, kept, figures),
            *_activations(work, figures),
        )
    ]
    name = f"dedicated 32-bit design, {'zeros skipped' if skipping else 'nothing skipped'}"
    return Account(name, tuple(entries)).times(1 / counts.images)


def _multiplied(work: LayerWork, component: str, count: float, figures: Figures) -> tuple[Entry, ...]:
    """Multiply-adds, and their operands out of local memories."""
    arithmetic = figures.value("float_multiply", "J") + figures.value("float_add", "J")
    operands = 2 * _BITS * count
    local = operands * figures.value("local_memory_bit", "J")
    seconds = count / figures.positive("dedicated_rate", "1/s")
    return (
        Entry(work.name, component, "multiply-add", count, count * arithmetic, seconds),
        Entry(work.name, component, "operand bit", operands, local),
    )


def _accumulated(work: LayerWork, bits: float, kept: float, figures: Figures) -> tuple[Entry, ...]:
    """bits: of an accumulator. kept: of all."""
    touched = work.updates * work.touched * work.weights
    memory, bit = _memory(kept, figures)
    granule = figures.value("float_multiply", "J") + figures.value("float_add", "J")
    return (
        Entry(
            work.name, f"accumulators, {memory}", "accumulator bit moved", 2 * bits * touched, 2 * bits * touched * bit
        ),
        Entry(
            work.name, "granules", "comparison with the granule", touched, touched * figures.value("integer_add", "J")
        ),
        Entry(work.name, "granules", "granules taken out", work.set_pulses, work.set_pulses * granule),
    )


def _weights(work: LayerWork, kept: float, figures: Figures) -> tuple[Entry, ...]:
    """Fetched forward, fetched backward, read and written. kept: bits of all weights."""
    memory, bit = _memory(kept, figures)
    rows = work.updates * work.touched * work.weights
    back = work.updates * work.weights_back if work.backward else 0.0
    fetched, updated = _BITS * (rows + back), 2 * _BITS * rows
    return (
        Entry(work.name, f"weights, {memory}", "weight bit fetched", fetched, fetched * bit),
        Entry(work.name, f"updates, {memory}", "weight bit moved", updated, updated * bit),
    )


def _memory(kept: float, figures: Figures) -> tuple[str, float]:
    """Where so many bits are, and J for each that is moved."""
    fits = kept <= figures.value("dedicated_weight_memory", "1")
    return (
        ("on the chip", figures.value("large_memory_bit", "J"))
        if fits
        else ("outside", figures.value("external_memory_bit", "J"))
    )


def _activations(work: LayerWork, figures: Figures) -> tuple[Entry, ...]:
    """What is the same for both. An activation is looked up and interpolated; a derivative, a (1 - a), is multiplied by
    what came back; what outputs erred by is a difference, times the rate."""
    multiply, add = figures.value("float_multiply", "J"), figures.value("float_add", "J")
    activated = work.forward * work.outputs
    lookup = _BITS * figures.value("local_memory_bit", "J") + multiply + add
    derived = work.backward * work.inputs_back
    erred = work.outer * work.outputs
    vectors = (work.forward + work.outer) * (work.inputs + work.outputs) + work.backward * (
        work.inputs_back + work.outputs
    )
    moved = _BITS * vectors
    return (
        Entry(work.name, "activations", "activation", activated, activated * lookup),
        Entry(work.name, "activations", "derivative", derived, derived * (2 * multiply + add)),
        Entry(work.name, "activations", "error", erred, erred * (multiply + add)),
        Entry(work.name, "buffers", "bit moved", moved, moved * figures.value("buffer_bit", "J")),
    )


def _pulses(done: Sequence[LayerWork], figures: Figures) -> list[Pulses]:
    """The current of a pulse is given; a cell counts as conducting what the supply's voltage drives it through."""
    conductances = {
        kind: figures.value(f"{kind}_current", "A") / figures.positive(f"{kind}_voltage", "V")
        for kind in ("set", "reset")
    }
    return [
        pulses
        for work in done
        for pulses in (
            Pulses("set", work.set_pulses, work.name, conductance=conductances["set"]),
            Pulses("reset", work.reset_pulses, work.name, conductance=conductances["reset"]),
        )
    ]
