"""The protocol of pruning: form, place, train and prune, judge on the board, compare with other uses of the weights."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import Capability, Geometry, MemoryArray, Operation, Scale
from labctl.errors import CapabilityError, RunError, SettingsError
from labctl.learning.datasets import Dataset
from labctl.learning.networks import Network, make_network
from labctl.learning.placement import place
from labctl.learning.training import batches_per_epoch
from labctl.protocols import density_forming
from labctl.protocols.density_forming import density_cost, form_to_density
from labctl.protocols.pruning.cells import NetworkCells, ramped
from labctl.protocols.pruning.comparing import compare
from labctl.protocols.pruning.inference import OnBoard, of_rests
from labctl.protocols.pruning.judging import Judged
from labctl.protocols.pruning.reporting import summary
from labctl.protocols.pruning.settings import InferenceSettings, PruningSettings
from labctl.protocols.pruning.training import PrunedNetwork, as_scalars
from labctl.protocols.samples import load_samples
from labctl.steps import Cost, Procedure, Step, Steps, StopRequested, Variable

NOT_GIVEN = 2**32 - 1
_USED = 0.05
"""Share of cells that conduct, from which on the chip has been formed before."""

_MOST_CHANGED = 0.5
"""Share of a network's cells that are not as they were left, above which the array holds another."""

_CALLS = 4
"""Times that a sample goes through a recurrent layer."""


def _steps(
    array: MemoryArray,
    settings: PruningSettings,
    rng: np.random.Generator,
    checkpoint: Mapping[str, NDArray[Any]] | None,
) -> Steps:
    data = load_data(settings)
    network = network_of(settings, data)
    if checkpoint is None:
        seed = int(rng.integers(2**31))
        pruned = yield from _begun(array, settings, network, data, seed)
    else:
        pruned = resumed(array, settings, network, data, checkpoint)
        yield Step("synchronise", {**as_scalars(pruned.bring())}, pruned.maps())
    try:
        yield from pruned.train()
        found = yield from _judged(pruned)
    except StopRequested:
        yield Step("done", {}, pruned.maps())
        raise
    yield Step("done", {}, pruned.maps(), checkpoint=pruned.checkpoint())
    return found


def _infer(array: MemoryArray, settings: InferenceSettings, rng: np.random.Generator) -> Steps:  # noqa: ARG001
    """Judge again the network that a pruning run left on the array."""
    with np.load(io.BytesIO(settings.state.tobytes()), allow_pickle=False) as state:
        checkpoint = {name: state[name] for name in state.files}
    data = load_data(settings)
    _check_products(array, settings)
    pruned = resumed(array, settings, network_of(settings, data), data, checkpoint)
    yield Step("initial_read", {}, pruned.maps())
    if pruned.changed > _MOST_CHANGED:
        raise RunError(
            f"the array does not hold this network: {pruned.changed:.0%} of its cells are not as the run left them (a "
            "simulated chip without a `state` is new each time)"
        )
    pruned.cells.pulses = pruned.cells.reads = 0  # of this run
    if settings.verify:
        yield Step("synchronise", {**as_scalars(pruned.reverify())}, pruned.maps())
    found = yield from _judged(pruned)
    yield Step("done", {}, pruned.maps())
    return found


def _judged(pruned: PrunedNetwork) -> Generator[Step, None, dict[str, Any]]:
    """What came of it: on the board where that is asked for, in software, and beside the baselines."""
    pruned.refresh()
    software, board, rests = pruned.judge(), None, []
    if pruned.settings.board:
        on_board = OnBoard(pruned)
        since = pruned.array.clock.now()
        board = yield from on_board.evaluate()
        rests = yield from on_board.rest(pruned.settings.rest, since)
    others: dict[str, Judged] = {}
    with contextlib.suppress(StopRequested):  # what is done by then counts
        yield from compare(pruned, others)
    return {**summary(pruned, software, board, others), **of_rests(rests)}


def load_data(settings: PruningSettings) -> Dataset:
    """The samples, as many as the settings ask for. Raises UsageError."""
    split = "" if settings.split == "official" else settings.split
    return load_samples(settings.task, settings.data, settings.train, settings.test, split=split, own=settings.own_data)


def network_of(settings: PruningSettings, data: Dataset) -> Network:
    """Raises UsageError where there is none such, or not for these samples."""
    network = make_network(settings.task, settings.network, settings.bits, data.train_inputs.shape[1:], data.classes)
    if (data.train_labels.ndim > 1) != network.name.startswith("unet"):
        what = "every pixel" if data.train_labels.ndim > 1 else "whole samples"
        raise SettingsError(f"$.network: {network.name} is not for {settings.task}, where {what} are labelled")
    return network


