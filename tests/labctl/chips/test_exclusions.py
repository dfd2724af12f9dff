"""What people exclude: a file to read and to edit, written by several at once, and one sentence for every mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.chips import Exclusion
from labctl.chips.exclusions import clear, exclude, exclusions_path, read_exclusions
from labctl.chips.names import safe_serial
from labctl.errors import UsageError

_NUMBERS = st.lists(st.integers(0, 500), max_size=4).map(tuple)


def test_what_was_excluded_is_read_back_and_can_be_taken_back(tmp_path: Path) -> None:
    exclude(tmp_path, "W7/3", Exclusion(because='a "scratch"\nand \\ more\x7f µ', cells=((3, 4), (5, 6)), rows=(17,)))
    exclude(tmp_path, "W7/3", Exclusion(because="bond", cols=(3, 4, 5)))
    first, second = read_exclusions(tmp_path, "W7/3")
    assert (first.because, first.cells, first.rows) == ('a "scratch"\nand \\ more\x7f µ', ((3, 4), (5, 6)), (17,))
    assert (second.cols, bool(second.at)) == ((3, 4, 5), True)
    mask = first.mask(20, 8) | second.mask(20, 8)
    assert mask.sum() == 8 + 3 * 19 + 1
    assert mask[5, 6]
    assert clear(tmp_path, "W7/3", Exclusion(because="", cells=((3, 4),), cols=(4, 5))) == 2
    first, second = read_exclusions(tmp_path, "W7/3")
    assert (first.cells, first.rows, second.cols) == (((5, 6),), (17,), (3,))
    assert clear(tmp_path, "W7/3") == 2
    assert read_exclusions(tmp_path, "W7/3") == ()


@given(
    cells=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=4).map(tuple), rows=_NUMBERS, cols=_NUMBERS
)
def test_a_mask_is_what_its_parts_say(
    cells: tuple[tuple[int, int], ...], rows: tuple[int, ...], cols: tuple[int, ...]
) -> None:
    mask = Exclusion(because="x", cells=cells, rows=rows, cols=cols).mask(501, 501)
    expected = np.zeros((501, 501), bool)
    for row in rows:
        expected[row, :] = True
    for col in cols:
        expected[:, col] = True
    for row, col in cells:
        expected[row, col] = True
    assert np.array_equal(mask, expected)


_MANY = """
import sys
from pathlib import Path
from labctl.chips import Exclusion
from labctl.chips.exclusions import exclude
for row in range(15):
    exclude(Path(sys.argv[1]), "C-1", Exclusion(because=f"by {sys.argv[2]}", rows=(row,)))
"""


def test_two_processes_exclude_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    both = [subprocess.Popen([sys.executable, "-c", _MANY, str(tmp_path), name]) for name in ("one", "two")]
    assert [each.wait(60) for each in both] == [0, 0]
    found = read_exclusions(tmp_path, "C-1")
    assert sorted((each.because, each.rows[0]) for each in found) == [
        (f"by {name}", row) for name in ("one", "two") for row in range(15)
    ]
    assert [each.name for each in (tmp_path / "chips").iterdir() if each.suffix == ".tmp"] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("serial = ", "not TOML"),
        ('serial = "C-2"', r"\$.serial: is 'C-2', but the file's name stands for 'C-1'"),
        ('serial = "C-1"\n[[exclude]]\nrows = [1]', r"missing required field `because`"),
        ('serial = "C-1"\n[[exclude]]\nbecause = "x"\nrows = [-1]', r"\$.exclude\[0\].rows\[0\]: expected `int` >= 0"),
        ('serial = "C-1"\n[[exclude]]\nbecause = "x"\ncolumns = [1]', r"unknown field `columns`"),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence_that_names_it(tmp_path: Path, text: str, said: str) -> None:
    path = exclusions_path(tmp_path, "C-1")
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=rf"C-1.toml: .*{said}"):
        read_exclusions(tmp_path, "C-1")


@pytest.mark.parametrize(
    ("exclusion", "said"),
    [
        (Exclusion(because="x", cells=((8, 0),)), "cell 8,0 is not on an array of 8 x 16"),
        (Exclusion(because="x", rows=(8,)), "row 8 is not on"),
        (Exclusion(because="x", cols=(16,)), "column 16 is not on"),
    ],
)
def test_what_is_not_on_the_chip_is_refused(exclusion: Exclusion, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        exclusion.mask(8, 16)


@given(st.lists(st.text(max_size=80), min_size=2, max_size=6, unique=True))
def test_no_two_serials_share_a_file_and_none_leaves_its_folder(serials: list[str]) -> None:
    names = [safe_serial(each) for each in serials]
    assert len(set(names)) == len(names)
    for name in names:
        assert Path(name).name == name
        assert not name.startswith(".")
        assert name.isascii()
