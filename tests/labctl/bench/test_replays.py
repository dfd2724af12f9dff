"""Whose log is whose, and what of a bench file a replay changes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benches import RESOURCE, write_bench
from smu_benches import write_smu_bench

import labctl
from labctl.bench.leases import Lease
from labctl.bench.live import load_bench
from labctl.bench.settings import BenchFile, read_bench
from labctl.errors import BenchError, LimitError, NoWireLogError, ReplayError
from labctl.links.wire_log import WireLog

SECOND = """
[instruments.other]
driver = "test_board"
resource_name = "TCPIP0::127.0.0.1::5026::SOCKET"
visa_library = "@py"
wire_log = "other.log"
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def log_of(path: Path, resource_name: str = RESOURCE) -> Path:
    log = WireLog(path)
    log.opened(resource_name, "VISA")
    log.close()
    return path


def bench(tmp_path: Path, replay: str, monkeypatch: pytest.MonkeyPatch, **options: str) -> BenchFile:
    monkeypatch.setenv("LABCTL_REPLAY", replay)
    return read_bench(write_bench(tmp_path, **options))


def libraries(file: BenchFile) -> dict[str, str]:
    return {name: each.visa_library for name, each in file.instruments.items()}  # type: ignore[attr-defined]


def test_the_only_instrument_is_answered_for_and_not_recorded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_of(tmp_path / "some.log", "GPIB0::3::INSTR")
    file = bench(tmp_path, "some.log", monkeypatch, instrument='wire_log = "wire.log"')
    assert libraries(file) == {"board": f"{tmp_path / 'some.log'}@replay"}
    assert file.instruments["board"].wire_log is None  # type: ignore[attr-defined]
    assert file.instruments["board"].is_in_process
    origins = {path: origin for path, _, origin in file.origins()}
    assert origins["instruments.board.visa_library"] == "LABCTL_REPLAY"
    assert origins["instruments.board.resource_name"] == "bench.toml"


@pytest.mark.parametrize(
    ("replay", "recorded_at", "answered"),
    [
        ("other.log", "GPIB0::3::INSTR", {"other": "other.log"}),  # whose wire_log it is
        ("a.log", "TCPIP0::127.0.0.1::5026::SOCKET", {"other": "a.log"}),  # where it was recorded
        ("board=a.log", "TCPIP0::127.0.0.1::5026::SOCKET", {"board": "a.log"}),  # as it is said
        ("other.log:board=a.log", "GPIB0::3::INSTR", {"other": "other.log", "board": "a.log"}),
        ("board=a.log,connection=2,pace", "GPIB0::3::INSTR", {"board": "a.log,connection=2,pace"}),
    ],
)
def test_a_log_finds_its_instrument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replay: str, recorded_at: str, answered: dict[str, str]
) -> None:
    for name in ("a.log", "other.log"):
        log_of(tmp_path / name, recorded_at)
    monkeypatch.setattr("os.pathsep", ":")
    found = libraries(bench(tmp_path, replay, monkeypatch, top=SECOND))
    expected = {"board": f"{tmp_path / 'bench.toml'}@labctl", "other": "@py"}
    assert found == {**expected, **{name: f"{tmp_path / log}@replay" for name, log in answered.items()}}


def test_a_log_of_nobody_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_of(tmp_path / "a.log", "GPIB0::3::INSTR")
    with pytest.raises(BenchError, match=r"LABCTL_REPLAY: say which instrument's log .*a\.log is; there are: other,"):
        bench(tmp_path, "a.log", monkeypatch, top=SECOND)
    with pytest.raises(BenchError, match=r"both .*a\.log and .*a\.log would answer for board"):
        bench(tmp_path, "board=a.log:board=a.log", monkeypatch, top=SECOND)
    with pytest.raises(NoWireLogError, match=r"absent\.log: cannot be read as a wire log"):
        bench(tmp_path, "absent.log", monkeypatch)


def test_a_name_that_no_wire_has_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_of(tmp_path / "a.log")
    with pytest.raises(BenchError, match=r"^no instrument 'foo'; there are: board$"):
        bench(tmp_path, "foo=a.log", monkeypatch)
    log_of(tmp_path / "of=a.log")
    assert libraries(bench(tmp_path, "of=a.log", monkeypatch)) == {"board": f"{tmp_path / 'of=a.log'}@replay"}
    monkeypatch.setenv("LABCTL_REPLAY", "array=a.log")
    with pytest.raises(
        BenchError, match=r"^'array' has no wire of its own: it is made of others, so name these: smu, "
    ):
        read_bench(write_smu_bench(tmp_path, rows=2, cols=2))


