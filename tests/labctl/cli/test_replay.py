"""`labctl replay`: whole runs recorded, in this process and over TCP, and had again from the log alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from benches import labctl, result_of, served, write_bench
from wires import Peer, RogueInstrument, scripted

from labctl.cli import _run

PROGRAM = ("program-array", "target.npy", "--unit", "uS", "--yes", "--no-plot", "--json", "-q")
SERIAL = """
[instruments.board]
driver = "serial_board"
resource_name = "ASRL/dev/ttyUSB9::INSTR"
serial_library = "@labctl"
wire_log = "wire.log"
rows = 16
cols = 16
[arrays.main]
instrument = "board"
[simulated.board]
simulator = "serial_board"
resource_name = "ASRL/dev/ttyUSB9::INSTR"
chip = "T-3"
rows = 16
cols = 16
"""
SMALL = {"rows": 16, "cols": 16, "chip": "T-3"}
RECORDED = {"instrument": 'wire_log = "wire.log"'}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))
    monkeypatch.chdir(tmp_path)
    np.save("target.npy", np.full((16, 16), 20.0))
    return tmp_path


def events(run: str) -> dict[str, list[object]]:
    """Everything that a run file holds but its provenance."""
    found: dict[str, list[object]] = {}

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("provenance"):
            found[name] = np.nan_to_num(item[()], nan=-1.0).tolist()

    with h5py.File(run) as file:
        file.visititems(add)
    return found


def replayed(*command: str, cwd: Path) -> str:
    return str(result_of(labctl("replay", "wire.log", "--", *command, cwd=cwd))["run"])


def test_a_run_in_this_process_replays_to_the_same_events(here: Path) -> None:
    write_bench(here, **SMALL, **RECORDED)
    recorded = result_of(labctl(*PROGRAM, "--bench", "bench.toml", cwd=here))
    write_bench(here, **SMALL, **RECORDED, library="@py")  # nothing answers there
    again = events(replayed(*PROGRAM, "--bench", "bench.toml", cwd=here))
    assert again == events(recorded["run"])
    assert len(again["events/cell"]) > 256


def test_a_run_over_tcp_on_a_board_with_real_time_replays_to_the_same_events(here: Path) -> None:
    with served(here, **SMALL, **RECORDED, simulated='clock = "real"') as (path, _):
        recorded = result_of(labctl(*PROGRAM, "--bench", path, "--reverify", "0s,2s", cwd=here))
    again = replayed(*PROGRAM, "--bench", str(path), "--reverify", "0s,2s", cwd=here)
    assert events(again) == events(recorded["run"])


def test_a_run_on_a_serial_board_replays_to_the_same_events(here: Path) -> None:
    Path("bench.toml").write_text(SERIAL)
    recorded = result_of(labctl(*PROGRAM, "--bench", "bench.toml", cwd=here))
    assert events(replayed(*PROGRAM, "--bench", "bench.toml", cwd=here)) == events(recorded["run"])


def test_a_command_that_sends_something_else_is_stopped_and_shown(here: Path) -> None:
    write_bench(here, **SMALL, **RECORDED)
    result_of(labctl(*PROGRAM, "--bench", "bench.toml", cwd=here))
    done = labctl(
        "replay", "wire.log", "--", *PROGRAM, "--bench", "bench.toml", "--set", "set.start=1.5V", cwd=here, COLUMNS="80"
    )
    assert done.returncode == 3
    first, *diff = done.stderr.splitlines()
    assert re.match(
        r"labctl: .*wire\.log: line \d+: :.* parts from what was sent then at byte \d+ \(recorded in", first
    )
    assert diff[0] == "the conversation before that:"
    assert any(line.startswith("  * ") for line in diff)
    assert diff[-1].strip() == "^"
    assert max(map(len, diff)) <= 80


def test_a_command_that_ends_early_has_parted_too(here: Path) -> None:
    write_bench(here, **SMALL, **RECORDED)
    result_of(labctl("read-array", "--repeats", "2", "--no-plot", "--json", "-q", cwd=here, LABCTL_BENCH="bench.toml"))
    log = Path("wire.log").read_text().splitlines(keepends=True)
    Path("wire.log").write_text("".join(log) + "1.5 > b'MORE?\\n'\n".replace("\n'", "\\n'"))
    done = labctl("replay", "wire.log", "--", "bench", "check", "bench.toml", cwd=here)
    assert done.returncode == 3
    assert "parts from what was sent then" in done.stderr or "the recording goes on with" in done.stderr
    done = labctl(
        "replay", "wire.log", "--", "read-array", "--repeats", "2", "--no-plot", "-q", "--bench", "bench.toml", cwd=here
    )
    assert done.returncode == 3
    assert done.stderr.strip().endswith("the recording goes on with MORE?, and 1 messages in all that were not sent")


def test_a_command_that_asks_nothing_is_no_replay(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bench(here, **SMALL, **RECORDED)
    result_of(labctl("read-array", "--no-plot", "--json", "-q", cwd=here, LABCTL_BENCH="bench.toml"))
    assert _run(["replay", "wire.log", "--", "plugins"]) == 3
    assert "plugins asked nothing of the instrument that wire.log answers for" in capsys.readouterr().err


def test_the_second_of_two_recorded_commands_is_chosen_by_its_connection(here: Path) -> None:
    write_bench(here, **SMALL, **RECORDED)
    for repeats in ("1", "2"):
        result_of(labctl("read-array", "--repeats", repeats, "--no-plot", "--json", "--bench", "bench.toml", cwd=here))
    read = ("read-array", "--no-plot", "-q", "--bench", "bench.toml", "--repeats")
    first = labctl("replay", "wire.log", "--", *read, "1", cwd=here)
    assert first.returncode == 0
    assert "1 further connections were not played (--connection 2 begins there)" in first.stderr
    second = labctl("replay", "wire.log", "--connection", "2", "--", *read, "2", cwd=here)
    assert (second.returncode, second.stderr) == (0, "")


# -- shown -----------------------------------------------------------------------------------------------------------

LOG = r"""
1000.0 = {"resource_name": "GPIB0::3::INSTR", "spoken": "VISA", "through": "@py", "labctl": "0", "process": 9}
1000.5 > b'*IDN?\n'
1000.75 < b'A,B,C,D\n'
1001.0 > b':READ?;:SYST:ERR?\n'
1001.5 < b'#14abcd;0,"No error"\n'
1002.0 > b':VOLT 99;:SYST:ERR?\n'
1002.5 < b'-222,"Data out of range"\n'
1003.0 > b':SLOW?;:SYST:ERR?\n'
1008.0 ! {"error": "LinkTimeoutError", "text": "no answer", "doing": "reading"}
1009.0 = {"wire_log": 1, "resource_name": "GPIB0::3::INSTR", "spoken": "VISA", "labctl": "0.1.0", "process": 10}
1009.5 > b':GONE?\n'
"""


@pytest.fixture
def log(here: Path) -> str:
    (here / "wire.log").write_text(LOG.lstrip())
    return "wire.log"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert _run(["replay", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_log_is_shown_as_a_conversation(log: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, log)
    assert lines[:6] == [
        "connection 1, 1970-01-01 00:16:40.000 UTC",
        "     1     0.000000 = opened GPIB0::3::INSTR (VISA by @py, labctl 0, process 9)",
        "     2     0.500000 > *IDN?",
        "     3     0.750000 < A,B,C,D",
        "     4     1.000000 > :READ?;:SYST:ERR?",
        '     5     1.500000 < <4 bytes 88d4266f>;0,"No error"',
    ]
    assert lines[9] == "     9     8.000000 ! LinkTimeoutError while reading: no answer"
    assert lines[10] == "connection 2, 1970-01-01 00:16:49.000 UTC"


def test_errors_alone_come_with_what_was_sent(log: str, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = [int(line.split()[0]) for line in printed(capsys, log, "--errors") if not line.startswith("connection")]
    assert numbers == [6, 7, 8, 9, 11]


def test_a_part_of_a_log_as_json(log: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads("\n".join(printed(capsys, log, "--from", "5", "--to", "7", "--json")))
    assert [each["line"] for each in found] == [5, 6, 7]
    assert found[0]["blocks"] == [
        {"bytes": 4, "sha256": "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589"}
    ]
    assert found[0]["direction"] == "received"
    assert (found[2]["trouble"], found[2]["time"]) == ("-222, Data out of range", 1002.5)
    (second,) = json.loads("\n".join(printed(capsys, log, "--connection", "2", "--from", "11", "--json")))
    assert (second["connection"], second["trouble"]) == (2, "no answer")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["absent.log"], 2, r"absent\.log: cannot be read as a wire log: No such file"),
        (["target.npy"], 2, r"target\.npy: holds no line of a wire log"),
        (["wire.log", "--pace"], 2, r"--pace: does nothing where a log is only shown"),
        (["wire.log", "--errors", "--", "read-array"], 2, r"--errors: does nothing with a command after --"),
        (["wire.log", "--json", "--", "read-array"], 2, r"--json: does nothing with a command after --"),
        (["wire.log", "--against", "bench.toml", "--", "read-array"], 2, r"either a command after -- or --against"),
        (["wire.log", "wire.log"], 2, r"name one LOG"),
        (["wire.log", "--"], 2, r"say which command to run after --"),
        (["absent.log", "--", "read-array"], 2, r"absent\.log: cannot be read as a wire log"),
        (["wire.log", "--against", "real.toml"], 2, r"Send what was recorded to 'board' at .*\? There is no terminal"),
        (["wire.log", "--against", "real.toml", "--instrument", "x"], 2, r"no instrument with a wire is called 'x'"),
    ],
)
def test_a_mistake_is_one_sentence(
    log: str, here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    del log
    write_bench(here, name="real.toml", library="@py")
    assert _run(["replay", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(sentence, err)
    assert "Traceback" not in err


# -- said again --------------------------------------------------------------------------------------------------------


def test_what_was_sent_gets_the_same_answers_from_the_same_chip_and_others_from_another(here: Path) -> None:
    write_bench(here, **SMALL, **RECORDED)
    result_of(labctl(*PROGRAM, "--bench", "bench.toml", cwd=here))
    with served(here, **SMALL) as (path, _):
        same = labctl("replay", "wire.log", "--against", path, "--yes", "--json", cwd=here)
        found = result_of(same)
        assert found["different"] == []
        assert found["same"] == found["messages"] > 50
        assert labctl("who", cwd=here).stdout == ""
    with served(here, **{**SMALL, "chip": "T-4"}) as (path, _):
        other = labctl("replay", "wire.log", "--against", path, "--yes", cwd=here)
    assert other.returncode == 1
    assert '"T-3"' in other.stdout
    assert '"T-4"' in other.stdout
    assert re.search(r"messages sent, \d+ answered as recorded", other.stdout)


def test_an_instrument_that_is_gone_afterwards_is_not_left_without_a_word(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("wire.log").write_text("1.0 > b'*IDN?\\n'\n1.1 < b'Rogues,R1,7,1.0\\n'\n2.0 > b':OUTP ON\\n'\n")
    with RogueInstrument(scripted({})) as rogue:
        write_bench(here, name="gone.toml", library="@py", resource=rogue.resource_name, instrument="timeout = 0.3")
        assert _run(["replay", "wire.log", "--against", "gone.toml", "--yes"]) == 3  # answers no board's questions
        out, err = capsys.readouterr()
        assert out == "1 messages sent, 1 answered as recorded\n"
        assert re.search(r"NOT in safe state: board: .* does not answer as a test board does", err)
    with RogueInstrument(Peer.hang_up) as rogue:
        write_bench(here, name="gone.toml", library="@py", resource=rogue.resource_name, instrument="timeout = 0.3")
        assert _run(["replay", "wire.log", "--against", "gone.toml", "--yes"]) == 3
        out, err = capsys.readouterr()
        assert out == ""
        assert re.search(r"after line 1 was sent: .*NOT in safe state: board: ", err)


def test_said_again_to_a_serial_board_only_its_switching_on_is_another(here: Path) -> None:
    Path("bench.toml").write_text(SERIAL)
    result_of(labctl(*PROGRAM, "--bench", "bench.toml", cwd=here))
    Path("other.toml").write_text(SERIAL.replace('wire_log = "wire.log"', ""))
    done = labctl("replay", "wire.log", "--against", "other.toml", "--json", cwd=here)
    assert done.returncode == 1
    (hello,) = json.loads(done.stdout)["different"]
    assert hello["sent"].startswith("HELLO ")
