"""Spoken digits from an archive and from recordings, split by takes and by speakers."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import numpy as np
import pytest

from labctl.errors import UsageError
from labctl.learning.datasets import load_dataset
from labctl.learning.datasets.spoken_digits import find_clips

RATE = 8000
SPEAKERS = ("anna", "bert", "cleo")
NAMES = [(digit, speaker, take) for digit in range(3) for speaker in SPEAKERS for take in (0, 4, 5, 11)]


def clip(digit: int, speaker: str, take: int) -> np.ndarray:
    rng = np.random.default_rng([digit, SPEAKERS.index(speaker), take])
    length = int(rng.integers(1500, 3000))
    sound = 6000 * np.sin(2 * np.pi * (400 + 900 * digit) * np.arange(length) / RATE)
    return (sound + rng.normal(0, 300, length)).astype(np.int16)


def write_recording(path: Path, samples: np.ndarray, *, rate: int = RATE, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def write_recordings(folder: Path) -> None:
    for name in NAMES:
        write_recording(folder / "{}_{}_{}.wav".format(*name), clip(*name))


def archive(**changed: object) -> dict[str, object]:
    pieces = [clip(*name) for name in NAMES]
    digit, speaker, take = zip(*NAMES, strict=True)
    whole = {
        "pcm": np.concatenate(pieces),
        "offsets": np.cumsum([0, *map(len, pieces)]),
        "label": np.array(digit, np.uint8),
        "speaker": np.array(speaker, "U8"),
        "index": np.array(take, np.uint8),
        "rate": np.int32(RATE),
    }
    return {**whole, **changed}


def write_archive(path: Path, **changed: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **archive(**changed))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    write_recordings(tmp_path / "recordings")
    return tmp_path


def test_the_official_test_is_the_first_five_takes(recordings: Path) -> None:
    data = load_dataset("spoken-digits", recordings, own=True)
    assert data.train_inputs.shape == data.test_inputs.shape == (18, 1, 23, 20)
    assert data.train_inputs.dtype == np.float32
    assert (data.train_inputs.min(), data.train_inputs.max(), data.classes) == (0, 1, 3)
    assert set(data.extra["test_take"]) == {0, 4}
    assert set(data.extra["train_take"]) == {5, 11}
    np.testing.assert_array_equal(data.test_labels[:3], [0, 1, 2])  # the first are of all digits


def test_a_speaker_is_held_out(recordings: Path) -> None:
    data = load_dataset("spoken-digits", recordings, split="speaker:bert", own=True)
    assert set(data.extra["test_speaker"]) == {"bert"}
    assert set(data.extra["train_speaker"]) == {"anna", "cleo"}
    assert (len(data.test_labels), len(data.train_labels)) == (12, 24)


def test_digits_of_other_speakers_are_alike_in_their_features(recordings: Path) -> None:
    data = load_dataset("spoken-digits", recordings, split="speaker:bert", own=True)
    train, test = (inputs.reshape(len(inputs), -1) for inputs in (data.train_inputs, data.test_inputs))
    nearest = np.linalg.norm(test[:, None] - train, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(data.train_labels[nearest], data.test_labels)


def test_the_range_is_that_of_the_training_clips(recordings: Path) -> None:
    first = load_dataset("spoken-digits", recordings, split="speaker:bert", own=True)
    for digit in range(3):
        for take in (0, 4, 5, 11):
            path = recordings / "recordings" / f"{digit}_bert_{take}.wav"
            write_recording(path, clip(digit, "anna", 7))
    again = load_dataset("spoken-digits", recordings, split="speaker:bert", own=True)
    np.testing.assert_array_equal(again.train_inputs, first.train_inputs)
    assert again.digest != first.digest


def test_an_archive_holds_the_same_as_the_recordings(recordings: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "other" / "fsdd" / "fsdd.npz")
    one = load_dataset("spoken-digits", recordings, own=True)
    other = load_dataset("spoken-digits", tmp_path / "other", own=True)
    np.testing.assert_array_equal(one.train_inputs, other.train_inputs)
    np.testing.assert_array_equal(one.test_labels, other.test_labels)
    assert one.digest == other.digest


def test_the_digest_tells_splits_apart(recordings: Path) -> None:
    splits = ("official", "speaker:anna", "speaker:bert")
    assert len({load_dataset("spoken-digits", recordings, split=split, own=True).digest for split in splits}) == 3


def test_other_clips_than_the_published_are_refused_unless_they_are_ones_own(recordings: Path) -> None:
    with pytest.raises(UsageError, match=r"recordings is not what was published .* or say that it is your own"):
        load_dataset("spoken-digits", recordings)


def test_missing_clips_say_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"neither fsdd\.npz nor recordings like .*: get the Free Spoken Digit Dataset"
    ):
        load_dataset("spoken-digits", tmp_path)


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("speaker:dora", "no speaker 'dora': choose one of anna, bert, cleo"),
        ("random", "no split 'random': write official, or speaker:NAME"),
    ],
)
def test_an_unknown_split_is_refused(recordings: Path, split: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_dataset("spoken-digits", recordings, split=split, own=True)


def test_a_split_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    write_recording(tmp_path / "3_anna_2.wav", clip(0, "anna", 0))
    with pytest.raises(UsageError, match="leaves 0 clips for training and 1 for the test"):
        load_dataset("spoken-digits", tmp_path, own=True)


def test_recordings_of_another_form_are_refused(recordings: Path) -> None:
    path = recordings / "recordings" / "1_anna_5.wav"
    write_recording(path, clip(1, "anna", 5), channels=2)
    with pytest.raises(UsageError, match=r"1_anna_5\.wav has 2 channels of 16 bits, not one of 16"):
        find_clips(recordings)
    write_recording(path, clip(1, "anna", 5), rate=16000)
    with pytest.raises(UsageError, match=r"not of one sampling rate: .* 8000 Hz and 1_anna_5\.wav has 16000 Hz"):
        find_clips(recordings)
    path.write_bytes(b"RIFF")
    with pytest.raises(UsageError, match=r"1_anna_5\.wav is not a readable wav file"):
        find_clips(recordings)
    write_recording(path, clip(1, "anna", 5))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"1_anna_5\.wav is cut off: it holds \d+ of \d+ samples"):
        find_clips(recordings)
    path.rename(path.with_name("one_anna_5.wav"))
    with pytest.raises(UsageError, match=r"one_anna_5\.wav is not named digit_speaker_take\.wav"):
        find_clips(recordings)


@pytest.mark.parametrize(
    "changed",
    [
        {"offsets": np.array([0, 5, 5])},
        {"label": np.zeros(3, np.uint8)},
        {"pcm": np.zeros(7, np.int16)},
        {"pcm": np.zeros(7, np.float32)},
        {"speaker": np.array([None] * 36)},
    ],
)
def test_an_archive_that_does_not_fit_together_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    write_archive(tmp_path / "fsdd.npz", **changed)
    with pytest.raises(UsageError, match=r"fsdd\.npz is not an archive of spoken digits"):
        find_clips(tmp_path)


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    write_archive(tmp_path / "fsdd.npz")
    whole = (tmp_path / "fsdd.npz").read_bytes()
    for content in (b"", b"no archive", whole[: len(whole) // 2], whole[:200] + bytes(400) + whole[600:]):
        (tmp_path / "fsdd.npz").write_bytes(content)
        with pytest.raises(UsageError, match=r"fsdd\.npz is not an archive of spoken digits"):
            find_clips(tmp_path)


@pytest.mark.skipif("LABCTL_DATA" not in os.environ, reason="needs the data sets: set LABCTL_DATA to their folder")
def test_the_published_clips_are_known_and_split_as_published() -> None:
    data = load_dataset("spoken-digits")
    assert data.train_inputs.shape == (2700, 1, 23, 20)
    assert data.test_inputs.shape == (300, 1, 23, 20)
    np.testing.assert_array_equal(np.bincount(data.test_labels), 30)
    held = load_dataset("spoken-digits", split="speaker:theo")
    assert len(held.test_labels) == 500
    assert "theo" not in held.extra["train_speaker"]
