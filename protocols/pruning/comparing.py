"""The five other ways to come to weights of the same network, trained and judged in software on the same samples."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from labctl.learning import baselines
from labctl.learning.baselines import Course, ProgrammingError, Trained, Training
from labctl.learning.descent import Descent
from labctl.protocols.pruning.judging import Judged, judged
from labctl.protocols.pruning.settings import PruningSettings
from labctl.protocols.pruning.training import PrunedNetwork
from labctl.steps import Step

_STEP_EVERY = 100  # batches
_SOURCE = "closed-loop mapping error of three chips, 5 to 6 % of full scale: NI-RRAM-Python, MIT"

Steps = Generator[Step, None, Trained]


def compare(pruned: PrunedNetwork, found: dict[str, Judged]) -> Generator[Step, None, None]:
    """Put into `found`, by name, how well each of the baselines does that the settings ask for."""
    settings, network, data = pruned.settings, pruned.network, pruned.data
    random = pruned.random_weights()
    course, scored = _courses(pruned)

    def judge(name: str, trained: Trained) -> None:
        if name in settings.baselines:
            found[name] = judged(trained.predict(data.test_inputs), data, pruned.field)

    if "untouched" in settings.baselines:
        judge("untouched", baselines.untouched(network, data, random))
    if "last_layer" in settings.baselines:
        last = yield from _watched(baselines.last_layer(network, data, random, course), pruned, course)
        judge("last_layer", last)
    if "pruned_software" in settings.baselines:
        training = baselines.pruned_software(network, data, random, settings.keep, scored)
        judge("pruned_software", (yield from _watched(training, pruned, scored)))
    if {"float", "trained_then_written"} & set(settings.baselines):
        trained = yield from _watched(baselines.trained(network, data, course), pruned, course)
        judge("float", trained)
        error = ProgrammingError(settings.programming_error, _SOURCE)
        rng = np.random.default_rng([pruned.seed, 14])
        judge("trained_then_written", baselines.written(network, data, trained.weights, error, rng))


def _courses(pruned: PrunedNetwork) -> tuple[Course, Course]:
    """How weights are trained, and how scores are, as those on the array were."""
    s = pruned.settings
    epochs = s.baseline_epochs or pruned.epochs
    course = Course(epochs, pruned.batch, pruned.seed, Descent(_rate_of_weights(s), s.momentum, s.decay))
    return course, Course(epochs, pruned.batch, pruned.seed, Descent(s.scores_rate, s.momentum, s.decay))


def _rate_of_weights(settings: PruningSettings) -> float:
    return min(settings.scores_rate, 0.05)


def _watched(training: Training, pruned: PrunedNetwork, course: Course) -> Steps:
    """The training, with a step every so many batches."""
    batches = course.epochs * pruned.per_epoch
    while True:
        try:
            progress = next(training)
        except StopIteration as end:
            found: Trained = end.value
            return found
        if progress.batch % _STEP_EVERY == 0:
            yield Step("compare", progress=(progress.batch, batches))
