"""PyMeasure instruments as auxiliaries: driven by PyMeasure itself, read along with runs, recorded in their files."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benches import labctl as labctl_command
from benches import write_bench

import labctl
from labctl.bench.live import load_bench
from labctl.cli import _run
from labctl.drivers.pymeasure_auxiliary import PyMeasureAuxiliary, PyMeasureSettings
from labctl.errors import BenchError, LinkError, RunError, SafeStateError, SettingsError
from labctl.recording.recover import recover
from labctl.runner import AuxiliarySampler
from labctl.simulated_instruments.scpi import Boolean, ChannelList, Command, Instrument, Numeric
from labctl.simulated_instruments.servers.tcp import TcpServer
from labctl.units import convert

pytest.importorskip("pymeasure", reason="needs PyMeasure: pip install 'labctl[peers]'")

SUPPLY = "pymeasure.instruments.keysight.KeysightE36312A"


class Supply:
    """Three outputs, each of which rises by 1 mV every time it is measured."""

    def __init__(self) -> None:
        self.setpoint = dict.fromkeys((1, 2, 3), 0.0)
        self.on = dict.fromkeys((1, 2, 3), False)
        self.stuck = False
        self.measured = 0
        self.answers_left = 1 << 30
        self.silence = threading.Event()
        one = ChannelList(maximum=3)
        self.scpi = Instrument(
            ("Keysight", "E36312A", "1", "1"),
            [
                Command(
                    "VOLTage",
                    set=lambda volts, where: self.setpoint.update(dict.fromkeys(where, volts)),
                    query=lambda where: self.setpoint[where[0]],
                    parameters=(Numeric(unit="V", minimum=0, maximum=25), one),
                    query_parameters=(one,),
                ),
                Command("MEASure:VOLTage", query=self.measure, query_parameters=(one,)),
                Command("MEASure:CURRent", query=lambda _: 9.9e37, query_parameters=(one,)),
                Command(
                    "OUTPut",
                    set=self.switch,
                    query=lambda where: self.on[where[0]],
                    parameters=(Boolean(), one),
                    query_parameters=(one,),
                ),
            ],
        )

    def switch(self, on: bool, where: tuple[int, ...]) -> None:
        self.on.update(dict.fromkeys(where, on or self.stuck))

    def measure(self, where: tuple[int, ...]) -> float:
        self.answers_left -= 1
        if self.answers_left < 0:
            self.silence.wait(5)
        self.measured += 1
        return self.setpoint[where[0]] * self.on[where[0]] + 1e-3 * self.measured


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))


@pytest.fixture
def supply() -> Supply:
    return Supply()


@pytest.fixture
def server(supply: Supply) -> Iterator[TcpServer]:
    with TcpServer(supply.scpi) as server:
        yield server
        supply.silence.set()


def table(server: TcpServer, **options: object) -> dict[str, object]:
    given: dict[str, object] = {
        "driver": "pymeasure",
        "class": SUPPLY,
        "resource_name": server.resource_name,
        "visa_library": "@py",
        "timeout": 1,
        "record": {"ch_1.voltage": "V"},
        "set": {"ch_1.voltage_setpoint": 2.5, "ch_1.output_enabled": True},
        "safe": {"ch_1.output_enabled": False},
        "options": {"read_termination": "\n", "write_termination": "\n"},
    }
    return given | options


def driver(server: TcpServer, **options: object) -> PyMeasureAuxiliary:
    return PyMeasureAuxiliary(convert(table(server, **options), PyMeasureSettings, what="supply"))


def bench_file(folder: Path, server: TcpServer, *, arrays: str = 'auxiliary_interval = "0 s"') -> Path:
    lines = ["[instruments.supply]"]
    for key, value in table(server).items():
        pairs = (
            ", ".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in value.items()) if isinstance(value, dict) else ""
        )
        lines.append(f"{key} = {{ {pairs} }}" if isinstance(value, dict) else f"{key} = {json.dumps(value)}")
    return write_bench(folder, instrument="\n".join(lines), arrays=arrays)


def test_it_is_set_read_and_made_safe_by_pymeasures_own_properties(server: TcpServer, supply: Supply) -> None:
    auxiliary = driver(server, record={"ch_1.voltage": "V", "ch_1.current": "A"})
    auxiliary.connect()
    assert (supply.setpoint[1], supply.on[1]) == (2.5, True)
    reading = auxiliary.read()
    assert reading["ch_1_voltage"] == pytest.approx(2.5 + 1e-3 * supply.measured)
    assert np.isnan(reading["ch_1_current"])  # the instrument's own word for out of range
    assert auxiliary.snapshot()["class"] == SUPPLY
    auxiliary.safe_state()
    assert not supply.on[1]
    supply.stuck = True
    auxiliary._write({"ch_1.output_enabled": True})
    with pytest.raises(LinkError, match=r"ch_1\.output_enabled is True where False was set"):
        auxiliary.safe_state()
    auxiliary.close()
    auxiliary.close()
    with pytest.raises(LinkError, match="not connected"):
        auxiliary.read()


def test_what_it_reads_is_in_every_run(tmp_path: Path, server: TcpServer, supply: Supply) -> None:
    with load_bench(bench_file(tmp_path, server)) as bench, bench.array() as array:
        result = labctl.run("write_verify", array, target=np.full((32, 32), 20e-6))
    assert not supply.on[1]
    with labctl.open_run(result.path) as run:
        samples = run["auxiliaries"].to_dataset().load()
        steps = run.sizes["step"] if "step" in run.sizes else run["steps"].sizes["step"]
    assert samples["supply_ch_1_voltage"].attrs["units"] == "V"
    assert samples.sizes["sample"] == steps + 2  # one before the first step, one after the last
    assert np.diff(samples["supply_ch_1_voltage"].values).min() > 0
    assert np.diff(samples["time"].values).min() >= np.timedelta64(0)
    recover(result.path, tmp_path / "copy.h5")
    with labctl.open_run(tmp_path / "copy.h5") as copied:
        assert copied["auxiliaries"].to_dataset().identical(samples)


def test_it_is_read_no_more_often_than_asked(tmp_path: Path, server: TcpServer) -> None:
    with load_bench(bench_file(tmp_path, server, arrays='auxiliary_interval = "1 h"')) as bench, bench.array() as array:
        result = labctl.run("write_verify", array, target=np.full((32, 32), 20e-6))
    with labctl.open_run(result.path) as run:
        assert run["auxiliaries"].sizes["sample"] == 2


def test_an_array_may_do_without(tmp_path: Path, server: TcpServer, supply: Supply) -> None:
    with load_bench(bench_file(tmp_path, server, arrays="auxiliaries = []")) as bench, bench.array() as array:
        result = labctl.run("read", array)
        assert supply.measured == 0
    with labctl.open_run(result.path) as run:
        assert "auxiliaries" not in run.children


def test_one_that_falls_silent_costs_the_run_only_its_readings(
    tmp_path: Path, server: TcpServer, supply: Supply, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bench_file(tmp_path, server)
    path.write_text(path.read_text().replace("timeout = 1", "timeout = 0.2"))
    bench = load_bench(path)
    array = bench.array()
    array.connect()
    supply.answers_left = 2  # snapshot and first sample
    result = labctl.run("read", array, repeats=2)
    with pytest.raises(SafeStateError, match=r"NOT in safe state: supply: .*could not be read back"):
        bench.close()
    assert result.missed["supply"].startswith("no reading since ")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"labctl: supply: {server.resource_name}: ch_1.voltage could not be read: no answer; the run"
    )
    with labctl.open_run(result.path) as run:
        values = run["auxiliaries"]["supply_ch_1_voltage"].values
        summary = json.loads(
            run["provenance"]["summary"].item()
            if run["provenance"]["summary"].ndim == 0
            else b"".join(run["provenance"]["summary"].values)
        )
    assert np.isfinite(values[0])
    assert np.isnan(values[1:]).all()
    assert "ch_1.voltage could not be read: no answer" in summary["auxiliary_problems"]["supply"]


def test_the_command_line_tells_of_one_that_fell_silent_and_was_not_made_safe(
    tmp_path: Path, server: TcpServer, supply: Supply, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bench_file(tmp_path, server)
    text = path.read_text().replace("timeout = 1", "timeout = 0.2")
    path.write_text(f'safe_state_timeout = "200 ms"\n{text}')
    supply.answers_left = 3  # on connecting, of the snapshot and of the first sample
    assert _run(["read-array", "--bench", str(path), "--no-plot", "-q"]) == 3
    told, said = capsys.readouterr()
    assert re.search(r"^supply +no reading since \d\d:\d\d:\d\d$", told, re.MULTILINE)
    first, last = said.splitlines()
    assert first.startswith("labctl: supply: ")
    assert last.startswith("labctl: NOT in safe state: supply: ")


class Dead:
    """What stands around an array and, from its second reading on, answers only when `is_up` again."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.is_up = True

    def read(self) -> dict[str, float]:
        self.asked.append(CLOCK[0])
        if not self.is_up:
            raise LinkError("no answer")
        return {"kelvin": 300.0}