def _begun(
    array: MemoryArray, settings: PruningSettings, network: Network, data: Dataset, seed: int
) -> Generator[Step, None, PrunedNetwork]:
    """Formed to the density wanted, placed around what is dead, with the first masks on the array."""
    _check_products(array, settings)
    shape = (array.geometry.rows, array.geometry.cols)
    excluded = np.zeros(shape, bool) if settings.exclude is None else settings.exclude
    revived = yield from _revived(array, settings, ~excluded.ravel())
    formed = yield from form_to_density(array, settings.form, ~excluded.ravel())
    if formed.stopped:
        raise StopRequested
    dead = excluded.copy()
    dead[list(formed.dead_rows)], dead[:, list(formed.dead_cols)] = True, True
    conducts = (formed.conductance >= settings.pruned_below) & ~excluded.ravel()
    if not conducts.any():
        raise RunError("no cell of this array conducts after forming: check wiring, lines and gate of the bench")
    pruned = _placed(array, settings, network, data, seed, dead, conducts)
    pruned.cells.reads += array.geometry.cells  # before anything was formed
    pruned.cells.pulses += revived
    done = pruned.begin()
    values = {**as_scalars(done), "epoch": 0}
    yield Step("synchronise", values, pruned.maps(), checkpoint=pruned.checkpoint())
    return pruned


def _check_products(array: MemoryArray, settings: PruningSettings) -> None:
    if settings.board and not array.capabilities & (Capability.MULTIPLY | Capability.MULTIPLY_BITS):
        raise CapabilityError("this board does not multiply: say board=false to do without products on it")


def _revived(array: MemoryArray, settings: PruningSettings, wanted: NDArray[np.bool_]) -> Generator[Step, None, int]:
    """SET what an earlier network has pruned, on a chip that has been formed: RESET cells look pristine, and are not.

    No pristine cell forms by that: SET pulses are far below what breaks one down. Gives how many pulses that took.
    """
    conductance = array.read().conductance[0]
    conducts = conductance >= settings.kept_above
    if np.count_nonzero(conducts & wanted) < _USED * np.count_nonzero(wanted):
        return 0
    cells = np.flatnonzero(wanted & ~conducts).astype(np.uint32)
    left, pulses = ramped(array, Operation.SET, settings.set, 0, cells, lambda found: found >= settings.kept_above)
    yield Step("initial_read", {"pulses": pulses, "switched": len(cells) - len(left)})
    return pulses


def _placed(
    array: MemoryArray,
    settings: PruningSettings,
    network: Network,
    data: Dataset,
    seed: int,
    dead: NDArray[np.bool_],
    conducts: NDArray[np.bool_],
) -> PrunedNetwork:
    layers = [layer.shape for layer in network.layers]
    placement = place(layers, dead.shape, dead, settings.most_dead, array.geometry.chips)
    cells = NetworkCells(array, placement, settings, conducts)
    return PrunedNetwork(array, settings, network, data, placement, cells, seed, dead)


