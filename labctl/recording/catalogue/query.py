"""What is asked of a catalogue."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labctl.errors import UsageError
from labctl.recording.catalogue.conditions import Condition, paths
from labctl.recording.catalogue.entries import Entry


@dataclass(frozen=True, slots=True)
class Query:
    """Which runs are wanted: those that fit all that is said.

    chip, protocol, measurement, operator: `*` stands for any text, `?` for one character; `-` and `_` are the same
    in protocols and measurements. since, until: s since 1970 by the clock on the wall, when they started.
    tags: all of them. where: conditions, or text that `Condition.parse` takes. text: words or phrases that all stand
    somewhere in what the run says of itself and what people said of it, in whatever case.
    """

    chip: str | None = None
    protocol: str | None = None
    measurement: str | None = None
    outcome: str | None = None
    operator: str | None = None
    since: float | None = None
    until: float | None = None
    tags: Sequence[str] = ()
    where: Sequence[str | Condition] = ()
    text: str | Sequence[str] = ()

    def select(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those of the `entries` that are wanted, in their order.

        Raises UsageError for a condition that cannot be one, or on what no run has.
        """
        conditions = [Condition.parse(each) if isinstance(each, str) else each for each in self.where]
        found = [entry for entry in entries if self._fits(entry)]
        for condition in conditions:
            if found and not any(condition.concerns(entry) for entry in found):
                raise UsageError(_nowhere(condition.path, found))
        return [entry for entry in found if all(condition.holds(entry) for condition in conditions)]

    def _fits(self, entry: Entry) -> bool:
        return (
            _like(self.chip, entry.chip_serial)
            and _like(_underscored(self.protocol), _underscored(entry.protocol))
            and _like(_underscored(self.measurement), _underscored(entry.measurement))
            and _like(self.operator, entry.operator)
            and self.outcome in (None, entry.outcome)
            and (self.since is None or entry.started >= self.since)
            and (self.until is None or entry.started < self.until)
            and set(self.tags) <= set(entry.tags)
            and self._says(entry)
        )

    def _says(self, entry: Entry) -> bool:
        phrases = (self.text,) if isinstance(self.text, str) else self.text
        if not any(phrases):
            return True
        own = (entry.path.name, entry.protocol, entry.title, entry.outcome, entry.message, entry.note, *entry.tags)
        said = "\n".join((*own, *map(str, entry.attributes.values()))).casefold()
        return all(phrase.casefold() in said for phrase in phrases)


def _like(pattern: str | None, said: str | None) -> bool:
    if pattern is None or pattern == said:
        return True
    if said is None or not {"*", "?"} & set(pattern):
        return False
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, said, re.DOTALL) is not None


def _underscored(name: str | None) -> str | None:
    return None if name is None else name.replace("-", "_")


def _nowhere(path: str, entries: Iterable[Entry]) -> str:
    known = set().union(*(paths(entry) for entry in entries))
    close = difflib.get_close_matches(path, known, n=3)
    meant = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"none of these runs has a setting or result called {path}{meant}"
