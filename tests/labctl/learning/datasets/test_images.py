"""MNIST and Fashion-MNIST from their idx files, plain or compressed, in any of the usual folders."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from labctl.errors import UsageError
from labctl.learning.datasets import load_dataset
from labctl.learning.datasets.idx import encode_idx
from labctl.learning.datasets.images import FASHION_MNIST, MNIST, read_part

rng = np.random.default_rng(1)
IMAGES = {
    "train": rng.integers(256, size=(30, 6, 5), dtype=np.uint8),
    "t10k": rng.integers(256, size=(12, 6, 5), dtype=np.uint8),
}
LABELS = {part: (np.arange(len(images)) % 4).astype(np.uint8) for part, images in IMAGES.items()}

needs_data = pytest.mark.skipif(
    "LABCTL_DATA" not in os.environ, reason="needs the data sets: set LABCTL_DATA to their folder"
)


def write_set(folder: Path, *, compressed: bool = True) -> None:
    folder.mkdir(parents=True)
    for part in IMAGES:
        for name, array in (("images-idx3", IMAGES[part]), ("labels-idx1", LABELS[part])):
            content = encode_idx(array)
            path = folder / f"{part}-{name}-ubyte{'.gz' if compressed else ''}"
            path.write_bytes(gzip.compress(content) if compressed else content)


@pytest.mark.parametrize("inner", ["mnist", "MNIST/raw", "."])
@pytest.mark.parametrize("compressed", [True, False])
def test_ones_own_set_in_the_format_is_read_where_one_says_so(tmp_path: Path, inner: str, compressed: bool) -> None:
    write_set(tmp_path / "data" / inner, compressed=compressed)
    data = load_dataset("mnist", tmp_path / "data", own=True)
    assert (data.name, data.classes) == ("mnist", 4)
    assert data.train_inputs.shape == (30, 1, 6, 5)
    assert data.train_inputs.dtype == np.float32
    np.testing.assert_array_equal(np.rint(data.test_inputs[:, 0] * 255), IMAGES["t10k"])
    np.testing.assert_array_equal(data.train_labels, LABELS["train"])
    assert "own" in data.source


def test_the_digest_is_of_the_contents_however_compressed(tmp_path: Path) -> None:
    for name, compressed in (("one", True), ("other", False)):
        write_set(tmp_path / name, compressed=compressed)
    first, second = (load_dataset("mnist", tmp_path / name, own=True).digest for name in ("one", "other"))
    assert first == second
    path = tmp_path / "other" / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1] + b"\3" if LABELS["t10k"][-1] != 3 else path.read_bytes()[:-1] + b"\2")
    assert load_dataset("mnist", tmp_path / "other", own=True).digest != first


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_set(tmp_path / "fashion_mnist")
    monkeypatch.setenv("LABCTL_DATA", str(tmp_path))
    assert load_dataset("fashion-mnist", own=True).name == "fashion-mnist"


def test_without_a_folder_one_sentence_says_how_to_name_one_and_where_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LABCTL_DATA", raising=False)
    with pytest.raises(UsageError, match=r"--data DIR or in LABCTL_DATA, and get MNIST .* from yann\.lecun\.com"):
        load_dataset("mnist")


def test_a_folder_that_is_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        load_dataset("mnist", tmp_path / "nowhere")
    monkeypatch.setenv("LABCTL_DATA", str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match=r"LABCTL_DATA names .*nothing, which is not a folder"):
        load_dataset("mnist")


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    write_set(tmp_path / "mnist")
    (tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        UsageError, match=r"t10k-labels-idx1-ubyte\.gz or .* is missing \(looked in .*/mnist, .*: get MNIST"
    ):
        load_dataset("mnist", tmp_path, own=True)


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path / "mnist")
    with pytest.raises(UsageError, match=r"is not what was published \(its sha256 .* or say that it is your own"):
        load_dataset("mnist", tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"not gzip", gzip.compress(bytes(5000))[:-12], gzip.compress(bytes(99))[:5]],
    ids=["not gzip", "cut at the end", "cut in its header"],
)
def test_what_is_no_whole_gz_is_refused(tmp_path: Path, content: bytes) -> None:
    write_set(tmp_path / "mnist")
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(UsageError, match=r"is not a whole \.gz file"):
        load_dataset("mnist", tmp_path, own=True)


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path / "mnist")
    path = tmp_path / "mnist" / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(encode_idx(LABELS["train"][:-1])))
    with pytest.raises(UsageError, match="holds 29 labels for 30 pictures"):
        load_dataset("mnist", tmp_path, own=True)
    path.write_bytes(gzip.compress(encode_idx(LABELS["train"]))[:])
    wider = np.zeros((12, 6, 7), np.uint8)
    (tmp_path / "mnist" / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(encode_idx(wider)))
    with pytest.raises(UsageError, match="of different sizes, 6 x 5 and 6 x 7"):
        load_dataset("mnist", tmp_path, own=True)
    path.write_bytes(gzip.compress(encode_idx(IMAGES["train"])))
    with pytest.raises(UsageError, match="is not what it should be: 3 axes instead of 1"):
        load_dataset("mnist", tmp_path, own=True)


def test_unknown_tasks_and_options_are_refused_with_those_there_are() -> None:
    with pytest.raises(
        UsageError, match="no task 'cifar': choose one of fashion-mnist, mnist, spoken-digits, text, vessels"
    ):
        load_dataset("cifar")
    with pytest.raises(UsageError, match="mnist has no option 'split': it has own"):
        load_dataset("mnist", split="official")


@needs_data
@pytest.mark.parametrize("task", ["mnist", "fashion-mnist"])
def test_the_published_files_are_known(task: str) -> None:
    data = load_dataset(task)
    assert data.train_inputs.shape == (60_000, 1, 28, 28)
    assert data.test_inputs.shape == (10_000, 1, 28, 28)
    assert (data.classes, data.train_inputs.min(), data.train_inputs.max()) == (10, 0, 1)
    counts = np.bincount(data.train_labels)
    assert counts.sum() == 60_000
    if task == "fashion-mnist":
        np.testing.assert_array_equal(counts, 6_000)


@needs_data
def test_one_set_is_not_taken_for_the_other() -> None:
    for images, other in ((MNIST, FASHION_MNIST), (FASHION_MNIST, MNIST)):
        folder = next(folder for inner in other.folders if (folder := Path(os.environ["LABCTL_DATA"]) / inner).is_dir())
        with pytest.raises(UsageError, match="is not what was published"):
            read_part(images, "test", folder)
