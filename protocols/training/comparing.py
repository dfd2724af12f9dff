"""The same network trained on other weights than the array's, and judged like it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from labctl.learning.mixed_precision.comparing import ModelSettings, train_baseline
from labctl.learning.mixed_precision.devices import Refresh
from labctl.learning.mixed_precision.models import Converters
from labctl.learning.mixed_precision.training import batches_per_epoch
from labctl.learning.trainable.network import Products, TrainableNetwork
from labctl.protocols.training.board import BoardTraining
from labctl.protocols.training.judging import Verdict, judge
from labctl.protocols.training.settings import TrainingSettings
from labctl.steps import Step

_EVERY = 2000
"""Samples after which a step says how far it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """curve: accuracy after each epoch. verdict: the last one. pulses, resets: of all devices, where there are any."""

    curve: tuple[float, ...]
    verdict: Verdict
    pulses: int
    resets: int


def compare(training: BoardTraining, found: dict[str, Compared]) -> Generator[Step, None, None]:
    """Train every baseline that is asked for, from the same seed, into `found` by name."""
    settings, course, data = training.settings, training.course, training.data
    per_epoch = batches_per_epoch(training.network, data, course)
    models = _models(settings, training.devices.siemens, training.image_time)
    of_all = len(settings.baselines) * course.epochs * per_epoch
    for number, name in enumerate(settings.baselines):
        verdicts: list[Verdict] = []

        def judged(network: TrainableNetwork, products: Products, verdicts: list[Verdict] = verdicts) -> float:
            verdicts.append(judge(network, products, data, training.seed))
            return verdicts[-1].accuracy

        course_of_baseline = train_baseline(name, training.network, data, course, models, judged)
        samples = 0
        while True:
            try:
                progress = next(course_of_baseline)
            except StopIteration as end:
                done = end.value
                found[name] = Compared(done.curve, verdicts[-1], done.pulses, done.resets)
                break
            samples += progress.samples
            if samples >= _EVERY:
                samples = 0
                yield Step("compare", progress=(number * course.epochs * per_epoch + progress.batch, of_all))


def _models(settings: TrainingSettings, siemens: tuple[float, ...], image_time: float) -> ModelSettings:
    """Devices in memory as those of the array are taken to be."""
    return ModelSettings(
        scales=tuple(1 / each for each in siemens),
        granularity=float(settings.granularity),
        initial=settings.initial,
        devices=settings.pairs,
        rounding=settings.cut,
        refresh_images=settings.refresh_every,
        refresh=Refresh(
            float(settings.refresh_above),
            float(settings.refresh_difference),
            settings.refresh_pulses,
            float(settings.refresh_step),
        ),
        converters=Converters(settings.dac_bits, settings.adc_bits),
        image_time=image_time,
        most_pulses=settings.most_pulses,
    )
