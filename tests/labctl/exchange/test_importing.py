"""Foreign measurements as run files: what comes out of the run is what stood in the file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

import labctl
from labctl.errors import MappingError
from labctl.exchange.importing import chosen_cells, import_file
from labctl.exchange.mapping import mapping_from
from labctl.recording import read_summary

CHIP = {"chip": "X-1", "technology": "1T1R RRAM"}
TIMES = np.array([0, 0.01, 1, 1e5])
NEAR = 1e-7  # of the full scale: codes of 31 bits, and readings in single precision


@pytest.fixture
def relaxation(tmp_path: Path) -> Path:
    """(60, 4) conductances of cells with gaps in their addresses, one reading in ten missing."""
    rng = np.random.default_rng(3)
    table = rng.uniform(-1e-7, 4e-5, (60, 4))
    table[rng.random(table.shape) < 0.1] = np.nan
    table[:, 0] = rng.uniform(1e-6, 4e-5, 60)
    with h5py.File(tmp_path / "relaxation.h5", "w") as file:
        file["a/addr"] = np.arange(60)[::-1] * 2 + 1001
        file["a/g"], file["a/time"] = table, TIMES
        file["a/g"].attrs["unit"], file["a/time"].attrs["units"] = "S", "s"
    return tmp_path / "relaxation.h5"


WIDE: dict[str, Any] = {
    "measurement": "retention",
    "file": {"group": "a"},
    "cells": {"address": {"at": "addr"}, "first": 1001},
    "conductance": {"at": "g", "axes": ["cell", "time"]},
    "time": {"at": "time"},
}


def conductances(path: Path) -> np.ndarray:
    with h5py.File(path) as file:
        return np.asarray(file["a/g"])


def assert_near(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=NEAR * np.nanmax(np.abs(expected)))


def test_retention_comes_back_cell_by_cell_and_time_by_time(imported: Any, relaxation: Path) -> None:
    found = imported(relaxation, **WIDE)
    assert found.cell.values.tolist() == list(range(0, 120, 2))
    assert found.time.values == pytest.approx(TIMES)
    assert_near(found["conductance"].values[::-1], conductances(relaxation))
    assert np.isnan(found["target"]).all()
    assert found.attrs["saturated"] == 0
    # Times are kept in s since 1970 as doubles: steps of 0.24 us.
    known = np.isfinite(found["conductance"].values)
    elapsed = np.broadcast_to(TIMES, known.shape)
    np.testing.assert_allclose(found["elapsed"].values[known], elapsed[known], atol=1e-6)


def test_a_table_of_readings_says_the_same_as_an_array(imported: Any, relaxation: Path, tmp_path: Path) -> None:
    table = conductances(relaxation) * 1e6
    lines = ["address,seconds,G,aim"]
    for cell, time in np.random.default_rng(4).permutation(np.argwhere(np.isfinite(table))):
        lines.append(f"{1119 - 2 * cell},{TIMES[time]},{table[cell, time]:.9g},{cell % 3}")
    (tmp_path / "long.csv").write_text("\n".join(lines))
    found = imported(
        tmp_path / "long.csv",
        measurement="retention",
        cells={"address": {"at": "address"}, "first": 1001},
        conductance={"at": "G", "unit": "uS"},
        time={"at": "seconds", "unit": "s"},
        target={"at": "aim", "unit": "uS"},
    )
    wide = imported(relaxation, **WIDE)
    assert_near(found["conductance"].values, wide["conductance"].values)
    assert found["target"].values == pytest.approx((np.arange(60)[::-1] % 3) * 1e-6)


def test_a_run_says_where_it_came_from(relaxation: Path, tmp_path: Path) -> None:
    tables = (
        CHIP | WIDE | {"licence": "MIT", "source": "a paper", "temperature": "373 K", "array": {"rows": 8, "cols": 20}}
    )
    done = import_file(relaxation, mapping_from(tables), tmp_path / "runs", select="odd", command="import ...")
    summary = read_summary(done.path)
    assert (summary.protocol, summary.outcome, summary.rows, summary.cols) == ("import", "finished", 8, 20)
    assert summary.attributes["measurement"] == "retention"
    assert summary.attributes["imported_from"] == "relaxation.h5"
    assert summary.attributes["imported_sha256"] == hashlib.sha256(relaxation.read_bytes()).hexdigest()
    assert (summary.attributes["licence"], summary.attributes["select"]) == ("MIT", "odd")
    with labctl.open_run(done.path) as tree:
        mapping = json.loads(tree["provenance"].attrs["mapping"])
        assert mapping["conductance"]["at"] == "g"
        assert labctl.analysis.measurements.measurement(tree).attrs["temperature"] == 373


def test_the_halves_are_all_cells_and_no_cell_twice(imported: Any, relaxation: Path) -> None:
    even, odd = (imported(relaxation, select=half, **WIDE) for half in ("even", "odd"))
    whole = imported(relaxation, **WIDE)
    assert sorted([*even.cell.values, *odd.cell.values]) == whole.cell.values.tolist()
    assert even.cell.values.tolist() == whole.cell.values[::2].tolist()
    assert (even.attrs["rows"], even.attrs["cols"]) == (whole.attrs["rows"], whole.attrs["cols"])
    assert_near(even["conductance"].values, whole["conductance"].values[::2])


@pytest.mark.parametrize(
    ("select", "left"), [("1:4", [5, 7, 9]), ("::4", [3, 11]), ("-2:", [9, 11]), ("all", [3, 5, 7, 9, 11])]
)
def test_a_slice_counts_cells_in_order(select: str, left: list[int]) -> None:
    assert chosen_cells(np.array([3, 5, 7, 9, 11]), select).tolist() == left


@pytest.mark.parametrize("select", ["third", "5:", "1:2:0", "0"])
def test_a_selection_that_means_nothing_is_refused(select: str) -> None:
    with pytest.raises(MappingError, match="--select"):
        chosen_cells(np.array([3, 5, 7, 9, 11]), select)


def test_before_and_after_columns_of_resistances_are_two_times(imported: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "bake.npz", before=np.array([10.0, 20, 40]), after=np.array([12.5, np.inf, 0]))
    found = imported(
        tmp_path / "bake.npz",
        measurement="retention",
        conductance={"at": ["before", "after"], "axes": ["time", "cell"], "unit": "kOhm"},
        time={"values": [0, 1], "unit": "h"},
    )
    assert found.time.values.tolist() == [0, 3600]
    assert found["conductance"].values[:, 0] == pytest.approx([1e-4, 5e-5, 2.5e-5])
    assert found["conductance"].values[0, 1] == pytest.approx(8e-5)
    assert found["conductance"].values[1, 1] == pytest.approx(0, abs=1e-11)
    assert np.isnan(found["conductance"].values[2, 1])


def test_cells_with_clocks_of_their_own_share_median_times(imported: Any, tmp_path: Path) -> None:
    lines = ["cell,t,g"]
    for cell in range(5):
        lines += [f"{cell},{100 + cell + t * (1 + 0.01 * cell)},{10 + cell + t}" for t in (0, 1, 10)]
    (tmp_path / "own.csv").write_text("\n".join(lines))
    tables = {
        "measurement": "retention",
        "cells": {"address": {"at": "cell"}},
        "conductance": {"at": "g", "unit": "uS"},
        "time": {"at": "t", "unit": "s"},
    }
    found = imported(tmp_path / "own.csv", **tables)
    assert found.time.values == pytest.approx([0, 1.02, 10.2])
    assert found["conductance"].values[2] == pytest.approx([12e-6, 13e-6, 22e-6])
    (tmp_path / "own.csv").write_text("\n".join(lines).replace("4,104.0,14", "4,104.0,14\n4,104.5,1"))
    with pytest.raises(MappingError, match="schedules of their own"):
        imported(tmp_path / "own.csv", **tables)


def test_vectors_at_a_sample_rate_are_read_noise(imported: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    samples = rng.normal(1e-5, 1e-7, (3, 500))
    samples[1, 100] = np.nan
    np.savez(tmp_path / "noise.npz", a=samples[0], b=samples[1], c=samples[2])
    found = imported(
        tmp_path / "noise.npz",
        measurement="read-noise",
        conductance={"at": ["a", "b", "c"], "axes": ["cell", "sample"], "unit": "S"},
        sample_rate={"values": 400, "unit": "Hz"},
    )
    kept = np.delete(np.arange(500), 100)
    assert_near(found["conductance"].values, samples[:, kept])
    assert found["time"].values == pytest.approx(kept / 400, abs=1e-6)


def test_uneven_samples_keep_their_times(imported: Any, tmp_path: Path) -> None:
    times = np.array([0, 0.04, 0.1, 0.13, 0.4])
    np.savez(tmp_path / "noise.npz", r=np.linspace(1e4, 2e4, 5), t=times)
    found = imported(
        tmp_path / "noise.npz",
        measurement="read-noise",
        conductance={"at": "r", "unit": "Ohm"},
        time={"at": "t", "unit": "s"},
    )
    assert found["time"].values == pytest.approx(times, abs=1e-6)
    assert found["conductance"].values[0, -1] == pytest.approx(5e-5)


def test_ramps_of_unequal_length_stand_train_by_train(imported: Any, tmp_path: Path) -> None:
    up, down = np.full((3, 6), np.nan), np.full((2, 4), np.nan)
    up[:, :5] = np.arange(15).reshape(3, 5) * 1e-6 + 1e-5
    up[2, 5] = 9e-5
    down[:] = 5e-5 - np.arange(8).reshape(2, 4) * 1e-6
    np.savez(tmp_path / "ramps.npz", up=up, down=down)
    found = imported(
        tmp_path / "ramps.npz",
        measurement="pulse-response",
        set={"at": "up", "unit": "S", "amplitude": "1.23456 V", "width": "10 ns", "gate": "2 V"},
        reset={"at": "down", "unit": "S"},
    )
    table = found["conductance"].values
    assert table.shape == (1, 3, 2, 6)
    assert_near(table[0, :, 0], up)
    assert_near(table[0, :2, 1, :4], down)
    assert np.isnan(table[0, 2, 1]).all()
    assert found.attrs["amplitude_set"] == pytest.approx(1.23456, abs=5e-6)  # the steps of the amplitudes
    assert np.isnan(found.attrs["amplitude_reset"])
    assert found.attrs["width"] == pytest.approx(10e-9)


def test_pulses_that_are_known_are_recorded_as_pulses(tmp_path: Path) -> None:
    np.savez(tmp_path / "ramps.npz", up=np.linspace(1e-5, 2e-5, 4))
    tables = {"measurement": "pulse-response", "set": {"at": "up", "unit": "S", "amplitude": "1.5 V", "width": "1 us"}}
    done = import_file(tmp_path / "ramps.npz", mapping_from(CHIP | tables), tmp_path / "runs")
    assert read_summary(done.path).pulses == 3
    with labctl.open_run(done.path) as tree:
        amplitude = tree["events"]["amplitude"].values
    assert np.isnan(amplitude[0])
    assert amplitude[1:] == pytest.approx(1.5)


def test_normalised_weights_become_conductances_by_scale_and_offset(imported: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "up.npy", np.array([-1.0, 0, 1]))
    place = {"at": "*", "unit": "1", "scale": 2e-5, "offset": 3e-5}
    found = imported(tmp_path / "up.npy", measurement="pulse-response", first_pulse=1, set=place)
    assert found["conductance"].values[0, 0, 0] == pytest.approx([np.nan, 1e-5, 3e-5, 5e-5], nan_ok=True)


@pytest.mark.parametrize("form", ["current", "conductance"])
def test_currents_come_back_at_every_voltage_but_none(imported: Any, tmp_path: Path, form: str) -> None:
    volts = np.array([0, 0.1, 0.2, -0.3])
    current = np.array([[-2e-6, 1e-6, 3e-6, -9e-6], [1e-6, 2e-6, 4e-6, -8e-6]])
    table = current if form == "current" else np.divide(current, volts, where=volts != 0, out=np.zeros_like(current))
    lines = [f"{7 + 2 * c},{volts[v]},{table[c, v]}" for c, v in np.ndindex(table.shape)]
    (tmp_path / "iv.csv").write_text("\n".join(["cell,V,value", *lines]))
    found = imported(
        tmp_path / "iv.csv",
        measurement="iv",
        cells={"address": {"at": "cell"}},
        voltage={"at": "V", "unit": "V"},
        **{form: {"at": "value", "unit": "A" if form == "current" else "S"}},
    )
    assert found.voltage.values.tolist() == [-0.3, 0.1, 0.2]
    assert found.cell.values.tolist() == [7, 9]
    assert_near(found["current"].values, current[:, [3, 1, 2]])


def test_one_branch_of_a_loop_is_picked(imported: Any, tmp_path: Path) -> None:
    volts = np.array([[0.1, 0.2, 0.3, 0.2], [0.11, 0.21, 0.31, 0.21]])
    np.savez(tmp_path / "loops.npz", v=volts, i=volts * 1e-4)
    pick = {"axes": ["cycle", "voltage"], "pick": {"cycle": 1, "voltage": "0:3"}}
    found = imported(
        tmp_path / "loops.npz",
        measurement="iv",
        current={"at": "i", "unit": "A", **pick},
        voltage={"at": "v", "unit": "V", **pick},
    )
    assert found.voltage.values == pytest.approx([0.11, 0.21, 0.31])
    assert found["conductance"].values[0] == pytest.approx(1e-4)


def test_forming_tells_tried_cells_from_formed_ones(imported: Any, tmp_path: Path) -> None:
    text = "row,col,volts,after,gate\n0,0,3.1,8,1.2\n0,1,,0.1,1.2\n1,0,3.3,9,1.4\n1,1,,5,\n"
    (tmp_path / "forming.csv").write_text(text)
    found = imported(
        tmp_path / "forming.csv",
        measurement="forming",
        cells={"row": {"at": "row"}, "col": {"at": "col"}},
        conductance={"at": "after", "unit": "uS"},
        gate={"at": "gate", "unit": "V"},
        forming_voltage={"at": "volts", "unit": "V"},
    )
    assert found.cell.values.tolist() == [0, 1, 2]
    assert found["forming_voltage"].values == pytest.approx([3.1, np.nan, 3.3], nan_ok=True)
    assert found["gate"].values == pytest.approx([1.2, 1.2, 1.4])
    assert found["conductance"].values == pytest.approx([8e-6, 1e-7, 9e-6])
    assert (found.attrs["rows"], found.attrs["cols"]) == (2, 2)


def test_an_image_of_an_array_is_a_map(imported: Any, tmp_path: Path) -> None:
    image = np.random.default_rng(6).uniform(1e4, 1e5, (3, 5))
    np.save(tmp_path / "image.npy", image)
    found = imported(tmp_path / "image.npy", measurement="map", conductance={"at": "*", "unit": "Ohm"})
    assert_near(found["conductance"].values, 1 / image)
    assert np.isnan(found["spread"]).all()


def test_repeated_reads_of_a_map_have_a_spread(imported: Any, tmp_path: Path) -> None:
    reads = np.random.default_rng(7).uniform(1, 2, (16, 4))
    np.save(tmp_path / "reads.npy", reads)
    tables = {"array": {"rows": 4, "cols": 4}, "conductance": {"at": "*", "axes": ["cell", "sample"], "unit": "uS"}}
    found = imported(tmp_path / "reads.npy", measurement="map", **tables)
    assert_near(found["conductance"].values.ravel(), reads.mean(axis=1) * 1e-6)
    assert found["spread"].values.ravel() == pytest.approx(reads.std(axis=1, ddof=1) * 1e-6, rel=1e-5)


def test_cycles_of_both_states_come_from_one_table(imported: Any, tmp_path: Path) -> None:
    lines = [
        f"{c},{n},{s},{10 * c + n + (5 if s == 'LRS' else 0)}"
        for c in (2, 4)
        for n in (1, 2, 9)
        for s in ("LRS", "HRS")
    ]
    (tmp_path / "cycles.csv").write_text("\n".join(["cell,cycle,state,uS", *lines]))
    found = imported(
        tmp_path / "cycles.csv",
        measurement="endurance",
        cells={"address": {"at": "cell"}},
        cycle={"at": "cycle"},
        lrs={"at": "uS", "unit": "uS", "where": {"state": "LRS"}},
        hrs={"at": "uS", "unit": "uS", "where": {"state": "HRS"}},
    )
    assert found.cycle.values.tolist() == [1, 2, 9]
    expected = [[[26, 27, 34], [21, 22, 29]], [[46, 47, 54], [41, 42, 49]]]
    np.testing.assert_allclose(found["conductance"].values, np.array(expected) * 1e-6, rtol=1e-6)


@pytest.mark.parametrize("success", [{"tolerance": "1 uS"}, {"success": {"at": "ok"}}])
def test_programming_says_which_cells_succeeded(imported: Any, tmp_path: Path, success: dict[str, Any]) -> None:
    (tmp_path / "p.csv").write_text("target,reached,pulses,ok\n10,10.5,7,1\n20,25,200,0\n,5,0,0\n")
    found = imported(
        tmp_path / "p.csv",
        measurement="programming",
        target={"at": "target", "unit": "uS"},
        reached={"at": "reached", "unit": "uS"},
        pulses={"at": "pulses"},
        **success,
    )
    assert found.cell.values.tolist() == [0, 1]
    assert found["success"].values.tolist() == [True, False]
    assert found["pulses"].values.tolist() == [7, 200]
    assert found["reached"].values == pytest.approx([10.5e-6, 25e-6])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"conductance": {"at": "h"}}, r"relaxation\.h5: \$\.conductance: relaxation\.h5 has no 'h'; it holds a"),
        ({"conductance": {"at": "g", "unit": "V"}}, r"\$\.conductance: 'V' is no unit of a conductance"),
        ({"conductance": {"at": "g", "axes": ["time", "cell"]}}, r"\$\.cells: 60 addresses for 4 cells"),
        ({"conductance": {"at": "g", "axes": ["cell"]}}, r"\$\.conductance\.axes: 1 axes for an array of 2"),
        (
            {"conductance": {"at": "g", "axes": ["cell", "pulse"]}},
            r"\$\.conductance\.axes: 'pulse' is none of cell, time",
        ),
        ({"time": {"values": [0, 1, 2], "unit": "s"}}, r"\$\.time: holds \(3,\) numbers for 4 on the axis 'time'"),
        ({"time": {"values": [0, 1, 1, 2], "unit": "s"}}, r"\$\.time: every column needs a time of its own"),
        ({"time": {"values": [0, 1, 2, 3]}}, r"\$\.time: has no unit"),
        ({"cells": {"address": {"at": "addr"}, "first": 2000}}, r"\$\.cells: the address 1001 comes before the first"),
        ({"array": {"rows": 4, "cols": 4}}, r"\$\.array: 4 x 4 cells, but there is one of address 118"),
        ({"file": {}}, r"\$\.conductance: relaxation\.h5 has no 'g'"),
    ],
)
def test_a_mapping_that_does_not_fit_the_file_is_named_with_its_place(
    relaxation: Path, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(MappingError, match=sentence):
        import_file(relaxation, mapping_from(CHIP | WIDE | change), tmp_path / "runs")
    assert not list(tmp_path.glob("runs/*.h5"))


def test_two_readings_of_one_cell_at_one_time_are_refused(imported: Any, tmp_path: Path) -> None:
    (tmp_path / "twice.csv").write_text("cell,t,g\n1,0,2\n1,1,3\n1,1,4\n")
    with pytest.raises(MappingError, match="two rows of the table have the same cell and time"):
        imported(
            tmp_path / "twice.csv",
            measurement="retention",
            cells={"address": {"at": "cell"}},
            conductance={"at": "g", "unit": "uS"},
            time={"at": "t", "unit": "s"},
        )


def test_an_imported_run_is_written_by_nobody_any_more(relaxation: Path, tmp_path: Path) -> None:
    done = import_file(relaxation, mapping_from(CHIP | WIDE), tmp_path / "runs")
    assert [path.name for path in done.path.parent.iterdir()] == [done.path.name]
    with xr.open_datatree(done.path, engine="h5netcdf") as tree:
        assert tree["steps"].sizes["step"] == len(TIMES)
