"""The Free Spoken Digit Dataset: 3,000 clips of six speakers at 8 kHz, as pictures of 23 mel bands x 20 frames."""

from __future__ import annotations

import re
import wave
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labctl.errors import UsageError
from labctl.learning.datasets.dataset import Dataset
from labctl.learning.datasets.files import check_published, data_folder, digest_of, sha256
from labctl.learning.datasets.filter_bank import Features, FilterBank

SOURCE = "the Free Spoken Digit Dataset from github.com/Jakobovski/free-spoken-digit-dataset (its folder recordings)"
PUBLISHED = "a248eea3ba1913d50661dcc6a5ca202e65226d24a5496b837f2654e3d3d6882e"
"""Digest of the clips as published, however they are stored."""
ARCHIVE = "fsdd.npz"
FOLDERS = ("fsdd", "fsdd/recordings", "free-spoken-digit-dataset/recordings", "recordings", ".")
OFFICIAL_TEST_TAKES = 5
"""The first takes of every speaker and digit are the official test part."""

_NAME = re.compile(r"(\d+)_(.+)_(\d+)\.wav")
_PARTS = ("pcm", "offsets", "label", "speaker", "index", "rate")


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Recordings by take, then speaker, then digit: the first of them are of all digits.

    samples: all of them, one after the other, i2. offsets: (n + 1,) i8, where each begins and the last ends. digit,
    take: (n,) i8. speaker: (n,) text. rate: Hz.
    """

    samples: NDArray[np.int16]
    offsets: NDArray[np.int64]
    digit: NDArray[np.int64]
    speaker: NDArray[np.str_]
    take: NDArray[np.int64]
    rate: int

    @property
    def digest(self) -> str:
        """sha256 over the clips' names, lengths and samples: the same from recordings and from an archive of them."""
        rows = zip(self.digit, self.speaker, self.take, np.diff(self.offsets), strict=True)
        names = [f"{digit}_{speaker}_{take} {length}" for digit, speaker, take, length in rows]
        return digest_of([str(self.rate), *names, sha256(self.samples.astype("<i2").tobytes())])


def load_spoken_digits(data: Path | None = None, split: str = "official", own: bool = False) -> Dataset:
    """Spoken digits: inputs (n, 1, 23, 20), bands by frames; `extra` has the speakers and takes of both parts.

    split: "official" (takes 0 to 4 are the test), or "speaker:NAME" (that one's clips are). own: the clips are one's
    own in the same format. The range of each band is that of the training clips, its outermost 1 % cut off.
    """
    folder = data_folder(data, SOURCE)
    clips, where = find_clips(folder)
    digest = clips.digest
    if not own:
        check_published(where, digest, PUBLISHED, SOURCE)
    test = _test_part(clips, split)
    train = ~test
    bank = FilterBank()
    inputs = _scaled(bank.levels(clips.samples, clips.offsets, clips.rate), train)[:, None]
    return Dataset(
        name="spoken-digits",
        classes=1 + int(clips.digit.max()),
        train_inputs=inputs[train],
        train_labels=clips.digit[train],
        test_inputs=inputs[test],
        test_labels=clips.digit[test],
        digest=digest_of([digest, split, repr(bank)]),
        source=f"a user's own recordings in the format of {ARCHIVE}" if own else SOURCE,
        extra={
            "train_speaker": clips.speaker[train],
            "test_speaker": clips.speaker[test],
            "train_take": clips.take[train],
            "test_take": clips.take[test],
        },
    )


def find_clips(folder: Path) -> tuple[Clips, Path]:
    """The clips under `folder`, from fsdd.npz or from recordings digit_speaker_take.wav, and where they were found.

    Raises UsageError where there is neither, or what there is cannot be read.
    """
    for inner in FOLDERS:
        place = folder / inner
        if (place / ARCHIVE).is_file():
            return read_archive(place / ARCHIVE), place / ARCHIVE
        recordings = sorted(place.glob("*_*_*.wav")) if place.is_dir() else []
        if recordings:
            return read_recordings(recordings), place
    raise UsageError(
        f"neither {ARCHIVE} nor recordings like 7_jackson_32.wav are in {folder} or its folders "
        f"{', '.join(FOLDERS[:-1])}: get {SOURCE}"
    )


