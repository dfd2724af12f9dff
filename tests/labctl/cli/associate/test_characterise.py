"""`labctl associate characterize` and `align`: from the command to statistics, a figure and a page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from associative_benches import write_associative_bench

from labctl.cli import _run

FAULTS = {"shift_error": 1e-3, "sense_noise": 0.15, "write_error": 1e-4, "retention_rate": 1e-7}
QUICK = ["--set", "shift_errors.tracks=2", "--set", "search_margin.searches=1", "--set", "write_yield.cycles=1"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a bench of a small chip that has faults, where the commands run."""
    monkeypatch.chdir(tmp_path)
    write_associative_bench(tmp_path, rows=2048, tracks=8, domains=32, ports=2, **FAULTS)
    monkeypatch.setenv("LABCTL_BENCH", "bench.toml")
    return tmp_path


def test_everything_is_measured_printed_drawn_and_put_on_a_page(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["associate", "characterize", *QUICK, "-q"]) == 0
    table, _, ending = capsys.readouterr().out.partition("\n\n")
    for name in ("shift_over", "match_sd", r"write_error\[way=tagged\]", r"flipped\[time=100 ks\]"):
        assert re.search(rf"^{name} +[\d.e-]+ +[\d.e-]+ to [\d.e-]+ +[\d,]+", table, re.MULTILINE), name
    (run,) = here.glob("runs/*_associative-characterisation_*.h5")
    assert run.with_suffix(".png").stat().st_size > 10_000
    assert re.search(rf"run file +{re.escape(str(run))}", ending)
    assert _run(["runs", "statistics", str(run)]) == 0
    assert capsys.readouterr().out.strip() == table.strip()
    assert _run(["report", str(run)]) == 0
    page = run.with_suffix(".html").read_text(encoding="utf-8")
    assert "searches 3.3" in page  # standard deviations from either error
    for title in ("Shift errors by track", "Rows sensed wrong", "Bits that are not what they were"):
        assert title in page


@pytest.mark.usefixtures("here")
def test_one_kind_is_measured_alone_and_told_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["associate", "characterize", "write-yield", *QUICK, "--json", "--no-plot", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["outcome"], found["figure"], found["summary"]["kinds"]) == ("finished", None, ["write-yield"])
    names = {each["name"] for each in found["statistics"]}
    assert names == {"yield", "write_error[way=loaded]", "write_error[way=tagged]", "read_error"}
    assert found["summary"]["counters"]["loaded_columns"] > 0


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ("shift_errors.trips=0", "shift_errors.trips must be 1 to 10000, not 0"),
        ("search_margin.low=2", "search_margin.low must be less than high, not 2 and 1"),
        ("retention.times=[10, 1]", "retention.times must be one or more delays above 0 s that increase"),
        ("kinds=[retention, retention]", "kinds must be one or more, each once"),
    ],
)
def test_what_cannot_be_is_one_sentence(capsys: pytest.CaptureFixture[str], pair: str, told: str) -> None:
    assert _run(["associate", "characterize", "--set", pair, "-q"]) == 2
    assert told in capsys.readouterr().err


def test_alignment_says_where_nanowires_were_and_draws_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["associate", "align", "-q"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^nanowires +16,384 on 8 tracks$", told, re.MULTILINE)
    assert re.search(r"^astray after +none$", told, re.MULTILINE)
    (run,) = here.glob("runs/*_associative-alignment_*.h5")
    assert run.with_suffix(".png").stat().st_size > 10_000
    assert _run(["report", str(run)]) == 0
    assert "of 16,384 nanowires were astray, 0 are." in run.with_suffix(".html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("here")
def test_alignment_is_told_to_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(["associate", "align", "--set", "tracks=[1, 2]", "--tries", "0", "--json", "--no-plot", "-q"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["tracks"], found["nanowires"], found["tries"], found["outcome"]) == (2, 4096, 0, "finished")
    assert found["checked"] == 3 * 4096


def test_without_a_bench_both_are_done_on_a_chip_with_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LABCTL_BENCH", raising=False)
    chosen = ["--set", "shift_errors.tracks=1", "--no-plot", "--json", "-q"]
    assert _run(["associate", "characterize", "shift-errors", *chosen]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)["statistics"]}
    assert found["shift_over"]["value"] > 0
    assert found["shift_over"]["n"] == 8 * 2 * 8 * 65_536
