"""The page of a run says what its file says, of every kind of run and however it ended."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from benches import write_bench
from measured_runs import ADC, DAC, Writing, square
from pages import ReadPage

import labctl
from labctl.analysis.characterisation import statistics
from labctl.analysis.report import render, run_page
from labctl.analysis.report.packing import unpack
from labctl.analysis.report.words import interval_of, value_of
from labctl.array import Operation, PulseBatch
from labctl.errors import LimitError, NoRunError
from labctl.recording import Outcome, RunWriter, State
from labctl.recording.catalogue import tag_run
from labctl.recording.catalogue.tags import tags_path
from labctl.steps import Variable

SENTENCES = {
    "programming": r"% of 120 formed cells in their windows; .* unreached; [\d.]+ pulses a cell\.",
    "step-size": r"Steps of 10 mV to 100 mV took [\d.]+ to [\d.]+ pulses a cell; fewest at",
    "forming": r"% of 60 cells tried formed at a gate of 1\.2 V: at 3\.\d+ V \(.*; .* at a gate of 1\.5 V",
    "map": r"20\.\d+ µS in the median of 168 formed cells of 168 cells read, robust spread",
    "iv": r"µS in the median of 120 cells at 200 mV; the current is .* a = 0\.[45]\d* 1/V²",
    "pulse-response": r"A SET pulse changes a cell by 3\.\d+ µS on average .* RESET pulse changes a cell by −3\.",
    "endurance": r"0 % of 20 cells had failed after 40 cycles; .* 1\.6 decades apart",
    "retention": r"% of 120 cells had changed by over 2\.5 % of 30 µS after 1 ks",
    "read-noise": r"Read noise of (0\.9\d*|1(\.0\d*)?) % of the reading within .*, median of 8 cells",
}


def read(path: Path) -> ReadPage:
    return ReadPage(render(run_page(path)))


def test_every_kind_of_run_has_a_page_that_is_well_made_and_holds_every_statistic(
    run_of_a_kind: tuple[str, Path],
) -> None:
    kind, path = run_of_a_kind
    page = read(path)
    assert re.search(SENTENCES[kind], page.text), page.text[:600]
    assert page.problems == []
    assert page.loaded == []
    ids = [each["id"] for _, each in page.tags if "id" in each]
    assert len(ids) == len(set(ids))
    assert all(each["alt"] for each in page.all("img"))
    assert all(each["aria-label"] for _, each in page.tags if each.get("role") == "img")
    assert {each["href"][1:] for each in page.all("a")} <= set(ids)
    assert [name for name, _ in page.tags if name in ("h1", "main", "footer")] == ["h1", "main", "footer"]
    assert all(each.get("scope") in ("col", "row") for each in page.all("th"))
    assert len(page.data["charts"]) >= 2
    assert all(each["series"] or "density" in each for each in page.data["charts"])
    with labctl.open_run(path) as tree:
        found = statistics(tree)
    rows = {(row[0], row[2], row[3], row[4]) for row in page.rows if len(row) == 6}
    for each in found:
        name = each.name.partition("[")[0].replace("_", " ")
        assert (name, plain(value_of(each)), plain(interval_of(each)), f"{each.n:,}") in rows


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def test_maps_hold_what_the_file_holds(marked: Path, marked_page: ReadPage) -> None:
    layers = {each["name"]: each for each in marked_page.data["maps"][0]["layers"]}
    with h5py.File(marked) as file:
        stored = {name: file["maps"][name][:].ravel() for name in ("target", "reached", "error", "outcome")}
    for name in ("target", "reached", "error"):
        found, scale = unpack(layers[name]["packed"]), layers[name]["packed"]["scale"]
        assert np.array_equal(np.isnan(found), np.isnan(stored[name]))
        assert np.nanmax(np.abs(found - stored[name])) <= scale / 2 * 1.001
    assert np.array_equal(unpack(layers["outcome"]["packed"]), stored["outcome"])
    counts = {each["name"]: each["count"] for each in layers["outcome"]["flags"]}
    assert counts["in window"] == np.count_nonzero(stored["outcome"] == 1) == 58


def test_outliers_are_the_cells_furthest_from_their_targets(marked_page: ReadPage) -> None:
    rows = [row for row in marked_page.rows if len(row) == 7 and row[-1] in ("unreached", "in window")]
    assert rows[0] == ["1", "0", "20 µS", "50 µS", "30 µS", "8", "unreached"]  # cell 8 of an array of 8 x 8
    assert rows[1][:2] == ["3", "7"]
    assert rows[2][-1] == "in window"
    assert len(rows) == 20


def test_resumptions_a_dirty_source_and_excluded_cells_are_told(marked_page: ReadPage) -> None:
    assert "The run was broken off and resumed 1 time" in marked_page.text
    assert ["before › outcome", "killed"] in marked_page.rows
    assert "changes that are in no commit (on abcdef012345)" in marked_page.text
    assert "5 cells (7.81 % of the array) excluded" in marked_page.text


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the real protocol on a simulated board."""
    folder = tmp_path_factory.mktemp("finished")
    target = np.random.default_rng(2).uniform(5e-6, 35e-6, (16, 16))
    bench_file = write_bench(
        folder, rows=16, cols=16, top='operator = "Ada <b>"', arrays="limits.max_form_voltage = 4.2"
    )
    with labctl.load_bench(bench_file) as bench, bench.array() as array:
        return labctl.run("write_verify", array, target=target, command="labctl program-array", out=folder).path


