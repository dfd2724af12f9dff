"""Reads run files for another process, which sends lists of paths and gets lists of what was read, both pickled."""

from __future__ import annotations

import pickle
import sys

from labctl.recording.catalogue.reading import read_file


def main() -> None:
    """Until nobody sends any more."""
    while True:
        try:
            paths = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump([read_file(path) for path in paths], sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