@pytest.mark.parametrize("how", ["environment", "bench file"])
def test_a_bench_that_is_replayed_in_part_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path = write_smu_bench(tmp_path, rows=2, cols=2)
    log_of(tmp_path / "smu.log")
    if how == "environment":
        monkeypatch.setenv("LABCTL_REPLAY", "smu=smu.log")
    else:
        text = path.read_text()
        table = text.index("[instruments.smu]")
        path.write_text(text[:table] + text[table:].replace("@labctl", "smu.log@replay", 1))
    opened: list[str] = []
    monkeypatch.setattr(Lease, "acquire", lambda lease: opened.append(lease))
    with load_bench(path) as live:
        with pytest.raises(BenchError, match=r"^smu\.toml: instruments without a log: .*; name theirs too$") as refused:
            live.array().connect()
        named = re.search(r"log: (.*);", str(refused.value))
        assert named
        assert set(named[1].split(", ")) == set(live.file.wired) - {"smu"}
        with pytest.raises(BenchError, match=r"^smu\.toml: instruments without a log: matrix; name its log too$"):
            live.connect("matrix")
    assert opened == []


def test_an_auxiliary_without_a_log_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log_of(tmp_path / "a.log")
    monkeypatch.setenv("LABCTL_REPLAY", "board=a.log")
    path = write_bench(
        tmp_path,
        arrays='auxiliaries = ["chuck"]',
        top='[instruments.chuck]\ndriver = "pymeasure"\nclass = "pymeasure.instruments.lakeshore.LakeShore331"\n'
        'resource_name = "GPIB0::12::INSTR"\n',
    )
    with (
        load_bench(path) as live,
        pytest.raises(BenchError, match=r"bench\.toml: instruments without a log: chuck; name its log too"),
    ):
        live.array().connect()


def test_a_script_that_ends_before_the_recording_does_has_parted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))
    path = write_bench(tmp_path, rows=8, cols=8, instrument='wire_log = "wire.log"')
    with load_bench(path) as live, live.array() as array:
        for _ in range(2):
            labctl.run("read", array, out=tmp_path / "recorded")
    monkeypatch.setenv("LABCTL_REPLAY", "wire.log")
    with load_bench(path) as live, live.array() as array:
        for _ in range(2):
            found = labctl.run("read", array, out=tmp_path / "again")
    with labctl.open_run(found.path) as tree:
        assert tree.attrs["replay_of"] == "wire.log"
    with (
        pytest.raises(
            ReplayError, match=r"wire\.log: line \d+: .* parts from what was sent|the recording goes on with"
        ),
        load_bench(path) as live,
        live.array() as array,
    ):
        labctl.run("read", array, out=tmp_path / "once")
    (once,) = (tmp_path / "once").iterdir()
    with labctl.open_run(once) as tree:
        assert tree.attrs["outcome"] == "finished"
    (recorded, _) = (tmp_path / "recorded").iterdir()
    with labctl.open_run(recorded) as tree:
        assert "replay_of" not in tree.attrs


def test_a_recording_left_early_is_told_by_the_line_it_goes_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))
    path = write_bench(tmp_path, rows=8, cols=8, instrument='wire_log = "wire.log"')
    with load_bench(path) as live, live.array() as array:
        array.read()
    count = len(Path("wire.log").read_text().splitlines())
    with Path("wire.log").open("a") as log:
        log.write("9.5 > b'MORE?\\n'\n9.6 < b'1\\n'\n9.7 > b'LAST?\\n'\n")
    monkeypatch.setenv("LABCTL_REPLAY", "wire.log")
    told = rf"wire\.log: line {count + 1}: the recording goes on with MORE\?, and 2 messages in all that were not sent"
    with pytest.raises(ReplayError, match=told), load_bench(path) as live, live.array() as array:
        array.read()
    with pytest.raises(LimitError) as beyond, load_bench(path) as live, live.array() as array:
        array.read(voltage=50.0)
    assert re.search(r"wire\.log: line \d+: ", "".join(beyond.value.__notes__))


def test_a_bench_file_can_name_a_recording(tmp_path: Path) -> None:
    file = read_bench(write_bench(tmp_path, library="logs/a.log,connection=2@replay"))
    assert libraries(file) == {"board": f"{tmp_path / 'logs' / 'a.log'},connection=2@replay"}
    with pytest.raises(BenchError, match=r"\$\.instruments\.board: '@replay' names no recording: write LOG@replay"):
        read_bench(write_bench(tmp_path, library="@replay"))


def test_what_is_replayed_is_not_written_to(tmp_path: Path) -> None:
    path = write_bench(tmp_path, library="a.log@replay", instrument='wire_log = "a.log"')
    with pytest.raises(BenchError, match=r"\$\.instruments\.board\.wire_log: .*a\.log is being replayed for board"):
        read_bench(path)


def test_two_instruments_do_not_share_a_log(tmp_path: Path) -> None:
    path = write_bench(tmp_path, top=SECOND, instrument='wire_log = "other.log"')
    with pytest.raises(BenchError, match=r"\$\.instruments\.board\.wire_log: .*other\.log is already other's"):
        read_bench(path)
