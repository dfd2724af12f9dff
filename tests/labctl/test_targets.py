"""Files become target conductances, weights come back, and what is wrong is said with its place."""

import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labctl.array import Geometry, Scale
from labctl.errors import TargetError
from labctl.targets import Target, WeightMapping, load_target, place, readable_range

DIFFERENTIAL = WeightMapping("differential", g_min=2e-6, g_max=40e-6)
SINGLE = WeightMapping("single", g_min=2e-6, g_max=40e-6)
SMALL = Geometry(4, 6, "1T1R RRAM")
RANGE = (0.0, 50e-6)


def matrices(numbers):
    return hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7), elements=numbers)


microsiemens = matrices(st.floats(0, 200))
weights = matrices(st.floats(-1e3, 1e3, allow_subnormal=False)).filter(lambda found: np.abs(found).max() > 1e-3)
mappings = st.builds(
    lambda kind, low, span: WeightMapping(kind, low, low + span),
    st.sampled_from(["single", "differential"]),
    st.floats(0, 1e-4),
    st.floats(1e-6, 1e-3),
)


def save_npy(file, matrix):
    np.save(file, matrix)


def save_npz(file, matrix):
    np.savez(file, conductance=matrix)


def save_csv(file, matrix):
    np.savetxt(file, matrix, delimiter=",", header="from a script\nunit: uS")


def save_hdf5(file, matrix):
    with h5py.File(file, "w") as root:
        root["conductance"] = matrix


