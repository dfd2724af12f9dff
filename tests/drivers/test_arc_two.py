"""The ArC TWO driver makes the calls that its library documents; the library itself is a mock with those calls.

Where `pyarc2` is installed, the mock is held against it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pytest_mock import MockerFixture

import labctl
from labctl.array import MemoryArray, Operation, PulseBatch
from labctl.bench.live import load_bench
from labctl.drivers.arc_two import ArcTwo, ArcTwoSettings, socket_bits, socket_words
from labctl.errors import BenchError, InstrumentError, LinkClosedError, LinkError, LinkTimeoutError, SettingsError
from labctl.units import convert


class DocumentedInstrument:
    """Signatures of `pyarc2.Instrument`, as far as the driver needs them."""

    def __init__(self, port: int, firmware: str, init: bool = True) -> None: ...
    def busy(self) -> bool: ...
    def config_aux_channels(self, voltages: Any) -> Any: ...
    def config_channels(self, input: Any, base: Any = None) -> Any: ...  # noqa: A002
    def config_selectors(self, selectors: Any) -> Any: ...
    def connect_to_gnd(self, chans: Any) -> Any: ...
    def execute(self) -> Any: ...
    def ground_all(self) -> Any: ...
    def pulse_one(self, low: int, high: int, voltage: float, nanos: int) -> Any: ...
    def pulseread_one(self, low: int, high: int, vpulse: float, nanos: int, vread: float) -> float: ...
    def read_one(self, low: int, high: int, vread: float) -> float: ...
    def read_slice_masked(self, chan: int, mask: Any, vread: float) -> Any: ...
    def read_slice_open(self, highs: Any, ground_after: bool) -> Any: ...
    def set_control_mode(self, mode: Any) -> Any: ...


class ArC2Error(Exception):
    pass


class MockedTester:
    """What the mocked calls do: 32 x 32 conductances, S, and the biases of channels."""

    def __init__(self, mocker: MockerFixture) -> None:
        self.conductance = np.linspace(1e-6, 90e-6, 1024).reshape(32, 32)
        self.pulses: list[tuple[int, int, float, int]] = []
        self.queued: list[tuple[int, int, float, int]] = []
        self.bias: dict[int, float] = {}
        self.arc = arc = mocker.create_autospec(DocumentedInstrument, instance=True)
        arc.busy.return_value = False
        arc.pulse_one.side_effect = lambda low, high, volts, nanos: self.queued.append((low, high, volts, nanos))
        arc.execute.side_effect = self.execute
        arc.pulseread_one.side_effect = self.pulse_and_read
        arc.read_one.side_effect = self.read_one
        arc.read_slice_masked.side_effect = self.read_slice
        arc.config_channels.side_effect = lambda bias, _base: self.bias.update(bias)
        arc.read_slice_open.side_effect = self.read_open
        self.library = SimpleNamespace(
            Instrument=mocker.Mock(return_value=arc),
            find_ids=mocker.Mock(return_value=[3, 5]),
            ArC2Error=ArC2Error,
            ControlMode=SimpleNamespace(Header="header", Internal="internal"),
            AuxDACFn=SimpleNamespace(SELL="SELL", SELH="SELH"),
            LIBARC2_VERSION="1.0",
        )

    def cell(self, low: int, high: int) -> tuple[int, int]:
        return socket_words().index(high), socket_bits().index(low)

    def execute(self) -> None:
        self.pulses += self.queued
        self.queued = []

    def pulse_and_read(self, low: int, high: int, volts: float, nanos: int, read: float) -> float:
        self.pulses.append((low, high, volts, nanos))
        self.conductance[self.cell(low, high)] += 1e-6 * np.sign(volts)
        return self.read_one(low, high, read)

    def read_one(self, low: int, high: int, volts: float) -> float:
        return float(self.conductance[self.cell(low, high)] * volts)

    def read_slice(self, low: int, highs: Any, volts: float) -> np.ndarray:
        answer = np.full(64, np.nan, np.float32)
        for high in highs:
            answer[high] = self.read_one(low, high, volts)
        return answer

    def read_open(self, channels: Any, _ground: bool) -> np.ndarray:
        """Current out of each channel at 0 V into those below it."""
        answer = np.full(64, np.nan, np.float32)
        words = np.array([self.bias[channel] for channel in socket_words()])
        bits = np.array([self.bias[channel] for channel in socket_bits()])
        through = self.conductance * (bits[np.newaxis, :] - words[:, np.newaxis])  # from bit to word line
        answer[list(socket_bits())] = through.sum(0)
        answer[list(socket_words())] = -through.sum(1)
        kept = np.full(64, np.nan, np.float32)
        kept[channels] = answer[channels]
        return kept


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))


@pytest.fixture
def tester(mocker: MockerFixture, monkeypatch: pytest.MonkeyPatch) -> MockedTester:
    tester = MockedTester(mocker)
    monkeypatch.setitem(sys.modules, "pyarc2", tester.library)  # type: ignore[arg-type]
    return tester


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    path = tmp_path / "arc2fw.bin"
    path.write_bytes(b"firmware")
    return path


def settings(firmware: Path, **options: object) -> ArcTwoSettings:
    table = {"driver": "arc_two", "firmware": str(firmware), "chip": "W3-17", **options}
    return convert(table, ArcTwoSettings, what="bench.toml")


def connected(firmware: Path, **options: object) -> ArcTwo:
    driver = ArcTwo(settings(firmware, **options))
    driver.connect()
    return driver


def batch(cells: list[int], volts: float, operation: Operation = Operation.SET) -> PulseBatch:
    code = round(volts / ArcTwo.dac.step)
    return PulseBatch(operation, np.array(cells, np.uint32), np.full(len(cells), code, np.uint16), 200e-9, 0.0)


def test_the_mock_has_the_calls_of_the_real_library() -> None:
    real = pytest.importorskip("pyarc2", reason="needs pyarc2: pip install 'labctl[arc2]'")
    documented = {name for name in vars(DocumentedInstrument) if not name.startswith("_")}
    assert documented <= set(dir(real.Instrument))
    assert issubclass(real.ArC2Error, Exception)
    assert {"SELL", "SELH"} <= set(dir(real.AuxDACFn))
    assert {"Header", "Internal"} <= set(dir(real.ControlMode))
    assert real.find_ids() == []


def test_connecting_opens_the_first_tester_and_grounds_everything(tester: MockedTester, firmware: Path) -> None:
    driver = connected(firmware)
    assert isinstance(driver, MemoryArray)
    tester.library.Instrument.assert_called_once_with(3, str(firmware))
    names = [call[0] for call in tester.arc.method_calls]
    assert names == ["set_control_mode", "ground_all", "execute", "busy"]
    assert driver.geometry.cells == 1024
    assert driver.snapshot()["chip_serial"] == "W3-17"
    driver.close()
    driver.close()
    with pytest.raises(LinkClosedError, match="not connected"):
        driver.read()


def test_a_chosen_tester_that_is_not_there_is_named(tester: MockedTester, firmware: Path) -> None:
    connected(firmware, efm=5)
    tester.library.Instrument.assert_called_once_with(5, str(firmware))
    with pytest.raises(LinkClosedError, match="ArC TWO 4: not found; connected are: 3, 5"):
        connected(firmware, efm=4)
    tester.library.find_ids.return_value = []
    with pytest.raises(LinkClosedError, match="connected are: none"):
        connected(firmware)


def test_pulses_have_their_cell_sign_and_width_and_are_sent_together(tester: MockedTester, firmware: Path) -> None:
    driver = connected(firmware)
    tester.arc.reset_mock()
    driver.pulse(batch([0, 33], 1.5), batch([1023], 2.0, Operation.RESET), batch([2], 3.0, Operation.FORM))
    assert [(tester.cell(low, high), round(volts, 3), nanos) for low, high, volts, nanos in tester.pulses] == [
        ((0, 0), 1.5, 200),
        ((1, 1), 1.5, 200),
        ((31, 31), -2.0, 200),
        ((0, 2), 3.0, 200),
    ]
    assert tester.arc.execute.call_count == 3  # once a batch, not once a cell


def test_a_verify_read_comes_with_its_pulse(tester: MockedTester, firmware: Path) -> None:
    driver = connected(firmware)
    before = tester.conductance.ravel()[[5, 40]].copy()
    (up,) = driver.pulse_and_verify(batch([5, 40], 1.0))
    assert up.conductance[0] == pytest.approx(before + 1e-6, rel=1e-4)
    (down,) = driver.pulse_and_verify(batch([5, 40], 1.0, Operation.RESET))
    assert down.conductance[0] == pytest.approx(before, rel=1e-4)
    assert down.time >= up.time
    assert up.seconds_per_cell > 0


def test_reads_go_a_bit_line_at_a_time_and_come_back_in_order(tester: MockedTester, firmware: Path) -> None:
    driver = connected(firmware)
    whole = driver.read(repeats=2)
    assert whole.codes.shape == (2, 1024)
    assert whole.conductance[1] == pytest.approx(tester.conductance.ravel(), rel=1e-4)
    assert tester.arc.read_slice_masked.call_count == 64
    some = np.array([3, 35, 36, 500], np.uint32)
    assert driver.read(some).conductance[0] == pytest.approx(tester.conductance.ravel()[some], rel=1e-4)
    half = driver.read(some, voltage=0.1)
    assert half.conductance[0] == pytest.approx(tester.conductance.ravel()[some], rel=1e-4)
    assert half.scale.step == pytest.approx(2 * driver.adc.step)
    with pytest.raises(ValueError, match=r"cannot be read at 2 V: it can be at 0\.001 to 1 V"):
        driver.read(voltage=2.0)


def test_a_current_beyond_the_range_reads_as_saturated(tester: MockedTester, firmware: Path) -> None:
    tester.conductance[0, :2] = 1e-3, -1e-6
    readout = connected(firmware, current_range="100 uA").read(np.array([0, 1], np.uint32))
    assert readout.saturated.tolist() == [[True, False]]
    assert readout.conductance[0, 1] == pytest.approx(-1e-6, rel=1e-3)


@pytest.mark.parametrize("transpose", [False, True])
def test_all_lines_are_driven_at_once_to_multiply(tester: MockedTester, firmware: Path, transpose: bool) -> None:
    driver = connected(firmware)
    inputs = np.random.default_rng(1).uniform(-0.3, 0.3, (3, 32)).astype(np.float32)
    matrix = tester.conductance.T if transpose else tester.conductance
    assert driver.multiply(inputs, transpose) == pytest.approx(inputs @ matrix, rel=1e-4)
    with pytest.raises(ValueError, match=r"must be \(n, 32\) volts"):
        driver.multiply(inputs[:, :5])
    with pytest.raises(ValueError, match=r"beyond \+-1 V"):
        driver.multiply(inputs + 2)


def test_selectors_are_gates_where_the_bench_says_so(tester: MockedTester, firmware: Path) -> None:
    driver = connected(firmware, selectors="words")
    tester.arc.reset_mock()
    first = batch([0, 1, 40], 1.0)
    driver.pulse(PulseBatch(first.operation, first.cells, first.amplitude, first.width, 1.5))
    assert [call.args[0] for call in tester.arc.config_selectors.call_args_list] == [[0], [1]]
    assert tester.arc.config_aux_channels.call_args.args[0] == [("SELL", 0.0), ("SELH", 1.5)]
    assert driver.read(np.array([7], np.uint32)).conductance[0, 0] == pytest.approx(tester.conductance[0, 7], rel=1e-4)
    assert tester.arc.config_aux_channels.call_args.args[0] == [("SELL", 0.0), ("SELH", 3.3)]
    with pytest.raises(InstrumentError, match="no multiplication where the selectors are gates"):
        driver.multiply(np.zeros((1, 32), np.float32))
    driver.safe_state()
    assert tester.arc.config_selectors.call_args.args[0] == []


def test_a_cell_with_a_gate_is_verified_with_the_read_gate(tester: MockedTester, firmware: Path) -> None:
    driver = connected(firmware, selectors="words")
    tester.arc.reset_mock()
    given = batch([3], 1.0)
    before = tester.conductance[0, 3]
    (readout,) = driver.pulse_and_verify(PulseBatch(given.operation, given.cells, given.amplitude, given.width, 1.2))
    gates = [dict(call.args[0])["SELH"] for call in tester.arc.config_aux_channels.call_args_list]
    assert gates == [1.2, 3.3]
    assert len(tester.pulses) == 1
    assert readout.conductance[0, 0] == pytest.approx(before, rel=1e-3)  # the mock's cells mind pulseread_one only


def test_a_gate_that_may_not_have_been_set_is_set_again(tester: MockedTester, firmware: Path) -> None:
    driver = connected(firmware, selectors="words")
    driver.read(np.array([0], np.uint32))
    tester.arc.config_selectors.side_effect = [ArC2Error("lost"), None, None]
    given = batch([0], 1.0)
    with pytest.raises(LinkError, match="lost"):
        driver.pulse(PulseBatch(given.operation, given.cells, given.amplitude, given.width, 1.2))
    tester.arc.config_aux_channels.reset_mock()
    driver.read(np.array([0], np.uint32))
    assert dict(tester.arc.config_aux_channels.call_args.args[0])["SELH"] == 3.3


def test_what_is_not_a_number_is_not_stored_as_one(tester: MockedTester, firmware: Path) -> None:
    driver = connected(firmware)
    tester.arc.pulseread_one.side_effect = [float("nan")]
    with pytest.raises(InstrumentError, match="a reading is not a number"):
        driver.pulse_and_verify(batch([0], 1.0))


def test_the_time_of_the_pulses_comes_on_top_of_the_time_out(tester: MockedTester, firmware: Path) -> None:
    driver = connected(firmware, timeout="0.1 s")
    wide = batch(list(range(20)), 1.0)
    done = time.monotonic() + 0.3
    tester.arc.busy.side_effect = lambda: time.monotonic() < done
    driver.pulse(PulseBatch(wide.operation, wide.cells, wide.amplitude, 0.02, 0.0))
    assert len(tester.pulses) == 20


def test_a_pulse_the_link_lost_is_not_given_again(tester: MockedTester, firmware: Path) -> None:
    driver = connected(firmware)
    tester.arc.pulseread_one.side_effect = [1e-6, ArC2Error("FPGA communication")]
    with pytest.raises(LinkError) as caught:
        driver.pulse_and_verify(batch([1, 2, 3], 1.0))
    assert str(caught.value) == (
        "ArC TWO: failed: FPGA communication; 1 of the 3 cells have had their SET pulse, whether the next 1 had is not "
        "known"
    )
    assert tester.arc.pulseread_one.call_count == 2


def test_a_read_the_link_lost_is_asked_for_once_more(tester: MockedTester, firmware: Path) -> None:
    driver = connected(firmware)
    good = tester.read_slice(socket_bits()[0], [socket_words()[0]], 0.2)
    tester.arc.read_slice_masked.side_effect = [ArC2Error("lost"), good]
    assert driver.read(np.array([0], np.uint32)).conductance[0, 0] == pytest.approx(1e-6, rel=1e-3)
    tester.arc.read_slice_masked.side_effect = [np.full(64, np.nan)] * 2
    with pytest.raises(InstrumentError, match="answered no current of every channel"):
        driver.read(np.array([0], np.uint32))


def test_safe_state_has_a_deadline(tester: MockedTester, firmware: Path) -> None:
    driver = connected(firmware)
    tester.arc.reset_mock()
    driver.safe_state()
    tester.arc.ground_all.assert_called_once_with()
    tester.arc.busy.return_value = True
    with pytest.raises(LinkTimeoutError, match=r"still busy after 0\.05 s"):
        driver.safe_state(0.05)


def test_a_run_on_it_is_recorded_like_any_other(tester: MockedTester, firmware: Path, tmp_path: Path) -> None:
    path = tmp_path / "bench.toml"
    path.write_text(
        '[instruments.tester]\ndriver = "arc_two"\nfirmware = "arc2fw.bin"\nchip = "W3-17"\n'
        '[arrays.main]\ninstrument = "tester"\n'
    )
    assert firmware.parent == tmp_path
    with load_bench(path) as bench, bench.array() as array:
        assert array.address == "ArC TWO"
        result = labctl.run("read", array)
    with labctl.open_run(result.path) as run:
        assert run.attrs["chip_serial"] == "W3-17"
        assert run["events"]["reading"].values == pytest.approx(tester.conductance.ravel(), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"read_voltage": 0}, "read_voltage must be more than 0, not 0"),
        ({"word_channels": [1, 2], "bit_channels": [2]}, "word_channels and bit_channels must be different channels"),
        ({"word_channels": [64]}, "different channels from 0 to 63"),
        ({"bit_channels": []}, "must name one channel each at least"),
    ],
)
def test_settings_that_cannot_be_are_refused(firmware: Path, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        settings(firmware, **options)


def test_what_is_missing_is_said_with_where_to_get_it(
    tester: MockedTester, tmp_path: Path, firmware: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tester.arc is not None
    with pytest.raises(BenchError, match=r"firmware: there is no file .*gone\.bin; it came with the tester"):
        connected(tmp_path / "gone.bin")
    monkeypatch.setitem(sys.modules, "pyarc2", None)  # type: ignore[arg-type]
    with pytest.raises(BenchError, match=r"pip install 'labctl\[arc2\]'"):
        connected(firmware)
