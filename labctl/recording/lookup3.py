"""The checksum that HDF5 ends its metadata with: Bob Jenkins' hash lookup3 (2006, http://burtleburtle.net/bob/c/lookup3.c)."""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF
_MIX = (4, 6, 8, 16, 19, 4)
_FINAL = (14, 11, 25, 16, 4, 14, 24)


def lookup3(content: bytes) -> int:
    """`hashlittle` of `content`, whose length is a multiple of four and not 0, from the initial value 0."""
    words = struct.unpack(f"<{len(content) // 4}I", content)
    state = [(0xDEADBEEF + len(content)) & _MASK] * 3
    last = (len(words) - 1) // 3 * 3
    for first in range(0, last, 3):
        _add(state, words[first : first + 3])
        for turn, bits in enumerate(_MIX):
            into, of, plus = turn % 3, (turn + 2) % 3, (turn + 1) % 3
            state[into] = (state[into] - state[of]) & _MASK ^ _rotated(state[of], bits)
            state[of] = (state[of] + state[plus]) & _MASK
    _add(state, words[last:])
    for turn, bits in enumerate(_FINAL):
        into, of = (turn + 2) % 3, (turn + 1) % 3
        state[into] = ((state[into] ^ state[of]) - _rotated(state[of], bits)) & _MASK
    return state[2]


def _add(state: list[int], words: tuple[int, ...]) -> None:
    for place, word in enumerate(words):
        state[place] = (state[place] + word) & _MASK


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _MASK
