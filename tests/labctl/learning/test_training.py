"""The loop that trains, and the weights a pruned network is judged against."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import numpy as np
import pytest
from toy_tasks import accuracy, clusters, random_weights

from labctl.errors import UsageError
from labctl.learning import baselines
from labctl.learning.baselines import Course, ProgrammingError, Trained
from labctl.learning.descent import Descent
from labctl.learning.edges import EdgeScores
from labctl.learning.networks.perceptron import Perceptron
from labctl.learning.training import Progress, PrunedEdges, TrainedWeights, train

DATA = clusters(samples=900)
COURSE = Course(epochs=6, batch=30, seed=4, descent=Descent(rate=0.1))

T = TypeVar("T")


def perceptron() -> Perceptron:
    return Perceptron((20, 40, 4), 4)


def result_of(course: Generator[Progress, None, T]) -> T:
    while True:
        try:
            next(course)
        except StopIteration as end:
            return end.value


def score(trained: Trained) -> float:
    return accuracy(trained.predict(DATA.test_inputs), DATA.test_labels)


def test_training_says_where_it_is_after_each_batch() -> None:
    network = perceptron()
    learner = TrainedWeights(random_weights(network), Descent())
    inputs, labels = DATA.train_inputs[:70], DATA.train_labels[:70]
    steps = list(train(network, inputs, labels, learner, epochs=2, batch=30, seed=1))
    assert [(step.batch, step.epoch, step.ends_epoch) for step in steps] == [
        (1, 0, False),
        (2, 0, True),
        (3, 1, False),
        (4, 1, True),
    ]
    assert {step.judged for step in steps} == {30}
    assert steps[-1].loss < steps[0].loss


def test_training_that_goes_on_meets_the_batches_it_would_have_met() -> None:
    network, again = perceptron(), perceptron()
    weights = random_weights(network)

    def scores_of(seed: int) -> EdgeScores:
        return EdgeScores([layer.shape for layer in network.layers], 0.5, np.random.default_rng(seed), Descent())

    def course(network: Perceptron, scores: EdgeScores, done: int) -> list[Progress]:
        learner = PrunedEdges(scores, lambda: (weights, [0 * weight for weight in weights]))
        pieces = train(
            network, DATA.train_inputs, DATA.train_labels, learner, epochs=2, batch=60, seed=7, done=done, augment=noisy
        )
        steps = []
        for step in pieces:
            steps.append(step)
            states[step.batch] = network.state(), scores.state()
        return steps

    def noisy(inputs: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return inputs + rng.normal(0, 0.05, inputs.shape).astype(np.float32), labels

    states: dict[int, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = {}
    through = course(network, scores_of(1), 0)
    statistics, edges = states[13]
    other = scores_of(2)
    other.restore(edges)
    again.restore(statistics)
    assert course(again, other, 13) == through[13:]


def test_each_epoch_meets_every_sample_in_another_order() -> None:
    network = Perceptron((1, 2), 8)
    met: list[np.ndarray] = []

    def watched(inputs: np.ndarray, labels: np.ndarray, _: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        met.append(inputs.ravel())
        return inputs, labels

    inputs = np.arange(12, dtype=np.float32)[:, None]
    learner = TrainedWeights(random_weights(network), Descent())
    list(train(network, inputs, np.zeros(12, int), learner, epochs=2, batch=4, seed=1, augment=watched))
    first, second = np.concatenate(met[:3]), np.concatenate(met[3:])
    assert sorted(first) == sorted(second) == list(range(12))
    assert list(first) != list(second)


def test_a_batch_that_the_samples_do_not_fill_is_refused() -> None:
    learner = TrainedWeights(random_weights(perceptron()), Descent())
    with pytest.raises(UsageError, match="batches of 601 samples cannot be made of 600"):
        list(train(perceptron(), DATA.train_inputs, DATA.train_labels, learner, epochs=1, batch=601, seed=1))


def test_every_batch_reads_the_edges_anew_and_learns_from_that_reading() -> None:
    network = perceptron()
    weights = random_weights(network)
    reads = 0

    def read() -> tuple[list[np.ndarray], list[np.ndarray]]:
        nonlocal reads
        reads += 1
        rng = np.random.default_rng(reads)
        noisy = [weight * (1 + 0.02 * rng.standard_normal(weight.shape, np.float32)) for weight in weights]
        return noisy, [0.1 * weight for weight in noisy]

    scores = EdgeScores([layer.shape for layer in network.layers], 0.5, np.random.default_rng(1), Descent())
    learner = PrunedEdges(scores, read)
    steps = list(train(network, DATA.train_inputs, DATA.train_labels, learner, epochs=6, batch=30, seed=1))
    assert reads == scores.updates == len(steps)
    assert sum(step.correct for step in steps[-20:]) / sum(step.judged for step in steps[-20:]) > 0.95


def test_pruning_and_training_the_last_layer_both_beat_untouched_weights_and_float_is_best() -> None:
    data = clusters(features=20, classes=10, samples=1500, seed=3)
    network = Perceptron((20, 12, 10), 4)
    weights = random_weights(network)
    course = Course(epochs=8, batch=30, seed=4)

    def share(trained: Trained) -> float:
        return accuracy(trained.predict(data.test_inputs), data.test_labels)

    none = share(baselines.untouched(network, data, weights))
    pruned = share(result_of(baselines.pruned_software(network, data, weights, 0.5, course)))
    last = share(result_of(baselines.last_layer(network, data, weights, course)))
    trained = share(result_of(baselines.trained(network, data, course)))
    assert none < 0.4
    assert min(pruned, last) > none + 0.3
    assert trained > max(0.95, pruned, last)
    assert network.statistics.batches == 0  # none of them touched the network they were given


def test_the_last_layer_learns_alone() -> None:
    network = perceptron()
    weights = random_weights(network)
    trained = result_of(baselines.last_layer(network, DATA, weights, COURSE))
    np.testing.assert_array_equal(trained.weights[0], weights[0])
    assert not np.array_equal(trained.weights[1], weights[1])


def test_pruned_edges_weigh_nothing_and_kept_ones_what_they_did() -> None:
    network = perceptron()
    weights = random_weights(network)
    trained = result_of(baselines.pruned_software(network, DATA, weights, 0.3, COURSE))
    for weight, before in zip(trained.weights, weights, strict=True):
        kept = weight != 0
        assert np.count_nonzero(kept) == round(0.3 * weight.size)
        np.testing.assert_array_equal(weight[kept], before[kept])


def test_written_weights_are_the_worse_the_larger_the_programming_error() -> None:
    network = perceptron()
    weights = result_of(baselines.trained(network, DATA, COURSE, full_precision=False)).weights
    found = [
        baselines.written(network, DATA, weights, ProgrammingError(error, "made up"), np.random.default_rng(1))
        for error in (0, 0.05, 0.5)
    ]
    bound = [3 * weight.std() for weight in weights]
    for written, weight, end in zip(found[0].weights, weights, bound, strict=True):
        np.testing.assert_allclose(written, np.clip(weight, -end, end), rtol=1e-5, atol=1e-6)
    # Of a pair, the cell that is written to 0 is off upwards only: half of a normal distribution, variance
    # 1/2 - 1/(2 pi) of it; the other one has nearly all of it.
    off = (found[1].weights[0] - found[0].weights[0]) / bound[0] / 0.05
    assert 1.0 < off.std() < np.sqrt(1.5)
    scores = [score(each) for each in found]
    assert scores[0] > 0.95
    assert scores[0] >= scores[1] > scores[2]


def test_weights_trained_in_float_differ_with_the_seed_only() -> None:
    one, same, other = (
        result_of(baselines.trained(perceptron(), DATA, Course(1, 30, seed))).weights[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_programming_error_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="of the full scale"):
        ProgrammingError(5.6, "percent by mistake")
