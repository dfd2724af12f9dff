"""A bench of source-measure units, a matrix and a pulse generator is an array like any other, only slow."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches import labctl, result_of
from boards import batch_of
from iv_agreement import compared
from smu_benches import write_smu_bench

from labctl import load_bench, open_run, run
from labctl.array import Capability, Operation, PulseBatch
from labctl.bench.live import BenchArray
from labctl.drivers.pulses import NotPulsedError
from labctl.drivers.smu_matrix import SmuMatrixArray
from labctl.errors import BenchError, InstrumentError, LimitError, LinkTimeoutError
from labctl.runner import prepare
from labctl.simulated_instruments.chips.crossbar import CrossbarMacro

MATRICES = ("B2201A", "707B")
READING = 20e-9
"""A that a reading on the 100 uA ranges errs by at the most: some steps of 1 nA, and their noise."""
SMUS = ("keithley_2400", "keithley_2450", "keithley_2600")


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))


@pytest.fixture
def array(tmp_path: Path) -> Iterator[BenchArray]:
    with load_bench(write_smu_bench(tmp_path)) as bench, bench.array() as found:
        yield found


def volts(array: BenchArray, cells: object, amplitude: float, operation: Operation, **shape: float) -> PulseBatch:
    """`batch_of` in this array's codes."""
    batch = batch_of(cells, amplitude, operation, **shape)
    return PulseBatch(
        operation, batch.cells, array.dac.codes(np.full(len(batch.cells), amplitude)), batch.width, batch.gate
    )


def test_it_is_what_its_settings_say(array: BenchArray) -> None:
    assert (array.geometry.rows, array.geometry.cols, array.chip_serial) == (8, 8, "T-1")
    assert array.capabilities == Capability.FORM | Capability.PULSE | Capability.READ | Capability.READ_VOLTAGE
    plan = array.nominal()
    assert (plan.geometry, plan.dac, plan.adc) == (array.geometry, array.dac, array.adc)
    assert array.limits.min_width == 16e-9


def test_a_cell_is_formed_set_and_reset_and_no_other_is_touched(tmp_path: Path) -> None:
    cells, form = [9, 27], {"operation": Operation.FORM, "width": 1e-6, "gate": 1.2}
    with load_bench(write_smu_bench(tmp_path, die='state = "chip.h5"')) as bench, bench.array() as array:
        assert array.read().conductance[0].max() < 0.5e-6
        for amplitude in (3.3, 3.5, 3.7, 3.9):
            (formed,) = array.pulse_and_verify(volts(array, cells, amplitude, **form))
        assert formed.conductance.min() > 0.5e-6
        (lower,) = array.pulse_and_verify(volts(array, cells, 2.2, Operation.RESET, width=1e-7, gate=2.5))
        assert np.all(lower.conductance < formed.conductance)
        (higher,) = array.pulse_and_verify(volts(array, cells, 2.2, Operation.SET, width=1e-7, gate=2.2))
        assert np.all(higher.conductance > lower.conductance)
    given = np.zeros(64, np.uint32)
    given[cells] = 6
    np.testing.assert_array_equal(CrossbarMacro.load(tmp_path / "chip.h5").pulse_counts.ravel(), given)


def test_a_read_at_another_voltage_is_on_the_scale_for_it(array: BenchArray) -> None:
    array.pulse(*(volts(array, range(8), each, Operation.FORM, width=1e-6, gate=1.2) for each in (3.5, 3.7, 3.9)))
    cells = np.arange(8, dtype=np.uint32)
    usual, low = array.read(cells), array.read(cells, voltage=0.1)
    assert low.scale.step == pytest.approx(2 * usual.scale.step)
    np.testing.assert_allclose(low.conductance, usual.conductance, rtol=0.2)


def test_what_a_cell_takes_is_time_on_the_clock(array: BenchArray) -> None:
    before = array.clock.now()
    readout = array.read(np.arange(4, dtype=np.uint32), repeats=2)
    after = array.clock.now()
    assert before <= readout.time
    assert readout.seconds_per_cell > 20e-3  # a power line cycle
    assert readout.time + 8 * readout.seconds_per_cell <= after + 1e-3


