"""Every table of a run in every format holds what `open_run` shows, with units and where it comes from."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from measured_runs import write_iv
from scipy.io import loadmat
from whole_runs import start_whole_run, write_killed_run, write_whole_run

import labctl
from labctl.errors import ExportError, RecordingError
from labctl.exchange.tables.exporting import FORMATS, export_tables
from labctl.recording import Outcome
from labctl.recording.pack import pack

EXTRAS = {"parquet": "pyarrow", "zarr": "zarr"}
TABLES = ("events", "operations", "steps", "maps", "auxiliaries")
APPLIED = "reading_factor"
Frames = dict[str, pd.DataFrame]


def flags_as_words(variable: xr.DataArray) -> np.ndarray:
    """What a person reads in the file's attributes."""
    words = variable.attrs["flag_meanings"].split()
    if "flag_masks" in variable.attrs:
        bits = [int(bit) for bit in variable.attrs["flag_masks"]]
        named = list(zip(bits, words, strict=True))
        return np.array(
            [" ".join(word for bit, word in named if code & bit) or "ok" for code in variable.values.ravel()]
        )
    by_code = dict(zip(np.asarray(variable.attrs["flag_values"]).tolist(), words, strict=True))
    return np.array([by_code[code] for code in variable.values.ravel().tolist()])


@cache
def shown(path: Path, *, words: bool) -> Frames:
    """The tables as `open_run` shows them, maps as one row a cell."""
    frames = {}
    with labctl.open_run(path) as tree:
        for name in TABLES:
            dataset = tree[name].to_dataset()
            columns = {}
            for each, variable in dataset.variables.items():
                if (name, each) == ("operations", APPLIED):
                    continue
                whole = dataset[each].broadcast_like(dataset).transpose(*dataset.dims)
                whole.attrs = variable.attrs
                columns[each] = (
                    flags_as_words(whole) if words and "flag_meanings" in variable.attrs else whole.values.ravel()
                )
            frames[name] = pd.DataFrame(columns)
    return frames


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """The same columns with the very same values; a missing one may be NaN, null or no time."""
    assert set(found) == set(expected)
    for name, column in expected.items():
        other = found[name]
        missing = column.isna().to_numpy()
        np.testing.assert_array_equal(other.isna().to_numpy(), missing, err_msg=str(name))
        kept, others = column[~missing], other[~missing]
        if column.dtype.kind == "M":
            kept, others = kept.astype("datetime64[ns]").astype("int64"), pd.to_datetime(others, utc=True)
            others = others.dt.tz_localize(None).astype("datetime64[ns]").astype("int64")
        if kept.dtype.kind == "f":
            others = others.astype(kept.dtype)
        assert others.tolist() == kept.tolist(), name


def from_csv(path: Path) -> pd.DataFrame:
    frame = pd.read_csv(path)
    return frame.rename(columns={header: header.rpartition(" (")[0] or header for header in frame})


def from_parquet(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path)


def from_tree(tree: xr.DataTree) -> Iterator[tuple[str, pd.DataFrame]]:
    for name in TABLES:
        dataset = tree[name].to_dataset()
        columns = {each: dataset[each].broadcast_like(dataset).values.ravel() for each in dataset.variables}
        yield name, pd.DataFrame(columns)


def from_netcdf(path: Path) -> Frames:
    with xr.open_datatree(path, engine="h5netcdf", decode_timedelta=False) as tree:
        return dict(from_tree(tree))


def from_zarr(path: Path) -> Frames:
    with xr.open_datatree(path, engine="zarr", decode_timedelta=False) as tree:
        return dict(from_tree(tree))


def from_matlab(path: Path) -> Frames:
    content = loadmat(path, simplify_cells=True, chars_as_strings=True)
    frames = {}
    for name in TABLES:
        table, meaning = content[name], content["columns"][name]
        shape = next((each.shape for each in table.values() if np.ndim(each) == 2), None)
        columns = {}
        for each, value in table.items():
            values = np.atleast_1d(value)
            if str(meaning[each]["unit"]).startswith("nanoseconds since"):
                values = values.view("M8[ns]")
            if shape and values.ndim == 1:
                values = np.broadcast_to(values[:, None] if each == "row" else values, shape)
            columns[each] = values.ravel()
        frames[name] = pd.DataFrame(columns)
    return frames


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_whole_run(tmp_path_factory.mktemp("finished") / "run.h5")