@pytest.fixture(scope="module")
def page(finished: Path) -> ReadPage:
    return read(finished)


def test_settings_stand_with_their_units_and_instruments_with_what_they_say_they_are(page: ReadPage) -> None:
    rows = {tuple(row[:2]) for row in page.rows}
    assert ("tolerance", "1 µS") in rows
    assert ("set.width", "100 ns") in rows
    assert ("reverify", "[0 s, 1 s]") in rows
    assert ("form.ramp.stop", "3.9 V") in rows
    assert any(row[0] == "target" and row[1].startswith("array of 16 × 16 float64") for row in rows)
    assert ("board", "labctl,TB-512,T-1,1.0") in rows
    assert ("max form voltage", "4.2 V") in rows
    assert ("operator", "Ada <b>") in rows
    assert ("command", "labctl program-array") in rows


def test_the_sentence_agrees_with_the_summary(finished: Path, page: ReadPage) -> None:
    with labctl.open_run(finished) as tree:
        summary = tree["provenance"]["summary"].item()
    formable = int(re.search(r'"formable":(\d+)', summary)[1])
    share = float(re.search(r'"fraction_in_window":([\d.]+)', summary)[1])
    told = re.search(r"([\d.]+) % of (\d+) formed cells within 1 µS of their targets", page.text)
    assert int(told[2]) == formable
    assert float(told[1]) == pytest.approx(share * 100, abs=0.006)


def test_operations_by_phase_add_up_to_all_events(finished: Path, page: ReadPage) -> None:
    with labctl.open_run(finished) as tree:
        events = tree["events"].sizes["event"]
    rows = [row for row in page.rows if len(row) == 10 and row[2] == "done"]
    assert {row[1] for row in rows} == {"read", "FORM", "SET", "RESET"}
    assert sum(int(row[4].replace(",", "")) for row in rows) == events


def test_what_instruments_were_set_to_before_and_after_is_compared(page: ReadPage) -> None:
    assert any(row[0] == "board › sequence" and row[1] == "0" and int(row[2].replace(",", "")) > 0 for row in page.rows)
    assert "Instruments before and after: 1 difference" in page.text


def test_tags_and_notes_are_shown_as_they_are_written_and_nothing_else_changes(finished: Path, page: ReadPage) -> None:
    tag_run(finished, add=["keep"], note='He said "<i>no</i>" & left')
    rows = {tuple(row[:2]) for row in read(finished).rows}
    assert ("tags", "keep") in rows
    assert ("note", 'He said "<i>no</i>" & left') in rows
    tags_path(finished).unlink()
    assert read(finished).source == page.source


def test_a_run_that_failed_says_why_and_shows_its_last_readings(tmp_path: Path) -> None:
    limits = "[arrays.main.cell_limits]\nmax_pulses = 15"
    bench_file = write_bench(tmp_path, rows=16, cols=16, arrays=limits)
    with labctl.load_bench(bench_file) as bench, bench.array() as array, pytest.raises(LimitError) as stopped:
        labctl.run("write_verify", array, target=np.full((16, 16), 2e-5))
    path = stopped.value.run_path
    page = read(path)
    assert re.search(r"Failed \(.*15.*\): [\d,]+ cells were in their window at the last step", page.text)
    layers = {each["name"]: each for each in page.data["maps"][0]["layers"]}
    with labctl.open_run(path) as tree:
        events = tree["events"].to_dataset()
        cell, reading = events["cell"].values, events["reading"].values
    last = np.full(256, np.nan)
    last[cell] = reading
    found = unpack(layers["reached"]["packed"])
    assert np.nanmax(np.abs(found - last)) <= layers["reached"]["packed"]["scale"] * 0.501


