"""The networks in torch: their operations against autograd's, their codes, what they learn."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from toy_tasks import accuracy, as_dataset, bars, quadrants, random_weights, whole_weights

from labctl.errors import UsageError
from labctl.learning import metrics
from labctl.learning.augmentation import augmentation_of
from labctl.learning.datasets import Dataset
from labctl.learning.descent import Descent
from labctl.learning.edges import EdgeScores
from labctl.learning.networks import IGNORED, Network, make_network
from labctl.learning.networks.perceptron import cross_entropy
from labctl.learning.training import PrunedEdges, TrainedWeights, train

torch = pytest.importorskip("torch", reason="these networks need the extra `learn`")

from torch.nn import functional  # noqa: E402

from labctl.learning.networks.torch_operations import (  # noqa: E402
    SMALL,
    Kernel,
    convolution,
    dense,
    quantised,
    rectified,
)

NETWORKS = {
    "convolutional": ("fashion-mnist", "convolutional", (18, 16)),
    "recurrent": ("spoken-digits", "recurrent", (23, 20)),
    "unet": ("vessels", "unet-4", (20, 17)),
}


def made(name: str, *, bits: int | None = None, full_precision: bool = False) -> Network:
    task, network, shape = NETWORKS[name]
    return make_network(task, network, bits, shape, 2 if name == "unet" else 4, full_precision=full_precision)


def samples(name: str, count: int = 12) -> Dataset:
    shape = NETWORKS[name][2]
    if name != "unet":
        return quadrants(*shape, samples=count)
    data = bars(20, samples=count)
    return as_dataset("bars", 2, data.train_inputs[..., :17], data.train_labels[..., :17])


def leaf(*shape: int, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).standard_normal(shape)
    return torch.from_numpy(values).requires_grad_()


def slopes(loss: torch.Tensor, *leaves: torch.Tensor) -> list[np.ndarray]:
    return [found.numpy() for found in torch.autograd.grad(loss, leaves)]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "kernel",
    [Kernel(3, (3, 3)), Kernel(3, (3, 3), padding=1), Kernel(3, (3, 2), (2, 1)), Kernel(3, (1, 1))],
    ids=["valid", "padded", "strided", "points"],
)
def test_a_convolution_and_its_gradients_are_those_of_torch(kernel: Kernel) -> None:
    codes, matrix = leaf(2, 3, 9, 8), leaf(kernel.inputs, 5, seed=1)
    weight = matrix.t().reshape(5, 3, *kernel.size)
    expected = 0.3 * functional.conv2d(codes, weight, stride=kernel.stride, padding=kernel.padding)
    found = convolution(codes, matrix, kernel, 0.3, None)
    np.testing.assert_allclose(found.detach(), expected.detach(), atol=1e-12)
    assert tuple(found.shape[2:]) == kernel.positions(9, 8)
    towards = leaf(*found.shape, seed=2).detach()
    assert_same(slopes((found * towards).sum(), codes, matrix), slopes((expected * towards).sum(), codes, matrix))


@pytest.mark.parametrize("kernel", [Kernel(3, (3, 3), padding=1), Kernel(3, (3, 2), (2, 1))], ids=["padded", "strided"])
def test_columns_times_the_matrix_are_the_convolution(kernel: Kernel) -> None:
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 16, (2, 3, 9, 8)).astype(np.float32))
    matrix = torch.from_numpy(np.random.default_rng(1).integers(-3, 4, (kernel.inputs, 5)).astype(np.float32))
    columns = kernel.columns(pictures)
    assert columns.dtype == np.uint8
    product = torch.from_numpy(columns.astype(np.float32) @ matrix.numpy())
    np.testing.assert_array_equal(
        convolution(pictures, matrix, kernel, 0.5, product), convolution(pictures, matrix, kernel, 0.5, None)
    )


def test_a_product_from_elsewhere_gives_the_values_and_leaves_the_gradients_digital() -> None:
    kernel = Kernel(3, (3, 3))
    codes, matrix, values = leaf(2, 3, 5, 5), leaf(27, 4, seed=1), leaf(18, 4, seed=2).detach()
    towards = leaf(2, 4, 3, 3, seed=3).detach()
    board, digital = (convolution(codes, matrix, kernel, 0.3, given) for given in (values, None))
    expected = 0.3 * values.reshape(2, 3, 3, 4).permute(0, 3, 1, 2)
    np.testing.assert_allclose(board.detach(), expected)
    assert_same(slopes((board * towards).sum(), codes, matrix), slopes((digital * towards).sum(), codes, matrix))


def test_a_dense_product_and_its_gradients_are_those_of_torch() -> None:
    codes, matrix, towards = leaf(6, 5), leaf(5, 3, seed=1), leaf(6, 3, seed=2).detach()
    found, expected = dense(codes, matrix, 0.3, None), 0.3 * codes @ matrix
    assert_same(slopes((found * towards).sum(), codes, matrix), slopes((expected * towards).sum(), codes, matrix))


@pytest.mark.parametrize("top", [None, 7])
def test_the_rectified_normalisation_has_the_gradient_of_batch_norm_straight_through_the_rounding(
    top: int | None,
) -> None:
    rows = leaf(50, 6)
    towards = leaf(50, 6, seed=1).detach()
    centred = (rows - rows.mean(dim=0)).detach()
    inverse = ((centred * centred).mean(dim=0) + SMALL).rsqrt()
    scale = 1.0 if top is None else top / 1.5
    found = rectified(rows, centred, inverse, scale, top)
    normal = functional.batch_norm(rows, None, None, training=True, eps=SMALL) * scale
    exact = normal.clamp(0, top)
    if top is not None:
        np.testing.assert_array_equal(found.detach(), exact.detach().round())
        assert found.max() == top  # some are beyond the range
    else:
        np.testing.assert_allclose(found.detach(), exact.detach(), atol=1e-12)
    assert_same(slopes((found * towards).sum(), rows), slopes((exact * towards).sum(), rows))


def test_codes_have_the_gradient_of_the_values_inside_the_range_and_none_beyond() -> None:
    values = torch.tensor([0.0, 0.2, 0.9, 1.4], dtype=torch.float64, requires_grad=True)
    codes = quantised(values, 7.0, 7)
    assert codes.tolist() == [0, 1, 6, 7]
    assert slopes(codes.sum(), values)[0].tolist() == [7, 7, 7, 0]


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_the_slopes_of_the_loss(name: str) -> None:
    network, data = made(name, full_precision=True), samples(name)
    weights = random_weights(network)
    gradients = network.train_batch(weights, data.train_inputs, data.train_labels).gradients
    rng = np.random.default_rng(3)
    for number, gradient in enumerate(gradients):
        # Mostly along the gradient the slope is about its norm: large beside the rounding of the loss, 2e-7 over 1e-3.
        # Steps are as short because the loss bends; of four times the length they are off by up to 3 %.
        direction = gradient / np.linalg.norm(gradient)
        direction += 0.3 * rng.standard_normal(gradient.shape).astype(np.float32) / np.sqrt(gradient.size)
        losses = []
        for sign in (1, -1):
            moved = [weight.copy() for weight in weights]
            moved[number] += np.float32(sign * 5e-4) * direction
            losses.append(network.train_batch(moved, data.train_inputs, data.train_labels).loss)
        assert (losses[0] - losses[1]) / 1e-3 == pytest.approx(float(np.vdot(gradient, direction)), rel=0.03, abs=4e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_digital_pass_and_one_by_products_are_the_same(name: str) -> None:
    network, data = made(name), samples(name)
    weights = whole_weights(network)
    vectors = [0] * len(network.layers)

    def product(layer: int, codes: np.ndarray) -> np.ndarray:
        vectors[layer] += len(codes)
        assert codes.shape[1] == network.layers[layer].inputs
        assert codes.max() < 1 << network.bits
        return codes.astype(np.float32) @ weights[layer]

    other = network.fresh()
    digital = network.train_batch(weights, data.train_inputs, data.train_labels)
    board = other.train_batch(weights, data.train_inputs, data.train_labels, product)
    assert board.loss == digital.loss
    for one, two in zip(digital.gradients, board.gradients, strict=True):
        np.testing.assert_array_equal(one, two)
    vectors[:] = [0] * len(vectors)
    np.testing.assert_array_equal(
        network.predict(weights, data.test_inputs), other.predict(weights, data.test_inputs, product)
    )
    assert vectors == [layer.products * len(data.test_inputs) for layer in network.layers]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_state_holds_all_that_was_learnt_beside_the_weights(name: str) -> None:
    network, data = made(name), samples(name)
    weights = random_weights(network)
    network.calibrate(weights, data.train_inputs, batch=3)
    again = made(name)
    again.restore(network.state())
    np.testing.assert_array_equal(again.predict(weights, data.test_inputs), network.predict(weights, data.test_inputs))


@pytest.mark.parametrize("name", ["convolutional", "recurrent"])
def test_a_calibrated_network_predicts_as_it_did_when_it_saw_these_samples_together(name: str) -> None:
    network, data = made(name, full_precision=True), quadrants(*NETWORKS[name][2], samples=900)
    weights = random_weights(network)
    together = network.train_batch(weights, data.train_inputs, data.train_labels)
    network.train_batch(weights, 0.5 * data.train_inputs, data.train_labels)
    network.calibrate(weights, data.train_inputs, batch=len(data.train_inputs))
    loss, _ = cross_entropy(network.predict(weights, data.train_inputs), data.train_labels)
    # The running variance is divided by n - 1, not by n: 1 in 600 more for the states, which have one value a sample.
    assert loss == pytest.approx(together.loss, rel=1 / 600)


def pruned(network: Network, data: Dataset, epochs: int, batch: int, seed: int = 1) -> list[np.ndarray]:
    weights = random_weights(network)
    updates = epochs * (len(data.train_inputs) // batch)
    scores = EdgeScores(
        [layer.shape for layer in network.layers], 0.5, np.random.default_rng(seed), Descent(updates=updates)
    )
    learner = PrunedEdges(scores, lambda: (weights, [0.1 * weight for weight in weights]))
    augment = augmentation_of(data)
    for _ in train(
        network, data.train_inputs, data.train_labels, learner, epochs=epochs, batch=batch, seed=seed, augment=augment
    ):
        pass
    found = list(learner.weights())
    network.calibrate(found, data.train_inputs)
    return found


@pytest.mark.parametrize("name", ["convolutional", "recurrent"])
def test_pruning_learns_which_quarter_is_bright(name: str) -> None:
    data = quadrants(*NETWORKS[name][2], samples=600)
    network = made(name)
    weights = pruned(network, data, epochs=5, batch=20)
    assert accuracy(network.predict(weights, data.test_inputs), data.test_labels) > 0.9


def test_pruning_learns_where_bars_are() -> None:
    data = bars(32, samples=60)
    network = make_network("vessels", "unet-8", None, (32, 32), 2)
    weights = pruned(network, data, epochs=4, batch=5)
    logits = network.predict(weights, data.test_inputs)
    assert logits.shape == (len(data.test_inputs), 2, 32, 32)
    scores = logits[:, 1] - logits[:, 0]
    assert metrics.pr_auc(data.test_labels.ravel(), scores.ravel()) > 0.9


def test_pixels_outside_the_field_of_view_teach_nothing() -> None:
    network = make_network("vessels", "unet-4", None, (16, 16), 2)
    data = bars(16, samples=9)
    weights = random_weights(network)
    above, below = data.train_labels.copy(), data.train_labels.copy()
    above[:, 10:] = IGNORED
    below[:, :10] = IGNORED
    whole, one, other = (
        network.train_batch(weights, data.train_inputs, labels) for labels in (data.train_labels, above, below)
    )
    assert (one.judged, other.judged) == (len(above) * 10 * 16, len(above) * 6 * 16)
    assert one.correct + other.correct == whole.correct
    # The loss is a mean in which a pixel of the rare class counts three times.
    parts = [np.sum(labels == 0) + 3 * np.sum(labels == 1) for labels in (above, below)]
    assert one.loss * parts[0] + other.loss * parts[1] == pytest.approx(whole.loss * sum(parts), rel=1e-5)
    for each, part, rest in zip(whole.gradients, one.gradients, other.gradients, strict=True):
        together = (part * parts[0] + rest * parts[1]) / sum(parts)
        np.testing.assert_allclose(together, each, atol=1e-4 * np.abs(each).max())


def test_pictures_of_any_size_are_labelled_pixel_by_pixel() -> None:
    network = made("unet")
    weights = random_weights(network)
    network.calibrate(weights, samples("unet").train_inputs)
    for shape in ((48, 48), (37, 50), (3, 5)):
        assert network.predict(weights, np.ones((2, 1, *shape), np.float32)).shape == (2, 2, *shape)


@pytest.mark.parametrize(
    ("task", "shape", "classes", "weights", "bits"),
    [
        ("fashion-mnist", (28, 28), 10, 62_272, 4),
        ("spoken-digits", (23, 20), 10, 68_480, 3),
        ("vessels", (48, 48), 2, 4_313_440, 6),
    ],
)
def test_the_published_networks_have_the_published_numbers_of_weights(
    task: str, shape: tuple[int, int], classes: int, weights: int, bits: int
) -> None:
    network = make_network(task, None, None, shape, classes)
    assert sum(layer.inputs * layer.outputs for layer in network.layers) == weights
    assert network.bits == bits
    assert len({layer.name for layer in network.layers}) == len(network.layers)


@pytest.mark.parametrize(
    ("task", "network", "shape", "said"),
    [
        ("mnist", "convolutional", (3, 28, 28), "one channel"),
        ("mnist", "convolutional", (13, 28), "14 x 14 pixels or more"),
        ("spoken-digits", "recurrent", (6, 20), "7 bands x 6 frames"),
        ("vessels", "unet-5", (48, 48), "an even number of channels"),
        ("vessels", "unet", (48,), r"not \(48,\)"),
    ],
)
def test_samples_that_do_not_fit_are_refused(task: str, network: str, shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make_network(task, network, None, shape, 10)


def test_weights_learn_in_full_precision() -> None:
    data = quadrants(18, 16, samples=300)
    network = made("convolutional", full_precision=True)
    learner = TrainedWeights(random_weights(network), Descent(0.05))
    for _ in train(network, data.train_inputs, data.train_labels, learner, epochs=3, batch=20, seed=1):
        pass
    assert accuracy(network.predict(learner.values, data.test_inputs), data.test_labels) > 0.9


def test_torch_works_with_one_thread_unless_told() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    code = (
        "import torch; torch.set_num_threads(2); from labctl.learning.networks import make_network; "
        "make_network('mnist', None, None, (28, 28), 10); print(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
