"""Faults of boards and chips as their readings and error queues show them, and who can have which."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches import labctl, started, write_bench

from labctl.simulated_instruments.faults import FaultyWire, read_plan
from labctl.simulated_instruments.faults.board import begin, check
from labctl.simulated_instruments.faults.kinds import FullErrorQueue
from labctl.simulated_instruments.faults.plan import parse_plan
from labctl.simulated_instruments.instruments import keithley_2600
from labctl.simulated_instruments.scpi import Instrument
from labctl.simulated_instruments.servers.hosting import HostingError, load
from labctl.simulated_instruments.servers.serving import serve
from labctl.simulated_instruments.wire import Site

Make = Callable[..., Any]
TOP = 16_383


def readings(client: Any) -> np.ndarray:
    return np.array(client.ask(b"FORM ASC;:READ:REG? 0,0,4,4\n").split(b","), int).reshape(4, 4)


def test_stuck_columns_read_their_code_for_as_long_as_they_are_stuck(faulty: Make) -> None:
    where = faulty({"kind": "stuck_columns", "columns": [1, 3], "code": 77, "messages": [2], "exchanges": 2})
    client = where.connect()
    healthy = readings(client)
    assert not (healthy == 77).any()
    for _ in range(2):
        stuck = readings(client)
        assert (stuck[:, [1, 3]] == 77).all()
        assert not (stuck[:, [0, 2]] == 77).any()
    assert not (readings(client) == 77).any()


def test_stuck_columns_are_stuck_in_a_multiplication_too(faulty: Make) -> None:
    client = faulty({"kind": "stuck_columns", "columns": [2], "code": 0, "messages": [2]}).connect()
    inputs = b"#216" + np.full(4, 0.2, ">f4").tobytes()
    healthy, stuck = (np.array(client.ask(b"FORM ASC;:MULT? " + inputs + b"\n").split(b","), float) for _ in range(2))
    assert healthy[2] > -1e-4
    assert stuck[2] == pytest.approx(-2e-3)
    np.testing.assert_allclose(stuck[[0, 1, 3]], healthy[[0, 1, 3]], atol=2e-6)


def test_a_saturated_converter_reads_its_top_and_no_cell_changes(faulty: Make) -> None:
    client = faulty({"kind": "adc_saturation", "messages": [2], "exchanges": 1}).connect()
    healthy = readings(client)
    assert (readings(client) == TOP).all()
    again = readings(client)
    assert (again < TOP).all()
    assert np.abs(again - healthy).max() < 100  # noise of pristine cells


def test_a_temperature_step_is_one_up_and_one_down_again(faulty: Make) -> None:
    client = faulty({"kind": "temperature_step", "kelvin": 45.5, "messages": [2], "exchanges": 1}).connect()
    assert [float(client.ask(b"SENS:TEMP?\n")) for _ in range(3)] == [300.0, 345.5, 300.0]


def test_a_temperature_step_goes_as_far_as_the_chuck_does(faulty: Make) -> None:
    client = faulty({"kind": "temperature_step", "kelvin": 4000.0, "messages": [1]}).connect()
    assert float(client.ask(b"SENS:TEMP?\n")) == 600.0


def test_a_full_error_queue_overflows_as_the_standard_says(faulty: Make) -> None:
    client = faulty({"kind": "full_error_queue", "messages": [2]}).connect()
    assert client.ask(b"SYST:ERR:COUN?\n") == b"0\n"
    assert client.ask(b"SYST:ERR:COUN?\n") == b"32\n"
    errors = client.ask(b"SYST:ERR:ALL?\n")
    assert errors.startswith(b'-310,"System error;a fault"')
    assert b"-350" in errors
    assert client.ask(b"*CLS;:SYST:ERR?\n") == b'0,"No error"\n'


def test_faults_go_by_the_boards_clock_and_by_what_its_chip_has_had(faulty: Make) -> None:
    pulse = b"FORM:BORD SWAP;:OUTP ON;:PULS:APPL:IND %d,FORM,1US,1.2,#14\x05\x00\x00\x00,#12\x00\xc8;:SYST:TIME?\n"
    where = faulty({"kind": "drop", "pulses": [2]}, {"kind": "duplicate", "times": [100.0]})
    client = where.connect()
    client.ask(pulse % 1)
    client.ask(pulse % 2)
    client.send(b"*IDN?\n")
    assert client.receive() == b""
    assert client.ask(b"SYST:TIME:ADV 100;:SYST:TIME?\n").count(b"\n") == 1
    client.send(b"*OPC?\n")
    assert client.line() + (client.receive() or b"") == b"1\n1\n"
    assert where.injected == [(3, "drop"), (5, "duplicate")]


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"kind": "reboot"}, "reboot: this instrument cannot be switched off and on"),
        ({"kind": "adc_saturation"}, "adc_saturation: this instrument has no memory chip of its own"),
        ({"kind": "drop", "pulses": [3]}, "pulses are counted by a chip"),
    ],
)
def test_what_an_instrument_cannot_have_is_refused_in_a_sentence(fault: dict[str, Any], sentence: str) -> None:
    class Bare:
        wire = Instrument(("A", "B", "C", "D"))

        def close(self) -> None:
            """Nothing to save."""

    plan = {"faults": [{"messages": [1], **fault} if "pulses" not in fault else fault]}
    with pytest.raises(ValueError, match=sentence):
        FaultyWire(Bare(), parse_plan(plan, "plan", Path()), "bare")
    other = {"faults": [{**plan["faults"][0], "instruments": ["another"]}]}
    FaultyWire(Bare(), parse_plan(other, "plan", Path()), "bare")


# -- bench files and the command --------------------------------------------------------------------------------


def test_a_bench_file_that_names_a_wrong_plan_is_told_where(tmp_path: Path) -> None:
    bench = write_bench(tmp_path, rows=4, cols=4, simulated='faults = "faults.toml"')
    loaded = load(bench)
    with pytest.raises(HostingError, match=r"\$\.simulated\.board\.faults: .*faults\.toml: cannot be read as a plan"):
        loaded.wire(loaded.entries["board"])
    (tmp_path / "faults.toml").write_text('faults = [{kind = "stuck_columns", columns = [9], messages = [1]}]')
    with pytest.raises(
        HostingError, match=r"\.faults: faults\.toml: \$\.faults\[0\], at 'board': stuck_columns: .* 0 to 3"
    ):
        loaded.wire(loaded.entries["board"])
    loaded.close()
    with pytest.raises(HostingError, match=r"\$\.simulated\.board\.faults: expected text"):
        load(write_bench(tmp_path, simulated="faults = 3"))


def test_a_plan_for_the_whole_bench_counts_instead_of_the_files_own(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('faults = [{kind = "drop", messages = [1]}]')
    (tmp_path / "given.toml").write_text('faults = [{kind = "duplicate", messages = [1]}]')
    bench = write_bench(tmp_path, rows=4, cols=4, simulated='faults = "own.toml"')
    for given, kind in ((None, "drop"), (tmp_path / "given.toml", "duplicate")):
        loaded = load(bench, given)
        wire = loaded.wire(loaded.entries["board"])
        assert isinstance(wire, FaultyWire)
        wire.connect(stream=True).write(b"*IDN?\n")
        assert [each.kind for each in wire.record.injected] == [kind]
        loaded.close()


def test_a_service_with_a_hung_board_is_closed_at_once(tmp_path: Path) -> None:

    (tmp_path / "faults.toml").write_text('faults = [{kind = "hang", seconds = 60.0, messages = [1]}]')
    service = serve(write_bench(tmp_path, rows=4, cols=4), port=0, faults=tmp_path / "faults.toml")
    port = int(service.bound[0].resource_name.split("::")[2])
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"*IDN?\n")
        time.sleep(0.1)
        started = time.monotonic()
        service.close()
        assert time.monotonic() - started < 2


def test_the_command_says_what_is_wrong_with_a_plan(tmp_path: Path) -> None:
    (tmp_path / "faults.toml").write_text('faults = [{kind = "dorp", messages = [1]}]')
    bench = write_bench(tmp_path, rows=4, cols=4)
    done = labctl("sim", "serve", bench, "--faults", "faults.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "$.faults[0].kind: expected one of latency, drop" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (
            'faults = [{kind = "drop", messages = [1], instruments = ["bord"]}]',
            r"instruments\[0\]: there is no 'bord' .*: board",
        ),
        (
            'faults = [{kind = "stuck_columns", messages = [1], columns = [999]}]',
            "at 'board': stuck_columns: .* 0 to 3",
        ),
        ('faults = [{kind = "drop", messages = [1], direction = "up"}]', "direction: .* there are: to, from"),
    ],
)
def test_the_command_blames_the_plan_it_was_given_and_nothing_else(tmp_path: Path, plan: str, sentence: str) -> None:
    (tmp_path / "bad.toml").write_text(plan)
    bench = write_bench(tmp_path, rows=4, cols=4)
    done = labctl("sim", "serve", bench, "--port", "0", "--faults", "bad.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(rf"(labctl|error)?[: ]*bad\.toml: \$\.faults\[0\].*{sentence}\n", done.stderr), done.stderr


def test_the_command_serves_a_bench_with_faults_and_writes_what_it_did(tmp_path: Path) -> None:
    (tmp_path / "faults.toml").write_text('log = "log.toml"\nfaults = [{kind = "close", at = 6, messages = [2]}]')
    server = started(
        "sim", "serve", write_bench(tmp_path, rows=4, cols=4), "--port", "0", "--faults", "faults.toml", cwd=tmp_path
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().split("::")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"*OPC?\n")
            assert client.recv(100) == b"1\n"
            client.sendall(b"*IDN?\n")
            received = b""
            while piece := client.recv(100):
                received += piece
            assert received == b"labctl"
    finally:
        server.terminate()
        server.communicate(timeout=20)
    (done,) = read_plan(tmp_path / "log.toml").faults
    assert (done.name, done.messages) == ("close", (2,))


def test_a_full_error_queue_fills_that_of_an_instrument_with_scripts_too(tmp_path: Path) -> None:
    smu = keithley_2600.build({"model": "2602B"}, Site(tmp_path))
    fault = FullErrorQueue(messages=(1,))
    check(fault, smu)
    begin(fault, smu)
    client = smu.wire.connect()
    client.write(b"print(errorqueue.count)\n")
    assert float(client.read(100)[0]) == 100
    smu.close()
