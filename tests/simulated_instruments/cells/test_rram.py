"""RRAM cells form, SET, RESET and read as their parameters say."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from labctl.simulated_instruments.cells.arena import Arena
from labctl.simulated_instruments.cells.model import Moment, Operation, Pulse, Sense, select
from labctl.simulated_instruments.cells.rram import RramCells
from labctl.simulated_instruments.cells.rram_parameters import RramParameters

COUNT = 32_768
SIGMAS = 5.0  # of sampling error allowed
REAL = RramParameters.default()
P = dataclasses.replace(
    REAL,
    relaxation_times=(),
    flicker_noise=0.0,
    telegraph_fraction=0.0,
    read_disturb=0.0,
    set_cycle_memory=0.0,
    reset_cycle_memory=0.0,
    unformable_chip_spread=0.0,
)
"""The default technology without what passes in time or from pulse to pulse, which the last classes test."""

SOUND = dataclasses.replace(P, unformable_fraction=0.0, stuck_low_fraction=0.0, stuck_high_fraction=0.0)
FORMING = 4.2  # V: six sigma above the mean breakdown


def fresh(parameters=SOUND, serial="A1", count=COUNT):
    return RramCells(serial, count, parameters)


def pulse(cells, operation, voltage, width=1e-7, gate=2.3, time=0.0):
    count = len(cells.conductance)
    ((_, where),) = select(None, count, Arena(count))
    cells.pulse(where, np.float32(voltage), Pulse(operation, width, gate, Moment(time, age=time)))
    return cells


def read(cells, time=0.0, voltage=0.2):
    count = len(cells.conductance)
    ((_, where),) = select(None, count, Arena(count))
    return cells.read(where, Sense(voltage, Moment(time, age=time)))


def formed(parameters=SOUND, serial="A1", count=COUNT):
    return pulse(fresh(parameters, serial, count), Operation.FORM, FORMING, gate=P.gate_reference)


def assert_lognormal(values, median, spread):
    """Median and spread of the logarithm, within their standard errors."""
    logs = np.log(values.astype(np.float64))
    assert abs(logs.mean() - np.log(median)) < SIGMAS * spread / np.sqrt(len(logs))
    assert abs(logs.std() - spread) < SIGMAS * spread / np.sqrt(2 * len(logs))


class TestPristine:
    def test_it_hardly_conducts(self):
        assert_lognormal(fresh().conductance, P.pristine_conductance, P.pristine_device_spread)

    @pytest.mark.parametrize("operation", [Operation.SET, Operation.RESET])
    def test_set_and_reset_do_nothing_but_count(self, operation):
        cells = fresh()
        before = cells.conductance.copy()
        pulse(cells, operation, 5.0, width=1.0)
        np.testing.assert_array_equal(cells.conductance, before)
        assert np.all(cells.pulses == 1)


class TestForming:
    @pytest.mark.parametrize("voltage", [3.2, 3.3, 3.4, 3.5, 3.6])
    def test_the_voltage_sets_the_formed_fraction(self, voltage):
        """Phi((V - mean) / spread), but for the early cells: the same minus an exponential."""
        spread = np.hypot(P.breakdown_device_spread, P.breakdown_cycle_spread)
        shape = P.breakdown_early_tail / spread
        early = stats.exponnorm.sf(-voltage, shape, loc=-P.breakdown_voltage, scale=spread)
        on_time = stats.norm.cdf(voltage, P.breakdown_voltage, spread)
        expected = P.breakdown_early_fraction * early + (1 - P.breakdown_early_fraction) * on_time
        fraction = pulse(fresh(), Operation.FORM, voltage, gate=1.2).formed.mean()
        loss = 0.002  # V taken by the access transistor, at most
        slack = loss * stats.norm.pdf(voltage, P.breakdown_voltage, spread)
        assert abs(fraction - expected) < SIGMAS * np.sqrt(expected * (1 - expected) / COUNT) + slack

    def test_formed_cells_match_the_published_distribution(self):
        """Mean 12.34 uS, sd 1.84 uS (1,430 cells; read in the file's source)."""
        conductance = formed().conductance
        spread = np.hypot(P.compliance_device_spread, P.compliance_cycle_spread)
        assert_lognormal(conductance, P.compliance_conductance, spread)
        assert conductance.mean() == pytest.approx(12.34e-6, rel=SIGMAS * 0.15 / np.sqrt(COUNT) + 0.001)
        assert conductance.std() == pytest.approx(1.84e-6, rel=SIGMAS / np.sqrt(COUNT) + 0.01)

    def test_the_gate_scales_the_formed_conductance(self):
        low, high = (np.median(pulse(fresh(), Operation.FORM, FORMING, gate=gate).conductance) for gate in (1.2, 1.6))
        assert high / low == pytest.approx((1.1 / 0.7) ** P.gate_exponent, rel=0.01)

    def test_a_closed_gate_forms_nothing(self):
        assert not pulse(fresh(), Operation.FORM, 5.0, gate=P.gate_threshold).formed.any()

    def test_a_later_form_pulse_is_a_set(self):
        by_form, by_set = formed(), formed()
        pulse(by_form, Operation.FORM, 1.8)
        pulse(by_set, Operation.SET, 1.8)
        np.testing.assert_array_equal(by_form.conductance, by_set.conductance)


class TestSwitching:
    def test_more_set_voltage_conducts_more(self):
        results = [pulse(formed(), Operation.SET, v).conductance for v in (1.0, 1.4, 1.8, 2.2)]
        for less, more in itertools.pairwise(results):
            assert np.all(more >= less)
            assert more.mean() > less.mean()

    def test_more_reset_voltage_conducts_less(self):
        results = [pulse(formed(), Operation.RESET, v).conductance for v in (1.0, 1.6, 2.2, 2.8)]
        for less, more in itertools.pairwise(results):
            assert np.all(more <= less)
            assert more.mean() < less.mean()

    @pytest.mark.parametrize(("operation", "sign"), [(Operation.SET, 1), (Operation.RESET, -1)])
    def test_a_longer_pulse_changes_more(self, operation, sign):
        short, long = (pulse(formed(), operation, 1.8, width=w).conductance for w in (1e-7, 1e-6))
        assert np.all(sign * (long - short) >= 0)
        assert sign * (long.mean() - short.mean()) > 0

    def test_below_threshold_nothing_moves_however_long(self):
        cells = formed()
        before = cells.conductance.copy()
        for operation, switch in ((Operation.SET, P.set_voltage), (Operation.RESET, P.reset_voltage)):
            pulse(cells, operation, 0.6 * P.threshold_share * switch, width=1.0)  # 6 sigma below the mean threshold
        np.testing.assert_array_equal(cells.conductance, before)

    def test_a_decade_of_width_is_worth_the_same_voltage_everywhere(self):
        """Above threshold tau is exponential in voltage: width * exp(V / V_0) decides, whatever the abruptness."""
        flat = dataclasses.replace(SOUND, access_transconductance=1e6, slow_fraction=0.0)
        by_width = pulse(formed(flat), Operation.SET, 1.5, width=1e-6)
        by_voltage = pulse(formed(flat), Operation.SET, 1.5 + np.log(10) * P.set_voltage_scale, width=1e-7)
        np.testing.assert_allclose(by_width.conductance, by_voltage.conductance, rtol=1e-4)

    @pytest.mark.parametrize("gate", [1.2, 1.8, 2.4])
    def test_the_gate_is_the_ceiling_of_set(self, gate):
        strong = dataclasses.replace(SOUND, slow_fraction=0.0, abruptness_device_spread=0.0)
        cells = pulse(formed(strong), Operation.RESET, 5.0, width=1e-5)
        pulse(cells, Operation.SET, 5.0, width=1e-5, gate=gate)
        ceiling = P.compliance_conductance * ((gate - 0.5) / 0.7) ** P.gate_exponent
        assert_lognormal(cells.conductance, ceiling, np.hypot(P.compliance_device_spread, P.compliance_cycle_spread))

    def test_a_closed_gate_changes_nothing_to_speak_of(self):
        cells = formed()
        before = cells.conductance.copy()
        pulse(cells, Operation.SET, 3.0, gate=0.3)
        np.testing.assert_array_equal(cells.conductance, before)

    def test_a_closed_gate_leaves_a_cell_that_has_lost_all_conductance_as_it_is(self):
        cells = formed(count=64)
        cells.conductance[:] = 0.0
        assert np.all(pulse(cells, Operation.RESET, 3.0, gate=0.0).conductance == 0.0)

    def test_a_strong_reset_reaches_the_floor(self):
        gradual = dataclasses.replace(SOUND, slow_fraction=0.0, abruptness_device_spread=0.0)
        cells = pulse(formed(gradual), Operation.RESET, 5.0, width=1e-5)
        spread = np.hypot(P.floor_device_spread, P.floor_cycle_spread)
        assert_lognormal(cells.conductance, P.floor_conductance, spread)

    def test_device_and_cycle_spread_are_two_things(self):
        """Strong SETs: the logs of one cell scatter by the cycle spread, their means by the device spread."""
        strong = dataclasses.replace(SOUND, slow_fraction=0.0, abruptness_device_spread=0.0)
        cells, cycles = formed(strong, count=4096), 32
        logs = []
        for _ in range(cycles):
            pulse(cells, Operation.RESET, 5.0, width=1e-4)
            logs.append(np.log(pulse(cells, Operation.SET, 5.0, width=1e-4).conductance))
        within = np.std(logs, axis=0, ddof=1)
        assert np.sqrt((within**2).mean()) == pytest.approx(P.compliance_cycle_spread, rel=0.02)
        between = np.var(np.mean(logs, axis=0)) - P.compliance_cycle_spread**2 / cycles
        error = SIGMAS / np.sqrt(2 * 4096)
        assert np.sqrt(between) == pytest.approx(P.compliance_device_spread, rel=error + 0.01)

    def test_one_pulse_for_all_hits_no_window(self):
        """Cells differ, so verify is needed: any single SET leaves most of them 1 uS off any target."""
        for voltage in (1.4, 1.6, 1.8, 2.0):
            conductance = pulse(formed(), Operation.SET, voltage).conductance
            inside = [np.mean(np.abs(conductance - target) < 1e-6) for target in np.arange(14e-6, 40e-6, 1e-6)]
            assert max(inside) < 0.2

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(Operation),
                st.floats(0, 5),
                st.floats(1e-9, 1e3),
                st.floats(0, 5),
            ),
            max_size=12,
        )
    )
    @settings(deadline=None)
    def test_conductance_stays_bounded_whatever_is_applied(self, pulses):
        cells = fresh(P, count=512)
        for operation, voltage, width, gate in pulses:
            pulse(cells, operation, voltage, width, gate)
        assert np.all(cells.conductance > 0)
        farthest = 6 * (P.compliance_device_spread + P.compliance_cycle_spread)
        assert np.all(cells.conductance <= max(P.stuck_high_conductance, P.compliance_limit * np.exp(farthest)))


