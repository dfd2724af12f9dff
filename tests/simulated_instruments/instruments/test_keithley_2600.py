"""A Keithley 2600B over its wire: two channels on resistors, on a chip, and as other people's drivers ask."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import pyvisa

from labctl.simulated_instruments.instruments.bare_array import build as build_card
from labctl.simulated_instruments.instruments.clocks import VirtualClock
from labctl.simulated_instruments.instruments.keithley_2600 import (
    MODELS,
    Keithley2600,
    Keithley2600Options,
    build,
)
from labctl.simulated_instruments.instruments.resistor import Resistor
from labctl.simulated_instruments.network import Bias
from labctl.simulated_instruments.servers.tcp import TcpServer
from labctl.simulated_instruments.wire import Site

OHMS = {"a": 10e3, "b": 1e6}


class Bench:
    def __init__(self, model: str = "2602B") -> None:
        self.clock = VirtualClock()
        self.loads = {name: Resistor(OHMS[name], 0.0, self.clock) for name in MODELS[model][1]}
        self.unit = Keithley2600(Keithley2600Options(model=model), self.loads)
        self.conversation = self.unit.wire.connect()

    def ask(self, *lines: str) -> list[float | str]:
        """Every word of the answers."""
        for line in lines:
            self.conversation.write(line.encode() + b"\n")
        words: list[float | str] = []
        while self.conversation.pending:
            line = bytes(self.conversation.read(1 << 20)[0]).decode("latin-1").rstrip("\n")
            words += [_number(word) for word in line.split("\t")]
        return words

    def error(self) -> str:
        code, text, *_ = self.ask("print(errorqueue.next())")
        return f"{code:.0f} {text}"


def _number(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_sources_a_voltage_and_measures_what_flows(bench: Bench) -> None:
    """Noise of the 100 uA range at 1 PLC, 2e-6 of it, and the source's step on 1 V, 5e-5 of it: 5 sigma and a step."""
    bench.ask("smua.source.levelv = 0.5 smua.source.output = smua.OUTPUT_ON")
    amps, volts = bench.ask("print(smua.measure.iv())")
    assert amps == pytest.approx(50e-6, abs=5 * 2e-10 + 5e-9)
    assert volts == pytest.approx(0.5, abs=1e-4)
    assert bench.ask("print(smua.measure.r())")[0] == pytest.approx(10e3, rel=1e-3)
    assert bench.ask("print(smua.measure.p())")[0] == pytest.approx(25e-6, rel=1e-3)
    assert bench.error() == "0 Queue Is Empty"


def test_channels_are_each_their_own(bench: Bench) -> None:
    bench.ask("smua.source.levelv = 1 smub.source.levelv = 2 smua.source.output = 1 smub.source.output = 1")
    assert bench.ask("print(smua.measure.i(), smub.measure.i())") == pytest.approx([1e-4, 2e-6], rel=1e-3)
    bench.ask("smub.reset()")
    assert bench.ask("print(smua.source.output, smub.source.output, smub.source.levelv)") == [1.0, 0.0, 0.0]


def test_it_sources_a_current(bench: Bench) -> None:
    bench.ask("smua.source.func = smua.OUTPUT_DCAMPS smua.source.leveli = 20e-6 smua.source.output = 1")
    assert bench.ask("print(smua.measure.v())")[0] == pytest.approx(0.2, rel=1e-3)
    bench.ask("smua.source.limitv = 0.1")
    assert bench.ask("print(smua.measure.v(), smua.source.compliance)") == [pytest.approx(0.1, rel=1e-3), "true"]
    assert bench.ask("print(status.measurement.instrument.smua.condition)") == [1.0]


def test_compliance_limits_the_current_and_is_told(bench: Bench) -> None:
    bench.ask("smua.source.limiti = 10e-6 smua.source.levelv = 1 smua.source.output = 1")
    assert bench.ask("print(smua.measure.iv())") == pytest.approx([10e-6, 0.1], rel=1e-3)
    assert bench.ask("print(smua.source.compliance, status.measurement.instrument.smua.condition)") == ["true", 2.0]
    bench.ask("status.measurement.instrument.smua.enable = 2 status.measurement.instrument.enable = 2",
              "status.measurement.enable = 8192", "*CLS")  # fmt: skip
    bench.ask("smua.source.levelv = 0 smua.measure.i() smua.source.levelv = 1 smua.measure.i()")
    assert int(bench.conversation.status_byte()) & 1