def resumed(
    array: MemoryArray,
    settings: PruningSettings,
    network: Network,
    data: Dataset,
    checkpoint: Mapping[str, NDArray[Any]],
) -> PrunedNetwork:
    """As it was at `checkpoint`, with the cells as they are now."""
    conducts, dead = checkpoint["cells.formed"].astype(bool), checkpoint["dead"].astype(bool)
    shape = (array.geometry.rows, array.geometry.cols)
    if dead.shape != shape:
        raise RunError(f"the network stands on an array of {dead.shape} cells, not of {shape}")
    pruned = _placed(array, settings, network, data, int(checkpoint["seed"]), dead, conducts)
    then, now = (each.tobytes().decode() for each in (checkpoint["identity"], pruned.identity()))
    if then != now:
        raise RunError(f"this is not what the network was pruned with: then {then}; now {now}")
    pruned.restore(checkpoint)
    return pruned


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: PruningSettings) -> Cost:  # noqa: ARG001
    """The bound: every cell of the network switches at every synchronisation, with a whole ramp each."""
    data = load_data(settings)
    per_epoch = batches_per_epoch(len(data.train_inputs), settings.batch or settings.of_task.batch)
    wanted = np.ones(geometry.cells, bool) if settings.exclude is None else ~settings.exclude.ravel()
    form = density_cost(geometry, dac, settings.form, wanted)
    epochs = settings.epochs or settings.of_task.epochs
    each = 1 + (per_epoch // settings.synchronise if settings.synchronise else 0)
    found = _switching_cost(geometry, dac, settings, 2 + epochs * each)
    fresh = epochs * per_epoch * geometry.cells if settings.reads == "fresh" else 0
    return Cost(
        max_pulses=form.max_pulses + found.max_pulses,
        max_reads=form.max_reads + found.max_reads + fresh,
        amplitudes={**found.amplitudes, **form.amplitudes},
        gates={**found.gates, **form.gates},
        widths={**found.widths, **form.widths},
        max_pulses_per_cell=form.max_pulses_per_cell + found.max_pulses_per_cell,
        max_form_pulses_per_cell=form.max_form_pulses_per_cell,
        read_voltages=found.read_voltages,
    )


def _plan_inference(geometry: Geometry, dac: Scale, adc: Scale, settings: InferenceSettings) -> Cost:  # noqa: ARG001
    return _switching_cost(geometry, dac, settings, 1 if settings.verify else 0)


def _switching_cost(geometry: Geometry, dac: Scale, settings: PruningSettings, synchronisations: int) -> Cost:
    """Of so many synchronisations, and of judging on the board. What is missing for either is told here."""
    network = network_of(settings, load_data(settings))
    layers = [layer.shape for layer in network.layers]
    thin = [layer.name for layer in network.layers if round(settings.keep * layer.inputs * layer.outputs) < 1]
    if thin:
        raise SettingsError(f"$.keep: {settings.keep:g} keeps no edge of {thin[0]}")
    shape = (geometry.rows, geometry.cols)
    placement = place(layers, shape, settings.exclude, settings.most_dead, geometry.chips)
    verifies = int(bool(settings.rest and settings.board))
    times = synchronisations + verifies
    if placement.tiles > 1:  # only judging takes the tiles through the array, but for the first masks and cycles
        for name, asked in (("reads", settings.reads == "fresh"), ("forward", settings.forward == "board")):
            if asked:
                raise SettingsError(
                    f'$.{name}: "{getattr(settings, name)}" needs a network that stands on the array as a whole; this '
                    f"one takes {placement.tiles} turns"
                )
        passes = 2 + len(settings.rest) + 2 * verifies if settings.board else 0
        turns = _CALLS * len(placement.blocks)
        times = 2 * settings.replayed_reads + min(synchronisations, 2) + passes * turns + verifies
    ramps = {Operation.SET: settings.set, Operation.RESET: settings.reset}
    ramp = max(each.steps for each in ramps.values()) + settings.hold
    pulses = max(len(placement.cells(tile)) for tile in range(placement.tiles)) * ramp * times
    return Cost(
        max_pulses=pulses,
        max_reads=pulses + (times + 2) * geometry.cells * settings.replayed_reads,
        amplitudes={op: float(dac.values(each.codes(dac, op.name.lower()).max())) for op, each in ramps.items()},
        gates={op: each.gate for op, each in ramps.items()},
        widths={op: each.width for op, each in ramps.items()},
        max_pulses_per_cell=ramp * times,
        read_voltages=(settings.voltage,) if settings.board else (),
    )


VARIABLES = (
    *density_forming.VARIABLES,
    Variable("epoch", "epochs done or going on", dtype="u4", fill=NOT_GIVEN),
    Variable("loss", "mean cross entropy of the epoch's batches so far"),
    Variable("accuracy_train", "accuracy on the epoch's batches, while it learnt"),
    Variable("accuracy_software", "accuracy on the test samples, in software by the last readings"),
    Variable("accuracy_board", "accuracy on the test samples, on the board"),
    Variable("edges_pruned", "edges pruned at this synchronisation", dtype="u4", fill=NOT_GIVEN),
    Variable("edges_reinstated", "edges reinstated at this synchronisation", dtype="u4", fill=NOT_GIVEN),
    Variable("edges_held", "edges whose flip hysteresis held back", dtype="u4", fill=NOT_GIVEN),
    Variable("switched", "cells switched in this step", dtype="u4", fill=NOT_GIVEN),
    Variable("pulses", "SET and RESET pulses in this step", dtype="u4", fill=NOT_GIVEN),
    Variable("failed", "cells that did not follow their pulses in this step", dtype="u4", fill=NOT_GIVEN),
    Variable("saturated", "conversions of products at either end of the converter, so far", dtype="u4", fill=NOT_GIVEN),
    Variable("layer", "layer of the cell's edge; 255: none", ("row", "col"), "u1"),
    Variable("kept", "whether the cell's edge is kept", ("row", "col"), "u1", flags={"pruned": 0, "kept": 1}),
    Variable("switches", "times the cell was switched", ("row", "col"), "u2"),
    Variable("conductance", "conductance at the last reading", ("row", "col"), unit="S"),
)

pruning = Procedure(
    name="pruning",
    title="Prune a random network on the array",
    settings=PruningSettings,
    phases=(*density_forming.PHASES, "synchronise", "train", "calibrate", "infer", "rest", "compare", "done"),
    variables=VARIABLES,
    needs=Capability.FORM | Capability.PULSE | Capability.READ,
    steps=_steps,
    plan=_plan,
    measurement="pruning",
    checkpoints=True,
)

inference = Procedure(
    name="inference",
    title="Judge a pruned network on the array",
    settings=InferenceSettings,
    phases=("initial_read", "synchronise", "calibrate", "infer", "rest", "compare", "done"),
    variables=tuple(each for each in VARIABLES if each not in density_forming.VARIABLES),
    needs=Capability.PULSE | Capability.READ,
    steps=_infer,
    plan=_plan_inference,
)