def test_beyond_its_range_a_reading_is_saturated_not_a_number(tmp_path: Path) -> None:
    file = write_smu_bench(tmp_path, array='current_range = "1 uA"')
    with load_bench(file) as bench, bench.array() as array:
        array.pulse(*(volts(array, [0], each, Operation.FORM, width=1e-6, gate=1.5) for each in (3.5, 3.7, 3.9)))
        cells = np.array([0, 1], np.uint32)
        np.testing.assert_array_equal(array.read(cells).saturated, [[True, False]])


def test_every_unit_and_every_matrix_reads_the_same_cells(tmp_path: Path) -> None:
    """One chip, formed once: what two benches find differs by the noise of the cells and the errors of the units."""
    formed = 'state = "chip.h5"'
    with load_bench(write_smu_bench(tmp_path, rows=4, cols=4, die=formed)) as bench, bench.array() as array:
        for amplitude in (3.3, 3.5, 3.7, 3.9):
            array.pulse(volts(array, range(16), amplitude, Operation.FORM, width=1e-6, gate=1.2))
    usual = spread = np.zeros(16)
    for smu in SMUS:
        for matrix in MATRICES:
            folder = tmp_path / smu / matrix
            folder.mkdir(parents=True)
            shutil.copy(tmp_path / "chip.h5", folder)
            file = write_smu_bench(folder, smu=smu, matrix=matrix, rows=4, cols=4, die=formed)
            with load_bench(file) as bench, bench.array() as array:
                found = array.read(repeats=20).conductance.astype(np.float64)
            if not usual.any():
                usual, spread = found.mean(axis=0), np.ptp(found, axis=0)
                assert np.median(spread / usual) < 0.1  # of 20 readings, their noise, a tenth of what cells differ by
                assert np.ptp(usual) > 10e-6
            assert np.all(np.abs(found.mean(axis=0) - usual) < spread + READING / 0.2)


def test_ground_may_be_what_a_source_holds(tmp_path: Path) -> None:
    file = write_smu_bench(tmp_path, rows=4, cols=4, ground_by="pulser.2")
    with load_bench(file) as bench, bench.array() as array:
        array.pulse(*(volts(array, range(16), each, Operation.FORM, width=1e-6, gate=1.2) for each in (3.5, 3.9)))
        assert np.count_nonzero(array.read().conductance[0] > 0.5e-6) > 12


@pytest.mark.parametrize("unused", ["floating", "grounded"])
def test_unused_lines_may_float_or_be_grounded(tmp_path: Path, unused: str) -> None:
    file = write_smu_bench(tmp_path, rows=4, cols=4, array=f'unused_lines = "{unused}"')
    with load_bench(file) as bench, bench.array() as array:
        array.pulse(*(volts(array, range(16), each, Operation.FORM, width=1e-6, gate=1.2) for each in (3.5, 3.9)))
        one_by_one = array.read().conductance[0]
        closed = bench.connect("matrix").closed()
        bench.disconnect("matrix")
    assert len(closed) == (3 if unused == "floating" else 3 + 3 + 3)
    assert np.count_nonzero(one_by_one > 0.5e-6) > 12


def test_without_a_generator_the_unit_pulses_and_says_how_short_it_can(tmp_path: Path) -> None:
    file = write_smu_bench(tmp_path, rows=4, cols=4, pulser=False)
    with load_bench(file) as bench, bench.array() as array:
        assert array.limits.min_width == pytest.approx(1e-3)
        with pytest.raises(LimitError, match=r"FORM width of 1 us is below .* min_width of 1 ms.*: set ramp\.width"):
            prepare("forming", array)
        result = run("forming", array, ramp={**RAMP, "width": "2 ms"})
    assert result.summary["formed_now"] > 12


