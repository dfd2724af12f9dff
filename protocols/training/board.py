"""A network in training on an array: from random devices, epoch by epoch, to what is recorded of it."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.array import MemoryArray
from labctl.errors import RunError, SettingsError
from labctl.learning.datasets import Dataset
from labctl.learning.mixed_precision.accumulator import MixedPrecision
from labctl.learning.mixed_precision.training import Course, Progress, batches_per_epoch, train
from labctl.learning.placement import Placement, place_sparing
from labctl.learning.trainable.network import TrainableNetwork
from labctl.protocols.checkpoints import beneath, within
from labctl.protocols.training.compensating import Reference, referred
from labctl.protocols.training.devices import Purpose, WeightDevices, reset_cells
from labctl.protocols.training.judging import Verdict, judge
from labctl.protocols.training.settings import TrainingSettings
from labctl.steps import Step

Float32 = NDArray[np.float32]

_STEPS = 20
"""An epoch is told of in, at least: what happens within is in the steps' figures."""

_PACE = 100
"""Samples after which time is given to them, where they are to have some."""

_TAIL = 0.01
_LEAST_DEVIATION = 0.1
"""Of the granularity: where the devices of a layer differ by less at first, they do not say what a weight of 1 is."""


@dataclass(slots=True)
class Curve:
    """One value an epoch. seconds: that the epoch took to train, on the clock on the wall."""

    accuracy: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class BoardTraining:
    """`network` learning from `data` on `array`.

    Attributes:
        stuck: (cells,) that do not follow a RESET.
        batches, images: learnt from so far.
        image_time: s of the array's clock that a sample took, on the mean of what was trained last.
        ended: s since 1970, when the last pulse was given.
        reference: what products were like right after training; None before, and where no rest is asked for.
        curve: of the epochs done.
        before, after: (cells,) S of the devices before the first epoch and after the last; NaN for those that are not
            the network's.
        verdict: the last one on the board.
    """

    def __init__(
        self, array: MemoryArray, settings: TrainingSettings, network: TrainableNetwork, data: Dataset, seed: int
    ) -> None:
        self.array = array
        self.settings = settings
        self.network = network
        self.data = data
        self.seed = seed
        self.course = course_of(settings, seed)
        self.stuck = np.zeros(array.geometry.cells, bool)
        self._devices: WeightDevices | None = None
        self._learner: MixedPrecision | None = None
        self.curve = Curve()
        self.epoch = 0
        self.images = 0
        self.batches = 0
        self.image_time = float(settings.image_time)
        self.ended = 0.0
        self.reference: Reference | None = None
        self.before = self.after = np.full(array.geometry.cells, np.nan, np.float32)
        self.verdict: Verdict | None = None
        self._told: dict[str, int] = {}

    # -- life ---------------------------------------------------------------------------------------------------

    def begin(self) -> Generator[Step, None, None]:
        """Random weights on the array, and what a difference of conductance is to each layer."""
        reset, self.stuck = reset_cells(self.array, self.settings)
        self._stand()
        self.devices.resets[reset] += np.uint16(1)
        self.devices.reads += len(reset)
        self.devices.scatter(np.random.default_rng([self.seed, 21]))
        self.devices.read_all()
        self.before = self.devices.conductance.copy()
        self.devices.siemens = self._scales()
        self._learn_from_here()
        yield Step("prepare", self._scalars(), self.maps(), checkpoint=self.checkpoint())

    def _stand(self) -> None:
        """On the array, around what is stuck."""
        shape = self.array.geometry.rows, self.array.geometry.cols
        placement = placed(self.settings, self.network, shape, self.stuck.reshape(shape))
        self._devices = WeightDevices(self.array, placement, self.settings)

    @property
    def devices(self) -> WeightDevices:
        """Where the weights stand; nowhere before the array is RESET."""
        assert self._devices is not None
        return self._devices

    def _scales(self) -> tuple[float, ...]:
        """S for a weight of 1: as given, or such that the random devices are random weights as the layer wants them."""
        given = self.settings.weight_per_siemens
        if given is not None:
            return (1 / given,) * len(self.network.layers)
        found = []
        for number, spread in enumerate(self.network.spreads):
            deviation = _deviation(self.devices.difference(number))
            if not deviation > _LEAST_DEVIATION * self.settings.granularity:
                raise SettingsError(
                    "$.initial: the devices hardly differ after preparation, which is to tell what a weight of 1 is; "
                    "SET more of them, or give weight_per_siemens"
                )
            found.append(deviation / spread)
        return tuple(found)

    def _learn_from_here(self) -> None:
        self._learner = MixedPrecision(
            self.devices,
            [layer.shape for layer in self.network.layers],
            rates=self.network.rates,
            rounding=self.settings.cut,
            most_pulses=self.settings.most_pulses,
            seed=self.seed,
        )

    def train(self) -> Generator[Step, None, None]:
        """Every batch that is left; each epoch ends with a step that has a checkpoint."""
        per_epoch = batches_per_epoch(self.network, self.data, self.course)
        every = max(per_epoch // _STEPS, 1)
        lap, running = _Lap.begun(self), _Running()
        for progress in train(self.network, self.learner, self.data, self.course, done=self.batches):
            running.add(progress)
            self._after_batch(progress, lap)
            done = (progress.batch, self.course.epochs * per_epoch)
            if progress.ends_epoch:
                self._close_lap(lap)
                yield self._end_epoch(running, done)
                lap, running = _Lap.begun(self), _Running()
            elif progress.batch % every == 0:
                yield Step("train", self._scalars() | running.scalars(progress.epoch + 1), progress=done)

    def _after_batch(self, progress: Progress, lap: _Lap) -> None:
        """Count it; give the samples their time; look for saturated pairs where it is time."""
        before, self.images = self.images, self.images + progress.samples
        self.batches = progress.batch
        if self.settings.image_time and before // _PACE < self.images // _PACE:
            self._wait(lap)
        every = self.settings.refresh_every
        if every and before // every < self.images // every:
            self.devices.refresh()

    def _wait(self, lap: _Lap) -> None:
        """Until the samples of the lap have had their time."""
        self.array.clock.sleep_until(lap.since + (self.images - lap.images) * float(self.settings.image_time))

    def _close_lap(self, lap: _Lap) -> None:
        """An epoch, or what was left of one, is over: its last pulses, and what it took."""
        self.devices.flush()
        if self.settings.image_time:
            self._wait(lap)
        self.ended = self.array.clock.now()
        self.image_time = (self.ended - lap.since) / (self.images - lap.images)
        self.curve.seconds.append(time.perf_counter() - lap.started)

    def _end_epoch(self, running: _Running, done: tuple[float, float]) -> Step:
        values = self._scalars() | running.scalars(self.epoch + 1)
        self.epoch += 1
        self.curve.loss.append(running.loss)
        self.devices.forget_offsets()
        accuracy = float("nan")
        if self.settings.judge or self.epoch == self.course.epochs:
            self.verdict = self.judge()
            accuracy, values = self.verdict.accuracy, {**values, **self.verdict.scalars}
        self.curve.accuracy.append(accuracy)
        return Step("judge", values, self.maps(), done, self.checkpoint())

    def end(self) -> Step:
        """Training is over: how the devices are, and what products with them are like."""
        self.devices.read_all()
        self.after = self.devices.conductance.copy()
        if self.settings.rest:
            with self.devices.untallied():
                self.reference = referred(self.network, self.devices, self.data)
        return Step("train", {}, self.maps(), checkpoint=self.checkpoint())

    def stop(self) -> Step:
        """Training breaks off here, and can go on from here."""
        self.devices.flush()
        return Step("done", self._scalars(), self.maps(), checkpoint=self.checkpoint())

    @property
    def has_ended(self) -> bool:
        """Whether `end` was recorded."""
        return bool(np.isfinite(self.after).any())

    def judge(self) -> Verdict:
        """On the board, as the devices are."""
        with self.devices.untallied():
            return judge(self.network, self.devices, self.data, self.seed)

    @property
    def learner(self) -> MixedPrecision:
        """Who has the weights pulsed; there is none before the devices are prepared."""
        assert self._learner is not None
        return self._learner

    # -- what is recorded -----------------------------------------------------------------------------------------

    def _scalars(self) -> dict[str, float | int]:
        """What has happened since the last step."""
        now = self._totals()
        new = {name: count - self._told.get(name, 0) for name, count in now.items()}
        self._told = now
        weights = sum(layer.inputs * layer.outputs for layer in self.network.layers)
        chances, pulsed = weights * new.pop("batches"), new.pop("pulsed")
        return {
            "images": self.images,
            "rate": self.course.rate_of(self.epoch),
            "sparsity": 1 - pulsed / chances if chances else float("nan"),
            **new,
        }

    def _totals(self) -> dict[str, int]:
        """By the names of a step's scalars; and batches, and in how many of them how many weights were pulsed."""
        counts, devices = self.learner.counts, self.devices
        return {
            "batches": counts.batches,
            "pulses": int(devices.given[Purpose.UPDATE].sum()),
            "pulsed": sum(counts.pulsed),
            "resets": 2 * devices.refreshed,
            "refreshed": devices.refreshed,
            "products": devices.counts.vectors,
            "saturated": devices.counts.saturated,
        }

    def maps(self) -> dict[str, np.ndarray]:
        """(rows, cols) of what there is to know of each cell."""
        placement, devices = self.devices.placement, self.devices
        layers = placement.layer_map(0)
        layers = np.where(layers == 255, layers, layers // self.settings.pairs).astype(np.uint8)
        shape = placement.shape
        return {
            "layer": layers,
            "pulses_set": devices.set_pulses.reshape(shape),
            "resets": devices.resets.reshape(shape),
            "conductance": devices.conductance.reshape(shape),
        }

    def checkpoint(self) -> dict[str, NDArray[Any]]:
        """All that it takes to go on from here with the devices as they are then."""
        return {
            "progress": np.array([self.epoch, self.batches, self.images]),
            "times": np.array([self.image_time, self.ended]),
            "after": self.after,
            "seed": np.array(self.seed),
            "identity": self.identity(),
            "before": self.before,
            "stuck": np.packbits(self.stuck),
            "curve": np.array([self.curve.accuracy, self.curve.loss, self.curve.seconds]).reshape(3, -1),
            **beneath("learner", self.learner.state()),
            **beneath("devices", self.devices.state()),
            **beneath("network", self.network.state()),
            **beneath("reference", {} if self.reference is None else self.reference.state()),
        }

    def identity(self) -> NDArray[np.uint8]:
        """Which chip, network and data this is about, as the bytes of a text."""
        shape = f"{self.array.geometry.rows}x{self.array.geometry.cols}"
        text = f"chip {self.array.chip_serial} of {shape} cells, network {self.network.name}, data {self.data.digest}"
        return np.frombuffer(text.encode(), np.uint8)

    def restore(self, checkpoint: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `checkpoint`, with the devices as they are now; they are read again.

        Raises RunError where it is of another chip, network or data.
        """
        then, now = (each.tobytes().decode() for each in (checkpoint["identity"], self.identity()))
        if then != now:
            raise RunError(f"this is not what the network was trained with: then {then}; now {now}")
        self.epoch, self.batches, self.images = checkpoint["progress"].tolist()
        self.image_time, self.ended = checkpoint["times"].tolist()
        self.before, self.after = checkpoint["before"], checkpoint["after"]
        self.stuck = np.unpackbits(checkpoint["stuck"], count=len(self.stuck)).astype(bool)
        self._stand()
        self.curve = Curve(*checkpoint["curve"].tolist())
        self.devices.restore(within(checkpoint, "devices"))
        self._learn_from_here()
        self.learner.restore(within(checkpoint, "learner"))
        self.network.restore(within(checkpoint, "network"))
        if reference := within(checkpoint, "reference"):
            self.reference = Reference.of(reference)
        self.devices.read_all()
        self._told = self._totals()


def _deviation(differences: Float32) -> float:
    """S, standard deviation of the central 99 %: a device that is stuck far away is no random weight."""
    low, high = np.quantile(differences, (_TAIL / 2, 1 - _TAIL / 2))
    return float(differences[(differences >= low) & (differences <= high)].std())


def placed(
    settings: TrainingSettings, network: TrainableNetwork, shape: tuple[int, int], stuck: NDArray[np.bool_]
) -> Placement:
    """Every layer as often as a weight has pairs, sparing cells that are `stuck`, (rows, cols).

    Raises SettingsError where they do not stand on the array at once.
    """
    exclude = settings.exclude
    if exclude is not None and (exclude.shape != shape or exclude.dtype != np.bool_):
        raise SettingsError(
            f"$.exclude: truths of shape {shape} are wanted, not {exclude.dtype} of shape {exclude.shape}"
        )
    layers = [layer.shape for layer in network.layers for _ in range(settings.pairs)]
    wanted = 2 * sum(inputs * outputs for inputs, outputs in layers)
    fits = wanted <= shape[0] * shape[1]
    placement = place_sparing(layers, shape, stuck, exclude, settings.most_dead) if fits else None
    if placement is None or placement.tiles > 1:
        raise SettingsError(
            f"$.network: {network.name} takes {wanted:,} devices, whose blocks do not stand on an array of {shape[0]} "
            f"x {shape[1]} cells at once, as training needs: choose a smaller network or fewer devices a weight"
        )
    return placement


def course_of(settings: TrainingSettings, seed: int) -> Course:
    """What the settings leave open is the task's; its rate goes with the batch, so that a sample counts the same."""
    task = settings.of_task
    batch = settings.batch or task.batch
    return Course(
        epochs=settings.epochs or task.epochs,
        batch=batch,
        rate=task.rate * batch / task.batch if settings.rate is None else settings.rate,
        decay=task.decay if settings.decay is None else settings.decay,
        seed=seed,
    )


@dataclass(frozen=True, slots=True)
class _Lap:
    """Where an epoch, or the rest of one, began. since: s on the array's clock. started: s on the one on the wall."""

    since: float
    images: int
    started: float

    @classmethod
    def begun(cls, training: BoardTraining) -> _Lap:
        return cls(training.array.clock.now(), training.images, time.perf_counter())


class _Running:
    """Means over the batches of an epoch."""

    def __init__(self) -> None:
        self._loss = 0.0
        self._batches = self._correct = self._judged = 0

    def add(self, progress: Progress) -> None:
        lesson = progress.lesson
        self._loss += lesson.loss
        self._batches += 1
        self._correct += lesson.correct
        self._judged += lesson.judged

    @property
    def loss(self) -> float:
        return self._loss / self._batches

    def scalars(self, epoch: int) -> dict[str, float | int]:
        """For a step."""
        accuracy = self._correct / self._judged if self._judged else float("nan")
        return {"epoch": epoch, "loss": self.loss, "accuracy_train": accuracy}
