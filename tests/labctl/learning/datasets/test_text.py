"""A text as numbers of characters, each with the one that follows."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from labctl.errors import UsageError
from labctl.learning.datasets import load_dataset

TEXT = "Wer reitet so spät durch Nacht und Wind?\nEs ist der Vater mit seinem Kind;\n" * 3


def write_text(folder: Path, name: str = "tinyshakespeare.txt", content: bytes = TEXT.encode()) -> None:
    folder.mkdir(parents=True)
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


@pytest.mark.parametrize(
    "place", ["text/tinyshakespeare.txt", "text/tinyshakespeare.txt.gz", "tinyshakespeare/input.txt", "input.txt"]
)
def test_ones_own_text_is_read_where_one_says_so(tmp_path: Path, place: str) -> None:
    path = tmp_path / "data" / place
    write_text(path.parent, path.name)
    data = load_dataset("text", tmp_path / "data", own=True)
    alphabet = data.extra["alphabet"]
    assert "".join(alphabet) == "".join(sorted(set(TEXT)))
    assert (data.name, data.classes, data.source) == ("text", len(alphabet), "a user's own text")
    end = int(0.9 * len(TEXT))
    assert "".join(alphabet[data.train_inputs.astype(int)]) == TEXT[: end - 1]
    assert "".join(alphabet[data.train_labels]) == TEXT[1:end]
    assert "".join(alphabet[data.test_inputs.astype(int)]) == TEXT[end:-1]
    assert "".join(alphabet[data.test_labels]) == TEXT[end + 1 :]
    assert (data.train_inputs.dtype, data.train_labels.dtype) == (np.float32, np.int64)


def test_the_digest_is_of_the_text_however_compressed(tmp_path: Path) -> None:
    write_text(tmp_path / "one")
    write_text(tmp_path / "other", "tinyshakespeare.txt.gz")
    write_text(tmp_path / "third", content=TEXT.encode().replace(b"Kind", b"Rind"))
    first, second, third = (
        load_dataset("text", tmp_path / name, own=True).digest for name in ("one", "other", "third")
    )
    assert first == second != third


def test_a_text_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    write_text(tmp_path / "text")
    with pytest.raises(UsageError, match=r"is not what was published .* get tinyshakespeare\.txt from github\.com/"):
        load_dataset("text", tmp_path)


def test_a_folder_without_a_text_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"tinyshakespeare\.txt or .* is missing \(looked in .*text, .*\): get tiny"):
        load_dataset("text", tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe no text", "is not a text in UTF-8"),
        (b"", "holds 0 characters, 0 different ones: too few to learn from"),
        (b"a" * 100, "holds 100 characters, 1 different ones: too few to learn from"),
        (b"abcabcabca", "holds 10 characters, 3 different ones: too few"),  # a tenth of it has no pair for the test
    ],
    ids=["not UTF-8", "empty", "one character", "short"],
)
def test_what_is_no_text_to_learn_from_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    write_text(tmp_path / "text", content=content)
    with pytest.raises(UsageError, match=said):
        load_dataset("text", tmp_path, own=True)


@pytest.mark.skipif("LABCTL_DATA" not in os.environ, reason="needs the data sets: set LABCTL_DATA to their folder")
def test_the_published_text_is_known() -> None:
    data = load_dataset("text")
    assert (data.classes, len(data.train_inputs), len(data.test_inputs)) == (65, 1_003_853, 111_539)
    text = "".join(data.extra["alphabet"][data.train_inputs[:14].astype(int)])
    assert text == "First Citizen:"
    assert set(data.test_labels) <= set(data.train_labels)
