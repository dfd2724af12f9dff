"""Accumulators: updates add up digitally, whole granules leave as pulses, and nothing is lost between the two."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.errors import UsageError
from labctl.learning.mixed_precision.accumulator import MixedPrecision
from labctl.learning.trainable.network import Factors

LAYERS = [(12, 5), (6, 3)]


class Counted:
    """Devices that only count what they are told."""

    def __init__(self, granules=(0.1, 0.02)):
        self.granules = granules
        self.given = [np.zeros(layer, np.int64) for layer in LAYERS]
        self.orders = []

    forward = backward = refresh = weights = None  # nobody asks

    def pulse(self, layer, edges, counts, /):
        assert (np.diff(edges) > 0).all()
        assert (counts != 0).all()
        self.given[layer].reshape(-1)[edges] += counts
        self.orders.append((layer, edges, counts))


def _factors(rng, batch, sparse):
    found = []
    for inputs, outputs in LAYERS:
        driven = rng.random((1, inputs)) < sparse
        found.append(
            Factors(
                (rng.standard_normal((batch, inputs)) * driven).astype(np.float32),
                rng.standard_normal((batch, outputs)).astype(np.float32),
            )
        )
    return found


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), batch=st.sampled_from([1, 2, 7]), sparse=st.sampled_from([0.0, 0.2, 1.0]))
def test_what_was_learnt_is_what_was_pulsed_and_what_is_left(seed, batch, sparse):
    rng = np.random.default_rng(seed)
    devices = Counted()
    learner = MixedPrecision(devices, LAYERS, most_pulses=1000)
    wanted = [np.zeros(layer) for layer in LAYERS]

    for _ in range(5):
        factors = _factors(rng, batch, sparse)
        learner.learn(factors, rate=0.03)
        for total, each in zip(wanted, factors, strict=True):
            total -= 0.03 * each.inputs.astype(float).T @ each.deltas

    for number, granule in enumerate(devices.granules):
        learnt = granule * (devices.given[number] + learner.chi[number])
        assert np.allclose(learnt, wanted[number], atol=1e-5)
        assert (np.abs(learner.chi[number]) < 1).all()
        orders = [(edges, counts) for layer, edges, counts in devices.orders if layer == number]
        assert learner.counts.pulses[number] == sum(np.abs(counts).sum() for _, counts in orders)
        assert learner.counts.pulsed[number] == sum(len(edges) for edges, _ in orders)


def _one(learner, change):
    """Have weight (0, 0) of layer 0 changed by so many granules."""
    inputs, deltas = np.zeros((1, 12), np.float32), np.zeros((1, 5), np.float32)
    inputs[0, 0], deltas[0, 0] = 1, -change * learner.devices.granules[0]
    nothing = Factors(np.zeros((1, 6), np.float32), np.zeros((1, 3), np.float32))
    learner.learn([Factors(inputs, deltas), nothing], rate=1.0)


@pytest.mark.parametrize(
    ("rounding", "changes", "given", "left"),
    [
        ("truncate", [0.75, 0.75], 1, 0.5),
        ("truncate", [-0.75, -0.5], -1, -0.25),
        ("truncate", [-0.75], 0, -0.75),  # toward zero: small updates wait on either side
        ("truncate", [3.25], 3, 0.25),
        ("floor", [-0.75], -1, 0.25),  # toward minus infinity: any decrease is a pulse
        ("floor", [0.75], 0, 0.75),
        ("floor", [-1.25], -2, 0.75),
    ],
)
def test_rounding_says_what_becomes_a_pulse(rounding, changes, given, left):
    devices = Counted(granules=(0.125, 0.125))
    learner = MixedPrecision(devices, LAYERS, rounding=rounding)
    for chi in learner.chi:
        chi[:] = 0

    for change in changes:
        _one(learner, change)

    assert devices.given[0][0, 0] == given
    assert learner.chi[0][0, 0] == left
    assert np.abs(devices.given[0]).sum() == abs(given)


def test_what_is_due_beyond_the_most_pulses_waits_for_the_next_update():
    devices = Counted(granules=(0.125, 0.125))
    learner = MixedPrecision(devices, LAYERS, most_pulses=4)

    _one(learner, 10.5)
    assert (devices.given[0][0, 0], learner.chi[0][0, 0]) == (4, 6.5)

    _one(learner, 0.25)
    assert (devices.given[0][0, 0], learner.chi[0][0, 0]) == (8, 2.75)


def test_a_layer_learns_at_its_own_rate():
    devices = Counted(granules=(0.125, 0.125))
    learner = MixedPrecision(devices, LAYERS, rates=(0.5, 1.0))

    _one(learner, 1.5)

    assert learner.chi[0][0, 0] == 0.75


def test_rows_with_no_input_are_not_touched():
    learner = MixedPrecision(Counted(), LAYERS)

    _one(learner, 0.5)

    assert learner.counts.touched == [5, 0]  # the outputs of one input
    assert np.count_nonzero(learner.chi[0]) == 1


def test_it_goes_on_from_its_state():
    rng = np.random.default_rng(3)
    first, second = (MixedPrecision(Counted(), LAYERS) for _ in range(2))
    first.learn(_factors(rng, 3, 1.0), 0.1)

    second.restore(first.state())
    factors = _factors(rng, 3, 1.0)
    for learner in (first, second):
        learner.devices.orders.clear()
        learner.learn(factors, 0.1)

    for one, other in zip(first.devices.orders, second.devices.orders, strict=True):
        assert all(np.array_equal(*each) for each in zip(one, other, strict=True))
    assert first.counts == second.counts


def test_a_pulse_that_is_taken_to_change_nothing_is_refused():
    with pytest.raises(UsageError, match="layer 1 by 0: it must be more"):
        MixedPrecision(Counted(granules=(0.1, 0.0)), LAYERS)


@pytest.mark.parametrize(("rounding", "share"), [("truncate", 0.0), ("floor", 0.125)])
def test_of_many_small_updates_alike_some_have_a_pulse_at_once_only_where_accumulators_begin_at_random(rounding, share):
    layers = [(200, 50)]
    devices = Counted(granules=(0.1,))
    devices.given = [np.zeros(layers[0], np.int64)]
    learner = MixedPrecision(devices, layers, rounding=rounding, seed=3)

    up = Factors(np.ones((1, 200), np.float32), np.full((1, 50), -0.0125, np.float32))
    learner.learn([up], rate=1.0)  # an eighth of a granule for every weight

    deviation = (share * (1 - share) / 10_000) ** 0.5
    assert abs(devices.given[0].mean() - share) <= 4 * deviation
