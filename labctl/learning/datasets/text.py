"""Text as numbers of characters: what each is followed by is what a network is to say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labctl.errors import UsageError
from labctl.learning.datasets.dataset import Dataset
from labctl.learning.datasets.files import check_published, data_folder, digest_of, find_file, read_file, sha256

SOURCE = "tinyshakespeare.txt from github.com/karpathy/char-rnn (its data/tinyshakespeare/input.txt)"
PUBLISHED = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
FOLDERS = ("text", "tinyshakespeare", ".")
NAMES = ("tinyshakespeare.txt", "tinyshakespeare.txt.gz", "input.txt")
TRAINING_SHARE = 0.9
"""The first nine tenths of the text are the training part, the rest is the test."""


def load_text(data: Path | None = None, own: bool = False) -> Dataset:
    """1.1 MB of Shakespeare: inputs (n,) numbers of characters, labels (n,) those of the characters that follow.

    The characters are numbered by their code points, those of the whole text; `extra` has them, in this order, as
    alphabet. own: the file is one's own text, in UTF-8. Raises UsageError for a text too short for two parts, or of one
    character alone.
    """
    path = find_file([data_folder(data, SOURCE) / inner for inner in FOLDERS], NAMES, SOURCE)
    content = read_file(path, SOURCE)
    digest = sha256(content)
    if not own:
        check_published(path, digest, PUBLISHED, SOURCE)
    try:
        text = content.decode()
    except UnicodeDecodeError as problem:
        raise UsageError(f"{path} is not a text in UTF-8: {problem}") from problem
    alphabet, numbers = np.unique(np.array(list(text), "U1"), return_inverse=True)
    end = int(TRAINING_SHARE * len(numbers))
    if len(alphabet) < 2 or min(end, len(numbers) - end) < 2:
        raise UsageError(f"{path} holds {len(text)} characters, {len(alphabet)} different ones: too few to learn from")
    train, test = numbers[:end], numbers[end:]
    return Dataset(
        name="text",
        classes=len(alphabet),
        train_inputs=train[:-1].astype(np.float32),
        train_labels=train[1:].astype(np.int64),
        test_inputs=test[:-1].astype(np.float32),
        test_labels=test[1:].astype(np.int64),
        digest=digest_of([digest, f"{TRAINING_SHARE}"]),
        source="a user's own text" if own else SOURCE,
        extra={"alphabet": alphabet},
    )
