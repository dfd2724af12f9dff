"""What an associative array takes for ternary layers: searches, tagged writes and shifts of racetracks, in all rows.

A row is an output's place (a pixel), a layer's program the same for all rows. With R rows and, of one run of the
program, S searches of s columns in all, w columns written behind searches and v without one, in every row, h shifts of
a track, p columns loaded and q read:

    search     R (e_c (s + m (S t - s)) + e_l S)    a line of t cells, masked ones count m; the line itself e_l
    write      R (u w + v) e_w                      u the share of rows that a search tags
    shift      R h e_s                              a nanowire in each row
    loading    R p e_w                              codes of the input, written into all rows
    reading    R q e_r                              sums
    program    instructions x bits x e_i            fetched once for all rows
    buffers    R (p + q' + bits x outputs)          bits out of a memory; unfinished sums q' and codes into it

and for each output what crossbars take as well: scale and offset, ReLU, conversion to a code. A sequencer's power flows
as long as it lasts: one thing after another, each in its time, all rows at once. Rows that hold nothing take nothing.

Beside it: the same layers on crossbars with converters (`OnArray`), ternary ones with a pair of cells a weight, and
with weights of so many bits, in slices of as many as a cell holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from labctl.errors import SettingsError
from labctl.learning.accounts.account import Account, Entry
from labctl.learning.accounts.comparing import Comparison, compare
from labctl.learning.accounts.crossbar import OnArray, after_products, as_codes, controlled, inference
from labctl.learning.accounts.figures import Figures
from labctl.learning.networks.network import Layer

PROGRAMS = ("search", "write", "shift", "program", "control")
"""Components that what is computed takes; others move activations, or work on results outside the array."""
MOVEMENT = ("loading", "reading", "buffers")
"""Components that move activations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociativeLayer:
    """A layer as it was compiled, and what one run of its program does: of a sample, all of whose rows go at once.

    layer: as crossbars have it. rows: of a sample. tracks: of the array, the cells of a match line. searched_columns,
    written_columns: summed over searches and writes. cleared_columns: of the written ones, those that every row is
    written. shifts: of a track by one domain. loaded_columns, read_columns: single bits of every row.
    unfinished_columns: of those read, the ones of sums that are loaded again later.
    """

    layer: Layer
    rows: int
    tracks: int
    searches: int
    searched_columns: int
    writes: int
    written_columns: int
    cleared_columns: int
    shifts: int
    loaded_columns: int
    read_columns: int
    unfinished_columns: int
    instructions: int

    @property
    def name(self) -> str:
        return self.layer.name


@dataclass(frozen=True, slots=True)
class Arrays:
    """How many there are: `associative` at most at once, as layers take turns and leave nothing behind; `crossbars`
    with ternary weights, which stay where they are."""

    associative: int
    crossbars: int


def on_associative(layers: Sequence[AssociativeLayer], bits: int, figures: Figures) -> Account:
    """A sample through `layers`, whose inputs are codes of `bits`. Raises SettingsError."""
    entries = [
        entry
        for layer in layers
        for entry in (*_in_array(layer, figures), *_moved(layer, bits, figures), _fetched(layer, figures))
    ]
    return controlled(Account(figures.title, tuple(entries)), figures, "sequencer_power")


def on_crossbars(layers: Sequence[AssociativeLayer], bits: int, figures: Figures, *, ternary: bool = True) -> Account:
    """The same sample on crossbars with converters, with ternary weights or `crossbar_weight_bits`: all crossbars of a
    layer at once, each controlled as long as it works. Raises SettingsError.
    """
    slices = 1
    name = "crossbars with converters, ternary weights"
    if not ternary:
        weight_bits = figures.positive("crossbar_weight_bits", "1")
        slices = math.ceil(weight_bits / figures.positive("crossbar_cell_bits", "1"))
        name = f"crossbars with converters, weights of {weight_bits:g} bit"
    one = OnArray([each.layer for each in layers], bits, slices=slices)
    most = max(len(one.blocks_of(place, figures)) for place in range(len(layers)))
    in_turn, at_once = (inference(replace(one, arrays=arrays), figures).entries for arrays in (1, most))
    entries = (replace(each, seconds=shown.seconds) for each, shown in zip(in_turn, at_once, strict=True))
    return Account(name, tuple(entries))