class TestDefects:
    COUNT = 1 << 18

    def expect(self, found, fraction):
        assert abs(found - fraction * self.COUNT) < SIGMAS * np.sqrt(fraction * self.COUNT)

    def test_each_kind_is_as_frequent_as_told_and_stays_as_it_is(self):
        cells = formed(P, count=self.COUNT)
        before = cells.conductance.copy()
        for operation in (Operation.SET, Operation.RESET):
            pulse(cells, operation, 5.0, width=1e-3)
        unformable = cells.formed == 0
        stuck = (cells.conductance == before) & ~unformable
        high = stuck & cells.traits.stuck_high
        low = stuck & ~cells.traits.stuck_high
        self.expect(np.count_nonzero(unformable), P.unformable_fraction)
        self.expect(np.count_nonzero(high), P.stuck_high_fraction)
        self.expect(np.count_nonzero(low), P.stuck_low_fraction)
        assert np.all(before[high] == np.float32(P.stuck_high_conductance))
        assert np.all(before[low] < 0.05 * P.compliance_conductance)
        np.testing.assert_array_equal(cells.conductance[unformable], before[unformable])

    def test_they_follow_from_the_serial(self):
        one, same, other = (fresh(P, serial).traits.breakdown_voltage for serial in ("A1", "A1", "A2"))
        np.testing.assert_array_equal(one, same)
        assert abs(np.corrcoef(np.minimum(one, 4), np.minimum(other, 4))[0, 1]) < SIGMAS / np.sqrt(COUNT)


