"""PCM cells SET, RESET, drift and read as the published models say, and each only by its own history."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from boards import served_board

import labctl
from labctl.simulated_instruments.cells.arena import Arena
from labctl.simulated_instruments.cells.model import Moment, Operation, Pulse, Sense, select
from labctl.simulated_instruments.cells.parameters import ParameterError
from labctl.simulated_instruments.cells.pcm import PcmCells
from labctl.simulated_instruments.cells.pcm_parameters import PcmParameters
from labctl.simulated_instruments.cells.technologies import Technology
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro

COUNT = 1 << 16
SIGMAS = 5.0  # of sampling error allowed
ALIKE = {"stuck_low_fraction": 0.0, "stuck_high_fraction": 0.0, "heater_device_spread": 0.0}
REAL = PcmParameters.named("pcm_90nm")
P = dataclasses.replace(REAL, **ALIKE)
QUIET = dataclasses.replace(P, read_noise=0.0, read_noise_floor=0.0, read_noise_persistence=0.0)
STATISTICAL = dataclasses.replace(PcmParameters.named("pcm_statistical"), **ALIKE)
SET_VOLTS, RESET_VOLTS = 0.72, 2.88  # 90 and 360 uA
SET_WIDTH = 50e-9


def fresh(parameters=P, serial="A1", count=COUNT):
    return PcmCells(serial, count, parameters)


def everywhere(cells):
    count = len(cells.conductance)
    ((_, where),) = select(None, count, Arena(count))
    return where


def pulse(cells, operation, voltage, width=SET_WIDTH, gate=2.5, time=0.0):
    cells.pulse(everywhere(cells), np.float32(voltage), Pulse(operation, width, gate, Moment(time, age=time)))
    return cells


def reset(cells, time=0.0):
    return pulse(cells, Operation.RESET, RESET_VOLTS + 0.01, time=time)


def set_pulses(cells, number, time=0.0):
    for _ in range(number):
        pulse(cells, Operation.SET, SET_VOLTS, time=time)
    return cells


def read(cells, time=0.0):
    return cells.read(everywhere(cells), Sense(0.3, Moment(time, age=time)))


def deviation_error(values):
    """Standard error of a standard deviation, by the fourth moment."""
    centred = values - values.mean()
    variance = np.mean(centred**2)
    return np.sqrt((np.mean(centred**4) - variance**2) / len(values) / (4 * variance))


def assert_normal(values, mean, spread, rounding=0.0):
    """Mean and spread within their standard errors, and within what the given figures are rounded to."""
    values = np.asarray(values, np.float64)
    assert abs(values.mean() - mean) < SIGMAS * values.std() / np.sqrt(len(values)) + rounding
    assert abs(values.std() - spread) < SIGMAS * deviation_error(values) + rounding


class TestAccumulation:
    @pytest.mark.parametrize(
        ("pulses", "mean", "spread"), [(1, 2.05, 1.52), (5, 5.92, 2.38), (10, 7.83, 2.46), (20, 9.39, 2.66)]
    )
    def test_set_pulses_add_up_as_published(self, pulses, mean, spread):
        """Computed from the published equations by draws of their own; two decimals, themselves from a sample."""
        cells = set_pulses(reset(fresh()), pulses)
        assert_normal(cells.conductance * 1e6, mean, spread, rounding=0.01)

    def test_a_full_reset_forgets_everything(self):
        cells = reset(set_pulses(fresh(), 7))
        assert_normal(cells.conductance * 1e6, 0.1, 0.01)
        assert np.all(cells.memory == 1)
        again = reset(cells).conductance.copy()
        assert_normal(again * 1e6, 0.1, 0.01)

    def test_the_memory_fades_with_each_set_pulse(self):
        cells = set_pulses(reset(fresh(count=64)), 5)
        np.testing.assert_allclose(cells.memory, np.exp(-5 / 2.6), rtol=1e-5)

    def test_conductance_stays_within_the_clip_of_the_set(self):
        training = dataclasses.replace(P, conductance_most=12e-6)
        cells = set_pulses(reset(fresh(training)), 40)
        assert cells.conductance.max() == np.float32(12e-6)
        assert cells.conductance.min() >= np.float32(0.1e-6)

    def test_a_long_pulse_does_what_many_short_ones_do_once_the_memory_has_faded(self):
        """s and its root of the module's equation, at P = 0 and away from the clips, where they are exact."""
        faded = dataclasses.replace(
            P, memory_pulses=0.05, step_spread_slope=0.0, step_spread=0.05e-6, step_mean=0.4e-6, conductance_most=1e-3
        )
        one = pulse(reset(fresh(faded)), Operation.SET, SET_VOLTS, width=8 * SET_WIDTH).conductance * 1e6
        many = set_pulses(reset(fresh(faded)), 8).conductance * 1e6
        assert abs(one.mean() - many.mean()) < SIGMAS * np.hypot(one.std(), many.std()) / np.sqrt(COUNT)
        reset_left = 0.01 * 0.916**8
        assert_normal(one, one.mean(), np.hypot(0.05 * np.sqrt((1 - 0.916**8) / 0.084), reset_left))
        noise_left = 0.916 ** (2 * np.arange(8))  # of the variance of each short pulse
        assert_normal(many, many.mean(), np.hypot(0.05 * np.sqrt(noise_left.sum()), reset_left))