SAVERS = {".npy": save_npy, ".npz": save_npz, ".csv": save_csv, ".h5": save_hdf5, ".hdf5": save_hdf5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("targets")


def refused(sentence, path, **asked):
    """Check that `path` is refused with just this sentence, after its name."""
    with pytest.raises(TargetError) as caught:
        load_target(path, **asked)
    assert str(caught.value).partition(": ")[2] == sentence


# Files of conductances


@pytest.mark.parametrize("ending", SAVERS)
@given(matrix=microsiemens)
def test_every_file_format_gives_the_conductances_back(folder, ending, matrix):
    file = folder / f"same{ending}"
    SAVERS[ending](file, matrix)
    target = load_target(file, unit="uS")
    assert target.conductance.dtype == np.float32
    np.testing.assert_array_equal(target.conductance, (matrix * 1e-6).astype(np.float32))
    assert target.mapping is None


@given(matrix=microsiemens, separator=st.sampled_from(",;\t"), ending=st.sampled_from(["\n", "\r\n"]))
def test_a_csv_may_be_separated_by_comma_semicolon_or_tab(folder, matrix, separator, ending):
    file = folder / "separated.csv"
    lines = [separator.join(map(repr, row)) for row in matrix.tolist()]
    file.write_bytes(("\ufeff# note" + ending + ending + ending.join(lines)).encode())
    found = load_target(file, unit="uS").conductance
    np.testing.assert_array_equal(found, (matrix * 1e-6).astype(np.float32))


@pytest.mark.parametrize(
    ("unit", "siemens"), [("S", 1), ("mS", 1e-3), ("uS", 1e-6), ("µS", 1e-6), ("μS", 1e-6), ("nS", 1e-9)]
)
def test_the_unit_may_have_a_prefix(tmp_path, unit, siemens):
    np.save(tmp_path / "ones.npy", np.ones((2, 2)))
    target = load_target(tmp_path / "ones.npy", unit=unit)
    np.testing.assert_allclose(target.conductance, siemens, rtol=1e-6)


@pytest.mark.parametrize("key", ["unit", "units"])
@pytest.mark.parametrize("text", ["uS", np.bytes_(b"uS"), np.array(["uS"], "S")])
def test_an_hdf5_attribute_may_say_the_unit(tmp_path, key, text):
    with h5py.File(tmp_path / "map.h5", "w") as root:
        root["g"] = np.full((2, 2), 7.0)
        root["g"].attrs[key] = text
    np.testing.assert_allclose(load_target(tmp_path / "map.h5").conductance, 7e-6, rtol=1e-6)


def test_an_entry_of_an_npz_may_say_the_unit(tmp_path):
    np.savez(tmp_path / "map.npz", g=np.full((2, 2), 7.0), unit="uS")
    np.testing.assert_allclose(load_target(tmp_path / "map.npz").conductance, 7e-6, rtol=1e-6)
    np.testing.assert_allclose(load_target(tmp_path / "map.npz", unit="µS").conductance, 7e-6, rtol=1e-6)


def test_packed_hdf5_codes_are_unpacked(tmp_path):
    with h5py.File(tmp_path / "codes.h5", "w") as root:
        root["g"] = np.array([[0, 10], [20, 30]], "u2")
        root["g"].attrs.update({"scale_factor": 1e-8, "add_offset": 1e-6, "_FillValue": np.uint16(65535), "units": "S"})
    expected = [[1e-6, 1.1e-6], [1.2e-6, 1.3e-6]]
    np.testing.assert_allclose(load_target(tmp_path / "codes.h5").conductance, expected, rtol=1e-6)


def test_an_hdf5_place_that_was_never_written_is_refused(tmp_path):
    with h5py.File(tmp_path / "codes.h5", "w") as root:
        root["g"] = np.array([[0, 65535]], "u2")
        root["g"].attrs.update({"_FillValue": np.array([65535], "u2"), "units": "S"})
    sentence = "row 0, column 1 (counting from 0) is nan: every place needs a finite number"
    refused(sentence, tmp_path / "codes.h5")


@pytest.mark.parametrize("ending", [".npz", ".h5"])
def test_one_of_several_arrays_is_chosen_after_a_colon_or_by_the_argument(tmp_path, ending):
    file = tmp_path / f"two{ending}"
    if ending == ".npz":
        np.savez(file, a=np.ones((2, 2)), b=np.full((2, 3), 2.0), bias=np.ones(3))
    else:
        with h5py.File(file, "w") as root:
            root["a"], root["b"], root["bias"] = np.ones((2, 2)), np.full((2, 3), 2.0), np.ones(3)
    assert load_target(f"{file}:b", unit="uS").conductance.shape == (2, 3)
    assert load_target(file, unit="uS", dataset="a").conductance.shape == (2, 2)
    refused("holds a (2, 2), b (2, 3): name one after a colon, as in FILE:a", file, unit="uS")
    sentence = "has no array 'c': it holds a (2, 2), b (2, 3), bias (3,)"
    refused(sentence, f"{file}:c", unit="uS")


def test_an_hdf5_array_may_stand_in_a_group(tmp_path):
    with h5py.File(tmp_path / "run.h5", "w") as root:
        root["maps/final"] = np.ones((2, 3))
    assert load_target(f"{tmp_path / 'run.h5'}:/maps/final", unit="uS").name == "run.h5:/maps/final"
    assert load_target(tmp_path / "run.h5", unit="uS").conductance.shape == (2, 3)


def test_only_the_first_names_of_a_long_list_are_told(tmp_path):
    np.savez(tmp_path / "many.npz", **{f"a{n}": np.ones((1, 1)) for n in range(11)})
    with pytest.raises(TargetError, match=r"a7 \(1, 1\), 3 more: name one"):
        load_target(tmp_path / "many.npz", unit="S")


@pytest.mark.skipif(os.name == "nt", reason="a colon cannot be in a file name there")
def test_another_colon_belongs_to_the_path(tmp_path):
    (tmp_path / "12:30").mkdir()
    np.save(tmp_path / "12:30" / "g.npy", np.ones((1, 2)))
    assert load_target(tmp_path / "12:30" / "g.npy", unit="uS").name == "g.npy"


# Files of weights


@pytest.mark.parametrize("mapping", [DIFFERENTIAL, SINGLE], ids=["differential", "single"])
def test_a_file_of_weights_comes_back_from_its_target(tmp_path, mapping):
    stored = np.array([[1.0, -2.0, 0.0], [0.5, 0.25, -1.5]])
    np.save(tmp_path / "w.npy", stored)
    target = load_target(tmp_path / "w.npy", mapping=mapping)
    np.testing.assert_allclose(target.mapping.weights(target.conductance), stored, atol=1e-6)


def test_integer_weights_are_weights(tmp_path):
    np.save(tmp_path / "w.npy", np.array([[-128, 127]], np.int8))
    target = load_target(tmp_path / "w.npy", mapping=DIFFERENTIAL)
    np.testing.assert_allclose(target.mapping.weights(target.conductance), [[-128, 127]], rtol=1e-6)


def test_weights_take_no_unit(tmp_path):
    np.savez(tmp_path / "w.npz", w=np.ones((2, 2)), unit="uS")
    np.save(tmp_path / "w.npy", np.ones((2, 2)))
    sentence = "has a unit (uS) and a mapping: weights take no unit"
    refused(sentence, tmp_path / "w.npz", mapping=SINGLE)
    refused(sentence, tmp_path / "w.npy", mapping=SINGLE, unit="uS")


# The mapping


@given(weights=weights, mapping=mappings)
def test_weights_survive_the_way_through_conductances(weights, mapping):
    fitted = mapping.fitted(weights)
    conductance = mapping.conductance(weights)
    found = fitted.weights(conductance)
    # In float32, at most eps / 2 each: of g_max, the two conductances (or one and the middle of the range)
    # and their difference; of w, the scale and the quotient.
    eps = np.finfo(np.float32).eps
    tolerance = 1.5 * eps * mapping.g_max / fitted.scale + eps * np.abs(weights).max()
    assert np.abs(found - weights).max() <= tolerance


@given(weights=weights, mapping=mappings)
def test_conductances_stay_in_the_range_and_the_largest_weight_reaches_its_end(weights, mapping):
    conductance = mapping.conductance(weights)
    low, high = np.float32(mapping.g_min), np.float32(mapping.g_max)
    assert low <= conductance.min()
    assert conductance.max() <= high
    ends = np.isclose(conductance, high, rtol=1e-6) | np.isclose(conductance, low, rtol=1e-6)
    assert ends.any()


@given(weights=weights, mapping=mappings.filter(lambda found: found.kind == "differential"))
def test_one_cell_of_each_differential_pair_is_at_g_min(weights, mapping):
    conductance = mapping.conductance(weights)
    assert conductance.shape == (weights.shape[0], 2 * weights.shape[1])
    assert (np.minimum(conductance[:, 0::2], conductance[:, 1::2]) == np.float32(mapping.g_min)).all()


def test_a_differential_pair_stands_in_adjacent_columns():
    conductance = DIFFERENTIAL.conductance([[1.0, -0.5]])
    np.testing.assert_allclose(conductance, [[40e-6, 2e-6, 2e-6, 21e-6]], rtol=1e-6)


def test_a_single_cell_goes_from_one_end_of_the_range_to_the_other():
    np.testing.assert_allclose(SINGLE.conductance([[-3.0, 0.0, 3.0]]), [[2e-6, 21e-6, 40e-6]], rtol=1e-6)


def test_a_given_scale_is_siemens_per_unit_of_weight():
    mapping = WeightMapping("differential", 2e-6, 40e-6, scale=10e-6)
    np.testing.assert_allclose(mapping.conductance([[1.0]]), [[12e-6, 2e-6]], rtol=1e-6)
    assert mapping.fitted([[1.0]]) == mapping


def test_a_weight_beyond_a_given_scale_is_named():
    mapping = WeightMapping("differential", 0.0, 40e-6, scale=10e-6)
    sentence = r"^row 1, column 0 \(counting from 0\) is -4\.5: this mapping's scale reaches weights of 4$"
    with pytest.raises(TargetError, match=sentence):
        mapping.conductance([[4.0], [-4.5]])


def test_weights_that_were_not_read_stay_unknown():
    found = DIFFERENTIAL.fitted([[1.0]]).weights([[np.nan, 2e-6, 40e-6, 2e-6]])
    np.testing.assert_allclose(found, [[np.nan, 1.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"kind": "pairs"}, "a mapping is 'single' or 'differential', not 'pairs'"),
        ({"g_min": -1e-6}, "a mapping needs 0 <= g_min < g_max, in S, not g_min -1e-06 and g_max 4e-05"),
        ({"g_max": 1e-6}, "a mapping needs 0 <= g_min < g_max, in S, not g_min 2e-06 and g_max 1e-06"),
        ({"g_max": float("nan")}, "a mapping needs 0 <= g_min < g_max, in S, not g_min 2e-06 and g_max nan"),
        ({"scale": 0.0}, "a mapping's scale is positive, in S per unit of weight, not 0"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(wrong, sentence):
    with pytest.raises(TargetError) as caught:
        WeightMapping(**{"kind": "single", "g_min": 2e-6, "g_max": 40e-6} | wrong)
    assert str(caught.value) == sentence


def test_weights_that_are_all_zero_need_a_scale():
    with pytest.raises(TargetError, match=r"^every weight is zero and sets no scale: give one"):
        SINGLE.conductance([[0.0, 0.0]])
    given_scale = WeightMapping("single", 2e-6, 40e-6, scale=1e-6)
    np.testing.assert_allclose(given_scale.conductance([[0.0]]), 21e-6, rtol=1e-6)


def test_the_way_back_needs_a_scale_and_whole_pairs():
    with pytest.raises(TargetError, match=r"^the mapping has no scale yet"):
        DIFFERENTIAL.weights([[1e-6, 2e-6]])
    with pytest.raises(TargetError, match=r"^differential pairs need an even number of columns, not 3$"):
        DIFFERENTIAL.fitted([[1.0]]).weights([[1e-6, 2e-6, 3e-6]])


# What is refused, and with which sentence


def test_conductances_without_a_unit_are_refused_with_what_to_type(tmp_path):
    np.save(tmp_path / "g.npy", np.ones((2, 2)))
    sentence = "has no unit: add one for conductances, as in --unit uS, or a mapping for weights"
    refused(sentence, tmp_path / "g.npy")


@pytest.mark.parametrize("unit", ["kOhm", "Ω", "siemens", "u", "2 uS", "1", "us", "%"])
def test_what_is_not_a_unit_of_conductance_is_refused(tmp_path, unit):
    np.save(tmp_path / "g.npy", np.ones((2, 2)))
    sentence = f"{unit!r} is not a unit of conductance: write S, mS, uS or nS"
    refused(sentence, tmp_path / "g.npy", unit=unit)


def test_a_unit_against_the_files_own_is_refused(tmp_path):
    np.savez(tmp_path / "g.npz", g=np.ones((2, 2)), units="S")
    refused("says that it is in S, not uS: leave --unit out", tmp_path / "g.npz", unit="uS")


@pytest.mark.parametrize("ending", SAVERS)
@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (np.nan, "nan: every place needs a finite number"),
        (np.inf, "inf: every place needs a finite number"),
        (1e300, "1e+300: every place needs a finite number"),
        (-3.0, "-3 uS: a conductance cannot be negative"),
    ],
)
def test_a_number_that_is_no_conductance_is_named_with_its_place(tmp_path, ending, number, shown):
    matrix = np.ones((3, 4))
    matrix[1, 2] = matrix[2, 0] = number
    SAVERS[ending](tmp_path / f"g{ending}", matrix)
    refused(f"row 1, column 2 (counting from 0) is {shown}", tmp_path / f"g{ending}", unit="uS")


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.ones(4), "has the shape (4,): a target has two dimensions, rows and columns"),
        (np.ones((2, 2, 2)), "has the shape (2, 2, 2): a target has two dimensions, rows and columns"),
        (np.ones((0, 4)), "is empty"),
        (np.ones((2, 2), complex), "holds complex128, not real numbers"),
        (np.array([["a", "b"]]), "holds <U1, not real numbers"),
    ],
)
def test_an_array_that_is_no_matrix_of_numbers_is_refused(tmp_path, array, sentence):
    np.save(tmp_path / "g.npy", array)
    refused(sentence, tmp_path / "g.npy", unit="uS")
    refused(sentence, tmp_path / "g.npy", mapping=SINGLE)


