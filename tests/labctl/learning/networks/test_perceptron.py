"""The fully connected network in plain numpy: its gradients, its codes, its statistics."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from toy_tasks import accuracy, clusters, random_weights, whole_weights

from labctl.errors import UsageError
from labctl.learning.networks import Network, make_network
from labctl.learning.networks.perceptron import Perceptron, cross_entropy
from labctl.learning.networks.ranges import CLIPS, clip_of_rectified


def perceptron(*widths: int, bits: int = 4, full_precision: bool = False) -> Perceptron:
    return Perceptron(widths, bits, full_precision=full_precision)


def test_gradients_are_the_slopes_of_the_loss() -> None:
    data = clusters(features=6, classes=3, samples=60)
    network = perceptron(6, 8, 7, 3, full_precision=True)
    weights = random_weights(network)
    gradients = network.train_batch(weights, data.train_inputs, data.train_labels).gradients
    rng = np.random.default_rng(3)
    for number, gradient in enumerate(gradients):
        direction = rng.standard_normal(gradient.shape).astype(np.float32)
        direction /= np.linalg.norm(direction)
        losses = []
        for sign in (1, -1):
            moved = [weight.copy() for weight in weights]
            moved[number] += np.float32(sign * 3e-3) * direction
            losses.append(network.train_batch(moved, data.train_inputs, data.train_labels).loss)
        # Losses are good to about 2e-7, so their slope over 6e-3 to 5e-5.
        assert (losses[0] - losses[1]) / 6e-3 == pytest.approx(float(np.vdot(gradient, direction)), rel=0.02, abs=1e-4)


def test_gradients_through_codes_of_many_bits_are_nearly_those_in_full_precision() -> None:
    data = clusters()
    found = []
    for network in (perceptron(20, 30, 4, bits=8), perceptron(20, 30, 4, full_precision=True)):
        gradients = network.train_batch(random_weights(network), data.train_inputs, data.train_labels).gradients
        found.append(np.concatenate([gradient.ravel() for gradient in gradients]))
    quantised, exact = found
    assert np.vdot(quantised, exact) / np.linalg.norm(quantised) / np.linalg.norm(exact) > 0.99


def test_cross_entropy_is_that_of_the_softmax() -> None:
    logits = np.array([[1000, 0, 0], [0, 0, 0]], np.float32)
    loss, gradient = cross_entropy(logits, np.array([0, 2]))
    assert loss == pytest.approx(np.log(3) / 2)
    np.testing.assert_allclose(gradient, [[0, 0, 0], [1 / 6, 1 / 6, -1 / 3]], atol=1e-7)


def test_a_digital_pass_and_one_by_products_are_the_same() -> None:
    data = clusters()
    network = perceptron(20, 30, 10, 4, bits=3)
    weights = whole_weights(network)
    asked: list[tuple[int, tuple[int, int], int]] = []

    def product(layer: int, codes: np.ndarray) -> np.ndarray:
        asked.append((layer, codes.shape, int(codes.max())))
        assert codes.dtype == np.uint8
        return codes.astype(np.float32) @ weights[layer]

    other = network.fresh()
    digital = network.train_batch(weights, data.train_inputs, data.train_labels)
    board = other.train_batch(weights, data.train_inputs, data.train_labels, product)
    assert board.loss == digital.loss
    for one, two in zip(digital.gradients, board.gradients, strict=True):
        np.testing.assert_array_equal(one, two)
    asked.clear()
    np.testing.assert_array_equal(
        network.predict(weights, data.test_inputs), other.predict(weights, data.test_inputs, product)
    )
    samples = len(data.test_inputs)
    assert [(layer, shape) for layer, shape, _ in asked] == [(0, (samples, 20)), (1, (samples, 30)), (2, (samples, 10))]
    assert max(top for _, _, top in asked) == 7


def test_the_values_forward_are_the_products_and_the_gradient_is_digital() -> None:
    data = clusters()
    weights = random_weights(perceptron(20, 4))
    network = perceptron(20, 4)
    board = network.train_batch(
        weights, data.train_inputs, data.train_labels, lambda _, codes: np.zeros((len(codes), 4), np.float32)
    )
    assert board.loss == pytest.approx(np.log(4))  # all logits are 0
    assert np.abs(board.gradients[0]).max() > 0


def test_a_network_learns_with_weights_that_are_trained() -> None:
    data = clusters()
    network = perceptron(20, 30, 4)
    weights = random_weights(network)
    for _ in range(60):
        batch = network.train_batch(weights, data.train_inputs, data.train_labels)
        weights = [weight - np.float32(0.5) * slope for weight, slope in zip(weights, batch.gradients, strict=True)]
    assert batch.correct > 0.97 * batch.judged == 0.97 * len(data.train_labels)
    assert accuracy(network.predict(weights, data.test_inputs), data.test_labels) > 0.97


def test_calibration_finds_the_moments_of_these_weights_whatever_was_before() -> None:
    data = clusters()
    network = perceptron(20, 30, 4)
    weights = random_weights(network)
    network.train_batch(random_weights(network, seed=9), 3 * data.train_inputs, data.train_labels)
    network.calibrate(weights, data.train_inputs)
    low, high = data.train_inputs.min(), data.train_inputs.max()
    codes = np.rint((data.train_inputs - low) / (high - low) * 15)
    before = codes @ weights[0] * (high - low) / 15
    np.testing.assert_allclose(network.statistics.means[0], before.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(network.statistics.variances[0], before.var(axis=0, ddof=1), rtol=1e-3)


def test_calibration_takes_all_batches_alike() -> None:
    data = clusters(samples=300)
    found = []
    for order in (1, -1):
        network = perceptron(20, 30, 4, full_precision=True)
        network.calibrate(random_weights(network), data.train_inputs[::order], batch=50)
        found.append(network.statistics.means[0])
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_shifted_inputs_change_no_prediction() -> None:
    data = clusters()
    weights = random_weights(perceptron(20, 30, 4))
    logits = []
    for shift in (0, -0.5):
        network = perceptron(20, 30, 4)
        network.calibrate(weights, data.train_inputs + np.float32(shift))
        logits.append(network.predict(weights, data.test_inputs + np.float32(shift)))
    # A shift of inputs in float32 moves some of them, one in a thousand or so, across a border between codes.
    np.testing.assert_allclose(logits[0], logits[1], atol=0.15)
    assert np.median(np.abs(logits[0] - logits[1])) < 1e-4


def test_statistics_go_on_from_a_state() -> None:
    data = clusters()
    network, again = perceptron(20, 30, 4), perceptron(20, 30, 4)
    weights = random_weights(network)
    network.train_batch(weights, data.train_inputs[:100], data.train_labels[:100])
    again.restore(network.state())
    for each in (network, again):
        each.train_batch(weights, data.train_inputs[100:], data.train_labels[100:])
    for name, values in network.state().items():
        np.testing.assert_array_equal(again.state()[name], values)
    np.testing.assert_array_equal(again.predict(weights, data.test_inputs), network.predict(weights, data.test_inputs))


def test_a_fresh_network_shares_nothing_with_the_old_one() -> None:
    data = clusters()
    network = perceptron(20, 30, 4)
    network.calibrate(random_weights(network), data.train_inputs)
    fresh = network.fresh(full_precision=True)
    assert (fresh.full_precision, network.full_precision) == (True, False)
    assert fresh.statistics.batches == 0
    fresh.calibrate(random_weights(network, seed=5), data.train_inputs)
    assert not np.array_equal(fresh.statistics.means[0], network.statistics.means[0])


@pytest.mark.parametrize("bits", sorted(CLIPS))
def test_ranges_end_where_the_square_error_of_a_rectified_normal_is_least(bits: int) -> None:
    values = np.linspace(0, 9, 20001)
    density = np.exp(-(values**2) / 2)

    def error(end: float) -> float:
        step = end / ((1 << bits) - 1)
        return float(np.sum(density * (values - np.minimum(np.rint(values / step) * step, end)) ** 2))

    best = error(CLIPS[bits])
    assert best <= error(CLIPS[bits] * 0.97)
    assert best <= error(CLIPS[bits] * 1.03)
    assert clip_of_rectified(bits, 2.0) == pytest.approx(2 * CLIPS[bits])  # mean square 2: deviation 2


def calibrated() -> Network:
    network = perceptron(20, 4)
    network.calibrate(random_weights(network), clusters().train_inputs)
    return network


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: perceptron(20), "an input and an output width"),
        (lambda: perceptron(20, 0, 4), "an input and an output width"),
        (lambda: perceptron(20, 4, bits=9), "inputs of 9 bits"),
        (lambda: perceptron(20, 4).predict(random_weights(perceptron(20, 4)), np.ones((3, 20), np.float32)), "no stat"),
        (lambda: calibrated().predict([np.ones((20, 5), np.float32)], np.ones((3, 20), np.float32)), "fc1 20 x 4"),
        (lambda: calibrated().predict(random_weights(calibrated()), np.ones((3, 19), np.float32)), "samples of 19"),
        (lambda: calibrated().predict(random_weights(calibrated()), np.ones((0, 20), np.float32)), "no sample"),
        (lambda: calibrated().restore(perceptron(20, 7, 4).state()), r"no high of shape \(1,\)"),
        (
            lambda: (
                calibrated()
                .fresh(full_precision=True)
                .train_batch(
                    random_weights(calibrated()),
                    np.ones((3, 20), np.float32),
                    np.zeros(3, int),
                    lambda _, codes: codes.astype(np.float32),
                )
            ),
            "is in full precision",
        ),
        (lambda: make_network("mnist", "784-10", None, (28, 29), 10), "does not go from 812 values to 10 classes"),
        (lambda: make_network("mnist", "transformer", None, (28, 28), 10), "no network is called 'transformer'"),
        (lambda: make_network("chess", None, None, (8, 8), 10), "there is no task 'chess'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(call, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_a_perceptron_is_made_by_name_or_widths() -> None:
    assert make_network("mnist", "perceptron", None, (1, 28, 28), 10).name == "784-512-10"
    made = make_network("fashion-mnist", "784-250-10", 5, (28, 28), 10)
    assert [(layer.name, layer.inputs, layer.outputs, layer.products) for layer in made.layers] == [
        ("fc1", 784, 250, 1),
        ("fc2", 250, 10, 1),
    ]
    assert (made.bits, made.classes) == (5, 10)


def test_torch_is_asked_for_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UsageError, match=r"needs torch: pip install 'labctl\[learn\]'"):
        make_network("fashion-mnist", None, None, (28, 28), 10)
    assert make_network("mnist", "perceptron", None, (28, 28), 10).bits == 4


def test_perceptrons_and_edges_work_without_torch() -> None:
    code = (
        "import sys; import labctl.learning.baselines, labctl.learning.edges; "
        "from labctl.learning.networks import make_network; make_network('mnist', 'perceptron', None, (28, 28), 10); "
        "assert 'torch' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
