"""Training the same network on other weights than those of an array, to compare with.

float: float32 weights, drawn as suits the network best. ideal: devices that take any update exactly, between the same
converters as an array's. granularity: devices that take whole granules, exactly. pcm: phase-change devices as
published. All but float begin with the weights of the same freshly prepared phase-change devices. What a batch holds,
and in which order, follows from the course, as on an array.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from labctl.learning.datasets import Dataset
from labctl.learning.mixed_precision.accumulator import MixedPrecision, Rounding
from labctl.learning.mixed_precision.devices import Refresh
from labctl.learning.mixed_precision.float_weights import FloatWeights
from labctl.learning.mixed_precision.models import Converters, GranularDevices, IdealDevices, PcmDevices
from labctl.learning.mixed_precision.phase_change import PhaseChange
from labctl.learning.mixed_precision.training import Course, Learner, Progress, train
from labctl.learning.trainable.network import Products, TrainableNetwork

BaselineName = Literal["float", "ideal", "granularity", "pcm"]
Judge = Callable[[TrainableNetwork, Products], float]
"""Accuracy of a network whose products are these."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What models of devices are like. Conductances in S, times in s.

    scales: weight per S, of each layer. refresh_images: samples between two calls of `refresh`; 0 for none. image_time:
    s that pass on the devices' clock with a sample. Others as in `PcmDevices` and `MixedPrecision`.
    """

    scales: tuple[float, ...]
    granularity: float = 0.77e-6
    initial: float = 0.3
    devices: int = 1
    rounding: Rounding = "truncate"
    most_pulses: int = 20
    refresh_images: int = 100
    refresh: Refresh = field(default_factory=Refresh)
    converters: Converters = field(default_factory=Converters)
    image_time: float = 0.0
    cells: PhaseChange = field(default_factory=PhaseChange)


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """What became of it. curve: accuracy after each epoch. losses: mean loss of each. learner: whose weights they are.

    pulses, resets, refreshed: as in `PulseCounts`; 0 where there are no devices.
    """

    name: BaselineName
    curve: tuple[float, ...]
    losses: tuple[float, ...]
    learner: Learner
    pulses: int = 0
    resets: int = 0
    refreshed: int = 0

    @property
    def accuracy(self) -> float:
        """After the last epoch."""
        return self.curve[-1]


def train_baseline(
    name: BaselineName,
    network: TrainableNetwork,
    data: Dataset,
    course: Course,
    settings: ModelSettings,
    judge: Judge,
) -> Generator[Progress, None, Baseline]:
    """Train `network`, which nobody else trains meanwhile, batch by batch; `judge` it after each epoch.

    What weights and devices draw follows from the course's seed. Raises what `train` raises.
    """
    learner, devices = _make_learner(name, network, settings, course)
    curve, losses, epoch = [], [], []
    samples = refreshed = 0
    for progress in train(network, learner, data, course):
        samples += progress.samples
        if isinstance(devices, PcmDevices):
            devices.tell(samples * settings.image_time)
            if settings.refresh_images and samples - refreshed >= settings.refresh_images:
                refreshed = samples
                devices.refresh()
        epoch.append(progress.lesson.loss)
        yield progress
        if progress.ends_epoch:
            losses.append(float(np.mean(epoch)))
            epoch.clear()
            curve.append(judge(network, learner))
    if devices is None:
        return Baseline(name, tuple(curve), tuple(losses), learner)
    counts = devices.counts
    return Baseline(name, tuple(curve), tuple(losses), learner, counts.pulses, counts.resets, counts.refreshed)


def _make_learner(
    name: BaselineName, network: TrainableNetwork, settings: ModelSettings, course: Course
) -> tuple[Learner, GranularDevices | PcmDevices | None]:
    rng, shapes = np.random.default_rng([course.seed, 2]), [layer.shape for layer in network.layers]
    if name == "float":
        initial = [
            rng.standard_normal(shape, np.float32) * np.float32(spread)
            for shape, spread in zip(shapes, network.spreads, strict=True)
        ]
        return FloatWeights(initial, network.rates), None
    prepared = PcmDevices(
        shapes,
        settings.scales,
        rng,
        granularity=settings.granularity,
        initial=settings.initial,
        devices=settings.devices,
        refresh=settings.refresh,
        converters=settings.converters,
        cells=settings.cells,
    )
    initial = [prepared.weights(number) for number in range(len(shapes))]
    if name == "ideal":
        return IdealDevices(initial, settings.converters, network.rates), None
    devices = prepared if name == "pcm" else GranularDevices(initial, prepared.granules, settings.converters)
    learner = MixedPrecision(
        devices,
        shapes,
        rates=network.rates,
        rounding=settings.rounding,
        most_pulses=settings.most_pulses,
        seed=course.seed,
    )
    return learner, devices
