from __future__ import annotations

from pathlib import Path

import pytest

from labctl.errors import UsageError
from labctl.plugins import list_plugins, load_plugin, load_protocol

ENTRY_POINTS = """
[labctl.drivers]
good = strangers_module:Driver
absent = no_such_module_anywhere:Driver
nameless = strangers_module:NoSuchName
explosive = strangers_explosive:Driver
test_board = strangers_module:Driver
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's package of drivers, most of which are broken."""
    info = tmp_path / "strangers-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (tmp_path / "strangers_module.py").write_text("class Driver: ...\n")
    (tmp_path / "strangers_explosive.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_ours_come_in_by_the_same_door_as_a_strangers() -> None:
    found = {(each.group, each.name): each for each in list_plugins()}
    board = found["labctl.drivers", "test_board"]
    assert (board.target, board.distribution, board.problem) == ("labctl.drivers.test_board:TestBoard", "labctl", "")
    assert ("labctl.simulators", "test_board") in found
    assert load_protocol("forming").name == "forming"


@pytest.mark.usefixtures("stranger")
def test_a_broken_plug_in_is_listed_with_its_reason_and_harms_no_other() -> None:
    found = {each.name: each.problem for each in list_plugins() if each.distribution == "strangers"}
    assert found["good"] == ""
    assert found["absent"] == "ModuleNotFoundError: No module named 'no_such_module_anywhere'"
    assert found["nameless"].startswith("AttributeError: ")
    assert found["explosive"] == "RuntimeError: no licence"
    assert load_plugin("labctl.drivers", "good").__name__ == "Driver"


@pytest.mark.usefixtures("stranger")
def test_a_plug_in_that_cannot_be_loaded_says_why() -> None:
    with pytest.raises(
        UsageError, match=r"^the driver 'explosive' \(strangers_explosive:Driver\) cannot be loaded: no lic"
    ):
        load_plugin("labctl.drivers", "explosive")


def test_a_name_nobody_has_lists_the_names_there_are() -> None:
    with pytest.raises(UsageError, match=r"^no protocol called 'frobnicate'; there are: .*forming, .*write_verify"):
        load_protocol("frobnicate")
    with pytest.raises(UsageError, match=r"^no wombat called 'x'; there are: none"):
        load_plugin("labctl.wombats", "x")


@pytest.mark.usefixtures("stranger")
def test_a_name_two_packages_claim_is_nobodys() -> None:
    with pytest.raises(
        UsageError, match=r"^there are 2 drivers called 'test_board': labctl\..*, strangers_module:Driver"
    ):
        load_plugin("labctl.drivers", "test_board")
