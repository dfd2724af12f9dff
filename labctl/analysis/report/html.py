"""A page as one HTML file that needs nothing else: elements are built as a tree, so whatever a run says is text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any
from xml.etree.ElementTree import Element, tostring

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex

from labctl.analysis.report.content import (
    GENERATOR,
    Axis,
    Block,
    Chart,
    Layer,
    Maps,
    Page,
    Picture,
    Section,
    Series,
    Table,
    Terms,
)
from labctl.analysis.report.packing import pack_codes, pack_numbers
from labctl.analysis.report.words import MICRO, quantity

_UP, _SIGNED = "viridis", "cividis"
"""Colours that get lighter all the way, so that they are right in grey too."""

_PREFIXED = {"S": (MICRO, "µS"), "A": (MICRO, "µA")}
_MOST_SIGNED = 0.95  # of the values of a signed map, that its colours span
_KEPT_OUT = 0.001  # of the values on either side, that do not choose the colours
_WORDS_OF_STATE = {"killed": "broken", "failed": "broken", "interrupted": "going", "live": "going"}
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")


@dataclass(slots=True)
class _Data:
    """What the page's script draws, in the order of the places it draws into."""

    charts: list[dict[str, Any]] = field(default_factory=list)
    maps: list[dict[str, Any]] = field(default_factory=list)


def render(page: Page) -> str:
    """The page as HTML text; the same for the same page, whenever it is made."""
    data = _Data()
    sections = [_section(each, data) for each in page.sections if each.blocks]
    body = element(
        "body",
        element("a", "To the content", class_="skip", href="#content"),
        _header(page),
        element("main", *_summary(page), *sections, id="content"),
        element("footer", element("p", f"Made by labctl {version('labctl')} from {page.source}.")),
        element("div", "", id="tip", hidden="hidden"),
        _data_element(data),
        _script_element(),
    )
    root = element("html", _head(page), body, lang="en")
    return "<!DOCTYPE html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def element(tag: str, *children: Element | str, **attributes: str) -> Element:
    """An element with text and elements in it; `class_` stands for `class`, `aria_label` for `aria-label`."""
    made = Element(tag, {name.rstrip("_").replace("_", "-"): printable(value) for name, value in attributes.items()})
    last: Element | None = None
    for child in children:
        if isinstance(child, Element):
            made.append(child)
            last = child
        elif last is None:
            made.text = (made.text or "") + printable(child)
        else:
            last.tail = (last.tail or "") + printable(child)
    return made


def printable(text: str) -> str:
    """`text` without control characters, and of characters that UTF-8 has."""
    return _UNPRINTABLE.sub("\ufffd", text.encode("utf-8", "replace").decode("utf-8"))


def _head(page: Page) -> Element:
    """The policy lets nothing be loaded and no other script run, should something of a run pass for one."""
    digest = base64.b64encode(hashlib.sha256(_asset("page.js").encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="generator", content=f"{GENERATOR} {version('labctl')}"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{page.title} · {page.subtitle}"),
        element("style", "\n" + _asset("page.css")),
    )


def _header(page: Page) -> Element:
    state = f"state {_WORDS_OF_STATE.get(page.state, '')}".strip()
    badge = [element("span", page.state, class_=state)] if page.state else []
    links = [element("li", element("a", each.title, href=f"#{each.key}")) for each in page.sections if each.blocks]
    return element(
        "header",
        element("h1", page.title, *badge),
        element("p", page.subtitle, class_="subtitle"),
        element("nav", element("ul", *links), aria_label="Sections"),
    )


def _summary(page: Page) -> list[Element]:
    found = [element("p", page.sentence, class_="sentence")]
    if page.doubts:
        points = element("ul", *(element("li", each) for each in page.doubts))
        found.append(
            element(
                "section", element("h2", "Warnings", id="warnings"), points, class_="doubts", aria_labelledby="warnings"
            )
        )
    if page.cards:
        found.append(element("ul", *map(_card, page.cards), class_="cards", aria_label="Key figures, 95 % intervals"))
    return found


def _card(card: Any) -> Element:
    lines = [element("span", card.label, class_="label"), element("span", card.value, class_="value")]
    if card.interval:
        lines.append(element("span", f"95 %: {card.interval}", class_="interval"))
    if card.note:
        lines.append(element("span", card.note, class_="interval"))
    return element("li", *lines)


def _section(section: Section, data: _Data) -> Element:
    heading = element("h2", section.title, id=section.key)
    blocks = [_block(each, data) for each in section.blocks]
    return element("section", heading, element("div", *blocks, class_="blocks"), aria_labelledby=section.key)


def _block(block: Block, data: _Data) -> Element:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Terms):
        return _terms(block)
    if isinstance(block, Chart):
        return _chart(block, data)
    if isinstance(block, Maps):
        return _maps(block, data)
    if isinstance(block, Picture):
        return _picture(block)
    return element("p", block.text, class_="whole")