class TestCurrent:
    @pytest.mark.parametrize("operation", list(Operation))
    def test_a_pulse_below_the_set_range_only_counts(self, operation):
        cells = reset(fresh())
        before = {name: each.copy() for name, each in cells.state.items()}
        pulse(cells, operation, 0.99 * P.set_current * P.series_resistance, time=5.0)
        for name, each in cells.state.items():
            np.testing.assert_array_equal(each, before[name] + (name == "pulses"))

    def test_polarity_means_nothing_to_a_cell(self):
        by_set, by_reset = (pulse(reset(fresh()), each, SET_VOLTS) for each in (Operation.SET, Operation.RESET))
        np.testing.assert_array_equal(by_set.conductance, by_reset.conductance)

    def test_within_the_set_range_the_amplitude_does_not_matter(self):
        low, high = (pulse(reset(fresh()), Operation.SET, volts) for volts in (0.5, 1.5))
        np.testing.assert_array_equal(low.conductance, high.conductance)

    def test_more_current_leaves_less_of_a_conducting_cell(self):
        volts = np.array([1.5, 1.7, 2.0, 2.3, 2.6, 2.88])
        left = []
        for each in volts:
            cells = set_pulses(reset(fresh()), 10)
            before = cells.conductance.copy()
            left.append(pulse(cells, Operation.RESET, each).conductance)
            melted = each * 1e6 / P.series_resistance > P.melt_currents[0] * 1e6
            assert np.all(left[-1] <= before) if melted else np.any(left[-1] > before)
        for more, less in itertools.pairwise(left[1:]):
            assert less.mean() < more.mean()
            assert np.all(less <= more)
        assert_normal(left[-1] * 1e6, 0.1, 0.01)

    def test_a_partial_reset_brings_part_of_the_memory_back(self):
        cells = pulse(set_pulses(reset(fresh(count=64)), 20), Operation.RESET, 280e-6 * P.series_resistance)
        np.testing.assert_allclose(cells.memory, np.exp(-20 / 2.6) + 0.5 * (1 - np.exp(-20 / 2.6)), rtol=1e-4)

    def test_the_gate_limits_the_current(self):
        cells = pulse(fresh(), Operation.RESET, 4.0, gate=1.2)  # 93 uA: a SET pulse, whatever the voltage
        assert cells.melts.max() == 0
        closed = reset(fresh())
        before = closed.conductance.copy()
        pulse(closed, Operation.RESET, 4.0, gate=P.gate_threshold)
        np.testing.assert_array_equal(closed.conductance, before)

    def test_heaters_differ_so_that_cells_begin_to_melt_at_different_currents(self):
        spread = dataclasses.replace(P, heater_device_spread=0.03)
        cells = pulse(fresh(spread), Operation.RESET, P.melt_currents[0] * P.series_resistance)
        assert abs(cells.melts.mean() - 0.5) < SIGMAS * 0.5 / np.sqrt(COUNT)