@pytest.mark.parametrize("smu", SMUS)
def test_a_pulse_of_the_units_own_reaches_its_cell_once(tmp_path: Path, smu: str) -> None:
    file = write_smu_bench(tmp_path, smu=smu, rows=4, cols=4, pulser=False, die='state = "chip.h5"')
    with load_bench(file) as bench, bench.array() as array:
        for amplitude in (3.5, 3.9):
            array.pulse(volts(array, [0, 5], amplitude, Operation.FORM, width=2e-3, gate=1.2))
        array.pulse(volts(array, [5], 1.8, Operation.RESET, width=2e-3, gate=2.5))
    given = np.zeros(16, np.uint32)
    given[[0, 5]] = 2, 3
    np.testing.assert_array_equal(CrossbarMacro.load(tmp_path / "chip.h5").pulse_counts.ravel(), given)


RAMP = {"start": "2.9 V", "stop": "3.9 V", "step": "0.2 V", "gate": "1.2 V"}


def test_safe_state_leaves_nothing_driven_and_the_matrix_open(tmp_path: Path) -> None:
    with load_bench(write_smu_bench(tmp_path)) as bench, bench.array() as array:
        array.read(np.arange(2, dtype=np.uint32))
        assert bench.connect("matrix").closed()
        array.safe_state()
        assert not bench.connect("matrix").closed()
        assert "output on" not in bench.connect("smu").status()
        assert "output on" not in bench.connect("gate").status()
        array.read(np.arange(2, dtype=np.uint32))  # and it goes on from there
        reports = bench.safe_state()
        assert not any(each.problem for each in reports)
        assert [each.instrument for each in reports].index("matrix") > [each.instrument for each in reports].index(
            "pulser"
        )


def test_a_fault_between_pulse_and_answer_ends_the_run_with_that_dose_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    with load_bench(write_smu_bench(tmp_path, rows=4, cols=4)) as bench, bench.array() as array:
        assert isinstance(array.driver, SmuMatrixArray)
        generator: Any = array.driver.generator
        pulse = generator.pulse

        def lost(level: float, width: float) -> None:
            pulse(level, width)
            given.append(level)
            if len(given) == 6:
                raise LinkTimeoutError("pulser: no answer")

        monkeypatch.setattr(generator, "pulse", lost)
        with pytest.raises(LinkTimeoutError) as caught:
            run("forming", array)
    assert "5 of the 16 cells have had their FORM pulse, whether the one at row 1, column 1 had is not known" in str(
        caught.value
    )
    assert len(given) == 6
    with open_run(caught.value.run_path) as found:  # type: ignore[attr-defined]
        states = found["operations"]["state"]
        flags = dict(zip(states.attrs["flag_meanings"].split(), states.attrs["flag_values"], strict=True))
        assert np.count_nonzero(states.values == flags["unknown_dose"]) == 1


def test_parts_that_are_none_are_refused_with_a_sentence(tmp_path: Path) -> None:
    file = write_smu_bench(tmp_path, smu="keithley_2600")
    file.write_text(file.read_text().replace('smu = "smu.a"', 'smu = "smu"'))
    with (
        load_bench(file) as bench,
        pytest.raises(BenchError, match="smu: 'smu' is no source-measure unit, or a channel"),
    ):
        bench.array().connect()


def test_more_lines_than_the_matrix_has_are_refused_with_a_sentence(tmp_path: Path) -> None:
    with (
        load_bench(write_smu_bench(tmp_path, rows=2, cols=2, array="word_lines = [59, 60]")) as bench,
        pytest.raises(BenchError, match="has 14 inputs and 48 outputs, where input 4 and output 60 are named"),
    ):
        bench.array().connect()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("bit_lines = [1, 2]", "bit_lines must be 8, one for each, not 2"),
        ("gate_input = 1", "the inputs must be on different terminals"),
        ("word_lines = [1, 2, 3, 4, 5, 6, 7, 8]", "the lines must be on different terminals"),
        ('read_voltage = "0 V"', "read_voltage must be more than 0"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path, line: str, sentence: str) -> None:
    with pytest.raises(BenchError, match=sentence):
        load_bench(write_smu_bench(tmp_path, array=line))


