"""The protocol of mixed-precision training: prepare random devices, train on them, judge, rest, compare."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import Capability, Geometry, MemoryArray, Operation, Scale
from labctl.errors import SettingsError
from labctl.learning.datasets import Dataset
from labctl.learning.mixed_precision.rows import one_thread
from labctl.learning.mixed_precision.training import batches_per_epoch
from labctl.learning.trainable.making import make_trainable
from labctl.learning.trainable.network import TrainableNetwork
from labctl.protocols.samples import load_samples
from labctl.protocols.training.board import BoardTraining, course_of, placed
from labctl.protocols.training.comparing import Compared, compare
from labctl.protocols.training.reporting import summary
from labctl.protocols.training.resting import Rested, rest
from labctl.protocols.training.settings import TrainingSettings
from labctl.steps import Cost, Procedure, Step, Steps, StopRequested, Variable

NOT_GIVEN = 2**32 - 1


def _steps(
    array: MemoryArray,
    settings: TrainingSettings,
    rng: np.random.Generator,
    checkpoint: Mapping[str, NDArray[Any]] | None,
) -> Steps:
    with one_thread():
        return (yield from _trained(array, settings, rng, checkpoint))


def _trained(
    array: MemoryArray,
    settings: TrainingSettings,
    rng: np.random.Generator,
    checkpoint: Mapping[str, NDArray[Any]] | None,
) -> Steps:
    data = load_data(settings)
    network = network_of(settings, data)
    if checkpoint is None:
        training = BoardTraining(array, settings, network, data, int(rng.integers(2**31)))
        yield from training.begin()
    else:
        training = BoardTraining(array, settings, network, data, int(checkpoint["seed"]))
        training.restore(checkpoint)
        yield Step("prepare", {"images": training.images}, training.maps())
    try:
        yield from training.train()
    except StopRequested:
        yield training.stop()
        raise
    found = yield from _after(training)
    yield Step("done", {}, training.maps(), checkpoint=training.checkpoint())
    return found


def _after(training: BoardTraining) -> Generator[Step, None, dict[str, Any]]:
    """What came of it: by the last judgement, after rests, and beside the baselines."""
    if not training.has_ended:
        yield training.end()
    if training.verdict is None:  # resumed after its last epoch
        training.verdict = training.judge()
    rests: list[Rested] = []
    others: dict[str, Compared] = {}
    with contextlib.suppress(StopRequested):  # what is done by then counts
        yield from rest(training, rests)
        yield from compare(training, others)
    return summary(training, rests, others)


def load_data(settings: TrainingSettings) -> Dataset:
    """The samples, as many as the settings ask for. Raises UsageError."""
    dataset = settings.of_task.dataset
    return load_samples(dataset, settings.data, settings.train, settings.test, own=settings.own_data)


def network_of(settings: TrainingSettings, data: Dataset) -> TrainableNetwork:
    """Raises UsageError where there is none such, or not for these samples."""
    return make_trainable(settings.task, settings.network, data.train_inputs.shape[1:], data.classes)


def _plan(geometry: Geometry, dac: Scale, adc: Scale, settings: TrainingSettings) -> Cost:  # noqa: ARG001
    """The bound: every batch has every weight pulsed as often as may be, and every pair is refreshed each time."""
    data = load_data(settings)
    network = network_of(settings, data)
    shape = geometry.rows, geometry.cols
    placement = placed(settings, network, shape, np.zeros(shape, bool))
    course = course_of(settings, 0)
    batches = course.epochs * batches_per_epoch(network, data, course)
    samples = course.epochs * data.train_labels.size
    refreshes = samples // settings.refresh_every if settings.refresh_every else 0
    devices = sum(cells.size for cells in (*placement.plus, *placement.minus))
    each = batches * settings.most_pulses + refreshes * (1 + settings.refresh_pulses) + 2
    pulses = {Operation.SET: settings.set, Operation.RESET: settings.reset}
    for operation, pulse in pulses.items():
        try:
            dac.codes(pulse.voltage)
        except ValueError as problem:
            where = f"$.{operation.name.lower()}.voltage"
            raise SettingsError(f"{where}: {pulse.voltage:g} V is {problem}") from None
    return Cost(
        max_pulses=geometry.cells + devices * (each - 1),
        max_reads=geometry.cells + devices * (refreshes + 3),
        amplitudes={operation: float(shape.voltage) for operation, shape in pulses.items()},
        gates={operation: float(shape.gate) for operation, shape in pulses.items()},
        widths={operation: float(shape.width) for operation, shape in pulses.items()},
        max_pulses_per_cell=each,
        read_voltages=(settings.voltage,),
    )


VARIABLES = (
    Variable("epoch", "epochs done or going on", dtype="u4", fill=NOT_GIVEN),
    Variable("images", "training samples seen so far; of text, characters", dtype="u4", fill=NOT_GIVEN),
    Variable("loss", "mean cross entropy of the epoch's batches so far"),
    Variable("rate", "learning rate"),
    Variable("accuracy_train", "accuracy on the epoch's batches so far, while it learnt"),
    Variable("accuracy_board", "accuracy on the test samples, on the board"),
    Variable("bits_per_char", "cross entropy of the test text, on the board", unit="bit"),
    Variable("gan_score", "share of generated pictures that the judge is sure of"),
    Variable("sparsity", "share of the weights that a batch leaves without a pulse, in this step"),
    Variable("pulses", "SET pulses of updates in this step", dtype="u4", fill=NOT_GIVEN),
    Variable("resets", "RESET pulses of refreshes in this step", dtype="u4", fill=NOT_GIVEN),
    Variable("refreshed", "pairs reset and rewritten in this step", dtype="u4", fill=NOT_GIVEN),
    Variable("products", "vectors multiplied in this step", dtype="u4", fill=NOT_GIVEN),
    Variable("saturated", "conversions at either end of the converter in this step", dtype="u4", fill=NOT_GIVEN),
    Variable("after", "time of rest before the network was judged", unit="s"),
    Variable("accuracy_compensated", "accuracy on the test samples with drift compensated, on the board"),
    Variable("layer", "layer of the cell's weight; 255: none", ("row", "col"), "u1"),
    Variable("pulses_set", "SET pulses that the cell was given, but for superseded ones", ("row", "col"), "u4"),
    Variable("resets", "RESET pulses that the cell was given, but for superseded ones", ("row", "col"), "u2"),
    Variable("conductance", "conductance at the last reading", ("row", "col"), unit="S"),
)

training = Procedure(
    name="training",
    title="Train a network in mixed precision on the array",
    settings=TrainingSettings,
    phases=("prepare", "train", "judge", "rest", "compare", "done"),
    variables=VARIABLES,
    needs=Capability.PULSE | Capability.READ | Capability.MULTIPLY_LINES,
    steps=_steps,
    plan=_plan,
    measurement="training",
    checkpoints=True,
)
