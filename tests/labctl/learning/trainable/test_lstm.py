"""The network that reads text: its gradients, what it carries from window to window, and that it learns."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from held_weights import HeldWeights
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.trainable.lstm import Lstm
from labctl.learning.trainable.network import Float32

RNG = np.random.default_rng(0)
PHRASE = "the quick brown fox jumps over the lazy dog and then the other dog; "
ALPHABET = sorted(set(PHRASE))


def numbers(text: str) -> Float32:
    return np.array([ALPHABET.index(character) for character in text], np.float32)


def windows(classes: int, streams: int, steps: int) -> tuple[Float32, NDArray[np.int64]]:
    text = np.random.default_rng(5).integers(classes, size=(streams, steps + 1))
    return text[:, :-1].astype(np.float32), text[:, 1:]


def slope(loss: Callable[[], float], matrix: Float32, at: tuple[int, ...], step: float) -> float:
    """d loss / d matrix[at] from four losses, with an error of the fourth order of the step."""
    kept, found = matrix[at], {}
    for times in (-2, -1, 1, 2):
        matrix[at] = kept + times * step
        found[times] = loss()
    matrix[at] = kept
    return (8 * (found[1] - found[-1]) - (found[2] - found[-2])) / (12 * step)


def test_gradients_are_those_of_finite_differences() -> None:
    network = Lstm(3, hidden=4, window=5)
    weights = HeldWeights(network, spread=0.5)
    inputs, labels = windows(3, streams=2, steps=5)
    before = {"hidden": 0.5 * RNG.standard_normal((2, 4)), "cell": RNG.standard_normal((2, 4))}

    def loss() -> float:
        network.restore(before)
        return network.train_batch(weights, inputs, labels, RNG).loss

    network.restore(before)
    factors = network.train_batch(weights, inputs, labels, RNG).factors
    for matrix, factor in zip(weights.matrices, factors, strict=True):
        gradient = factor.inputs.T @ factor.deltas
        steps = 0.04 / np.abs(factor.inputs).max(axis=0)  # that bend the loss alike, whatever stands on the input
        found = [slope(loss, matrix, at, steps[at[0]]) for at in np.ndindex(matrix.shape)]
        # A loss in float32 is known to about 1e-7, a slope over 0.04 to 1e-5.
        np.testing.assert_allclose(gradient.ravel(), found, rtol=1e-3, atol=1e-5)


def test_a_window_asks_for_one_product_a_step_and_backward_only_for_hidden_units() -> None:
    network = Lstm(3, hidden=4, window=3)
    weights = HeldWeights(network)
    lesson = network.train_batch(weights, *windows(3, streams=2, steps=3), RNG)
    hidden_rows = slice(3, 7)
    assert weights.calls == [
        *[("forward", 0, 2, None)] * 3,
        ("forward", 1, 6, None),
        ("backward", 1, 6, slice(4)),
        *[("backward", 0, 2, hidden_rows)] * 2,
    ]
    assert [factor.inputs.shape for factor in lesson.factors] == [(6, 8), (6, 5)]
    assert [factor.deltas.shape for factor in lesson.factors] == [(6, 16), (6, 3)]
    assert all((factor.inputs[:, -1] == 1).all() for factor in lesson.factors)
    assert lesson.judged == 6


def test_state_goes_on_into_the_next_window_until_an_epoch_begins() -> None:
    network = Lstm(4, hidden=6, window=8)
    weights = HeldWeights(network, spread=0.6)
    inputs, labels = windows(4, streams=3, steps=8)
    whole = network.train_batch(weights, inputs, labels, RNG).loss
    network.begin_epoch()
    halves = [network.train_batch(weights, inputs[:, part], labels[:, part], RNG).loss for part in np.s_[:4, 4:]]
    assert np.mean(halves) == pytest.approx(whole, rel=1e-6)
    network.begin_epoch()
    afresh = network.train_batch(weights, inputs[:, 4:], labels[:, 4:], RNG).loss
    assert abs(afresh - halves[1]) > 1e-3


def test_state_that_is_restored_goes_on_as_it_would_have() -> None:
    network, other = Lstm(4, hidden=6, window=4), Lstm(4, hidden=6, window=4)
    weights = HeldWeights(network, spread=0.6)
    inputs, labels = windows(4, streams=3, steps=8)
    network.train_batch(weights, inputs[:, :4], labels[:, :4], RNG)
    kept = network.state()
    lessons = []
    for each in (network, other):
        each.restore(kept)
        lessons.append(each.train_batch(weights, inputs[:, 4:], labels[:, 4:], RNG))
    assert lessons[0].loss == lessons[1].loss
    np.testing.assert_array_equal(lessons[0].factors[0].deltas, lessons[1].factors[0].deltas)
    network.begin_epoch()
    assert network.state() == {}
    other.restore({})
    assert other.state() == {}


@pytest.mark.parametrize(
    "state",
    [
        {"hidden": np.zeros((2, 6))},
        {"hidden": np.zeros((2, 6)), "cell": np.zeros((3, 6))},
        {"hidden": np.zeros((2, 5)), "cell": np.zeros((2, 5))},
        {"hidden": np.zeros(6), "cell": np.zeros(6)},
    ],
    ids=["half of it", "streams differ", "another width", "no streams"],
)
def test_state_of_another_network_is_refused(state: dict[str, NDArray[np.float64]]) -> None:
    with pytest.raises(UsageError, match=r"lstm-6 carries hidden and cell of \(streams, 6\), but hidden \("):
        Lstm(4, hidden=6).restore(state)


def test_batches_are_streams_that_read_on_side_by_side() -> None:
    network = Lstm(1000, hidden=2, window=5)
    text = np.arange(1000)
    inputs, labels = text[:-1].astype(np.float32), text[1:]
    found = list(network.batches(inputs, labels, 4, np.random.default_rng(3)))
    assert len(found) == network.batches_per_epoch(999, 4) == 49
    streams = np.concatenate([given for given, _ in found], axis=1)
    assert streams.shape == (4, 49 * 5)
    assert (np.diff(streams) == 1).all()
    np.testing.assert_array_equal(np.diff(streams[:, 0]), 49 * 5)
    for given, following in found:
        np.testing.assert_array_equal(following, given + 1)
    again = list(network.batches(inputs, labels, 4, np.random.default_rng(3)))
    np.testing.assert_array_equal(again[20][0], found[20][0])
    starts = {int(next(network.batches(inputs, labels, 4, np.random.default_rng(seed)))[0][0, 0]) for seed in range(60)}
    assert starts == {0, 1, 2, 3, 4}


def test_a_text_shorter_than_a_window_for_each_stream_has_no_batch() -> None:
    network = Lstm(5, hidden=2, window=10)
    assert [network.batches_per_epoch(samples, 4) for samples in (3, 48, 49, 88, 89)] == [0, 0, 1, 1, 2]
    assert list(network.batches(np.zeros(48, np.float32), np.zeros(48, int), 4, RNG)) == []
    assert len(list(network.batches(np.zeros(49, np.float32), np.zeros(49, int), 4, RNG))) == 1


def test_a_long_text_is_judged_in_stretches_each_as_if_it_were_alone() -> None:
    network = Lstm(4, hidden=6, window=32)
    weights = HeldWeights(network, spread=0.6)
    text = np.random.default_rng(2).integers(4, size=1537).astype(np.float32)
    logits = network.predict(weights, text)
    assert logits.shape == (1537, 4)
    length = 513  # three streams of 1537 / 3 characters, rounded up
    for begin in range(0, 1537, length):
        alone = network.predict(weights, text[begin : begin + length])
        np.testing.assert_allclose(logits[begin : begin + length], alone, rtol=1e-5, atol=1e-5)


def test_what_is_predicted_is_what_training_judges() -> None:
    network = Lstm(4, hidden=6, window=9)
    weights = HeldWeights(network, spread=0.6)
    inputs, labels = windows(4, streams=1, steps=9)
    lesson = network.train_batch(weights, inputs, labels, RNG)
    logits = network.predict(weights, inputs[0]).astype(float)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert lesson.loss == pytest.approx(-np.log(chances[np.arange(9), labels[0]]).mean(), rel=1e-5)
    assert lesson.correct == np.count_nonzero(logits.argmax(axis=1) == labels[0])


def test_it_learns_a_text_better_than_its_characters_alone_would_tell_and_goes_on_writing_it() -> None:
    text = numbers(PHRASE * 60)
    network = Lstm(len(ALPHABET), hidden=24, window=16)
    weights, rng = HeldWeights(network), np.random.default_rng(4)
    losses: list[float] = []
    for _ in range(12):
        network.begin_epoch()
        losses.clear()
        for inputs, labels in network.batches(text[:-1], text[1:].astype(np.int64), 8, rng):
            lesson = network.train_batch(weights, inputs, labels, rng)
            weights.learn(lesson.factors, 3.0)
            losses.append(lesson.loss)
    shares = np.bincount(text.astype(int)) / len(text)
    entropy = -np.sum(shares * np.log(shares))
    assert np.mean(losses) < 0.1 * entropy
    written = network.sample(weights, numbers("the qui").astype(int).tolist(), 61, rng, temperature=0.1)
    assert "".join(ALPHABET[number] for number in written) == PHRASE[7:]


def test_samples_are_drawn_by_temperature_and_generator() -> None:
    network = Lstm(4, hidden=6)
    weights = HeldWeights(network, spread=0.6)

    def drawn(seed: int, temperature: float) -> list[int]:
        return network.sample(weights, [1, 2], 40, np.random.default_rng(seed), temperature)

    assert drawn(1, 1.0) == drawn(1, 1.0) != drawn(2, 1.0)
    assert drawn(1, 1e-4) == drawn(2, 1e-4)
    best = network.predict(weights, np.array([1, 2], np.float32))[-1].argmax()
    assert drawn(1, 1e-4)[0] == best
    assert network.state() == {}
    with pytest.raises(UsageError, match="at a temperature above 0, not at 0"):
        drawn(1, 0)


@pytest.mark.parametrize(
    "inputs", [np.zeros((2, 3)), np.zeros(0), np.array([0, 4]), np.array([-1, 0])], ids=["2-D", "none", "high", "low"]
)
def test_inputs_that_are_no_text_are_refused(inputs: NDArray[np.float64]) -> None:
    network = Lstm(4, hidden=6)
    with pytest.raises(UsageError, match=r"lstm-6 reads numbers of characters \(n,\), from 0 to 3, not inputs of"):
        network.predict(HeldWeights(network), inputs.astype(np.float32))


def test_a_network_that_cannot_be_is_refused() -> None:
    assert Lstm(65).name == "lstm"
    assert Lstm(65, 64).name == "lstm-64"
    assert [layer.shape for layer in Lstm(65).layers] == [(194, 512), (129, 65)]
    for classes, hidden, window in ((1, 128, 32), (65, 0, 32), (65, 128, 0)):
        with pytest.raises(UsageError, match="1, 1 and 2 are the least"):
            Lstm(classes, hidden, window)