class TestForming:
    def test_a_fresh_cell_conducts_and_a_forming_ramp_is_one_more_set_to_a_reset_one(self):
        """Default ramp: 3.1 V, 1 us, gate at 1.2 V. Nothing reads as pristine afterwards, at 0.5 uS."""
        cells = fresh()
        assert cells.conductance.min() > 10e-6
        pulse(reset(cells), Operation.FORM, 3.1, width=1e-6, gate=1.2)
        assert cells.conductance.min() > 1e-6


class TestLanding:
    @pytest.mark.parametrize("microamperes", [100.0, 220.0, 260.0, 300.0])
    def test_a_pulse_lands_at_the_target_of_its_current_with_the_published_spread(self, microamperes):
        """Away from the clip at 0. The curve's table has steps of 0.09 uA, at most 0.03 uS."""
        target = np.interp(microamperes * 1e-6, STATISTICAL.melt_currents, STATISTICAL.melt_conductances)
        g = target / 25e-6
        expected = 0.26348 + 1.9650 * g - 1.1731 * g**2
        for start in (0.72, 2.9):
            cells = pulse(fresh(STATISTICAL), Operation.SET, start)
            volts = microamperes * 1e-6 * STATISTICAL.series_resistance
            landed = pulse(cells, Operation.RESET, volts).conductance
            assert_normal(landed * 1e6, target * 1e6, expected, rounding=0.03)

    def test_a_full_reset_is_not_below_nothing(self):
        cells = pulse(fresh(STATISTICAL), Operation.RESET, 3.0)
        assert cells.conductance.min() == 0


class TestDrift:
    def test_the_exponent_and_its_spread_come_back_by_regression(self):
        """No read noise: ln G falls by nu a unit of ln t, each cell by its own."""
        cells = set_pulses(reset(fresh(QUIET)), 10, time=100.0)
        times = np.logspace(0.5, 6, 6)
        logs = np.log([read(cells, 100.0 + each) for each in times])
        centred = np.log(times) - np.log(times).mean()
        exponents = -(centred @ logs) / (centred @ centred)
        assert_normal(exponents, 0.04, 0.01, rounding=1e-5)  # float32 in ln G: 1e-6 in 4 sigma of ln t
        np.testing.assert_allclose(read(cells, 138.6), cells.conductance, rtol=1e-5)

    def test_the_exponent_depends_on_the_level_in_the_statistical_set(self):
        silent = dataclasses.replace(STATISTICAL, read_noise=1e-9, read_noise_persistence=0.0)
        for microamperes in (220.0, 335.0):
            cells = pulse(fresh(silent), Operation.RESET, microamperes * 1e-6 * silent.series_resistance, time=1.0)
            g = np.maximum(cells.conductance.astype(np.float64) / 25e-6, 1e-6)
            chosen = g > 0.01
            exponents = np.log(cells.conductance[chosen] / read(cells, 1 + 20e4)[chosen]) / np.log(1e4)
            mean = np.clip(-0.0155 * np.log(g[chosen]) + 0.0244, 0.049, 0.1)
            spread = np.clip(-0.0125 * np.log(g[chosen]) - 0.0059, 0.008, 0.045)
            score = (exponents - mean) / spread
            sound = score > -mean / spread + 1e-3  # the exponent is not below 0
            scores = cells.traits.drift[chosen]
            np.testing.assert_allclose(score[sound], scores[sound], atol=2e-3)
        assert_normal(cells.traits.drift, 0, 1)

    def test_it_does_not_begin_before_its_onset_and_begins_anew_with_a_pulse_that_heats(self):
        cells = set_pulses(reset(fresh(QUIET), time=10.0), 5, time=10.0)
        at_once = read(cells, 10.0)
        np.testing.assert_array_equal(at_once, read(cells, 11.0))
        late = read(cells, 1e5)
        assert np.all(late < at_once)
        pulse(cells, Operation.SET, 0.1, time=1e5)
        np.testing.assert_array_equal(read(cells, 1e5), late)
        pulse(cells, Operation.SET, SET_VOLTS, time=1e5)
        onset = np.maximum(0.04 + 0.01 * cells.traits.drift, 0) * np.log(38.6)
        np.testing.assert_allclose(read(cells, 1e5), cells.conductance * np.exp(onset), rtol=1e-5)

    def test_heat_makes_it_run_faster(self):
        cells = fresh(count=1)
        assert cells.pace(300.0) == 1
        assert cells.pace(350.0) > 3