def test_text_in_hdf5_is_refused(tmp_path):
    with h5py.File(tmp_path / "g.h5", "w") as root:
        root["names"] = np.array([[b"a", b"b"]])
    refused("holds |S1, not real numbers", tmp_path / "g.h5", unit="uS")


@pytest.mark.parametrize("ending", [".npz", ".h5"])
def test_a_file_without_a_matrix_says_what_it_holds(tmp_path, ending):
    file = tmp_path / f"g{ending}"
    SAVERS[ending](file, np.ones(3))
    refused("has no array of two dimensions: it holds conductance (3,)", file, unit="uS")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("# notes\n1, 2\n3, four\n", "line 3, field 2: 'four' is not a number"),
        ("left,right\n1,2\n", "line 1, field 1: 'left' is not a number"),
        ("1,2,\n", "line 1, field 3: '' is not a number"),
        ("1 2\n", "line 1, field 1: '1 2' is not a number"),
        ("1,5;2,5\n", "line 1, field 1: '1,5' is not a number"),
        ("# notes\n\n1,2\n3,4\n5\n", "line 5 has 1 numbers where line 3 has 2"),
        ("# notes only\n\n", "is empty"),
        ("", "is empty"),
    ],
)
def test_a_csv_is_refused_with_its_line(tmp_path, text, sentence):
    (tmp_path / "g.csv").write_text(text)
    refused(sentence, tmp_path / "g.csv", unit="uS")


