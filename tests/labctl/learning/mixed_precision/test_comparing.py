"""Baselines learn the same task in the same order, each on weights of its own kind."""

import numpy as np
import pytest
import toy_tasks

from labctl.learning.mixed_precision.comparing import ModelSettings, train_baseline
from labctl.learning.mixed_precision.training import Course
from labctl.learning.trainable.perceptron import Perceptron

DATA = toy_tasks.clusters()
COURSE = Course(epochs=4, batch=5, rate=0.4, decay=0.9, seed=3)
SETTINGS = ModelSettings(scales=(125e3, 125e3))
NAMES = ("float", "ideal", "granularity", "pcm")


def judged(network, products):
    return toy_tasks.accuracy(network.predict(products, DATA.test_inputs), DATA.test_labels)


def outcome(name, settings=SETTINGS, course=COURSE, judge=judged):
    steps, training = [], train_baseline(name, Perceptron((20, 30, 4)), DATA, course, settings, judge)
    while True:
        try:
            steps.append(next(training))
        except StopIteration as end:
            return steps, end.value


@pytest.mark.parametrize("name", NAMES)
def test_every_baseline_learns_and_says_how_well_after_each_epoch(name):
    steps, found = outcome(name)
    assert found.name == name
    assert [step.batch for step in steps] == list(range(1, 4 * 80 + 1))
    assert len(found.curve) == len(found.losses) == 4
    assert found.accuracy == found.curve[-1] > 0.9
    assert found.losses[-1] < 0.5 * found.losses[0]
    np.testing.assert_allclose(found.losses[0], np.mean([step.lesson.loss for step in steps[:80]]))
    assert (found.pulses > 0) == (name in ("granularity", "pcm"))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_training(name):
    short = Course(epochs=1, batch=5, rate=0.4, decay=0.9, seed=3)
    (_, one), (_, same) = (outcome(name, course=short) for _ in range(2))
    assert one.losses == same.losses
    other = outcome(name, course=Course(epochs=1, batch=5, rate=0.4, decay=0.9, seed=4))[1]
    assert other.losses != one.losses


def test_all_models_of_devices_begin_with_the_same_weights():
    seen = {}

    def first_products(name):
        def judge(_, products):
            seen[name] = products.forward(0, np.eye(21, dtype=np.float32))
            return 0.0

        return judge

    still = Course(epochs=1, batch=5, rate=0.0, decay=1.0, seed=3)
    for name in ("ideal", "granularity"):
        outcome(name, course=still, judge=first_products(name))
    assert np.array_equal(seen["ideal"], seen["granularity"])
    _, pcm = outcome("pcm", course=still)
    np.testing.assert_allclose(seen["ideal"], pcm.learner.devices.weights(0), atol=1e-3)
    assert pcm.learner.devices.counts.pulses == 0


def test_devices_are_refreshed_and_drift_as_the_settings_say():
    often = outcome("pcm", ModelSettings(scales=(125e3, 125e3), refresh_images=10))[1]
    never = outcome("pcm", ModelSettings(scales=(125e3, 125e3), refresh_images=0))[1]
    assert often.refreshed > 0
    assert often.resets == 2 * often.refreshed
    assert never.refreshed == never.resets == 0
    slow = outcome("pcm", ModelSettings(scales=(125e3, 125e3), refresh_images=0, image_time=10.0))[1]
    size = [float(np.abs(each.learner.devices.conductances(0)).mean()) for each in (slow, never)]
    assert size[0] < 0.95 * size[1]