class TestReading:
    @pytest.mark.parametrize("pulses", [0, 1, 20])
    def test_the_noise_over_cells_is_the_published_one_and_changes_nothing(self, pulses):
        """Fluctuators of each cell included: the variance over all cells is exact, their share of it given."""
        cells = set_pulses(reset(fresh()), pulses)
        before = cells.conductance.copy()
        shown = read(cells, 38.6).astype(np.float64)
        np.testing.assert_array_equal(cells.conductance, before)
        assert_normal((shown - before) / (0.03 * before.astype(np.float64) + 0.13e-6), 0, 1)

    @pytest.mark.parametrize("time", [20.0, 1e3, 1e6])
    def test_the_statistical_set_grows_with_time_as_published(self, time):
        steady = dataclasses.replace(
            STATISTICAL, drift_device_spread_most=0.0, drift_device_spread_least=0.0, programming_spread=(0.0,)
        )
        volts = 260e-6 * steady.series_resistance
        cells = pulse(fresh(steady), Operation.RESET, volts)
        drifted = cells.conductance[0] * (time / 20) ** -np.clip(-0.0155 * np.log(11 / 25) + 0.0244, 0.049, 0.1)
        g = cells.conductance[0] / 25e-6
        sigma = min(0.0088 / g**0.65, 0.2) * np.sqrt(np.log((time + 250e-9) / 500e-9))
        assert_normal(read(cells, time) / drifted - 1, 0, sigma, rounding=2e-4)

    def test_a_share_of_it_persists_from_read_to_read(self):
        cells = reset(fresh())
        first, soon, later = (read(cells, each) - 0.1e-6 for each in (100.0, 100.0, 1e7))
        error = SIGMAS / np.sqrt(COUNT)
        assert abs(np.corrcoef(first, soon)[0, 1] - P.read_noise_persistence) < error + 0.005  # 0.01 uS of RESET spread
        assert abs(np.corrcoef(first, later)[0, 1]) < error + 0.01

    def test_moments_are_those_of_many_reads_within_a_second(self):
        cells, repeats = set_pulses(reset(fresh(count=2048)), 10), 300
        mean, variance = (
            each.copy() for each in cells.read_moments(everywhere(cells), Sense(0.3, Moment(50.0, age=50.0)))
        )
        assert np.all(cells.reads == 0)
        reads = np.array([read(cells, 50.0 + 3e-3 * each) for each in range(repeats)], np.float64)
        assert np.median(reads.var(axis=0) / variance) == pytest.approx(
            1, abs=0.1
        )  # 1 s fluctuators step in 1 cell of 2
        assert np.median(np.abs(reads.mean(axis=0) - mean) / np.sqrt(variance)) < 0.5