def compare_associative(
    layers: Sequence[AssociativeLayer], figures: Figures, *, bits: int = 4, task: str = ""
) -> Comparison:
    """A sample on an associative array, beside crossbars with ternary weights (first) and with wider ones, and beside
    what was published for `task`. Raises SettingsError."""
    if not layers:
        raise SettingsError("an account needs at least one layer")

    def crossbars(ternary: bool) -> Callable[[Figures], Account]:
        return lambda figures: on_crossbars(layers, bits, figures, ternary=ternary)

    return compare(
        lambda figures: on_associative(layers, bits, figures), [crossbars(True), crossbars(False)], figures, task
    )


def arrays_for(layers: Sequence[AssociativeLayer], figures: Figures) -> Arrays:
    """Of either kind, for one sample. Raises SettingsError."""
    rows = figures.positive("associative_rows", "1")
    network = OnArray([each.layer for each in layers], 1)
    return Arrays(
        associative=max(math.ceil(each.rows / rows) for each in layers),
        crossbars=sum(len(network.blocks_of(place, figures)) for place in range(len(layers))),
    )


def movement_share(account: Account) -> float:
    """Share of the energy that moving activations takes."""
    parts = account.parts
    return sum(parts[name][0] for name in MOVEMENT) / account.energy if account.energy else 0.0


def allowed_for_programs(account: Account, reference: Account, ratio: float) -> float | None:
    """By what factor all of `PROGRAMS` would have to change for `account` to take `ratio` times less than `reference`;
    None where not even programs that take nothing would do."""
    parts = account.parts
    programs = sum(parts[name][0] for name in PROGRAMS)
    left = reference.energy / ratio - (account.energy - programs)
    return left / programs if left > 0 and programs else None


def ratio_without_programs(account: Account, reference: Account) -> float:
    """What `reference` takes, in what `account` would if `PROGRAMS` took nothing."""
    others = tuple(entry for entry in account.entries if entry.component not in PROGRAMS)
    return replace(account, entries=others).ratio(reference)


def _in_array(layer: AssociativeLayer, figures: Figures) -> tuple[Entry, ...]:
    rows = layer.rows
    write = figures.value("cell_write_energy", "J")
    driven = rows * layer.searched_columns
    masked = rows * (layer.searches * layer.tracks - layer.searched_columns)
    cell, line = figures.value("cell_search_energy", "J"), figures.value("line_search_energy", "J")
    cleared = rows * layer.cleared_columns
    written = (rows * layer.written_columns - cleared) * figures.value("written_share", "1")
    shifted = rows * layer.shifts
    return (
        Entry(
            layer.name,
            "search",
            "line searched",
            rows * layer.searches,
            rows * layer.searches * line,
            layer.searches * figures.value("search_time", "s"),
        ),
        Entry(layer.name, "search", "cell searched", driven, driven * cell),
        Entry(
            layer.name, "search", "masked cell on a line", masked, masked * cell * figures.value("masked_share", "1")
        ),
        Entry(
            layer.name,
            "write",
            "cell written behind a search",
            written,
            written * write,
            layer.writes * figures.value("write_time", "s"),
        ),
        Entry(layer.name, "write", "cell cleared", cleared, cleared * write),
        Entry(
            layer.name,
            "shift",
            "nanowire shifted",
            shifted,
            shifted * figures.value("wire_shift_energy", "J"),
            layer.shifts * figures.value("shift_time", "s"),
        ),
    )


def _moved(layer: AssociativeLayer, bits: int, figures: Figures) -> tuple[Entry, ...]:
    """Codes in, a column after another; sums out, the finished ones through what makes codes of them."""
    loaded, read = layer.rows * layer.loaded_columns, layer.rows * layer.read_columns
    results = replace(layer.layer, products=layer.rows)
    buffered = loaded + layer.rows * (layer.unfinished_columns + layer.layer.outputs * bits)
    return (
        Entry(
            layer.name,
            "loading",
            "cell loaded",
            loaded,
            loaded * figures.value("cell_write_energy", "J"),
            layer.loaded_columns * figures.value("write_time", "s"),
        ),
        Entry(
            layer.name,
            "reading",
            "cell read",
            read,
            read * figures.value("cell_read_energy", "J"),
            layer.read_columns * figures.value("read_time", "s"),
        ),
        Entry(layer.name, "buffers", "bit moved", buffered, buffered * figures.value("buffer_bit", "J")),
        *after_products(results, figures),
        as_codes(results, figures),
    )


def _fetched(layer: AssociativeLayer, figures: Figures) -> Entry:
    count = layer.instructions * figures.value("instruction_bits", "1") / figures.positive("program_samples", "1")
    bit = figures.value("program_bit", "J")
    return Entry(layer.name, "program", "instruction bit fetched", count, count * bit)
