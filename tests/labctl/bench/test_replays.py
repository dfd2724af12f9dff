"""Whose log is whose, and what of a bench file a replay changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from benches import RESOURCE, write_bench

from labctl.bench.settings import BenchFile, read_bench
from labctl.errors import BenchError, NoWireLogError
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