class TestReading:
    def test_it_scatters_as_the_cell_and_the_floor_say_and_changes_nothing(self):
        cells, repeats = formed(count=4096), 200
        before = cells.conductance.copy()
        reads = np.array([read(cells) for _ in range(repeats)], np.float64)
        np.testing.assert_array_equal(cells.conductance, before)
        assert np.all(cells.reads == repeats)
        deviation = np.hypot(cells.traits.read_noise * before, P.read_noise_floor)
        scaled = (reads - before) / deviation
        assert abs(scaled.mean()) < SIGMAS / np.sqrt(scaled.size)
        assert abs(scaled.var() - 1) < SIGMAS * np.sqrt(2 / scaled.size)

    def test_the_noise_of_cells_differs(self):
        assert_lognormal(fresh().traits.read_noise, P.read_noise, P.read_noise_device_spread)


class TestCycles:
    """SET and RESET in turn: what stays of a cycle in the next ones."""

    @pytest.fixture
    def states(self):
        """log G after SET and after RESET, less what the cell itself has to do with it: (2, cycles, cells)."""
        parameters = dataclasses.replace(
            SOUND,
            slow_fraction=0.0,
            abruptness_device_spread=0.0,
            set_cycle_memory=REAL.set_cycle_memory,
            reset_cycle_memory=REAL.reset_cycle_memory,
        )
        cells = formed(parameters, count=2048)
        logs = []
        for _ in range(64):
            low = np.log(pulse(cells, Operation.RESET, 5.0, width=1e-4).conductance)
            logs.append((np.log(pulse(cells, Operation.SET, 5.0, width=1e-4).conductance), low))
        own = np.log([cells.traits.ceiling, cells.traits.floor])[:, np.newaxis]
        rest = np.array(logs, np.float64).transpose(1, 0, 2) - own
        return rest - rest.mean(axis=(1, 2), keepdims=True)

    def test_neighbouring_cycles_correlate_as_the_memory_says(self, states):
        """Two pulses a cycle, sixteen a spell: two cycles share one in 14 of 16 cases."""
        for state, memory in zip(states, (REAL.set_cycle_memory, REAL.reset_cycle_memory), strict=True):
            found = (state[1:] * state[:-1]).mean() / np.square(state).mean()
            assert found == pytest.approx(memory * 14 / 16, abs=SIGMAS / np.sqrt(state.size / 8))

    def test_distant_cycles_do_not(self, states):
        far = (states[:, 32:] * states[:, :32]).mean(axis=(1, 2)) / np.square(states).mean(axis=(1, 2))
        assert np.all(np.abs(far) < SIGMAS / np.sqrt(states[0].size / 16))