@pytest.mark.parametrize(
    ("chunk", "error"),
    [
        ("smua.source.levelv = 41", "1102 Parameter too big"),
        ("smua.source.rangev = 1 smua.source.levelv = 2", "1102 Parameter too big"),
        ("smua.source.limiti = 4", "1102 Parameter too big"),
        ("smua.source.limiti = 1e-12", "1101 Parameter too small"),
        ("smua.measure.nplc = 26", "1102 Parameter too big"),
        ("smua.measure.nplc = 0", "1101 Parameter too small"),
        ("smua.source.output = 3", "1102 Parameter too big"),
        ("smua.source.levelv = 'one'", "-104 Data type error"),
        ("smua.source.limiti = 3 smua.source.levelv = 30", "-221 Settings conflict;40.4 V together with 3 A"),
        ("smua.measure.i(5)", "-104 Data type error"),
        ("smua.trigger.source.action = 1 smua.trigger.initiate()", "-221 Settings conflict"),
    ],
)
def test_what_it_refuses_changes_nothing(bench: Bench, chunk: str, error: str) -> None:
    bench.ask(chunk)
    assert bench.error() == error
    assert bench.ask("print(smua.source.levelv, smua.source.output)") == [0.0, 0.0]


def test_readings_take_the_time_of_their_integration(bench: Bench) -> None:
    bench.ask("smua.measure.nplc = 10 smua.measure.count = 5 smua.measure.interval = 0.5")
    before = bench.clock.now()
    bench.ask("smua.nvbuffer1.collecttimestamps = 1 smua.nvbuffer1.clear() smua.measure.i(smua.nvbuffer1)")
    assert bench.clock.now() - before == pytest.approx(4 * 0.5 + 0.2, abs=1e-3)
    assert bench.ask("print(smua.nvbuffer1.n, smua.nvbuffer1.timestamps[3])") == [5.0, pytest.approx(1.0, abs=1e-5)]


def test_a_script_sweeps_and_its_buffer_comes_as_floats(bench: Bench) -> None:
    bench.ask("loadandrunscript", "smua.nvbuffer1.clear()", "smua.nvbuffer1.appendmode = 1", "smua.source.output = 1",
              "for k = 0, 4 do smua.source.levelv = k / 10 delay(0.001) smua.measure.i(smua.nvbuffer1) end",
              "format.data = format.REAL32 format.byteorder = format.LITTLEENDIAN")  # fmt: skip
    bench.conversation.write(b"printbuffer(1, 5, smua.nvbuffer1.readings)\nendscript\n")
    data = bytes(bench.conversation.read(1000)[0])
    assert data[:2] == b"#0"
    assert struct.unpack("<5f", data[2:-1]) == pytest.approx([k * 1e-5 for k in range(5)], abs=1e-8)


def test_a_triggered_sweep_measures_each_level_and_goes_back(bench: Bench) -> None:
    bench.ask("smua.source.output = 1 smua.nvbuffer2.appendmode = 1 smua.nvbuffer2.collectsourcevalues = 1",
              "smua.trigger.source.listv({0.1, 0.3, -0.2}) smua.trigger.source.action = smua.ENABLE",
              "smua.trigger.measure.iv(smua.nvbuffer1, smua.nvbuffer2) smua.trigger.measure.action = smua.ENABLE",
              "smua.nvbuffer1.appendmode = 1 smua.trigger.count = 3",
              "smua.trigger.initiate() waitcomplete()")  # fmt: skip
    assert bench.error() == "0 Queue Is Empty"
    (line,) = bench.ask("printbuffer(1, 3, smua.nvbuffer1)")
    assert [float(word) for word in str(line).split(",")] == pytest.approx([1e-5, 3e-5, -2e-5], abs=1e-8)
    (line,) = bench.ask("printbuffer(1, 3, smua.nvbuffer2.sourcevalues)")
    assert [float(word) for word in str(line).split(",")] == pytest.approx([0.1, 0.3, -0.2])
    assert bench.ask("print(smua.source.levelv)") == [0.0]
    bench.ask("smua.trigger.source.linearv(0, 1, 5) smua.trigger.count = 5 smua.trigger.endsweep.action = 1",
              "smua.trigger.initiate()")  # fmt: skip
    assert bench.ask("print(smua.source.levelv)") == [1.0]


