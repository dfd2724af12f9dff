"""The judge of generated pictures: sure of what it knows, not of noise, and not content with one kind."""

from __future__ import annotations

import numpy as np
import pytest
from small_digits import write_small_digits

from labctl.errors import UsageError
from labctl.learning.datasets import Dataset, load_dataset
from labctl.learning.trainable.judge import Judge


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset("mnist", write_small_digits(tmp_path_factory.mktemp("data"), train=3000), own=True)


@pytest.fixture(scope="module")
def judge(data: Dataset) -> Judge:
    return Judge(data.train_inputs, data.train_labels, data.classes, seed=1)


def test_real_pictures_are_sure_and_various(data: Dataset, judge: Judge) -> None:
    verdict = judge.judge(data.test_inputs)
    assert verdict.score > 0.9
    assert verdict.balance > 0.98
    assert 3.5 < verdict.inception <= 4
    assert (verdict.labels == data.test_labels).mean() > 0.95


def test_what_is_half_one_and_half_another_is_nothing_to_be_sure_of(data: Dataset, judge: Judge) -> None:
    one, other = (data.test_inputs[data.test_labels == label][:40, 0] for label in (0, 1))
    assert judge.judge((one + other) / 2).score < 0.6


def test_pictures_of_one_kind_are_sure_but_not_various(data: Dataset, judge: Judge) -> None:
    verdict = judge.judge(data.test_inputs[data.test_labels == 2][:, 0])
    assert verdict.score > 0.9
    assert verdict.balance < 0.2
    assert verdict.inception < 1.3


def test_half_the_kinds_are_half_the_score(data: Dataset, judge: Judge) -> None:
    one, other = (np.flatnonzero(data.test_labels == label)[:30] for label in (0, 3))
    verdict = judge.judge(data.test_inputs[np.concatenate([one, other])])
    assert verdict.balance == pytest.approx(0.5, abs=0.1)  # ln 2 / ln 4
    assert verdict.inception == pytest.approx(2, abs=0.3)


def test_a_seed_makes_the_same_judge(data: Dataset, judge: Judge) -> None:
    again = Judge(data.train_inputs, data.train_labels, data.classes, seed=1).judge(data.test_inputs)
    assert again.inception == judge.judge(data.test_inputs).inception


def test_pictures_it_cannot_judge_are_refused(data: Dataset, judge: Judge) -> None:
    with pytest.raises(UsageError, match="samples of 100 values"):
        judge.judge(np.zeros((3, 10, 10), np.float32))
    with pytest.raises(UsageError, match="no sample"):
        judge.judge(np.zeros((0, 12, 12), np.float32))
    with pytest.raises(UsageError, match="batches of 100 samples"):
        Judge(data.train_inputs[:50], data.train_labels[:50], 4, seed=1)
    with pytest.raises(UsageError, match="one class"):
        Judge(data.train_inputs, np.zeros(3000, np.int64), 1, seed=1)