def _table(table: Table) -> Element:
    numeric = set(table.numeric)
    kind = [{"class_": "number"} if column in numeric else {} for column in range(len(table.head))]
    head = element("tr", *(element("th", each, scope="col", **kind[k]) for k, each in enumerate(table.head)))
    rows = [
        element(
            "tr",
            *(
                element("td", each, **kind[k]) if k else element("th", each, scope="row", **kind[k])
                for k, each in enumerate(row)
            ),
        )
        for row in table.rows
    ]
    caption = [] if table.folded else [element("caption", table.caption)]
    whole = element("div", element("table", *caption, element("thead", head), element("tbody", *rows)), class_="scroll")
    wide = "whole" if len(table.head) > 3 or table.folded else ""
    if table.folded:
        return element("details", element("summary", table.caption), whole, class_=wide)
    whole.set("class", f"scroll {wide}".strip())
    return whole


def _terms(terms: Terms) -> Element:
    rows = [
        element("tr", element("th", name, scope="row"), element("td", value)) for name, value in terms.items if value
    ]
    return element("div", element("table", element("caption", terms.caption), element("tbody", *rows), class_="terms"))


def _picture(picture: Picture) -> Element:
    source = "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")
    kind = "picture" if picture.always else "still"
    wide = " whole" if picture.wide else ""
    return element("figure", element("img", src=source, alt=picture.told), class_=f"{kind}{wide}")


def _chart(chart: Chart, data: _Data) -> Element:
    number = len(data.charts)
    data.charts.append(
        {
            "x": _axis(chart.x),
            "y": _axis(chart.y),
            "series": [_series(each) for each in chart.series],
            **({"density": _density(chart)} if chart.density else {}),
        }
    )
    named = [each for each in chart.series if each.label]
    legend = [element("ul", *map(_legend_item, named), class_="legend")] if len(named) > 1 else []
    plot = element("div", "", class_="plot", data_chart=str(number), role="img", aria_label=chart.told)
    return element("figure", element("figcaption", chart.title), *legend, plot, class_="chart live")


def _legend_item(series: Series) -> Element:
    if series.kind in ("bars", "points"):
        sample = element("span", "", class_="swatch", style=f"background:{series.colour}")
    else:
        kind = "stroke dashed" if series.dashed else "stroke"
        sample = element("span", "", class_=kind, style=f"border-color:{series.colour}")
    return element("li", sample, series.label)


def _axis(axis: Axis) -> dict[str, Any]:
    ends = {name: end for name, end in (("low", axis.low), ("high", axis.high)) if end is not None}
    return {"label": axis.label, "log": axis.log, **ends}


def _series(series: Series) -> dict[str, Any]:
    ends = {name: _plain(values) for name, values in (("low", series.low), ("high", series.high)) if values is not None}
    return {
        "kind": series.kind,
        "label": series.label,
        "colour": series.colour,
        "dashed": series.dashed,
        "x": _plain(series.x),
        "y": _plain(series.y),
        **ends,
    }


def _density(chart: Chart) -> dict[str, Any]:
    assert chart.density is not None
    grid = chart.density
    return {"x": _plain(grid.x_edges), "y": _plain(grid.y_edges), "counts": grid.counts.tolist()}


def _plain(values: Iterable[float]) -> list[float | None]:
    """With six digits, which is finer than any screen; null for what is not finite."""
    return [float(f"{each:.6g}") if np.isfinite(each) else None for each in np.asarray(values, np.float64)]


def _maps(maps: Maps, data: _Data) -> Element:
    number, shape = len(data.maps), maps.layers[0].values.shape
    data.maps.append({"rows": shape[0], "cols": shape[1], "layers": [_layer(each) for each in maps.layers]})
    tabs = [
        element(
            "button",
            each.label,
            role="tab",
            type="button",
            id=f"map-{number}-{k}",
            aria_controls=f"maps-{number}",
            aria_selected="false" if k else "true",
            tabindex="-1" if k else "0",
        )
        for k, each in enumerate(maps.layers)
    ]
    return element(
        "div",
        element("div", *tabs, role="tablist", aria_label="Maps of the array"),
        _viewer(number, shape),
        element("div", "", class_="sheet", data_part="sheet"),
        class_="live whole",
        data_maps=str(number),
    )


