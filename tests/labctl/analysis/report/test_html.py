"""The file itself: nothing in it is taken for anything but text, nothing is loaded, nothing else may run."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import numpy as np
from pages import ReadPage

from labctl.analysis.report import render
from labctl.analysis.report.content import Axis, Chart, Layer, Maps, Page, Section, Series, Table, Terms, Text

EVIL = '</title><script>alert("x")</script><img src=x onerror=alert(1)>'


def test_whatever_a_page_is_given_is_text() -> None:
    values = np.array([[1.0, np.nan], [2.0, 3.0]])
    flags = {0: (EVIL, "#ffffff"), 1: ("b", "#000000")}
    chart = Chart(EVIL, Axis(EVIL), Axis(EVIL), [Series("line", np.ones(2), np.ones(2), EVIL) for _ in range(2)], EVIL)
    blocks = [
        Table(EVIL, (EVIL, "b"), [(EVIL, EVIL)]),
        Table(EVIL, (EVIL, "b"), [(EVIL, EVIL)], folded=True),
        Terms(EVIL, [(EVIL, EVIL)]),
        Text(EVIL),
        chart,
        Maps([Layer(EVIL, EVIL, values, EVIL), Layer("f", EVIL, np.zeros((2, 2), np.uint8), flags=flags)]),
    ]
    text = render(Page(EVIL, EVIL, EVIL, EVIL, [EVIL], [], [Section("a", EVIL, blocks)], EVIL))
    page = ReadPage(text)
    assert page.problems == []
    assert len(page.all("script")) == 2
    assert page.all("img") == []
    assert not any(name.startswith("on") for _, each in page.tags for name in each)
    assert page.data["charts"][0]["series"][0]["label"] == EVIL
    assert page.data["maps"][0]["layers"][0]["label"] == EVIL
    assert page.text.count('alert("x")') > 8


def test_a_chip_with_a_wicked_serial_number_is_harmless(marked_page: ReadPage) -> None:
    assert len(marked_page.all("script")) == 2
    assert "chip <script>alert(1)</script>" in marked_page.text
    assert "\x07" not in marked_page.source


def test_nothing_may_be_loaded_and_no_other_script_run(marked_page: ReadPage) -> None:
    (policy,) = (
        each["content"] for each in marked_page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"
    )
    digest = base64.b64encode(hashlib.sha256(marked_page.script.encode()).digest()).decode()
    assert policy == (f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'")
    assert marked_page.loaded == []
    assert marked_page.all("link") == []
    assert "url(" not in (Path(__file__).parents[4] / "labctl/analysis/report/page.css").read_text()
    assert "http" not in marked_page.script.replace("http://www.w3.org/2000/svg", "")


def test_a_page_names_its_language_and_what_made_it(marked_page: ReadPage) -> None:
    assert marked_page.all("html") == [{"lang": "en"}]
    assert any(
        each.get("name") == "generator" and each["content"] == "labctl report 0.1.0" for each in marked_page.all("meta")
    )
    assert marked_page.source.startswith("<!DOCTYPE html>\n")


def test_tabs_say_which_is_chosen_and_what_they_control(marked_page: ReadPage) -> None:
    tabs = [each for _, each in marked_page.tags if each.get("role") == "tab"]
    panels = [each["id"] for _, each in marked_page.tags if each.get("role") == "tabpanel"]
    assert [each["aria-selected"] for each in tabs] == ["true", *["false"] * (len(tabs) - 1)]
    assert [each["tabindex"] for each in tabs] == ["0", *["-1"] * (len(tabs) - 1)]
    assert {each["aria-controls"] for each in tabs} == set(panels)
    assert len(tabs) == len(marked_page.data["maps"][0]["layers"])