class TestDefectsAndWear:
    def test_stuck_cells_stay_as_they_are_and_are_as_many_as_told(self):
        many = dataclasses.replace(REAL, stuck_low_fraction=0.01, stuck_high_fraction=0.02)
        cells = fresh(many)
        before = cells.conductance.copy()
        set_pulses(reset(cells), 2)
        stuck = cells.conductance == before
        for value, fraction in ((many.stuck_low_conductance, 0.01), (many.stuck_high_conductance, 0.02)):
            found = np.count_nonzero(stuck & (before == np.float32(value)))
            assert abs(found - fraction * COUNT) < SIGMAS * np.sqrt(fraction * COUNT)
        assert np.count_nonzero(stuck) == np.count_nonzero(cells.traits.heater == 0)

    def test_a_chip_follows_from_its_serial(self):
        one, same, other = (set_pulses(fresh(REAL, serial), 3).conductance for serial in ("A1", "A1", "A2"))
        np.testing.assert_array_equal(one, same)
        assert abs(np.corrcoef(one, other)[0, 1]) < SIGMAS / np.sqrt(COUNT)

    def test_cells_wear_out_by_melting(self):
        brief = dataclasses.replace(P, endurance_melts=40.0, endurance_device_spread=0.0)
        cells = fresh(brief, count=512)
        for _ in range(20):
            set_pulses(reset(cells), 1)
        assert np.all(reset(cells).conductance < 0.2e-6)  # half a life: as new
        for _ in range(20):
            reset(cells)
        worn = cells.conductance.copy()
        set_pulses(reset(cells), 10)
        np.testing.assert_array_equal(cells.conductance, worn)


class TestHistory:
    """What a cell does follows from its own pulses, reads and their times, to the last bit."""

    @staticmethod
    def history(cells, parts, order):
        """The same pulses and reads for all cells, in batches `parts` worked on in `order`."""
        count = len(cells.conductance)
        shown = np.empty((4, count), np.float32)
        for step, (operation, volts) in enumerate(
            [(Operation.RESET, 2.9), (Operation.SET, 0.7), (Operation.RESET, 2.2), (Operation.SET, 0.8)]
        ):
            at = Moment(1e4 * step, age=1e4 * step)
            amplitude = np.linspace(0.2, 1, count).astype(np.float32) * np.float32(volts)
            for number in order:
                chosen = parts[number]
                ((_, where),) = select(chosen, count, Arena(len(chosen)))
                if step % 2:
                    shown[step, chosen] = cells.pulse_and_read(
                        where, amplitude[chosen], Pulse(operation, 1e-7, 2.5, at), 0.3
                    )
                else:
                    cells.pulse(where, amplitude[chosen], Pulse(operation, 1e-7, 2.5, at))
                    ((_, where),) = select(chosen, count, Arena(len(chosen)))
                    shown[step, chosen] = cells.read(where, Sense(0.3, at))
        return shown

    @pytest.mark.parametrize("name", ["pcm_90nm", "pcm_statistical"])
    @pytest.mark.parametrize("melts", [1e8, 3.0])
    def test_batches_and_their_order_do_not_matter(self, name, melts):
        count = 3000
        parameters = dataclasses.replace(PcmParameters.named(name), endurance_melts=melts, stuck_low_fraction=0.1)
        everything = [np.arange(count, dtype=np.uint32)]
        shuffled = np.random.default_rng(1).permutation(count).astype(np.uint32)
        parts = [np.sort(each) for each in np.array_split(shuffled, 11)]
        whole, split = fresh(parameters, count=count), fresh(parameters, count=count)
        np.testing.assert_array_equal(
            self.history(whole, everything, [0]), self.history(split, parts, [7, 3, 0, 10, 9, 1, 2, 4, 5, 6, 8])
        )
        for name, each in whole.state.items():
            np.testing.assert_array_equal(each, split.state[name])

    def test_a_saved_chip_goes_on_as_if_it_had_stayed_on(self, tmp_path):
        path = tmp_path / "chip.h5"
        stayed = CrossbarMacro.buy("P-3", REAL, rows=32, cols=32)
        for _ in range(3):
            stayed.pulse(Operation.SET, None, round(SET_VOLTS / 5 * 65_536), SET_WIDTH, 2.5, 1e3)
        stayed.save(path)
        restored = CrossbarMacro.load(path, REAL)
        for chip in (stayed, restored):
            chip.pulse(Operation.SET, None, round(SET_VOLTS / 5 * 65_536), SET_WIDTH, 2.5, 2e3)
        np.testing.assert_array_equal(*(chip.read(None, 2, 1e5) for chip in (stayed, restored)))


