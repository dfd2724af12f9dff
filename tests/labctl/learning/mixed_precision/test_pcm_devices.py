"""Phase-change devices in memory do what the published model says, and what the simulated chip's cells do."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ks_2samp

from labctl.errors import UsageError
from labctl.learning.mixed_precision.devices import Refresh
from labctl.learning.mixed_precision.models import Converters, PcmDevices
from labctl.learning.mixed_precision.phase_change import PhaseChange
from labctl.simulated_instruments.cells.arena import Arena
from labctl.simulated_instruments.cells.model import Moment, Operation, Pulse, Sense, select
from labctl.simulated_instruments.cells.pcm import PcmCells
from labctl.simulated_instruments.cells.pcm_parameters import PcmParameters

SIDE = 256
COUNT = SIDE * SIDE
SIGMAS = 5.0  # of sampling error allowed
FINE = Converters(None, 16)
STEADY = PhaseChange(
    spread=0.0, spread_slope=0.0, spread_memory=0.0, reset_spread=0.0, read_noise=0.0, read_noise_slope=0.0
)
STILL = replace(STEADY, drift_exponent=0.0)
DRIFT_TIME = PhaseChange().drift_time


def devices(shape=(SIDE, SIDE), seed=1, initial=0.0, **others):
    """Of one layer, a weight of which is a difference of 1 uS."""
    return PcmDevices([shape], [1e6], np.random.default_rng(seed), initial=initial, **others)


def pulse(made, edges, counts):
    made.pulse(0, np.asarray(edges, np.intp), np.broadcast_to(np.asarray(counts, np.int16), np.shape(edges)))
    return made


def everywhere(made, counts):
    return pulse(made, np.arange(made.weights(0).size), counts)


def programmed(made):
    """(2 devices, cells) uS, as they are `DRIFT_TIME` after pulses at 0 s."""
    made.tell(DRIFT_TIME)
    return made.conductances(0).reshape(-1, made.weights(0).size).astype(np.float64) * 1e6


def deviation_error(values):
    """Standard error of a standard deviation, by the fourth moment."""
    centred = values - values.mean()
    variance = np.mean(centred**2)
    return np.sqrt((np.mean(centred**4) - variance**2) / len(values) / (4 * variance))


def assert_normal(values, mean, spread, rounding=0.0):
    """Mean and spread within their standard errors, and within what the given figures are rounded to."""
    assert abs(values.mean() - mean) < SIGMAS * values.std() / np.sqrt(len(values)) + rounding
    assert abs(values.std() - spread) < SIGMAS * deviation_error(values) + rounding


def chip_cells(pulses):
    """Cells of the simulated chip, alike and whole, RESET and SET so often at 0 s."""
    alike = {"stuck_low_fraction": 0.0, "stuck_high_fraction": 0.0, "heater_device_spread": 0.0}
    parameters = replace(PcmParameters.named("pcm_90nm"), **alike)
    cells = PcmCells("A1", COUNT, parameters)
    ((_, where),) = select(None, COUNT, Arena(COUNT))
    cells.pulse(where, np.float32(2.89), Pulse(Operation.RESET, 50e-9, 2.5, Moment()))
    for _ in range(pulses):
        cells.pulse(where, np.float32(0.72), Pulse(Operation.SET, 50e-9, 2.5, Moment()))
    return cells


def chip_reads(cells, time):
    ((_, where),) = select(None, COUNT, Arena(COUNT))
    return cells.read(where, Sense(0.3, Moment(time, age=time))).copy()


class TestAccumulation:
    @pytest.mark.parametrize("sign", [1, -1])
    @pytest.mark.parametrize(
        ("pulses", "mean", "spread"), [(1, 2.05, 1.52), (5, 5.92, 2.38), (10, 7.83, 2.46), (20, 9.39, 2.66)]
    )
    def test_set_pulses_add_up_as_published(self, pulses, mean, spread, sign):
        """The figures have two decimals, and are themselves from a sample."""
        plus, minus = programmed(everywhere(devices(), sign * pulses))[::sign]
        assert_normal(plus, mean, spread, rounding=0.01)
        assert_normal(minus, 0.1, 0.01)

    @pytest.mark.parametrize("pulses", [1, 3, 10, 30])
    def test_they_are_distributed_as_the_cells_of_the_simulated_chip(self, pulses):
        ours, _ = programmed(everywhere(devices(), pulses))
        theirs = chip_cells(pulses).conductance.astype(np.float64) * 1e6
        assert abs(ours.mean() - theirs.mean()) < SIGMAS * np.hypot(ours.std(), theirs.std()) / np.sqrt(COUNT)
        assert abs(ours.std() - theirs.std()) < SIGMAS * np.hypot(deviation_error(ours), deviation_error(theirs))
        assert ks_2samp(ours, theirs).pvalue > 1e-5

    def test_pulses_in_one_order_do_what_pulses_one_by_one_do(self):
        at_once, one_by_one = everywhere(devices(), 4), devices(seed=2)
        for _ in range(4):
            everywhere(one_by_one, 1)
        assert ks_2samp(programmed(at_once)[0], programmed(one_by_one)[0]).pvalue > 1e-5

    def test_conductance_stays_within_the_clip(self):
        many, one = (programmed(everywhere(devices(cells=PhaseChange(most=12e-6)), pulses))[0] for pulses in (40, 1))
        np.testing.assert_allclose([one.min(), many.max()], [0.1, 12], rtol=1e-5)

    def test_a_pulse_changes_no_other_device(self):
        made = devices(initial=0.3)
        before, weights = made.conductances(0), made.weights(0).copy()
        pulse(made, [5, 700], [2, -1])
        changed = np.nonzero(made.conductances(0) != before)
        assert sorted(zip(changed[0], changed[1] * SIDE + changed[2], strict=True)) == [(0, 5), (1, 700)]
        assert np.flatnonzero(made.weights(0) != weights).tolist() == [5, 700]
        difference = (made.conductances(0)[0] - made.conductances(0)[1]) * 1e6
        np.testing.assert_allclose(made.weights(0), difference, rtol=1e-5, atol=1e-6)


class TestPreparation:
    def test_a_share_of_the_devices_has_had_one_set_pulse(self):
        made = devices(initial=0.3)
        pulses = made.set_pulses(0)
        assert set(np.unique(pulses)) == {0, 1}
        assert abs(pulses.mean() - 0.3) < SIGMAS * np.sqrt(0.3 * 0.7 / pulses.size)
        found = programmed(made)
        assert_normal(found[pulses.reshape(2, -1) == 1], 2.05, 1.52, rounding=0.01)
        assert_normal(found[pulses.reshape(2, -1) == 0], 0.1, 0.01)
        assert np.all(made.resets(0) == 1)
        assert made.counts.pulses == made.counts.resets == 0

    def test_what_is_drawn_follows_from_the_generator(self):
        one, same, other = (devices((9, 9), seed, 0.5).weights(0) for seed in (1, 1, 2))
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)

    @pytest.mark.parametrize(("wrong", "why"), [({"initial": 1.5}, "from 0 to 1"), ({"devices": 0}, "1 at least")])
    def test_what_cannot_be_is_refused(self, wrong, why):
        with pytest.raises(UsageError, match=why):
            devices((3, 3), **wrong)


class TestTime:
    @pytest.mark.parametrize("time", [1e2, 1e4, 1e6])
    def test_conductance_drifts_as_published_and_as_on_the_simulated_chip(self, time):
        made = everywhere(devices(), 10)
        early = programmed(made)[0]
        made.tell(time)
        late = made.conductances(0)[0].ravel() * 1e6
        np.testing.assert_allclose(late / early, (time / DRIFT_TIME) ** -0.04, rtol=1e-5)
        late = late.astype(np.float64) * np.exp((0.01 * np.log(time / DRIFT_TIME)) ** 2 / 2)  # there exponents spread
        theirs = chip_reads(chip_cells(10), time).astype(np.float64) * 1e6
        assert abs(late.mean() - theirs.mean()) < SIGMAS * np.hypot(late.std(), theirs.std()) / np.sqrt(COUNT)

    def test_nothing_drifts_before_the_onset_and_each_device_by_its_own_pulse(self):
        made = devices((2, 2), cells=STEADY)
        pulse(made, [0], 1)
        first = made.conductances(0)[0, 0, 0]
        np.testing.assert_allclose(first / programmed(made)[0, 0] * 1e6, (1 / DRIFT_TIME) ** -0.04, rtol=1e-5)
        made.tell(100.0)
        pulse(made, [1], 1)
        np.testing.assert_allclose(made.weights(0)[0, 1] / made.weights(0)[0, 0], 100**0.04, rtol=0.01)

    def test_drift_shows_once_a_tick_has_passed(self):
        made = pulse(devices((2, 2), cells=STEADY, tick=5.0), [0], 10)
        at_once = made.weights(0).copy()
        made.tell(4.9)
        assert np.array_equal(made.weights(0), at_once)
        made.tell(5.0)
        np.testing.assert_allclose(made.weights(0)[0, 0] / at_once[0, 0], 5**-0.04, rtol=0.01)


class TestProducts:
    def test_without_noise_they_are_those_of_the_weights(self):
        made = devices((30, 20), initial=0.5, cells=STILL, converters=FINE)
        rng = np.random.default_rng(3)
        inputs, deltas = (
            rng.standard_normal((6, 30)).astype(np.float32),
            rng.standard_normal((6, 20)).astype(np.float32),
        )
        weights = made.weights(0)
        np.testing.assert_allclose(made.forward(0, inputs), inputs @ weights, atol=5e-3)
        np.testing.assert_allclose(made.backward(0, deltas), deltas @ weights.T, atol=5e-3)
        np.testing.assert_allclose(made.backward(0, deltas, slice(4, 9)), deltas @ weights[4:9].T, atol=5e-3)

    @pytest.mark.parametrize("pairs", [1, 3])
    @pytest.mark.parametrize("backward", [False, True])
    def test_read_noise_has_the_variance_of_all_devices_together(self, backward, pairs):
        """Of each output: the squares of what drives it times (0.03 G + 0.13 uS)^2, summed over devices."""
        made = everywhere(devices((24, 16), initial=0.5, converters=FINE, devices=pairs), 2)
        conductance = made.conductances(0).astype(np.float64) * 1e6
        variance = np.square(0.03 * conductance + 0.13).sum(axis=0)
        vector = np.random.default_rng(4).standard_normal(16 if backward else 24).astype(np.float32)
        many = np.tile(vector, (20_000, 1))
        found = (made.backward if backward else made.forward)(0, many).astype(np.float64)
        weights, variance = (each.T if backward else each for each in (made.weights(0), variance))
        mean, expected = vector @ weights, np.square(vector.astype(np.float64)) @ variance
        assert np.all(np.abs(found.mean(axis=0) - mean) < SIGMAS * np.sqrt(expected / len(many)) + 5e-3)
        assert np.all(np.abs(found.var(axis=0) / expected - 1) < SIGMAS * np.sqrt(2 / len(many)))

    def test_noise_is_drawn_anew_for_every_vector_and_output(self):
        made = everywhere(devices((24, 16), converters=FINE), 5)
        found = made.forward(0, np.tile(np.ones(24, np.float32), (5000, 1)))
        found = found - found.mean(axis=0)
        correlations = np.corrcoef(found.T) - np.eye(16)
        assert np.abs(correlations).max() < SIGMAS / np.sqrt(5000)
        following = (found[1:] * found[:-1]).mean(axis=0) / found.var(axis=0)
        assert np.abs(following).max() < SIGMAS / np.sqrt(5000)

    def test_the_noise_of_one_device_is_that_of_a_read_of_the_simulated_chip(self):
        cells = chip_cells(10)
        residue = chip_reads(cells, DRIFT_TIME).astype(np.float64) - cells.conductance
        theirs = residue / (0.03 * cells.conductance + 0.13e-6)
        made = everywhere(devices(converters=FINE), 10)
        plus, minus = programmed(made)
        ones = np.eye(SIDE, dtype=np.float32)
        ours = (made.forward(0, ones) - made.weights(0)).ravel().astype(np.float64)
        ours /= np.hypot(0.03 * plus + 0.13, 0.03 * minus + 0.13)
        assert_normal(ours, 0.0, 1.0, rounding=1e-3)
        assert abs(ours.std() - theirs.std()) < SIGMAS * np.hypot(deviation_error(ours), deviation_error(theirs)) + 1e-3

    def test_few_driven_inputs_give_the_same_as_all(self):
        made = devices((300, 150), initial=0.5, cells=STILL, converters=FINE)
        inputs = np.zeros((8, 300), np.float32)
        inputs[:, 10:60] = np.random.default_rng(5).random((8, 50))
        np.testing.assert_allclose(made.forward(0, inputs), inputs @ made.weights(0), atol=5e-3)


class TestPairs:
    def test_pulses_go_to_the_pairs_of_a_weight_in_turn(self):
        made = devices((2, 3), devices=3, cells=STILL)
        pulse(made, [1], 4)
        assert made.set_pulses(0).reshape(6, 6)[:, 1].tolist() == [2, 1, 1, 0, 0, 0]
        pulse(made, [1, 2], [-1, 2])
        assert made.set_pulses(0).reshape(6, 6)[:, 1].tolist() == [2, 1, 1, 0, 1, 0]
        assert made.set_pulses(0).reshape(6, 6)[:, 2].tolist() == [0, 1, 1, 0, 0, 0]
        pulse(made, [1], 1)
        assert made.set_pulses(0).reshape(6, 6)[:, 1].tolist() == [2, 1, 2, 0, 1, 0]
        assert made.counts.pulses == 8

    def test_a_weight_is_the_sum_of_its_pairs(self):
        made = everywhere(devices((8, 8), devices=4, initial=0.5), 6)
        conductance = made.conductances(0).astype(np.float64) * 1e6
        np.testing.assert_allclose(
            made.weights(0), conductance[:4].sum(axis=0) - conductance[4:].sum(axis=0), atol=1e-4
        )


class TestRefresh:
    """With devices that all do the mean: 20 pulses are 9.1 uS, 3 are 4.1 uS, and 1.9 uS the first."""

    def saturated(self, plus, minus, **others):
        made = devices((4, 4), cells=STILL, **others)
        pulse(made, [3], plus)
        return pulse(made, [3], -minus)

    def test_a_saturated_pair_is_reset_and_written_anew_as_far_as_pulses_add_up(self):
        made = self.saturated(20, 12)
        difference = made.weights(0)[0, 3]
        assert 1 < difference < 1.5 * 0.77 + 0.3
        wanted = round(float(difference) / 0.77)
        made.refresh()
        assert made.resets(0).reshape(2, -1)[:, 3].tolist() == [2, 2]
        assert made.set_pulses(0).reshape(2, -1)[:, 3].tolist() == [20 + wanted, 12]
        fresh = pulse(devices((4, 4), cells=STILL), [3], wanted)
        assert np.array_equal(made.weights(0), fresh.weights(0))
        assert (made.counts.resets, made.counts.refreshed, made.counts.pulses) == (2, 1, 32 + wanted)

    def test_a_pair_that_differs_downward_gets_its_pulses_on_the_other_side(self):
        made = self.saturated(10, 20)
        made.refresh()
        assert made.set_pulses(0).reshape(2, -1)[0, 3] == 10
        assert 20 < made.set_pulses(0).reshape(2, -1)[1, 3] <= 23
        assert made.weights(0)[0, 3] < -1

    @pytest.mark.parametrize(("limit", "given"), [(0, 0), (1, 1), (3, 3)])
    def test_no_more_pulses_are_given_than_allowed(self, limit, given):
        made = self.saturated(25, 8, refresh=Refresh(pulses=limit, step=0.77e-6))
        made.refresh()
        assert made.set_pulses(0).reshape(2, -1)[0, 3] == 25 + given

    @pytest.mark.parametrize(
        ("plus", "minus", "why"), [(20, 0, "the difference is large"), (6, 6, "no device is high")]
    )
    def test_other_pairs_are_left_alone(self, plus, minus, why):
        made = self.saturated(plus, minus)
        before = made.conductances(0)
        made.refresh()
        assert np.array_equal(made.conductances(0), before), why
        assert made.counts.refreshed == 0

    def test_a_pair_is_looked_at_only_after_a_pulse(self):
        """Drift makes the difference small."""
        made = devices((4, 4), cells=STEADY)
        pulse(made, [3], 25)
        pulse(made, [3], -3)
        assert made.weights(0)[0, 3] > 6
        made.refresh()
        made.tell(DRIFT_TIME)
        assert made.weights(0)[0, 3] < 6
        made.refresh()
        assert made.counts.refreshed == 0
        pulse(made, [3], -1)
        made.refresh()
        assert made.counts.refreshed == 1

    def test_of_several_pairs_of_a_weight_only_the_saturated_one_is_written_anew(self):
        made = devices((4, 4), cells=STILL, devices=2)
        for sign in 20 * [1] + 15 * [-1]:
            pulse(made, [3], sign)
            pulse(made, [7], 1)  # has the turn of the other pair
        made.refresh()
        assert made.resets(0).reshape(4, -1)[:, 3].tolist() == [2, 1, 2, 1]
        assert made.counts.refreshed == 1