def read_archive(path: Path) -> Clips:
    """Clips from an .npz of pcm, offsets, label, speaker, index and rate."""
    try:
        with zipfile.ZipFile(path) as packed:
            damaged = packed.testzip()  # numpy's reader fails in too many ways on what is damaged
        if damaged is not None:
            raise zipfile.BadZipFile(f"{damaged} in it is damaged")
        with np.load(path, allow_pickle=False) as stored:
            pcm, offsets, label, speaker, index, rate = (stored[name] for name in _PARTS)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as problem:
        raise UsageError(f"{path} is not an archive of spoken digits ({problem}): get {SOURCE}") from problem
    count = len(offsets) - 1 if offsets.ndim == 1 else -1
    fits = pcm.ndim == 1 and pcm.dtype == np.int16 and rate.ndim == 0 and offsets.dtype.kind in "iu"
    fits = fits and all(each.shape == (count,) for each in (label, speaker, index))
    if not fits or offsets[0] != 0 or offsets[-1] != len(pcm) or np.any(np.diff(offsets) <= 0):
        raise UsageError(f"{path} is not an archive of spoken digits: its clips and their labels do not fit together")
    pieces = np.split(pcm, offsets[1:-1])
    return _ordered(pieces, label.astype(np.int64), speaker.astype(np.str_), index.astype(np.int64), int(rate))


def read_recordings(paths: list[Path]) -> Clips:
    """Clips from wav files named digit_speaker_take.wav, all of one rate, mono and of 16 bits."""
    pieces, names, rates = [], [], {}
    for path in paths:
        found = _NAME.fullmatch(path.name)
        if found is None:
            raise UsageError(f"{path} is not named digit_speaker_take.wav, like 7_jackson_32.wav")
        piece, rate = _read_wave(path)
        pieces.append(piece)
        names.append(found.groups())
        rates[rate] = path
    if len(rates) > 1:
        said = " and ".join(f"{path.name} has {rate} Hz" for rate, path in list(rates.items())[:2])
        raise UsageError(f"the recordings in {paths[0].parent} are not of one sampling rate: {said}")
    digits, speakers, takes = zip(*names, strict=True)
    return _ordered(
        pieces, np.array(digits, np.int64), np.array(speakers), np.array(takes, np.int64), next(iter(rates))
    )


def _read_wave(path: Path) -> tuple[NDArray[np.int16], int]:
    try:
        with wave.open(str(path), "rb") as file:
            form = file.getnchannels(), file.getsampwidth()
            samples, rate, length = file.readframes(file.getnframes()), file.getframerate(), file.getnframes()
    except (OSError, EOFError, wave.Error) as problem:
        raise UsageError(f"{path} is not a readable wav file: {problem or 'it is cut off'}") from problem
    if form != (1, 2):
        raise UsageError(f"{path} has {form[0]} channels of {8 * form[1]} bits, not one of 16")
    if not length or len(samples) != 2 * length:
        raise UsageError(f"{path} is cut off: it holds {len(samples) // 2} of {length} samples")
    return np.frombuffer(samples, "<i2").astype(np.int16), rate


def _ordered(
    pieces: list[NDArray[np.int16]],
    digit: NDArray[np.int64],
    speaker: NDArray[np.str_],
    take: NDArray[np.int64],
    rate: int,
) -> Clips:
    order = np.lexsort((digit, speaker, take))
    offsets = np.cumsum([0, *(len(pieces[each]) for each in order)], dtype=np.int64)
    samples = np.concatenate([pieces[each] for each in order])
    return Clips(samples, offsets, digit[order], speaker[order], take[order], rate)


def _test_part(clips: Clips, split: str) -> NDArray[np.bool_]:
    """(n,) which clips are the test; raises UsageError unless `split` leaves some for both parts."""
    kind, _, name = split.partition(":")
    if split == "official":
        test = clips.take < OFFICIAL_TEST_TAKES
    elif kind == "speaker":
        test = clips.speaker == name
        if not test.any():
            raise UsageError(f"there is no speaker {name!r}: choose one of {', '.join(np.unique(clips.speaker))}")
    else:
        raise UsageError(f"there is no split {split!r}: write official, or speaker:NAME")
    if test.all() or not test.any():
        raise UsageError(f"the split {split} leaves {np.sum(~test)} clips for training and {np.sum(test)} for the test")
    return np.asarray(test)


def _scaled(levels: Features, train: NDArray[np.bool_]) -> Features:
    """`levels` (n, bands, frames) from 0 to 1 within the range of each band in training."""
    low, high = np.percentile(levels[train], [1, 99], axis=(0, 2)).astype(np.float32)[:, :, None]
    span = np.where(high > low, high - low, np.float32(1))
    scaled: Features = np.clip((levels - low) / span, np.float32(0), np.float32(1))
    return scaled