@pytest.fixture(scope="module")
def killed_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_killed_run(tmp_path_factory.mktemp("killed") / "run.h5")


@cache
def exported(run: Path, to: Any) -> tuple[Path, ...]:
    """All its tables, beside the run."""
    if to in EXTRAS:
        pytest.importorskip(EXTRAS[to], reason=f"{EXTRAS[to]} is not installed: pip install 'labctl[export]'")
    return export_tables([run], to).paths


READERS: dict[str, Callable[[Path], Any]] = {
    "csv": from_csv,
    "parquet": from_parquet,
    "netcdf": from_netcdf,
    "zarr": from_zarr,
    "matlab": from_matlab,
}


@pytest.mark.parametrize("to", ["csv", "parquet"])
def test_files_of_tables_hold_what_open_run_shows(finished_run: Path, to: str) -> None:
    folder = exported(finished_run, to)[0].parent
    for name, expected in shown(finished_run, words=True).items():
        assert_same(READERS[to](folder / f"{name}.{to}"), expected)


@pytest.mark.parametrize("to", ["netcdf", "zarr", "matlab"])
def test_files_of_arrays_hold_what_open_run_shows(finished_run: Path, to: str) -> None:
    (written,) = exported(finished_run, to)
    found = READERS[to](written)
    for name, expected in shown(finished_run, words=False).items():
        assert_same(found[name], expected)


def test_a_killed_run_is_exported_as_open_run_shows_it(killed_run: Path) -> None:
    done = export_tables([killed_run], "netcdf")
    found = from_netcdf(done.paths[0])
    expected = shown(killed_run, words=False)
    for name in TABLES:
        assert_same(found[name], expected[name])
    assert expected["operations"]["state"].tolist()[-2:] == [2, 2]
    assert done.notes == ("run.h5 was killed: its last 2 operations are of unknown dose",)


@pytest.mark.parametrize("to", ["netcdf", "zarr"])
def test_raw_codes_decode_to_what_was_read(finished_run: Path, tmp_path: Path, to: Any) -> None:
    if to == "zarr":
        pytest.importorskip("zarr", reason="zarr is not installed: pip install 'labctl[export]'")
    (written,) = export_tables([finished_run], to, tmp_path / "out", what=["events"], raw=True).paths
    expected, engine = shown(finished_run, words=False)["events"], "h5netcdf" if to == "netcdf" else to
    with xr.open_dataset(written, group="events", engine=engine) as found:
        np.testing.assert_array_equal(found["amplitude"], expected["amplitude"])
        np.testing.assert_array_equal(found["reading"] * found[APPLIED], expected["reading"])
    with xr.open_dataset(written, group="events", engine=engine, mask_and_scale=False) as codes:
        assert codes["reading"].dtype == np.uint16
        assert codes["reading"].attrs["top_code"] == 4095


def test_joined_events_say_how_and_where_they_were_pulsed(finished_run: Path, tmp_path: Path) -> None:
    (written, _) = export_tables([finished_run], "csv", tmp_path / "e.csv", what=["events"], joined=True).paths
    found = from_csv(written)
    with labctl.open_run(finished_run) as tree:
        operation = tree["events/operation"].values
        for name in ("width", "gate", "read_voltage"):
            expected = tree["operations"][name].values[operation]
            np.testing.assert_array_equal(found[name].astype(expected.dtype), expected)
        assert found["kind"].tolist() == flags_as_words(tree["operations/kind"])[operation].tolist()
        np.testing.assert_array_equal(found["row"] * 16 + found["col"], tree["events/cell"])
    assert found["phase"].tolist() == ["initial_read"] * 15 + ["program"] * 15


def test_events_of_a_step_that_was_not_done_have_no_phase(killed_run: Path, tmp_path: Path) -> None:
    (written, _) = export_tables([killed_run], "csv", tmp_path / "e.csv", what=["events"], joined=True).paths
    assert from_csv(written)["phase"].tolist()[-10:] == ["step_not_done"] * 10