def test_a_csv_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "g.csv").write_bytes(b"\xff\xfe\x00")
    refused("is not a text file that can be read", tmp_path / "g.csv", unit="uS")


@pytest.mark.parametrize("content", [b"", b"1,2\n3,4\n", b"PK\x03\x04 cut short", b"\x93NUMPY\x01"])
@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_a_damaged_numpy_file_is_refused(tmp_path, ending, content):
    (tmp_path / f"g{ending}").write_bytes(content)
    refused("is not a NumPy file of plain numbers", tmp_path / f"g{ending}", unit="uS")


def test_python_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "g.npy", np.array([[object()]]))
    refused("is not a NumPy file of plain numbers", tmp_path / "g.npy", unit="uS")


def test_a_damaged_hdf5_file_is_refused(tmp_path):
    (tmp_path / "g.h5").write_bytes(b"\x89HDF\r\n\x1a\n cut short")
    refused("is not an HDF5 file that can be read", tmp_path / "g.h5", unit="uS")


@pytest.mark.parametrize("ending", [".npy", ".csv"])
def test_nothing_can_be_chosen_from_a_file_of_one_array(tmp_path, ending):
    SAVERS[ending](tmp_path / f"g{ending}", np.ones((2, 2)))
    sentence = "holds one array only, so 'w' cannot be chosen from it"
    refused(sentence, tmp_path / f"g{ending}", unit="uS", dataset="w")