def _viewer(number: int, shape: tuple[int, ...]) -> Element:
    """The places the script draws into, and what one can do there."""
    told = "Map of the array; arrow keys move from cell to cell"
    stage = element(
        "div",
        element("canvas", "", data_part="map", tabindex="0", role="img", aria_label=told),
        element("canvas", "", data_part="bar", role="img", aria_label="Colour scale"),
        element("ul", "", data_part="key"),
        element("p", "", class_="note", data_part="note"),
        class_="stage",
    )
    tools = element(
        "div",
        *(
            element("button", text, type="button", data_part=part)
            for part, text in (("closer", "Zoom in"), ("further", "Zoom out"), ("whole", "Whole array"))
        ),
        class_="tools",
    )
    fields = [
        element("label", f"{text} ", element("input", type="number", name=name, min="0", max=str(size - 1), value="0"))
        for name, text, size in (("row", "row", shape[0]), ("col", "column", shape[1]))
    ]
    beside = element(
        "div",
        element("canvas", "", data_part="glass", width="135", height="135", role="img", aria_label="The cells around"),
        element("div", element("p", "Point at a cell."), data_part="readout", aria_live="polite"),
        tools,
        element("form", *fields, element("button", "Show cell", type="submit"), class_="go", data_part="go"),
        element(
            "p",
            "Click the map, then turn the wheel to zoom and drag to move; or use the arrow keys, +, - and 0.",
            class_="note",
        ),
        class_="beside",
    )
    return element(
        "div",
        stage,
        beside,
        class_="viewer",
        id=f"maps-{number}",
        role="tabpanel",
        data_part="panel",
        aria_labelledby=f"map-{number}-0",
    )


def _layer(layer: Layer) -> dict[str, Any]:
    if layer.flags is not None:
        return {"name": layer.name, "label": layer.label, "packed": pack_codes(layer.values), **_flags(layer)}
    packed = pack_numbers(layer.values)
    factor, unit = _PREFIXED.get(layer.unit, (1.0, layer.unit if layer.unit != "1" else ""))
    low, high = _colour_range(layer)
    known = int(np.count_nonzero(np.isfinite(np.asarray(layer.values, np.float64))))
    is_exact = packed["scale"] == 1.0 or _is_constant(layer)
    kept = "" if is_exact else f" Values are kept to ± {quantity(packed['scale'] / 2, layer.unit, 2)}."
    spread = f"{quantity(low, layer.unit)} to {quantity(high, layer.unit)}"
    return {
        "name": layer.name,
        "label": layer.label,
        "packed": packed,
        "unit": unit,
        "factor": factor,
        "signed": layer.signed,
        "low": low,
        "high": high,
        "told": f"Map of {layer.label}: {known:,} of {layer.values.size:,} cells, colours from {spread}",
        "note": f"{known:,} of {layer.values.size:,} cells; grey: none.{kept}",
    }


def _is_constant(layer: Layer) -> bool:
    values = np.asarray(layer.values, np.float64)
    known = values[np.isfinite(values)]
    return not known.size or bool(known.min() == known.max())


def _flags(layer: Layer) -> dict[str, Any]:
    assert layer.flags is not None
    counts = {code: int(np.count_nonzero(layer.values == code)) for code in layer.flags}
    listed = [
        {"code": code, "name": name, "colour": colour, "count": counts[code]}
        for code, (name, colour) in layer.flags.items()
    ]
    most = ", ".join(f"{name} {counts[code]:,}" for code, (name, _) in layer.flags.items() if counts[code])
    return {"flags": listed, "unit": "", "told": f"Map of {layer.label}: {most}", "note": ""}


def _colour_range(layer: Layer) -> tuple[float, float]:
    """What the colours span: all but the outermost values; of a signed map as far below zero as above."""
    values = np.asarray(layer.values, np.float64)
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    if layer.signed:
        reach = float(np.quantile(np.abs(known), _MOST_SIGNED)) or float(np.abs(known).max()) or 1.0
        return -reach, reach
    low, high = (float(each) for each in np.quantile(known, [_KEPT_OUT, 1 - _KEPT_OUT]))
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))


def _data_element(data: _Data) -> Element:
    """As JSON in which no character can end the element it stands in."""
    ramps = {"up": _ramp(_UP), "signed": _ramp(_SIGNED)}
    content = json.dumps({"ramps": ramps, "charts": data.charts, "maps": data.maps}, ensure_ascii=True, allow_nan=False)
    for character in "<>&":
        content = content.replace(character, f"\\u{ord(character):04x}")
    return element("script", content, type="application/json", id="page-data")


def _script_element() -> Element:
    return element("script", _asset("page.js"))


@cache
def _ramp(name: str) -> Sequence[str]:
    colours = mpl.colormaps[name]
    return [to_hex(colours(place)) for place in range(256)]


@cache
def _asset(name: str) -> str:
    return files("labctl.analysis.report").joinpath(name).read_text(encoding="utf-8")