# -- its parts are its own, and what they do is asked of them ---------------------------------------------------------


def with_another(file: Path, **parts: str) -> Path:
    """The file with an array `second` on the same instruments, but for `parts`."""
    text = file.read_text()
    table = text[text.index("[instruments.array]") : text.index("[arrays.main]")].replace(".array]", ".array2]")
    for key, part in parts.items():
        table = re.sub(rf'^{key} = ".*"$', f'{key} = "{part}"', table, flags=re.MULTILINE)
    file.write_text(f'{text}\n{table}\n[arrays.second]\ninstrument = "array2"\n')
    return file


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({}, "array2.smu: 'smu.a' cannot be it: 'smu.a' is already the smu of 'array'"),
        (
            {"smu": "gate.a", "gate": "gate.b", "pulse_generator": "pulser.2"},
            "array2.matrix: 'matrix' cannot be it: 'matrix' is already the matrix",
        ),
        ({"smu": "smu"}, "array2.smu: 'smu' cannot be it: 'smu.a' is already the smu of 'array'"),
    ],
)
def test_two_arrays_do_not_share_an_instrument_that_switches_or_sources(
    tmp_path: Path, parts: dict[str, str], sentence: str
) -> None:
    file = write_smu_bench(tmp_path, smu="keithley_2600", rows=4, cols=4)
    text = file.read_text()
    second = text[text.index("[instruments.smu]") : text.index("[simulated.smu]")].replace(".smu]", ".gate]")
    file.write_text(text + second.replace("6001", "6002"))
    with pytest.raises(BenchError, match=re.escape(sentence)):
        load_bench(with_another(file, **parts))


def test_one_channel_is_not_two_parts(tmp_path: Path) -> None:
    file = write_smu_bench(tmp_path, smu="keithley_2600", rows=4, cols=4)
    file.write_text(file.read_text().replace('gate = "smu.b"', 'gate = "smu.a"'))
    with pytest.raises(BenchError, match=r"array\.gate: 'smu\.a' cannot be it: 'smu\.a' is already the smu of 'array'"):
        load_bench(file)


@pytest.mark.parametrize("smu", SMUS)
def test_what_a_script_does_to_a_part_is_known(tmp_path: Path, smu: str) -> None:
    cells = np.arange(4, dtype=np.uint32)
    with load_bench(write_smu_bench(tmp_path, smu=smu, rows=4, cols=4)) as bench, bench.array() as array:
        for amplitude in (3.3, 3.5, 3.7, 3.9):
            array.pulse(volts(array, cells, amplitude, Operation.FORM, width=1e-6, gate=1.2))
        cell = cells[:1]
        before = array.read(cell).conductance[0, 0]
        assert before > 5e-6
        matrix, unit, gate = bench.connect("matrix"), array.driver.smu, array.driver.gate
        for meddling in (matrix.open_all, lambda: unit.output(False), gate.safe_state, lambda: unit.sweep([0.1], 1e-4)):
            meddling()
            assert array.read(cell).conductance[0, 0] == pytest.approx(before, rel=0.1)  # but for a read's noise
        bench.disconnect("matrix")


def test_a_gate_whose_answer_was_lost_is_set_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with load_bench(write_smu_bench(tmp_path, rows=4, cols=4)) as bench, bench.array() as array:
        array.read(np.array([0], np.uint32))
        gate: Any = array.driver.gate
        with monkeypatch.context() as patched:
            exchange = gate.link.exchange

            def lost(message: str, **options: Any) -> Any:
                exchange(message, **options)
                if message.endswith(":SOUR:VOLT 0.9"):
                    raise LinkTimeoutError("gate: no answer")

            patched.setattr(gate.link, "exchange", lost)
            with pytest.raises(LinkTimeoutError, match="0 of the 1 cells have had their SET pulse, the next had none"):
                array.pulse(volts(array, [0], 2.0, Operation.SET, width=1e-7, gate=0.9))
        array.read(np.array([0], np.uint32))
        assert float(gate.link.query(":SOUR:VOLT?")) == pytest.approx(3.3)