class TestReadVoltage:
    def test_current_grows_faster_than_voltage_the_more_the_less_a_cell_conducts(self):
        quiet = dataclasses.replace(SOUND, read_noise=1e-9, read_noise_floor=1e-15)
        cells = formed(quiet, count=64)
        cells.conductance[:] = np.geomspace(1e-6, 1e-4, 64)
        low, high = (read(cells, voltage=volts).astype(float) for volts in (0.2, 0.5))
        bend = P.nonlinearity / (1 + cells.conductance / P.nonlinearity_level)
        np.testing.assert_allclose(low, cells.conductance, rtol=1e-5)
        np.testing.assert_allclose(high / low, (1 + bend * 0.25) / (1 + bend * 0.04), rtol=1e-5)


class TestDisturb:
    DISTURBED = dataclasses.replace(SOUND, read_disturb=0.01, read_noise=1e-9, read_noise_floor=1e-15)

    def test_reads_move_a_cell_by_their_logarithm_and_stronger_reads_by_more(self):
        gentle, harsh = formed(self.DISTURBED, count=64), formed(self.DISTURBED, count=64)
        for _ in range(100):
            read(gentle)
            read(harsh, voltage=0.3)
        expected = 1 + 0.01 * np.log1p(100)
        np.testing.assert_allclose(read(gentle) / gentle.conductance, expected, rtol=1e-5)
        dose = 100 * np.exp(0.1 / P.read_disturb_voltage)
        np.testing.assert_allclose(read(harsh) / harsh.conductance, 1 + 0.01 * np.log1p(dose), rtol=1e-5)

    def test_programming_ends_it(self):
        cells = formed(self.DISTURBED, count=64)
        read(cells)
        pulse(cells, Operation.RESET, 5.0, width=1e-4)
        assert not cells.disturb.any()


