"""An HTML page as a test reads it: what is in it, whether it is well made, and what its script is given to draw."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

_VOID = {"meta", "img", "input", "br", "hr", "link"}
_LOADING = {"src", "href", "data", "action", "poster", "srcset"}


class ReadPage(HTMLParser):
    """A page read from its text. tags: (name, attributes) in order. problems: tags that do not close as they opened."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = text
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.problems: list[str] = []
        self._open: list[str] = []
        self._scripts: dict[str, str] = {}
        self._words: list[str] = []
        self._cells: list[list[str]] = []
        self.feed(text)
        self.close()
        self.problems += [f"{each} never closed" for each in self._open]

    @classmethod
    def of(cls, path: Path) -> ReadPage:
        return cls(path.read_text(encoding="utf-8"))

    @property
    def text(self) -> str:
        """What a person reads, spaces that do not break as plain ones."""
        return " ".join("".join(self._words).replace("\u00a0", " ").split())

    @property
    def rows(self) -> list[list[str]]:
        """Rows of all tables, as the texts of their cells."""
        return [[cell.strip().replace("\u00a0", " ") for cell in row] for row in self._cells]

    @property
    def data(self) -> Any:
        """What the page's script draws."""
        return json.loads(self._scripts["page-data"])

    @property
    def script(self) -> str:
        return self._scripts[""]

    @property
    def loaded(self) -> list[str]:
        """Whatever the page would ask anyone for: every address that is neither within it nor data."""
        found = [value for _, each in self.tags for name, value in each.items() if name in _LOADING]
        return [each for each in found if not each.startswith(("data:image/png;base64,", "#"))]

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag == "tr":
            self._cells.append([])
        if tag in ("td", "th"):
            self._cells[-1].append("")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.problems.append(f"{tag} closed within {self._open[-1:]}")
            return
        self._open.pop()
        self._words.append(" ")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("script", "style"):
            if self._open[-1] == "script":
                name = self.all("script")[-1].get("id", "")
                self._scripts[name] = self._scripts.get(name, "") + data
            return
        if self._open and self._cells and {"td", "th"} & set(self._open):
            self._cells[-1][-1] += data
        self._words.append(data)