_KILLED = """
import os, signal, sys
import numpy as np
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from measured_runs import Writing, square
from labctl.array import Operation, PulseBatch
from labctl.steps import Variable

variables = (Variable("pulses", "pulses", dtype="u4"), Variable("rms_error", "error", unit="S"))
writing = Writing(Path(sys.argv[1]), "endurance", square(60), ("set", "reset"), variables)
cells = np.arange(20)
writing.read(cells, np.full(20, 1e-5))
writing.pulse(Operation.SET, cells, 2.0, np.full(20, 3e-5))
writing.step("set", {"pulses": 20, "rms_error": 1e-6})
batch = PulseBatch(Operation.RESET, cells[:3].astype("u4"), np.full(3, 9, "u2"), 1e-7, 2.0)
writing._writer.intend([batch], time=1.7e9)
if sys.argv[3] == "killed":
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
print("live", flush=True)
sys.stdin.read()
"""
SUPPORT = str(Path(__file__).parents[3] / "support")


def test_a_killed_run_names_the_pulses_of_unknown_dose(tmp_path: Path) -> None:
    path = tmp_path / "killed.h5"
    subprocess.run([sys.executable, "-c", _KILLED, str(path), SUPPORT, "killed"], check=False)
    page = read(path)
    assert "Killed while it ran: 20 pulses and 40 readings in 1 step; not enough of it to evaluate." in page.text
    assert "3 pulses of unknown dose" in page.text
    assert "(row 0 column 0, row 0 column 1, row 0 column 2)" in page.text
    assert "whether the array was left in safe state is not known" in page.text
    layers = {each["name"]: unpack(each["packed"]) for each in page.data["maps"][0]["layers"]}
    assert layers["pulses"][:3].tolist() == [2, 2, 2]
    assert layers["last_reading"][0] == pytest.approx(3e-5, rel=1e-3)


def test_a_run_that_goes_on_says_so(tmp_path: Path) -> None:
    path = tmp_path / "live.h5"
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(path), SUPPORT, "live"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout.readline() == "live\n"
        page = read(path)
        writer.stdin.close()
    assert "Still going on: 20 pulses" in page.text
    assert "The run is going on" in page.text
    assert "unknown dose" not in page.text


def test_a_run_of_nothing_but_auxiliaries_shows_them_over_time_with_what_was_missed(tmp_path: Path) -> None:
    writer = RunWriter.create(
        tmp_path / "run.h5",
        protocol="read",
        title="Read",
        phases=("read",),
        variables=(),
        geometry=square(4),
        dac=DAC,
        adc=ADC,
        started=1.7e9,
        provenance={"chip_serial": "C", "snapshot_before": {}},
        auxiliaries={"bath_T": "K"},
    )
    for moment, value in ((0.0, 300.0), (10.0, np.nan), (20.0, 302.0)):
        writer.sample({"bath_T": value}, time=1.7e9 + moment)
    writer.close(Outcome.FINISHED, summary={"auxiliary_problems": {"bath": "it was off"}})
    page = read(tmp_path / "run.h5")
    assert page.problems == []
    assert page.data["maps"] == []
    assert "0 pulses and 0 readings in 0 steps." in page.text
    assert ["bath T", "300 K", "301 K", "302 K", "2", "1"] in page.rows
    (chart,) = (each for each in page.data["charts"] if each["y"]["label"] == "bath T (K)")
    assert chart["series"][0]["y"] == [300.0, None, 302.0]
    assert "bath gave no reading for a part of the run: it was off." in page.text
    assert "No snapshot of the instruments' settings was taken before the run." in page.text


def test_what_is_no_run_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(NoRunError, match="is not a run file"):
        run_page(tmp_path / "text.h5")


def test_pulses_that_were_refused_are_counted(tmp_path: Path) -> None:
    writing = Writing(tmp_path / "run.h5", "endurance", square(8), ("set",), (Variable("cycle", "cycle", dtype="u4"),))
    writing.pulse(Operation.SET, np.arange(4), 2.0, np.full(4, 1e-5))
    batch = PulseBatch(Operation.SET, np.arange(3, dtype=np.uint32), np.full(3, 7, np.uint16), 1e-7, 1.0)
    writing._writer.intend([batch], time=1.7e9)
    writing._writer.fail([State.NOT_APPLIED])
    writing.step("set", {"cycle": 1})
    writing.close()
    assert "3 pulses not applied: the board refused 1 batch." in read(tmp_path / "run.h5").text