class TestParameters:
    @pytest.mark.parametrize(
        ("changed", "told"),
        [
            ({"drift_onset": 0.0}, "drift_onset must be more than 0 s"),
            ({"read_noise_width": 1.0}, "100 times read_noise_width"),
            ({"read_noise_persistence": 1.5}, "between 0 and 1, not 1.5"),
            ({"step_mean_slope": 0.1}, "step_mean_slope must be between -1 and 0, not 0.1"),
            ({"melt_currents": (1e-4,)}, "equally many"),
            ({"melt_conductances": (1e-6, 2e-6, 3e-6, 4e-6, 5e-6)}, "not increase"),
            ({"melt_currents": (4e-4, 3e-4, 2e-4, 1e-4, 5e-5)}, "increase"),
        ],
    )
    def test_contradictions_are_told_in_one_sentence(self, changed, told):
        with pytest.raises(ValueError, match=told):
            fresh(dataclasses.replace(P, **changed), count=4)

    def test_a_chip_file_may_say_only_what_differs(self, tmp_path):
        path = tmp_path / "chip.toml"
        path.write_text(
            '[chip]\nbase = "pcm_90nm"\n[conductance_most]\nvalue = 12e-6\nunit = "S"\nsource = "training"\n'
        )
        assert Technology.from_file(path).parameters == dataclasses.replace(REAL, conductance_most=12e-6)
        path.write_text(path.read_text().replace('"S"', '"A"'))
        with pytest.raises(ParameterError, match=r"\$\.conductance_most\.unit: expected 'S'"):
            Technology.from_file(path)


BENCH = """
[instruments.board]
driver = "test_board"
resource_name = "TCPIP0::127.0.0.1::5025::SOCKET"
visa_library = "@labctl"
rows = 32
cols = 64
read_voltage = "300 mV"

[arrays.main]
instrument = "board"

[simulated.board]
simulator = "test_board"
resource_name = "TCPIP0::127.0.0.1::5025::SOCKET"
chip = "P-1"
cells = "{cells}"
rows = 32
cols = 64
"""

RAMPS = {
    "set": {"start": "0.5 V", "stop": "1.4 V", "step": "0.02 V", "width": "50 ns", "gate": "2 V"},
    "reset": {"start": "1.6 V", "stop": "3 V", "step": "0.02 V", "width": "50 ns", "gate": "2.5 V"},
}


class TestBoard:
    @pytest.mark.parametrize(("cells", "most"), [("pcm_90nm", 9e-6), ("pcm_statistical", 22e-6)])
    @pytest.mark.parametrize("ramps", [RAMPS, {}], ids=["own ramps", "default ramps"])
    def test_program_and_verify_reaches_its_targets(self, tmp_path, cells, most, ramps):
        """A stuck cell in a thousand; all others settle within 1 uS, as of their last verify."""
        (tmp_path / "bench.toml").write_text(BENCH.format(cells=cells))
        target = np.random.default_rng(1).uniform(1.5e-6, most, (32, 64))
        with labctl.load_bench(tmp_path / "bench.toml") as bench, bench.array() as array:
            assert array.geometry.cell == "PCM"
            result = labctl.run("write_verify", array, target=target, tolerance="1 uS", out=tmp_path, **ramps)
        outcomes = result.summary["outcomes"]
        stuck = 2048 * (REAL.stuck_low_fraction + REAL.stuck_high_fraction)
        assert 2048 - outcomes["in_window"] < stuck + SIGMAS * np.sqrt(stuck)
        with labctl.open_run(result.path) as tree:
            assert tree["maps"]["error"].where(tree["maps"]["outcome"] == 1).std().item() < 1e-6

    def test_the_paper_s_array_answers_over_the_wire(self, tmp_path):
        with (
            served_board(tmp_path, cells="pcm_90nm", rows=512, cols=2048) as board,
            board.driver(timeout=20.0) as array,
        ):
            readout = array.read()
            assert readout.codes.shape == (1, 512 * 2048)
            assert np.median(readout.conductance) == pytest.approx(REAL.pristine_conductance, rel=0.05)