CLOCK = [0.0]


def test_one_that_is_dead_is_asked_ever_more_rarely(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chuck, rows = Dead(), []
    array = SimpleNamespace(auxiliaries={"chuck": chuck}, quantities={"chuck_kelvin": "K"}, auxiliary_interval=1.0)
    writer = SimpleNamespace(sample=lambda values, **_: rows.append(values))
    CLOCK[0] = 100.0
    monkeypatch.setattr(
        "labctl.runner.auxiliaries.time",
        SimpleNamespace(**vars(time) | {"monotonic": lambda: CLOCK[0], "time": lambda: CLOCK[0]}),
    )
    sampler = AuxiliarySampler(array)
    sampler.begin(writer)
    chuck.is_up = False
    for second in range(101, 200):
        CLOCK[0] = float(second)
        sampler.sample_when_due()
    assert chuck.asked == [100, 101, 111, 131, 171]
    assert len(rows) == 100
    said = time.strftime("%H:%M:%S", time.localtime(101))
    assert sampler.missed == {"chuck": f"no reading since {said}"}
    assert sampler.problems == {"chuck": "no answer"}
    assert len(capsys.readouterr().err.splitlines()) == 1
    chuck.is_up = True
    for second in range(200, 260):
        CLOCK[0] = float(second)
        sampler.sample_when_due()
    assert chuck.asked[5:] == list(range(251, 260))
    assert sampler.missed == {
        "chuck": f"no reading since {said} until {time.strftime('%H:%M:%S', time.localtime(251))}"
    }


def test_one_of_which_nothing_is_recorded_is_let_be(tmp_path: Path, server: TcpServer, supply: Supply) -> None:
    path = bench_file(tmp_path, server)
    kept = [line for line in path.read_text().splitlines() if not line.startswith(("record", "set", "safe = "))]
    path.write_text("\n".join(kept))
    with load_bench(path) as bench, bench.array() as array:
        result = labctl.run("read", array)
    assert (result.outcome, result.missed, supply.measured) == ("finished", {}, 0)


def test_a_run_does_not_begin_without_it(tmp_path: Path, server: TcpServer, supply: Supply) -> None:
    path = bench_file(tmp_path, server)
    path.write_text(path.read_text().replace("timeout = 1", "timeout = 0.2"))
    bench = load_bench(path)
    array = bench.array()
    array.connect()
    supply.answers_left = 0
    with pytest.raises((RunError, LinkError), match="voltage could not be read"):
        labctl.run("read", array)
    with pytest.raises(SafeStateError):
        bench.close()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"class": "pymeasure.instruments.keysight.Nothing"},
            "pymeasure.instruments.keysight.Nothing cannot be loaded",
        ),
        ({"class": "no_such_module.Thing"}, "no_such_module.Thing cannot be loaded: No module named"),
        ({"class": "os.path"}, r"os\.path is no class of a PyMeasure instrument"),
        ({"class": "pathlib.Path"}, r"pathlib\.Path is no class of a PyMeasure instrument"),
    ],
)
def test_a_class_that_is_not_there_is_one_sentence(
    server: TcpServer, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(BenchError, match=sentence):
        driver(server, **options).connect()


def test_two_properties_of_one_column_are_refused(server: TcpServer) -> None:
    with pytest.raises(
        SettingsError, match=r"'in_A\.kelvin' and 'in\.A_kelvin' would both be recorded as 'in_A_kelvin'"
    ):
        driver(server, record={"in_A.kelvin": "K", "in.A_kelvin": "V"})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"record": {"ch_1.voltage": "Volts"}}, r"record: 'Volts' is no unit for 'ch_1\.voltage': write its symbol"),
        ({"options": {"timeout": 3}}, "options: 'timeout' is what timeout says"),
        ({"options": {"visa_library": "@py"}}, "options: 'visa_library' is what visa_library says"),
        ({"options": {"adapter": "GPIB0::1::INSTR"}}, "options: 'adapter' is what resource_name says"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_its_settings(
    server: TcpServer, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        driver(server, **options)


def test_a_fault_on_connecting_names_it_as_the_bench_does(tmp_path: Path, server: TcpServer, supply: Supply) -> None:
    path = bench_file(tmp_path, server)
    path.write_text(path.read_text().replace('safe = { "ch_1.output_enabled"', 'safe = { "ch_1.output_enabld"'))
    sentence = (
        r"^supply: TCPIP.*: ch_1\.output_enabld could not be set to False: VoltageChannel has no 'output_enabld'$"
    )
    with load_bench(path) as bench, pytest.raises(LinkError, match=sentence), bench.array():
        pass
    assert not supply.on[1]  # nothing was set before


def test_a_property_that_is_not_there_is_not_made_up(server: TcpServer) -> None:
    with pytest.raises(LinkError, match=r"ch_1\.voltage_setpont could not be set to 3: VoltageChannel has no"):
        driver(server, set={"ch_1.voltage_setpont": 3}).connect()
    with pytest.raises(LinkError, match=r"ch_1\.voltge could not be read"):
        driver(server, record={"ch_1.voltge": "V"}).connect()
    with pytest.raises(LinkError, match=r"ch_1\.voltage_setpoint could not be set to 300: .*300"):
        driver(server, set={"ch_1.voltage_setpoint": 300}).connect()


def test_the_command_line_says_what_is_wrong_with_its_table(tmp_path: Path, server: TcpServer) -> None:
    path = bench_file(tmp_path, server, arrays='auxiliaries = ["board"]')
    done = labctl_command("bench", "check", str(path), cwd=tmp_path)
    assert done.returncode == 2
    assert "$.arrays.main.auxiliaries: 'board' is not an instrument that is read along with a run" in done.stderr
    path = bench_file(tmp_path, server)
    path.write_text(path.read_text().replace('"ch_1.voltage"', '"ch 1"'))
    done = labctl_command("bench", "check", str(path), cwd=tmp_path)
    assert "'ch 1' is no name of a property" in done.stderr