def test_relays_are_switched_with_every_source_at_0_v(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with load_bench(write_smu_bench(tmp_path, rows=4, cols=4)) as bench, bench.array() as array:
        assert isinstance(array.driver, SmuMatrixArray)
        units: dict[str, Any] = {"smu": array.driver.smu, "gate": array.driver.gate}
        switch, seen = array.driver.matrix.close_exactly, []

        def close_exactly(points: Any) -> None:
            seen.append({name: float(unit.link.query(":SOUR:VOLT?")) for name, unit in units.items()})
            switch(points)

        monkeypatch.setattr(array.driver.matrix, "close_exactly", close_exactly)
        array.pulse_and_verify(volts(array, [0, 5], 2.0, Operation.SET, width=1e-7, gate=1.5))
    assert len(seen) == 4
    assert all(levels == {"smu": 0.0, "gate": 0.0} for levels in seen)


# -- what a pulse can be ----------------------------------------------------------------------------------------------


def test_a_batch_that_cannot_be_given_whole_is_not_begun(tmp_path: Path) -> None:
    with (
        load_bench(write_smu_bench(tmp_path, rows=4, cols=4, die='state = "chip.h5"')) as bench,
        bench.array() as array,
    ):
        good = volts(array, [0, 1], 2.0, Operation.SET, width=1e-7, gate=1.2)
        bad = PulseBatch(Operation.SET, np.array([2, 3], np.uint32), array.dac.codes([2.0, 0.001]), 1e-7, 1.2)
        with pytest.raises(
            ValueError, match=r"a pulse of 0\.001 V at row 0, column 3 cannot be given: 0\.002 V to 10 V"
        ):
            array.pulse(good, bad)
    assert not CrossbarMacro.load(tmp_path / "chip.h5").pulse_counts.any()


def test_no_limit_is_above_what_gives_the_pulses(tmp_path: Path) -> None:
    with load_bench(write_smu_bench(tmp_path, array='max_voltage = "12 V"')) as bench, bench.array() as array:
        assert array.limits.max_set_voltage == 10.0


@pytest.mark.parametrize("smu", SMUS)
def test_the_range_of_reads_does_not_hold_the_units_own_pulses_back(tmp_path: Path, smu: str) -> None:
    def after_reset(current_range: str) -> Any:
        folder = tmp_path / current_range
        folder.mkdir()
        file = write_smu_bench(
            folder, smu=smu, rows=4, cols=4, pulser=False, array=f'current_range = "{current_range}"'
        )
        with load_bench(file) as bench, bench.array() as array:
            for amplitude in (3.3, 3.6, 3.9):
                array.pulse(volts(array, range(16), amplitude, Operation.FORM, width=2e-3, gate=2.0))
            array.pulse(volts(array, range(16), 2.2, Operation.RESET, width=2e-3, gate=3.0))
            return array.read()

    narrow, wide = after_reset("1 uA"), after_reset("100 uA")
    told = ~narrow.saturated[0]
    assert np.count_nonzero(told) > 12
    np.testing.assert_allclose(narrow.conductance[0, told], wide.conductance[0, told], atol=READING / 0.2)


@pytest.mark.parametrize("smu", SMUS)
def test_a_reset_that_the_compliance_holds_back_is_an_error_and_a_set_is_not(tmp_path: Path, smu: str) -> None:
    file = write_smu_bench(tmp_path, smu=smu, rows=4, cols=4, pulser=False, array='set_compliance = "1 uA"')
    with load_bench(file) as bench, bench.array() as array:
        for amplitude in (3.3, 3.6, 3.9):
            array.pulse(volts(array, range(16), amplitude, Operation.FORM, width=2e-3, gate=2.0))
        with pytest.raises(InstrumentError) as caught:
            array.pulse(volts(array, [5, 6], 2.2, Operation.RESET, width=2e-3, gate=3.0))
    assert re.search(
        r"the RESET pulse of 2\.2 V at row 1, column 1 reached -?[\d.]+ V: set_compliance of 1e-06 A held it back; "
        "1 of the 2 cells have had their RESET pulse, that one less than it should",
        str(caught.value),
    )


@pytest.mark.parametrize("smu", ["keithley_2400", "keithley_2450"])
def test_a_pulse_that_is_refused_is_not_given_and_one_that_may_have_been_is_said_to(
    tmp_path: Path, smu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_smu_bench(
        tmp_path, smu=smu, rows=4, cols=4, pulser=False, array='set_compliance = "2 A"', die='state = "chip.h5"'
    )
    with load_bench(file) as bench, bench.array() as array:
        one = volts(array, [3], 3.9, Operation.FORM, width=2e-3, gate=1.2)
        with pytest.raises(InstrumentError, match="0 of the 1 cells have had their FORM pulse, the next was refused"):
            array.pulse(one)
        assert isinstance(array.driver, SmuMatrixArray)

        def answered_with_an_error(*_: float) -> None:
            raise InstrumentError("smu: an error came with the readings")

        monkeypatch.setattr(array.driver.smu, "pulse", answered_with_an_error)
        with pytest.raises(InstrumentError, match="whether the one at row 0, column 3 had is not known") as caught:
            array.pulse(one)
        assert not isinstance(caught.value, NotPulsedError)
    assert not CrossbarMacro.load(tmp_path / "chip.h5").pulse_counts.any()


def test_a_replayed_bench_waits_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_smu_bench(tmp_path, rows=2, cols=2)
    names = ("smu", "gate", "matrix", "pulser")
    text = file.read_text().replace('\nclock = "clock"', "")
    for name in names:
        text = text.replace(f"[instruments.{name}]\n", f'[instruments.{name}]\nwire_log = "{name}.log"\n')
    file.write_text(text)

    def readings() -> Any:
        with load_bench(file) as bench, bench.array() as array:
            found = array.read().codes
            if "LABCTL_REPLAY" in os.environ:
                begun, then = time.monotonic(), array.clock.now()
                array.clock.sleep_until(then + 20)
                assert array.clock.now() >= then + 20
                assert time.monotonic() - begun < 10
        return found

    recorded = readings()
    monkeypatch.setenv("LABCTL_REPLAY", os.pathsep.join(f"{name}={tmp_path / name}.log" for name in names))
    np.testing.assert_array_equal(readings(), recorded)


# -- the commands -----------------------------------------------------------------------------------------------------


def test_the_commands_run_on_it_unchanged(tmp_path: Path) -> None:
    write_smu_bench(tmp_path, rows=4, cols=4)
    bench = ("--bench", "smu.toml")
    checked = labctl("bench", "check", "smu.toml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    assert "chip T-1, 4 x 4" in checked.stdout
    assert labctl("bench", "show", "smu.toml", cwd=tmp_path).returncode == 0
    formed = result_of(labctl("form-array", *bench, "-q", "--json", "--no-plot", cwd=tmp_path))
    assert formed["fraction_formed"] > 0.9
    measured = result_of(labctl("characterize", "iv", *bench, "-q", "--json", "--no-plot", cwd=tmp_path))
    assert json.dumps(measured)
    np.save(tmp_path / "target.npy", np.linspace(8, 20, 4).reshape(2, 2))
    target = ("target.npy", "--unit", "uS", "--tolerance", "2uS", "--at", "1,2")
    programmed = result_of(labctl("program-array", *target, *bench, "-q", "--json", "--no-plot", cwd=tmp_path))
    assert programmed["cells"] == 4
    assert programmed["fraction_in_window"] >= 0.5


def test_the_same_chip_shows_the_same_curves_as_on_the_test_board(tmp_path: Path) -> None:
    found = compared(tmp_path, "IV-1", 4)
    assert found.cells > 10
    assert found.ratio == pytest.approx(1.0, abs=0.01)
    assert 0.3 < found.core < 1.5