def test_csv_says_units_in_its_header_and_all_else_beside_it(finished_run: Path) -> None:
    paths = exported(finished_run, "csv")
    with paths[0].open(newline="", encoding="utf-8") as file:
        header = next(csv.reader(file))
    assert header == ["time (UTC)", "cell", "amplitude (V)", "reading (S)", "status", "operation"]
    package = json.loads(paths[-1].read_text(encoding="utf-8"))
    assert paths[-1].name == "datapackage.json"
    events = package["resources"][0]
    assert events["path"] == "events.csv"
    assert [field["name"] for field in events["schema"]["fields"]] == header
    assert [field["type"] for field in events["schema"]["fields"]] == [
        "datetime",
        "integer",
        "number",
        "number",
        "string",
        "integer",
    ]
    assert "saturated" in events["schema"]["fields"][4]["constraints"]["enum"]


def provenance_of(written: Path, to: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The flat part and the nested part of the provenance in an exported file, as another program finds them."""
    if to == "csv":
        told = json.loads((written / "datapackage.json").read_text(encoding="utf-8"))["labctl"]
        return told, told["provenance"]
    if to == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        told = json.loads(parquet.read_schema(written / "steps.parquet").metadata[b"labctl"])
        return told, told["provenance"]
    if to == "matlab":
        told = loadmat(written, simplify_cells=True)["provenance"]
        return told, {"settings": json.loads(told["settings"]), "message": json.loads(told["message"])}
    with xr.open_datatree(written, engine="h5netcdf" if to == "netcdf" else "zarr") as tree:
        nested = tree["provenance"].attrs
        return dict(tree.attrs), {name: json.loads(text) for name, text in nested.items()}


@pytest.mark.parametrize("to", FORMATS)
def test_provenance_is_carried_over(finished_run: Path, to: str) -> None:
    written = exported(finished_run, to)[0]
    flat, nested = provenance_of(written.parent if to in ("csv", "parquet") else written, to)
    assert flat["chip_serial"] == "C-7"
    assert flat["operator"] == "Jürgen, of lab 3"
    assert flat["outcome"] == "finished"
    assert flat["source_file"] == "run.h5"
    assert flat["exported_by"] == f"labctl {labctl.__version__}"
    assert len(flat["source_sha256"]) == 64
    assert nested["settings"]["tolerance"] == 1e-6
    assert nested["message"] == "done, all of it"


def test_parquet_carries_units_flags_and_pandas_attributes(finished_run: Path) -> None:
    paths = exported(finished_run, "parquet")
    schema = pytest.importorskip("pyarrow.parquet").read_schema(paths[0])
    assert schema.field("reading").metadata[b"units"] == b"S"
    assert str(schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert json.loads(schema.field("status").metadata[b"flags"])["3"] == "saturated not_read"
    frame = pd.read_parquet(paths[0])
    assert frame["status"].dtype == "category"
    assert frame.attrs["units"]["amplitude"] == "V"


def test_settings_that_are_arrays_go_where_arrays_can(finished_run: Path, tmp_path: Path) -> None:
    (written,) = export_tables([finished_run], "netcdf", tmp_path / "s.nc", what=["settings"]).paths
    with xr.open_dataset(written, group="settings", engine="h5netcdf") as settings:
        assert settings["target"].dims == ("row", "col")
        assert settings["cells"].dtype == bool
        np.testing.assert_array_equal(settings["cells"], np.eye(8, 16, dtype=bool))
        np.testing.assert_array_equal(settings["levels"], [0, 1, 2])
    with pytest.raises(ExportError, match="csv cannot hold them"):
        export_tables([finished_run], "csv", what=["settings"])


def test_nothing_is_overwritten_unasked_and_nothing_else_is_touched(finished_run: Path, tmp_path: Path) -> None:
    export = partial(export_tables, [finished_run], "csv", tmp_path / "out", what=["steps", "auxiliaries"])
    first = export().paths
    other = first[0].parent / "notes.txt"
    other.write_text("mine")
    content = first[0].read_bytes()
    with pytest.raises(ExportError, match="exists already"):
        export()
    assert first[0].read_bytes() == content
    assert export(overwrite=True).paths == first
    assert other.read_text() == "mine"
    assert not list(tmp_path.rglob("*.part"))


def test_a_store_replaces_a_store_and_no_other_folder(finished_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("zarr", reason="zarr is not installed: pip install 'labctl[export]'")
    export = partial(export_tables, [finished_run], "zarr", what=["steps"], overwrite=True)
    (store,) = export(tmp_path / "run.zarr").paths
    assert export(tmp_path / "run.zarr").paths == (store,)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    assert export(tmp_path / "mine").paths == (tmp_path / "mine" / "run.zarr",)
    assert (tmp_path / "mine" / "notes.txt").exists()
    netcdf = export_tables([finished_run], "netcdf", store, what=["steps"], overwrite=True)
    assert netcdf.paths == (store / "run.nc",)
    assert (store / "zarr.json").exists()


@pytest.mark.parametrize("to", ["csv", "netcdf"])
def test_a_run_that_cannot_be_read_to_its_end_leaves_nothing_behind(tmp_path: Path, to: Any) -> None:
    run = pack(write_whole_run(tmp_path / "run.h5"), tmp_path / "packed.h5").path
    with h5py.File(run) as file:
        chunk = file["events/reading"].id.get_chunk_info(0)
    with run.open("r+b") as content:
        content.seek(chunk.byte_offset)
        content.write(b"\xff" * chunk.size)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(RecordingError, match="not a whole run file"):
        export_tables([run], to)
    assert sorted(tmp_path.iterdir()) == before


def test_a_live_run_is_exported_as_far_as_it_is(tmp_path: Path) -> None:
    with start_whole_run(tmp_path / "run.h5") as writer:
        done = export_tables([writer.path], "csv", what=["steps"])
        writer.close(Outcome.FINISHED)
    assert done.notes == ("run.h5 is being written: exported as of now",)
    assert len(from_csv(done.paths[0])) == 2
    told = json.loads(done.paths[1].read_text(encoding="utf-8"))["labctl"]
    assert told["outcome"] == "live"
    assert "source_sha256" not in told


def test_several_runs_go_into_one_folder(finished_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    other.write_bytes(finished_run.read_bytes())
    paths = export_tables([finished_run, other], "csv", tmp_path / "all", what=["steps"]).paths
    names = ["run_steps.csv", "run_steps.json", "other_steps.csv", "other_steps.json"]
    assert paths == tuple(tmp_path / "all" / name for name in names)


def test_a_run_recorded_before_there_were_read_voltages_is_exported(tmp_path: Path) -> None:
    run = write_whole_run(tmp_path / "run.h5")
    with h5py.File(run, "a") as file:
        for name in ("read_voltage", "reading_factor", "asked_by"):
            del file["operations"][name]
    paths = export_tables([run], "csv", joined=True, what=["events", "operations"]).paths
    assert [path.name for path in paths] == ["events.csv", "operations.csv", "datapackage.json"]


def test_what_a_run_does_not_have_cannot_be_exported(tmp_path: Path) -> None:
    run = write_iv(tmp_path / "run.h5", np.array([0.1, 0.2]), np.full((3, 2), 1e-6))
    with pytest.raises(ExportError, match="has no auxiliaries"):
        export_tables([run], "csv", what=["auxiliaries"])
    assert export_tables([run], "csv", what=["auxiliaries", "steps"]).notes == ("run.h5 has no auxiliaries",)


@pytest.mark.parametrize("to", ["csv", "netcdf", "matlab"])
def test_a_name_without_an_ending_is_a_folder(to: Any, tmp_path: Path) -> None:
    run = write_iv(tmp_path / "run.h5", np.array([0.1, 0.2]), np.full((3, 2), 1e-6))
    ending = {"csv": "_steps.csv", "netcdf": ".nc", "matlab": ".mat"}[to]
    for _ in range(2):  # the second time the folder is there
        paths = export_tables([run], to, tmp_path / "out", what=["steps"], overwrite=True).paths
        assert paths[0] == tmp_path / "out" / f"run{ending}"
        assert sorted(paths) == sorted((tmp_path / "out").iterdir())


def test_of_many_none_is_written_where_one_is_no_run_or_its_output_is_there(tmp_path: Path) -> None:
    run = write_iv(tmp_path / "run.h5", np.array([0.1, 0.2]), np.full((3, 2), 1e-6))
    broken = tmp_path / "broken.h5"
    broken.write_bytes(run.read_bytes()[:2000])
    for to in ("csv", "netcdf"):
        with pytest.raises(RecordingError, match=r"broken\.h5"):
            export_tables([run, broken], to, tmp_path / "all")
    (tmp_path / "broken.nc").touch()
    with pytest.raises(ExportError, match=r"broken\.nc exists already"):
        export_tables([run, broken], "netcdf")
    assert {each.name for each in tmp_path.iterdir()} == {"run.h5", "broken.h5", "broken.nc"}
