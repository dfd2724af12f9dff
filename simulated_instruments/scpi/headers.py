"""The command tree: which command a program header names.

A pattern is written as manuals write it: `[:SOURce<1:2>]:VOLTage[:LEVel]`. Capitals are the short form,
brackets hold nodes that may be left out, `<first:last>` allows a numeric suffix in that range (1 where none
is sent). Any other node may carry the suffix 1 and no other, as the standard has it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar

from .errors import ScpiError

LONGEST_MNEMONIC = 12
"""Characters of a program mnemonic, and of character data, that the standard allows."""

_PATTERN_NODE = re.compile(r"(\[)?:?(\*?[A-Z][A-Z_]*)([a-z_]*)(?:<(\d+):(\d+)>)?(?(1)\])")
_NUMERIC_SUFFIX = re.compile(r"[0-9]+$")
_LONGEST_SUFFIX = 5
_CACHED_HEADERS = 1024

Leaf = TypeVar("Leaf")


class PatternNode(NamedTuple):
    """One node of a pattern: its two forms in capitals, the suffixes it takes, whether it may be left out."""

    short: str
    long: str
    suffixes: range | None
    optional: bool

    @property
    def default_suffix(self) -> int:
        return 1 if self.suffixes is None or 1 in self.suffixes else self.suffixes.start


def parse_pattern(pattern: str) -> tuple[PatternNode, ...]:
    """The nodes of a pattern. Raises ValueError where it is not one."""
    nodes: list[PatternNode] = []
    position = 0
    while position < len(pattern):
        found = _PATTERN_NODE.match(pattern, position)
        if found is None:
            raise ValueError(f"{pattern!r} is not a command pattern from {pattern[position:]!r} on")
        suffixes = None if found[4] is None else range(int(found[4]), int(found[5]) + 1)
        nodes.append(PatternNode(found[2], (found[2] + found[3]).upper(), suffixes, bool(found[1])))
        position = found.end()
    if all(node.optional for node in nodes):
        raise ValueError(f"{pattern!r} has no node that must be sent")
    return tuple(nodes)


class _TreeNode(Generic[Leaf]):
    def __init__(self, pattern: PatternNode | None = None) -> None:
        self.pattern = pattern
        self.children: dict[str, _TreeNode[Leaf]] = {}
        self.leaf: Leaf | None = None
        self.assemble: Callable[[tuple[int, ...]], tuple[int, ...]] = tuple


class Path(NamedTuple, Generic[Leaf]):
    """Where a message stands: the node that relative headers start from, and the suffixes up to it."""

    node: _TreeNode[Leaf]
    suffixes: tuple[int, ...]


class Match(NamedTuple, Generic[Leaf]):
    """What a header names: the leaf, the suffixes its pattern declares, where the next header starts."""

    leaf: Leaf
    suffixes: tuple[int, ...]
    path: Path[Leaf]


class Tree(Generic[Leaf]):
    """Patterns -> leaves. Fill it with `add`, ask it with `resolve(path, header)`, starting from `root`."""

    def __init__(self) -> None:
        self._root: _TreeNode[Leaf] = _TreeNode()
        self.root: Path[Leaf] = Path(self._root, ())
        self.resolve: Callable[[Path[Leaf], str], Match[Leaf]] = lru_cache(_CACHED_HEADERS)(self._resolve)

    def add(self, pattern: str, leaf: Leaf) -> None:
        """Raises ValueError where the pattern is malformed or collides with another one."""
        nodes = parse_pattern(pattern)
        for kept in _without_optional(nodes):
            end = self._root
            for index in kept:
                end = _child(end, nodes[index], pattern)
            if end.leaf is not None:
                raise ValueError(f"{pattern!r} collides with another command")
            end.leaf = leaf
            end.assemble = _assembler(nodes, kept)

    def _resolve(self, path: Path[Leaf], header: str) -> Match[Leaf]:
        """The leaf that `header` (no question mark) names from `path`. Raises ScpiError -112, -113 or -114.

        A leading colon starts from the root; a common command neither uses nor moves the path.
        """
        common = header.startswith("*")
        start = self.root if common or header.startswith(":") else path
        node, suffixes = start
        parent = start
        for mnemonic in header.lstrip(":").upper().split(":"):
            parent = Path(node, suffixes)
            node, suffix = _step(node, mnemonic, header)
            suffixes = (*suffixes, suffix)
        if node.leaf is None:
            raise ScpiError(-113, header)
        return Match(node.leaf, node.assemble(suffixes), path if common else parent)


def _without_optional(nodes: tuple[PatternNode, ...]) -> Iterator[tuple[int, ...]]:
    """The indices of the nodes that are sent, for every way to leave optional ones out."""
    choices = [(True, False) if node.optional else (True,) for node in nodes]
    for kept in itertools.product(*choices):
        yield tuple(index for index, keep in enumerate(kept) if keep)


def _child(parent: _TreeNode[Leaf], pattern: PatternNode, whole: str) -> _TreeNode[Leaf]:
    """The child that answers to both forms of `pattern`, made where there is none."""
    found = {parent.children.get(pattern.short), parent.children.get(pattern.long)}
    child = found.pop()
    if child is None and not found:
        child = _TreeNode(pattern)
        parent.children[pattern.short] = parent.children[pattern.long] = child
    if found or child is None or child.pattern is None or child.pattern[:3] != pattern[:3]:
        raise ValueError(f"{whole!r}: {pattern.long} has other forms or suffixes in another command")
    return child


def _assembler(nodes: tuple[PatternNode, ...], kept: tuple[int, ...]) -> Callable[[tuple[int, ...]], tuple[int, ...]]:
    """A function from the suffixes of the nodes that were sent to those the pattern declares."""
    slots = [
        (kept.index(index) if index in kept else None, node.default_suffix)
        for index, node in enumerate(nodes)
        if node.suffixes is not None
    ]
    if not slots:
        return lambda _: ()
    return lambda sent: tuple(default if slot is None else sent[slot] for slot, default in slots)


def _step(node: _TreeNode[Leaf], mnemonic: str, header: str) -> tuple[_TreeNode[Leaf], int]:
    """The child of `node` that `mnemonic` (in capitals) names, and its numeric suffix."""
    child = node.children.get(mnemonic)
    if child is not None and child.pattern is not None:
        return child, child.pattern.default_suffix
    digits = _NUMERIC_SUFFIX.search(mnemonic)
    name = mnemonic[: digits.start()] if digits else mnemonic
    child = node.children.get(name)
    if digits is None or child is None or child.pattern is None:
        raise ScpiError(-112 if len(name) > LONGEST_MNEMONIC else -113, header)
    allowed = child.pattern.suffixes or range(1, 2)
    if len(digits[0]) > _LONGEST_SUFFIX or int(digits[0]) not in allowed:
        raise ScpiError(-114, header)
    return child, int(digits[0])
