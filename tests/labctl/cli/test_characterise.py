"""`labctl characterize` from pulses to statistics, and the statistics of a recorded run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from benches import labctl, served, write_bench

from labctl.cli import _run
from labctl.cli.characterise import KINDS
from labctl.recording.catalogue import Catalogue


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a small bench, where the commands run."""
    monkeypatch.chdir(tmp_path)
    write_bench(tmp_path)
    monkeypatch.setenv("LABCTL_BENCH", "bench.toml")
    return tmp_path


def test_a_measurement_prints_its_statistics_and_draws_its_figure(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(["characterize", "iv", "--set", "cells=60", "--set", "read_voltages=[0.1, 0.4]", "-q"]) == 0
    table, _, ending = capsys.readouterr().out.partition("\n\n")
    assert re.match(r"statistic +value +95 % interval +of", table)
    assert len(table.splitlines()) > 1
    (run,) = here.glob("runs/*_iv_*.h5")
    assert re.search(rf"run file +{re.escape(str(run))}", ending)
    figure = Path(re.search(r"figure +(.*)", ending)[1])
    assert figure.stat().st_size > 1000
    assert _run(["runs", "statistics", str(run)]) == 0
    assert capsys.readouterr().out.strip() == table.strip()


@pytest.mark.usefixtures("here")
def test_as_json_everything_is_there_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["read-noise", "--set", "cells=40", "--set", "samples=256", "--json", "--no-plot", "-q"]
    assert _run(["characterize", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"run", "figure", "outcome", "summary", "statistics"} <= found.keys()
    assert (found["outcome"], found["figure"], found["summary"]["samples"]) == ("finished", None, 256)
    for each in found["statistics"]:
        assert each.keys() == {"name", "value", "unit", "low", "high", "n", "note"}
    assert _run(["runs", "statistics", found["run"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found["statistics"]


def test_a_map_pulses_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["characterize", "map", "--set", "rows=[0, 4]", "--no-plot", "-q"]) == 0
    capsys.readouterr()
    (run,) = Catalogue(here / "runs").find()
    assert (run.protocol, run.pulses, run.events) == ("read", 0, 128)


def test_a_dry_run_costs_forming_and_sends_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At most eleven FORM pulses a cell: the ramp's nine and two held; one read of all, one a pulse, eleven of the
    measurement."""
    assert _run(["characterize", "iv", "--set", "cells=10", "--dry-run", "--json"]) == 0
    cost = json.loads(capsys.readouterr().out)
    assert (cost["max_pulses"], cost["max_reads"]) == (110, 1024 + 110 + 110)
    assert not (here / "runs").exists()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", KINDS)
def test_the_help_of_a_kind_lists_its_settings_as_they_are_typed(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["characterize", kind, "--help"]) == 0
    listed = re.findall(r"^ +([\w.]+) = ([^(\n]+)$", capsys.readouterr().out, re.MULTILINE)
    assert {"rows", "cols", "cells"} <= {name for name, _ in listed}
    typed = (word for name, default in listed for word in ("--set", f"{name}={default}"))
    assert _run(["characterize", kind, *typed, "--dry-run", "--json"]) == 0
    chosen = json.loads(capsys.readouterr().out)
    assert _run(["characterize", kind, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == chosen


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            ["iv", "--set", "read_voltages=[0.6]"],
            4,
            r"read voltage of 600 mV is above the instrument's max_read_voltage",
        ),
        (["iv", "--set", "rows=[30, 9]"], 2, r"iv: \$.rows: first 30 and count 9 are not within the array's 32 rows"),
        (["iv", "--set", "cell=3"], 2, r"unknown field `cell`; there are: rows, cols, cells, exclude, form_pristine"),
        (["read-noise", "--set", "samples=1"], 2, r"samples must be 2 to 100000000, not 1"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_recorded(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    assert _run(["characterize", *arguments, "-q"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(f"labctl: .*{sentence}.*\n", err), err
    assert not list(here.glob("runs/*.h5"))


def test_an_unknown_kind_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["characterize", "colour"]) == 2
    assert "colour" in capsys.readouterr().err


def test_a_real_board_is_pulsed_only_with_yes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without forming the same measurement only reads, and is not asked about."""
    with served(tmp_path) as (bench, _):
        arguments = ["characterize", "iv", "--bench", str(bench), "--set", "cells=8", "--no-plot", "-q"]
        assert _run(arguments) == 2
        assert "say --yes" in capsys.readouterr().err
        assert not list(tmp_path.glob("runs/*.h5"))
        assert _run([*arguments, "--set", "form_pristine=false"]) == 0
        assert _run([*arguments, "--yes"]) == 0
    assert [run.pulses > 0 for run in Catalogue(tmp_path / "runs").find()] == [False, True]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["characterise", "iv"], "No such command 'characterise'. Did you mean characterize?"),
        (["characterize", "retentoin"], "No such command 'retentoin'. Did you mean retention?"),
        (["characterize", "xyz"], "No such command 'xyz'. There are: forming, iv, pulse-response,"),
    ],
)
def test_a_mistyped_command_is_told_which_was_meant(tmp_path: Path, words: list[str], told: str) -> None:
    done = labctl(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