def test_an_unknown_ending_is_refused_with_the_known_ones(tmp_path):
    (tmp_path / "g.mat").write_bytes(b"")
    sentence = "a target file ends in .npy, .npz, .csv, .h5, .hdf5, not '.mat'"
    refused(sentence, tmp_path / "g.mat", unit="uS")


def test_a_missing_file_is_refused_with_where_it_was_looked_for(tmp_path):
    refused(f"no such file in {tmp_path}", tmp_path / "g.npy", unit="uS")


def test_a_sentence_begins_with_the_files_name(tmp_path):
    np.savez(tmp_path / "g.npz", g=np.ones(3))
    with pytest.raises(TargetError, match=r"^g\.npz:g: has the shape"):
        load_target(f"{tmp_path / 'g.npz'}:g", unit="uS")


# A target and its place


def test_a_target_cannot_be_changed_afterwards():
    mine = np.ones((2, 2))
    target = Target(mine, "ones")
    mine[0, 0] = 5
    assert target.conductance[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        target.conductance[0, 0] = 5


@given(rows=st.integers(1, 4), cols=st.integers(1, 6), data=st.data())
def test_a_placed_target_lands_on_its_rows_and_columns(rows, cols, data):
    top = data.draw(st.integers(0, SMALL.rows - rows))
    left = data.draw(st.integers(0, SMALL.cols - cols))
    conductance = np.arange(rows * cols, dtype=np.float32).reshape(rows, cols) * np.float32(1e-6)
    placed = place(Target(conductance, "ramp"), SMALL, within=RANGE, at=(top, left))
    assert placed.cells.dtype == np.uint32
    whole = np.full((SMALL.rows, SMALL.cols), np.nan, np.float32)
    whole.flat[placed.cells] = placed.conductance
    np.testing.assert_array_equal(whole[top : top + rows, left : left + cols], conductance)
    assert np.isfinite(whole).sum() == rows * cols


@pytest.mark.parametrize(
    ("shape", "at", "what_fits"),
    [
        ((5, 6), (0, 0), "give a target of at most 4 x 6"),
        ((4, 7), (0, 0), "give a target of at most 4 x 6"),
        ((6, 3), (0, 0), "give a target of at most 4 x 6, as this one transposed"),
        ((4, 6), (0, 1), "its first cell can be `at` 0,0 to 0,0"),
        ((2, 2), (3, 0), "its first cell can be `at` 0,0 to 2,4"),
        ((1, 1), (-1, 0), "its first cell can be `at` 0,0 to 3,5"),
    ],
)
def test_a_target_that_does_not_fit_is_refused_with_both_sizes(shape, at, what_fits):
    size = f"{shape[0]} x {shape[1]} cells from row {at[0]}, column {at[1]}"
    sentence = f"big: {size} do not fit an array of 4 x 6: {what_fits}"
    with pytest.raises(TargetError) as caught:
        place(Target(np.ones(shape), "big"), SMALL, within=(0, 2), at=at)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(("conductance", "shown"), [(55e-6, "55 uS"), (0.5e-6, "500 nS")])
def test_a_conductance_the_array_cannot_take_is_named_with_its_place(conductance, shown):
    matrix = np.full((2, 3), 10e-6)
    matrix[1, 1] = conductance
    sentence = f"g.npy: row 1, column 1 (counting from 0) is {shown}: the array takes 1 uS to 50 uS"
    with pytest.raises(TargetError) as caught:
        place(Target(matrix, "g.npy"), SMALL, within=(1e-6, 50e-6))
    assert str(caught.value) == sentence


def test_the_ends_of_the_arrays_range_can_be_programmed():
    adc = Scale(step=1e-8, offset=1e-7, bits=12, unit="S")
    low, high = readable_range(adc)
    placed = place(Target(np.array([[low, high]]), "ends"), SMALL, within=(low, high))
    assert adc.codes(placed.conductance).tolist() == [0, adc.top - 1]


def test_importing_targets_does_not_import_hdf5():
    code = "import sys, labctl.targets; sys.exit('h5py' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
