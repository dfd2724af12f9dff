"""MNIST and Fashion-MNIST: 60,000 + 10,000 grey pictures of 28 x 28 in four idx files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.datasets.dataset import Dataset, Inputs
from labctl.learning.datasets.files import check_published, data_folder, digest_of, find_file, read_file, sha256
from labctl.learning.datasets.idx import decode_idx

Part = Literal["train", "test"]
_PREFIX: dict[Part, str] = {"train": "train", "test": "t10k"}


@dataclass(frozen=True, slots=True)
class ImageSet:
    """One of the sets. folders: where its files may be within the data folder; those of torchvision are among them.

    sha256: of what is inside the .gz, as copies differ in how they were compressed; by the file's name.
    """

    task: str
    folders: tuple[str, ...]
    source: str
    sha256: dict[str, str]


MNIST = ImageSet(
    "mnist",
    ("mnist", "MNIST/raw", "."),
    "MNIST as four idx .gz files, from yann.lecun.com/exdb/mnist or one of its mirrors",
    {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
)
FASHION_MNIST = ImageSet(
    "fashion-mnist",
    ("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", "."),
    "Fashion-MNIST as four idx .gz files, from github.com/zalandoresearch/fashion-mnist",
    {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
)


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """images: (n, height, width) u1. labels: (n,) u1. digests: sha256 of the two files' contents."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    digests: tuple[str, str]


def load_mnist(data: Path | None = None, own: bool = False) -> Dataset:
    """MNIST, inputs (n, 1, 28, 28); `own`: the files are a data set of one's own in the same format."""
    return _load(MNIST, data, own)


def load_fashion_mnist(data: Path | None = None, own: bool = False) -> Dataset:
    """Fashion-MNIST, inputs (n, 1, 28, 28); `own`: the files are a data set of one's own in the same format."""
    return _load(FASHION_MNIST, data, own)


def _load(images: ImageSet, data: Path | None, own: bool) -> Dataset:
    train, test = read_part(images, "train", data, own), read_part(images, "test", data, own)
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = " and ".join("{} x {}".format(*part.images.shape[1:]) for part in (train, test))
        raise UsageError(f"the training and the test pictures of {images.task} are of different sizes, {sizes}")
    classes = 1 + max(int(train.labels.max()), int(test.labels.max()))
    return Dataset(
        name=images.task,
        classes=classes,
        train_inputs=_scaled(train.images),
        train_labels=train.labels.astype(np.int64),
        test_inputs=_scaled(test.images),
        test_labels=test.labels.astype(np.int64),
        digest=digest_of((*train.digests, *test.digests)),
        source=f"a user's own data set in the format of {images.task}" if own else images.source,
    )


def read_part(images: ImageSet, part: Part, data: Path | None = None, own: bool = False) -> Pictures:
    """The training or test part of a set, as bytes.

    data: the folder that holds its folder or its files, plain or .gz; without, what LABCTL_DATA names. Raises
    UsageError unless the files are the published ones, or, where they are one's `own`, pictures and as many labels.
    """
    folder = data_folder(data, images.source)
    found, digests = [], []
    for what, axes in (("images", 3), ("labels", 1)):
        name = f"{_PREFIX[part]}-{what}-idx{axes}-ubyte"
        path = find_file([folder / inner for inner in images.folders], [f"{name}.gz", name], images.source)
        content = read_file(path, images.source)
        digests.append(sha256(content))
        if not own:
            check_published(path, digests[-1], images.sha256[name], images.source)
        try:
            found.append(decode_idx(content, axes))
        except ValueError as problem:
            raise UsageError(f"{path} is not what it should be: {problem}") from problem
    if len(found[0]) != len(found[1]) or not found[0].size:
        raise UsageError(f"{path} holds {len(found[1])} labels for {len(found[0])} pictures")
    return Pictures(found[0], found[1], (digests[0], digests[1]))


def _scaled(images: NDArray[np.uint8]) -> Inputs:
    return images[:, None] * np.float32(1 / 255)
