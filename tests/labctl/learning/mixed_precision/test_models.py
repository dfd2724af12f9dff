"""Ideal and granular devices: exact updates, exact granules, the same converters."""

import numpy as np
import pytest

from labctl.learning.mixed_precision.float_weights import FloatWeights
from labctl.learning.mixed_precision.models import Converters, GranularDevices, IdealDevices
from labctl.learning.trainable.network import Factors

SHAPES = [(40, 30), (31, 5)]
FINE = Converters(None, 16)


def initial(seed=1):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, np.float32) for shape in SHAPES]


def made(kind, converters=FINE):
    return (
        IdealDevices(initial(), converters) if kind == "ideal" else GranularDevices(initial(), (0.1, 0.1), converters)
    )


@pytest.mark.parametrize("kind", ["ideal", "granular"])
def test_products_differ_from_exact_ones_by_the_steps_of_their_converters(kind):
    rng = np.random.default_rng(2)
    inputs, deltas = (rng.standard_normal((7, width)).astype(np.float32) for width in SHAPES[0])
    tops = {FINE: (32767, 32767), Converters(8, 10): (127, 511), Converters(4, 14): (7, 8191)}
    for converters, (driven, read) in tops.items():
        devices, exact = made(kind, converters), FloatWeights(initial())
        weights = np.abs(exact.weights(0))
        for found, wanted, vectors, sums in (
            (devices.forward(0, inputs), exact.forward(0, inputs), inputs, weights.sum(axis=0)),
            (devices.backward(0, deltas), exact.backward(0, deltas), deltas, weights.sum(axis=1)),
        ):
            scale = np.abs(vectors).max(axis=1, keepdims=True)
            most = scale * sums * 0.5 / driven  # every input off by half a step
            widest = np.abs(wanted / scale).max() + (sums * 0.5 / driven).max()
            most = most + scale * 2 * widest * 0.5 / read
            error = np.abs(found - wanted)
            assert np.all(error <= most * (1 + 1e-3) + 1e-4)
            assert error.max() > 1e-6


@pytest.mark.parametrize("kind", ["ideal", "granular"])
def test_backward_gives_those_inputs_alone_that_are_asked_for(kind):
    deltas = np.random.default_rng(3).standard_normal((4, 5)).astype(np.float32)
    whole, part = (made(kind).backward(1, deltas, inputs) for inputs in (None, slice(0, 30)))
    assert part.shape == (4, 30)
    np.testing.assert_allclose(part, whole[:, :30], atol=1e-3)


def test_ideal_devices_take_an_update_exactly():
    rng = np.random.default_rng(4)
    factors = [Factors(*(rng.standard_normal((3, width)).astype(np.float32) for width in shape)) for shape in SHAPES]
    devices, exact = IdealDevices(initial(), Converters(2, 2), (1.0, 0.3)), FloatWeights(initial(), (1.0, 0.3))
    devices.learn(factors, 0.01)
    exact.learn(factors, 0.01)
    assert all(np.array_equal(devices.weights(layer), exact.weights(layer)) for layer in range(2))


def test_every_pulse_on_granular_devices_adds_a_granule_of_the_layer():
    devices = GranularDevices(initial(), (0.125, 0.5), FINE)
    devices.pulse(1, np.array([0, 7, 150]), np.array([3, -1, -700], np.int16))
    devices.refresh()
    change = devices.weights(1) - initial()[1]
    assert np.flatnonzero(change).tolist() == [0, 7, 150]
    np.testing.assert_allclose(change.ravel()[[0, 7, 150]], [1.5, -0.5, -350], rtol=1e-5)
    assert np.array_equal(devices.weights(0), initial()[0])
    assert devices.counts.pulses == 704
    assert (devices.counts.resets, devices.counts.refreshed) == (0, 0)