class TestWear:
    def test_a_worn_cell_no_longer_moves(self):
        cells = formed(dataclasses.replace(SOUND, endurance_pulses=100.0, endurance_device_spread=0.0), count=64)
        for _ in range(60):
            pulse(cells, Operation.RESET, 5.0, width=1e-4)
            pulse(cells, Operation.SET, 5.0, width=1e-4)
        before = cells.conductance.copy()
        pulse(cells, Operation.RESET, 5.0, width=1e-4)
        np.testing.assert_allclose(cells.conductance, before, rtol=1e-6)
        assert np.all(cells.programmings <= 101)

    def test_lives_are_lognormal(self):
        assert_lognormal(fresh().traits.life, P.endurance_pulses, P.endurance_device_spread)


class TestTime:
    RELAXING = dataclasses.replace(REAL, unformable_fraction=0.0, stuck_low_fraction=0.0, stuck_high_fraction=0.0)

    def test_a_pristine_cell_does_not_relax(self):
        quiet = dataclasses.replace(self.RELAXING, flicker_noise=0.0, telegraph_fraction=0.0, read_noise=1e-9)
        cells = fresh(dataclasses.replace(quiet, read_noise_floor=1e-15))
        np.testing.assert_allclose(read(cells, time=1e5), cells.conductance, rtol=1e-6)

    def test_a_pulse_that_changes_nothing_does_not_start_relaxation_anew(self):
        cells = formed(self.RELAXING)
        programmed = cells.conductance.copy()
        pulse(cells, Operation.SET, 0.1, time=50.0)
        np.testing.assert_array_equal(cells.conductance, programmed)
        assert not cells.programmed_age.any()

    def test_a_pulse_that_does_starts_from_what_was_left(self):
        cells = formed(self.RELAXING)
        pulse(cells, Operation.RESET, 5.0, width=1e-4, time=50.0)
        moved = cells.programmed_age == 50.0
        assert moved.mean() > 0.99
        np.testing.assert_array_equal(cells.programmings, 1 + moved)

    def test_heat_makes_it_faster(self):
        """Arrhenius with the activation energy of the parameters."""
        cells = fresh(self.RELAXING, count=4)
        kelvins = np.array([300.0, 350.0, 400.0])
        paces = [cells.pace(each) for each in kelvins]
        slope = np.polyfit(1 / kelvins, np.log(paces), 1)[0]
        assert paces[0] == pytest.approx(1.0)
        assert slope == pytest.approx(-REAL.relaxation_activation / 8.617333262e-5, rel=1e-6)

    def test_filaments_dissolve_in_their_own_time(self):
        """G exp(-(t / tau)**beta), tau lognormal between cells."""
        lasting = dataclasses.replace(
            SOUND,
            relaxation_times=(1.0,),
            relaxation_levels=(1e-6,),
            relaxation_probabilities=(0.5,),
            relaxation_quantiles=(((0.0,),),),
            relaxation_memory=(0.0,),
            read_noise=1e-9,
            read_noise_floor=1e-15,
        )
        cells = formed(lasting)
        kept = read(cells, time=P.loss_time) / cells.conductance
        np.testing.assert_allclose(
            kept, np.exp(-((P.loss_time / cells.traits.loss_time) ** P.loss_exponent)), atol=1e-5
        )
        assert np.median(kept) == pytest.approx(np.exp(-1), abs=0.02)
        np.testing.assert_allclose(read(cells, time=1e5), cells.conductance, rtol=1e-4)
