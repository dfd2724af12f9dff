"""What an array of cells takes: bit-serial products through its periphery, pulses, and reads.

An edge of a layer is a pair of cells in one column, + and - driven oppositely. A layer is cut into blocks of as many
inputs as the array has pairs of rows and as many outputs as it has columns. A product is done plane by plane: rows of
inputs whose bit is set are driven for the integration time, then every column of the block is converted, and its code
shifted and added digitally. So, for each vector and plane of a layer of n inputs and m outputs in r x c blocks:

    array        V^2 G t                for 2 n m cells, times the share of bits set
    line drivers (V_supply - V) V G t   for the same cells: linear ones, from a supply of V at least
                 E                      to switch 2 n c lines, times the share of bits set
    amplifiers   P t                    for m r columns
    ADC, shift-add                      m r of each

and for each vector: n codes out of a buffer and m into it; m times scale and offset (a batch norm is folded into them),
ReLU, and conversion to a code. A control power flows all the time. Latency is that of planes, converted
`columns_per_converter` after each other; digital work goes on beside them. Weights of more bits than a cell holds are
cut into slices, each in a column of its own: as many times the columns and cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from labctl.errors import SettingsError
from labctl.learning.accounts.account import Account, Entry
from labctl.learning.accounts.figures import Figures
from labctl.learning.networks.network import Layer

_CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Pulses:
    """`count` pulses of one kind, on cells of `layer`, or of any.

    voltage: V. width: s. conductance: S, while they last. None: as the figures say.
    """

    kind: Literal["form", "set", "reset"]
    count: float
    layer: str = ""
    voltage: float | None = None
    width: float | None = None
    conductance: float | None = None


@dataclass(frozen=True, slots=True)
class OnArray:
    """A network as it stands on arrays, its inputs in `bits` planes.

    conductance: mean of the cells, S, of all layers or of each, as measured; None: figure `cell_conductance`. arrays:
    how many work at the same time; further blocks of a layer take turns, which costs time (what it costs to write them
    anew is `switching`'s). blocks: of each layer the (inputs, columns) of each block; None: as the array's size wants.
    slices: columns that hold the weights of one output.
    """

    layers: Sequence[Layer]
    bits: int
    conductance: float | Sequence[float] | None = None
    arrays: int = 1
    blocks: Sequence[Sequence[tuple[int, int]]] | None = None
    slices: int = 1

    def __post_init__(self) -> None:
        if self.bits < 1 or self.arrays < 1:
            raise SettingsError(f"an account needs at least 1 bit and 1 array, got {self.bits} and {self.arrays}")
        if self.slices < 1:
            raise SettingsError(f"the weights of an output are in at least 1 column, got {self.slices}")
        if isinstance(self.conductance, Sequence) and len(self.conductance) != len(self.layers):
            raise SettingsError(f"{len(self.conductance)} mean conductances for {len(self.layers)} layers")
        if self.blocks is not None and len(self.blocks) != len(self.layers):
            raise SettingsError(f"blocks of {len(self.blocks)} layers for {len(self.layers)} layers")

    def mean(self, layer: int, figures: Figures) -> float:
        """S, of the layer's cells."""
        if self.conductance is None:
            return figures.value("cell_conductance", "S")
        return float(self.conductance[layer] if isinstance(self.conductance, Sequence) else self.conductance)

    def blocks_of(self, layer: int, figures: Figures) -> list[tuple[int, int]]:
        """(inputs, columns) of each block of the layer."""
        if self.blocks is not None:
            return [(int(inputs), int(outputs)) for inputs, outputs in self.blocks[layer]]
        pairs, columns = int(figures.positive("array_rows", "1") / 2), int(figures.positive("array_columns", "1"))
        if not pairs or not columns:
            raise SettingsError(f"{figures.name}: an array needs two rows and a column for an edge")
        inputs, outputs = self.layers[layer].shape
        return list(product(_cut(inputs, pairs), _cut(outputs * self.slices, columns)))


@dataclass(frozen=True, slots=True)
class Written:
    """What was done to cells: pulses, `verify_reads` that belong to them, and `reads` of a cell besides."""

    pulses: Sequence[Pulses] = ()
    verify_reads: float = 0
    reads: float = 0


def inference(network: OnArray, figures: Figures) -> Account:
    """The products of one sample, and what follows them. Raises SettingsError."""
    entries = [
        entry
        for place, layer in enumerate(network.layers)
        for entry in (*_products(network, place, figures), *_after(layer, network.bits, figures))
    ]
    return controlled(Account(figures.title, tuple(entries)), figures)


def writing(written: Written, figures: Figures) -> Account:
    """Pulses, each V^2 G w out of pumps and the charge of its line, and reads: in all, not of a sample.

    Raises SettingsError.
    """
    entries = [entry for each in written.pulses for entry in _pulsed(each, figures)]
    entries += _read(written.verify_reads, figures, "verify reads") + _read(written.reads, figures, "reads")
    return controlled(Account("writing", tuple(entries)), figures)


def switching(cells: float, figures: Figures, samples: float = 1) -> Account:
    """What it takes to change `cells` between formed and pruned, half of them either way, shared by `samples`.

    Tiles that take turns on the same cells are written anew for every round: `cells` of them change at a tile's turn,
    summed over the tiles, and all `samples` of a batch go through before the next. Raises SettingsError.
    """
    if samples <= 0:
        raise SettingsError(f"turns are shared by at least one sample, got {samples:g}")
    pulses = cells * figures.value("pulses_per_switch", "1")
    reads = cells * figures.value("reads_per_switch", "1")
    written = Written((Pulses("set", pulses / 2), Pulses("reset", pulses / 2)), verify_reads=reads)
    return writing(written, figures).times(1 / samples)


def as_codes(layer: Layer, figures: Figures) -> Entry:
    """Outputs as the codes that the next layer takes."""
    outputs = layer.products * layer.outputs
    code = figures.value("float_multiply", "J") + figures.value("float_add", "J")
    return Entry(layer.name, "norm and activation", "conversion to a code", outputs, outputs * code)


def after_products(layer: Layer, figures: Figures) -> tuple[Entry, ...]:
    """Digital work on each output: scale and offset, ReLU."""
    outputs = layer.products * layer.outputs
    scale = figures.value("float_multiply", "J") + figures.value("float_add", "J")
    return (
        Entry(layer.name, "norm and activation", "scale and offset", outputs, outputs * scale),
        Entry(layer.name, "norm and activation", "ReLU", outputs, outputs * figures.value("integer_add", "J")),
    )


def read_voltages(figures: Figures) -> tuple[float, float]:
    """V across a cell, and of the supply that its current is drawn from. Raises SettingsError."""
    voltage = figures.value("read_voltage", "V")
    return voltage, max(voltage, figures.value("line_supply", "V"))


def controlled(account: Account, figures: Figures, power_of: str = "control_power") -> Account:
    """With the power that flows as long as it lasts: the figure `power_of`. Raises SettingsError."""
    power = figures.value(power_of, "W")
    control = tuple(
        Entry(layer, _CONTROL, "second", seconds, seconds * power) for layer, (_, seconds) in account.layers.items()
    )
    return Account(account.name, (*account.entries, *control))


def _products(network: OnArray, place: int, figures: Figures) -> tuple[Entry, ...]:
    layer, blocks = network.layers[place], network.blocks_of(place, figures)
    planes = layer.products * network.bits
    share = figures.value("bits_set", "1")
    voltage, supply = read_voltages(figures)
    integration = figures.value("integration_time", "s")
    cells = planes * share * 2 * layer.inputs * layer.outputs * network.slices
    lines = planes * share * 2 * sum(inputs for inputs, _ in blocks)
    columns = planes * sum(outputs for _, outputs in blocks)
    charge = cells * voltage * network.mean(place, figures) * integration
    turns = [blocks[first : first + network.arrays] for first in range(0, len(blocks), network.arrays)]
    shared = figures.positive("columns_per_converter", "1")
    conversions = sum(min(shared, max(outputs for _, outputs in turn)) for turn in turns)
    return (
        Entry(
            layer.name, "array", "cell driven for a plane", cells, charge * voltage, planes * len(turns) * integration
        ),
        Entry(layer.name, "line drivers", "current at the supply", cells, charge * (supply - voltage)),
        Entry(
            layer.name, "line drivers", "line driven for a plane", lines, lines * figures.value("driver_energy", "J")
        ),
        Entry(
            layer.name,
            "amplifiers",
            "column integrated",
            columns,
            columns * figures.value("amplifier_power", "W") * integration,
        ),
        Entry(
            layer.name,
            "ADC",
            "conversion",
            columns,
            columns * figures.value("conversion_energy", "J"),
            planes * conversions * figures.value("conversion_time", "s"),
        ),
        Entry(layer.name, "shift-add", "shift and add", columns, columns * figures.value("integer_add", "J")),
    )


def _after(layer: Layer, bits: int, figures: Figures) -> tuple[Entry, ...]:
    """The same, and what only bit-serial products need: outputs as codes, and codes in and out of a buffer."""
    moved = layer.products * (layer.inputs + layer.outputs) * bits
    return (
        *after_products(layer, figures),
        as_codes(layer, figures),
        Entry(layer.name, "buffers", "bit moved", moved, moved * figures.value("buffer_bit", "J")),
    )


def _cut(size: int, most: int) -> list[int]:
    """Into parts of `most`, and what is left."""
    return [min(most, size - first) for first in range(0, size, most)]


def _pulsed(pulses: Pulses, figures: Figures) -> tuple[Entry, ...]:
    kind = pulses.kind
    voltage = figures.value(f"{kind}_voltage", "V") if pulses.voltage is None else pulses.voltage
    width = figures.value(f"{kind}_width", "s") if pulses.width is None else pulses.width
    conductance = figures.value(f"{kind}_conductance", "S") if pulses.conductance is None else pulses.conductance
    efficiency = figures.positive("pulse_efficiency", "1")
    cell = voltage**2 * conductance * width / efficiency
    line = voltage**2 * figures.value("line_capacitance", "F") / efficiency
    seconds = (width + figures.value("pulse_overhead", "s")) / figures.positive("cells_at_once", "1")
    operation = f"{kind.upper()} pulse"
    return (
        Entry(pulses.layer, "programming", operation, pulses.count, pulses.count * cell, pulses.count * seconds),
        Entry(pulses.layer, "programming", "line charged for a pulse", pulses.count, pulses.count * line),
    )


def _read(reads: float, figures: Figures, component: str) -> list[Entry]:
    """One cell at the read voltage, its amplifier and a conversion; nothing where there are none."""
    if not reads:
        return []
    integration = figures.value("integration_time", "s")
    voltage, supply = read_voltages(figures)
    cell = supply * voltage * figures.value("cell_conductance", "S") * integration
    periphery = figures.value("amplifier_power", "W") * integration + figures.value("conversion_energy", "J")
    each = cell + periphery + figures.value("driver_energy", "J")
    seconds = (integration + figures.value("conversion_time", "s")) / figures.positive("cells_at_once", "1")
    return [Entry("", component, "read", reads, reads * each, reads * seconds)]