def test_off_it_holds_zero_volts_or_nothing(bench: Bench) -> None:
    bench.ask("smua.source.levelv = 1 smua.source.output = 1 smua.source.output = 0")
    assert bench.loads["a"]._held == Bias("voltage", 0.0, 1e-3)
    bench.ask("smua.source.output = smua.OUTPUT_HIGH_Z")
    assert bench.loads["a"]._held is None
    assert bench.ask("print(smua.source.output)") == [2.0]


def test_short_integration_is_noisier(bench: Bench) -> None:
    """At 0.001 PLC hum is 2e-3 of the range, at 1 PLC 2e-6: a thousandfold, of which 100 readings tell a tenth."""
    bench.ask("smua.source.levelv = 0.5 smua.source.output = 1 smua.measure.rangei = 1e-4")
    spreads = []
    for cycles in (1, 0.001):
        bench.ask(f"smua.measure.nplc = {cycles} smua.measure.count = 100 smua.nvbuffer1.clear()",
                  "smua.measure.i(smua.nvbuffer1)")  # fmt: skip
        (line,) = bench.ask("printbuffer(1, 100, smua.nvbuffer1)")
        values = [float(word) for word in str(line).split(",")]
        mean = sum(values) / 100
        spreads.append((sum((each - mean) ** 2 for each in values) / 99) ** 0.5)
    assert spreads[1] > 100 * spreads[0] > 0


def test_a_model_with_one_channel_has_no_smub() -> None:
    bench = Bench("2601B")
    assert bench.ask("print(smub == nil, localnode.model)") == ["true", "2601B"]


def test_the_other_channel_stays_open_and_on_the_same_clock() -> None:
    card = build_card({"rows": 4, "cols": 4, "chip": "T-2"}, Site(Path()))
    unit = build({"wired_to": {"b": "die.BL1"}}, Site(Path(), lambda _: card))
    conversation = unit.wire.connect()
    conversation.write(b"smua.source.output = 1 smua.source.levelv = 1 print(smua.measure.i())\n")
    assert abs(float(bytes(conversation.read(100)[0]))) < 1e-9
    assert unit.channels["a"].core.lead.clock is card.clock
    unit.close()
    card.close()


def test_its_pulse_forms_a_cell_once() -> None:
    card = build_card({"rows": 4, "cols": 4, "chip": "T-2"}, Site(Path()))
    unit = build({"wired_to": {"a": "die.BL1", "b": "die.WL1"}}, Site(Path(), lambda _: card))
    card.lead("SL2").hold(Bias("voltage", 0.0, 1e-2))
    conversation = unit.wire.connect()
    conversation.write(b"smub.source.levelv = 1.2 smub.source.output = 1 smua.source.output = 1\n")
    conversation.write(b"smua.source.levelv = 4.2 delay(0.001) smua.source.levelv = 0\n")
    assert card.array.chip.pulse_counts.sum() == card.array.chip.pulse_counts[1, 2] == 1
    conversation.write(b"smub.source.levelv = 3.3 smua.source.levelv = 0.2 print(smua.measure.i())\n")
    assert float(bytes(conversation.read(100)[0])) > 1e-6


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"model": "2400"}, "model must be one of 2601B, .*, not '2400'"),
        ({"model": "2635B", "wired_to": {"b": "die.BL0"}}, "a 2635B has no channel 'b'; there are: a"),
        ({"line_frequency": 55}, "line_frequency must be 50 or 60 Hz, not 55"),
    ],
)
def test_options_that_make_no_unit_are_one_sentence(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        build(options, Site(Path()))


@pytest.fixture
def served() -> Iterator[str]:
    with TcpServer(Bench("2636B").unit.wire) as server:
        yield server.resource_name


def test_any_program_reaches_it(served: str) -> None:
    manager = pyvisa.ResourceManager("@py")
    with manager.open_resource(served, read_termination="\n", write_termination="\n", timeout=5000) as opened:
        assert isinstance(opened, pyvisa.resources.MessageBasedResource)
        assert opened.query("*IDN?") == "Keithley Instruments Inc., Model 2636B, 4400001, 3.3.5"
        opened.write("smub.source.levelv = 1")
        opened.write("smub.source.output = 1")
        assert float(opened.query("print(smub.measure.i())")) == pytest.approx(1e-6, rel=1e-3)
    manager.close()
