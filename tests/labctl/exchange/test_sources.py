"""Foreign files as named arrays."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from labctl.errors import MappingError
from labctl.exchange.mapping import File
from labctl.exchange.sources import open_source


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_has_columns_by_name_and_number_with_gaps_as_nan(tmp_path: Path) -> None:
    path = table(tmp_path, "# made by hand\ncell, G ,state\n1,2.5,LRS\n\n2,,HRS\n")
    source = open_source(path, File(), "csv")
    assert source.get("cell").tolist() == [1, 2]
    assert np.isnan(source.get("G")[1])
    assert source.get(2).tolist() == ["LRS", "HRS"]


def test_a_table_may_have_decimal_commas_and_no_header(tmp_path: Path) -> None:
    path = table(tmp_path, "voltage in V\n1,5;2\n2,5;4\n")
    source = open_source(path, File(skip=1, header=False, decimal=","), "csv")
    assert source.get(0).tolist() == [1.5, 2.5]
    assert source.get("*").tolist() == [[1.5, 2], [2.5, 4]]


def test_a_table_may_be_set_apart_by_blanks(tmp_path: Path) -> None:
    source = open_source(table(tmp_path, "a   b\n1     2\n3 4\n"), File(delimiter=" "), "csv")
    assert source.get("b").tolist() == [2, 4]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1,2\n3\n", "line 3 has 1 fields where 2 are expected"),
        ("a,a\n1,2\n", "two columns share a name"),
        ("a,b\n", "no row below the header"),
        ("# nothing\n", "holds no rows"),
    ],
)
def test_an_uneven_table_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(MappingError, match=sentence):
        open_source(table(tmp_path, text), File(), "csv")


def test_arrays_of_numpy_files_are_found_by_name_and_field(tmp_path: Path) -> None:
    rows = np.array([(1, 2.5), (2, 3.5)], [("cell", "u4"), ("g", "f8")])
    np.savez(tmp_path / "a.npz", rows=rows, times=np.arange(3))
    np.save(tmp_path / "b.npy", rows)
    source = open_source(tmp_path / "a.npz", File(), "numpy")
    assert source.get("rows:g").tolist() == [2.5, 3.5]
    assert source.get("times").tolist() == [0, 1, 2]
    assert open_source(tmp_path / "b.npy", File(), "numpy").get("cell").tolist() == [1, 2]
    with pytest.raises(MappingError, match=r"has no 'time'; it holds rows \(2,\), times \(3,\)"):
        source.get("time")


def test_datasets_are_found_below_a_group_with_their_units_and_packing(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("chip/run/g", data=np.array([[0, 10], [20, 65535]], "u2"))
        dataset.attrs.update({"unit": "uS", "scale_factor": 0.5, "_FillValue": np.uint16(65535)})
    source = open_source(tmp_path / "a.h5", File(group="chip"), "hdf5")
    np.testing.assert_array_equal(source.get("run/g"), [[0, 5], [10, np.nan]])
    assert source.units["run/g"] == "uS"
    with pytest.raises(MappingError, match=r"\$\.file\.group: there is no group 'chap'"):
        open_source(tmp_path / "a.h5", File(group="chap"), "hdf5")


@pytest.mark.parametrize("form", ["hdf5", "numpy", "arc2"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, form: str) -> None:
    path = table(tmp_path, "a,b\n1,2\n")
    with pytest.raises(MappingError, match="is not a"):
        open_source(path, File(), form)
    with pytest.raises(MappingError, match="there is no file"):
        open_source(tmp_path / "none", File(), form)


def test_a_text_among_numbers_is_named_with_its_column_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("# a comment\ncell;g\n0;1,5\n1;\n\n1;abc\n")
    source = open_source(tmp_path / "a.csv", File(decimal=","), "csv")
    for at in ("g", 1, "*"):
        with pytest.raises(MappingError, match="column 'g' holds 'abc' in line 6, which is not a number"):
            source.refuse_text(at)
    source.refuse_text("cell")
