"""`labctl replay`: whole runs recorded, in this process and over TCP, and had again from the log alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from benches import labctl, result_of, served, write_bench
from smu_benches import write_smu_bench
from wires import Peer, RogueInstrument, scripted

from labctl.cli import _run
from labctl.recording.layout import CLOCK

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
    """Everything that a run file holds but its provenance, and what a clock said that no message asked."""
    found: dict[str, list[object]] = {}

    def add(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("provenance"):
            found[name] = np.nan_to_num(item[()], nan=-1.0).tolist()

    with h5py.File(run) as file:
        file.visititems(add)
        asked_for_the_time = file["operations/kind"][:] == CLOCK
        found["operations/start"] = np.where(asked_for_the_time, -1.0, found["operations/start"]).tolist()
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
    assert "OUTPut:SAFE;:SYSTem:ERRor? parts from what was sent then" in done.stdout
    done = labctl(
        "replay", "wire.log", "--", "read-array", "--repeats", "2", "--no-plot", "-q", "--bench", "bench.toml", cwd=here
    )
    assert done.returncode == 3
    assert done.stderr.strip().endswith("the recording goes on with MORE?, and 1 message in all that were not sent")


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
    assert "1 further connection was not played (--connection 2 begins there)" in first.stderr
    second = labctl("replay", "board=wire.log", "--connection", "2", "--", *read, "2", cwd=here)
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
        (["wire.log", "--against", "real.toml", "--instrument", "x"], 2, r"no instrument 'x'; there are: board"),
        (["wire.log", "--instrument", "x", "--", "read-array", "--bench", "real.toml"], 2, r"no instrument 'x'; there"),
        (["wire.log", "--against", "ports.toml", "--yes"], 2, r"recorded over VISA, the bench's board is serial: noth"),
        (["serial.log", "--against", "real.toml", "--yes"], 2, r"recorded over serial, the bench's board is on VISA"),
        (["old.log", "--against", "ports.toml", "--yes"], 2, r"recorded over VISA, the bench's board is serial"),
        (
            ["broken.log", "--against", "real.toml", "--yes"],
            2,
            r"broken\.log: line 2 cannot be read, and so not be sent",
        ),
        (["wire.log", "--connection", "9"], 2, r"no line of it is chosen by --connection 9: it has 11 lines in 2 conn"),
        (["wire.log", "--from", "400"], 2, r"no line of it is chosen by --from 400: it has 11 lines in 2 connections"),
        (["wire.log", "--from", "15", "--to", "3"], 2, r"chosen by --from 15 --to 3: it has 11 lines in 2 connections"),
        (
            ["wire.log", "--errors", "--json", "--connection", "9"],
            2,
            r"--connection 9: it has 11 lines in 2 connections",
        ),
        (
            ["wire.log", "--connection", "9", "--", "read-array", "--bench", "real.toml"],
            2,
            r"no connection 9: there are 2",
        ),
        (["wire.log", "--connection", "9", "--against", "real.toml", "--yes"], 2, r"--connection 9: it has 11 lines"),
        (["empty.log"], 2, r"empty\.log: is empty: it has 0 lines in 0 connections"),
        (["empty.log", "--", "read-array", "--bench", "real.toml"], 2, r"empty\.log: is empty: it has 0 lines"),
        (["empty.log", "--against", "real.toml", "--yes"], 2, r"empty\.log: is empty: it has 0 lines in 0 connections"),
    ],
)
def test_a_mistake_is_one_sentence(
    log: str, here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    del log
    write_bench(here, name="real.toml", library="@py")
    Path("ports.toml").write_text(
        SERIAL.replace('serial_library = "@labctl"\n', "").replace('wire_log = "wire.log"', "")
    )
    Path("serial.log").write_text('1.0 = {"resource_name": "ASRL3::INSTR", "spoken": "serial"}\n')
    Path("old.log").write_text("1.0 > b'*IDN?\\n'\n")
    Path("broken.log").write_text(f"{LOG.lstrip().splitlines()[0]}\n1000.5 > b'*ID\n1000.75 < b'A,B,C,D\\n'\n")
    Path("empty.log").touch()
    assert _run(["replay", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(sentence, err)
    assert "Traceback" not in err


def test_a_line_that_cannot_be_read_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = LOG.lstrip().splitlines()
    (here / "wire.log").write_text("\n".join([*lines[:4], lines[4][:20], *lines[5:]]) + "\n")
    assert printed(capsys, "wire.log")[5] == "     5     1.000000 ? line 5 cannot be read"
    (first, *_) = json.loads("\n".join(printed(capsys, "wire.log", "--errors", "--json", "--from", "5", "--to", "5")))
    assert (first["line"], first["direction"], first["trouble"]) == (5, "unreadable", "cannot be read")


CAUSE = "GPIB0::3::INSTR: could not be opened: " + "the cause of it, which nobody may cut off, " * 4


def test_errors_are_told_with_their_cause_in_their_own_place_and_counted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = json.dumps({"error": "LinkClosedError", "text": CAUSE, "doing": "opening", "again": False})
    refused = b'#14abcd;1.5;-222,"Data out of range, and that by much"\n'
    (here / "wire.log").write_text(
        LOG.lstrip().splitlines()[0]
        + "\n1001.0 > b'*IDN?\\n'\n1001.5 < b'A,B,C,D\\n'\n"
        + "".join(f"{1100 + each}.0 ! {failed}\n" for each in range(9))
        + LOG.lstrip().splitlines()[0]
        + f"\n1200.0 > {b':VOLT ' + b'9' * 200!r}\n1200.5 < {b'1,' * 100 + refused!r}\n"
        + "1201.0 > b':GONE?\\n'\n1202.0 > b':GONE?\\n'\n1203.0 > b':ONCE?\\n'\n"
    )
    lines = [line for line in printed(capsys, "wire.log", "--errors") if not line.startswith("connection")]
    assert lines[0].endswith(f"! LinkClosedError while opening: {CAUSE} (9 times, up to line 12)")
    assert re.search(r"^    14 .* > :VOLT 9+\.\.\.$", lines[1])
    assert lines[2].endswith("... (-222, Data out of range, and that by much)")
    assert lines[3].endswith("> :GONE? (no answer) (2 times, up to line 17)")
    assert lines[4].endswith("> :ONCE? (no answer)")
    assert len(lines) == 5


def test_an_opening_is_told_with_what_the_log_has_of_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "wire.log").write_text(
        '1.0 = {"resource_name": "GPIB0::3::INSTR"}\n2.0 = {"spoken": "VISA", "again": true}\n'
    )
    told = [line.partition(" = ")[2] for line in printed(capsys, "wire.log")[1:]]
    assert told == ["opened GPIB0::3::INSTR", "opened again (VISA)"]


def test_a_replay_is_told_from_a_measurement(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bench(here, **SMALL, **RECORDED)
    form = ("form-array", "--yes", "--no-plot", "--json", "-q", "--bench", "bench.toml")
    recorded = str(result_of(labctl(*form, cwd=here))["run"])
    again = replayed(*form, cwd=here)
    assert _run(["runs", "list", str(here / "runs")]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "finished, replayed" in rows[Path(again).name]
    assert "replayed" not in rows[Path(recorded).name]
    assert _run(["runs", "show", again]) == 0
    assert re.search(r"^replay of +wire\.log$", capsys.readouterr().out, re.MULTILINE)
    assert _run(["calibrate", recorded, again, "-o", "chip.toml"]) == 2
    assert re.search(
        r"labctl: \S+\.h5 is a replay of wire\.log: it would count the same cells again", capsys.readouterr().err
    )
    assert not Path("chip.toml").exists()
    assert _run(["compare", recorded, again]) == 2
    assert "is a replay of wire.log: it is no measurement of its own to compare" in capsys.readouterr().err


def test_nothing_is_sent_where_another_instrument_has_no_log(here: Path) -> None:
    bench = write_smu_bench(here, rows=2, cols=2)
    (here / "wire.log").write_text(LOG.lstrip())
    done = labctl("replay", "wire.log", "--instrument", "smu", "--", "form-array", "--yes", "--bench", bench, cwd=here)
    assert done.returncode == 2
    assert re.search(
        r"^labctl: smu\.toml: instruments without a log: .*matrix, .*; name theirs too$", done.stderr.strip()
    )
    assert not (here / "runs").exists()


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
