"""Instruments made of other instruments of the bench: connected after them, let go of before them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from boards import ServedBoard, served_board

from labctl.bench.live import load_bench
from labctl.errors import BenchError, LinkError, RunError

PAIR = """
from labctl.bench.settings import CompositeSettings

class Settings(CompositeSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    left: str
    right: str | None = None
    fails: bool = False
    seen: str | None = None
    part_keys = ("left", "right", "seen")
    shared_keys = ("seen",)

class Pair:
    Settings = Settings

    def __init__(self, settings, parts):
        self.settings, self.parts, self.told = settings, parts, []

    def connect(self):
        if self.settings.fails:
            raise ValueError("no pair")
        self.told.append("connect")

    def snapshot(self):
        return {"told": list(self.told)}

    def safe_state(self, timeout_s=2.0):
        self.told.append("safe")

    def close(self):
        self.told.append("close")
"""


@pytest.fixture(autouse=True)
def own_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABCTL_LEASES", str(tmp_path / "leases"))


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A stranger's package that brings the driver `pair`."""
    metadata = tmp_path / "site" / "pairs-1.dist-info"
    metadata.mkdir(parents=True)
    (tmp_path / "site" / "pairs.py").write_text(PAIR)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pairs\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[labctl.drivers]\npair = pairs:Pair\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("pairs", None)


@pytest.fixture
def boards(tmp_path: Path) -> Iterator[tuple[ServedBoard, ServedBoard]]:
    with served_board(tmp_path) as one, served_board(tmp_path) as two:
        yield one, two


def bench_with(tmp_path: Path, boards: tuple[ServedBoard, ServedBoard], pair: str) -> Path:
    path = tmp_path / "bench.toml"
    tables = "".join(
        f'[instruments.{name}]\ndriver = "test_board"\nresource_name = "{board.resource_name}"\n'
        'visa_library = "@py"\nrows = 32\ncols = 32\ntimeout = 1\n'
        for name, board in zip(("one", "two"), boards, strict=True)
    )
    path.write_text(f'{tables}[instruments.both]\ndriver = "pair"\n{pair}\n[arrays.main]\ninstrument = "both"\n')
    return path


def test_parts_are_connected_first_and_made_safe_with_the_whole(
    tmp_path: Path, boards: tuple[ServedBoard, ServedBoard]
) -> None:
    with load_bench(bench_with(tmp_path, boards, 'left = "one"\nright = "two"')) as bench:
        both = bench.connect("both")
        assert set(both.parts) == {"left", "right"}
        assert both.parts["left"] is bench.connect("one")
        assert list(bench.snapshot()) == ["one", "two", "both"]
        bench.disconnect("both")
        assert both.told == ["connect", "safe", "close"]
        assert list(bench.snapshot()) == ["one"]  # which somebody else still uses
    assert bench.snapshot() == {}


def test_the_whole_is_made_safe_before_its_parts(tmp_path: Path, boards: tuple[ServedBoard, ServedBoard]) -> None:
    with load_bench(bench_with(tmp_path, boards, 'left = "one"\nright = "two"')) as bench:
        bench.connect("two")
        bench.connect("both")
        assert [each.instrument for each in bench.safe_state()] == ["both", "two", "one"]


def test_a_run_on_the_whole_has_its_parts_too(tmp_path: Path, boards: tuple[ServedBoard, ServedBoard]) -> None:
    more = 'left = "one"\n[instruments.other]\ndriver = "pair"\nleft = "two"\nseen = "one"'
    with load_bench(bench_with(tmp_path, boards, more)) as bench:
        with bench.reserved("both"):
            for name in ("other", "one"):
                with pytest.raises(RunError, match="a run is going on on 'one' already"), bench.reserved(name):
                    pass
            with bench.reserved("two"):
                pass
        going_on = pytest.raises(RunError, match="a run is going on on 'one' already")
        with bench.reserved("other"), going_on, bench.reserved("both"):
            pass


def test_an_optional_part_may_be_left_out(tmp_path: Path, boards: tuple[ServedBoard, ServedBoard]) -> None:
    with load_bench(bench_with(tmp_path, boards, 'left = "two"')) as bench:
        assert set(bench.connect("both").parts) == {"left"}
        assert list(bench.snapshot()) == ["two", "both"]
        assert bench.array().address == boards[1].resource_name


def test_where_the_whole_or_a_part_fails_to_connect_nothing_stays_connected(
    tmp_path: Path, boards: tuple[ServedBoard, ServedBoard]
) -> None:
    with load_bench(bench_with(tmp_path, boards, 'left = "one"\nright = "two"\nfails = true')) as bench:
        with pytest.raises(ValueError, match="no pair"):
            bench.connect("both")
        assert bench.snapshot() == {}
    with load_bench(bench_with(tmp_path, boards, 'left = "one"\nright = "two"')) as bench:
        boards[1].close()
        with pytest.raises(LinkError):
            bench.connect("both")
        assert bench.snapshot() == {}


@pytest.mark.parametrize(
    ("pair", "sentence"),
    [
        ('left = "three"', "$.instruments.both.left: no instrument called 'three'; there are: one, two, both"),
        ('left = "both"', "$.instruments.both.left: 'both' is itself made of others: name one that has a wire"),
        (
            'left = "one"\nright = "one"',
            "$.instruments.both.right: 'one' cannot be it: 'one' is already the left of 'both'",
        ),
        (
            'left = "one"\n[instruments.other]\ndriver = "pair"\nleft = "two"\nright = "one"',
            "$.instruments.other.right: 'one' cannot be it: 'one' is already the left of 'both'",
        ),
        (
            'left = "one.a"\n[instruments.other]\ndriver = "pair"\nleft = "one"',
            "$.instruments.other.left: 'one' cannot be it: 'one.a' is already the left of 'both'",
        ),
    ],
)
def test_parts_that_are_none_are_refused(
    tmp_path: Path, boards: tuple[ServedBoard, ServedBoard], pair: str, sentence: str
) -> None:
    with pytest.raises(BenchError) as caught:
        load_bench(bench_with(tmp_path, boards, pair))
    assert str(caught.value) == f"bench.toml: {sentence}"


def test_channels_of_one_instrument_are_two_parts_and_what_is_only_asked_may_be_shared(
    tmp_path: Path, boards: tuple[ServedBoard, ServedBoard]
) -> None:
    other = '[instruments.other]\ndriver = "pair"\nleft = "one.b"\nseen = "two"'
    bench_file = bench_with(tmp_path, boards, f'left = "one.a"\nseen = "two"\n{other}')
    with load_bench(bench_file) as bench:
        assert bench.parts("other") == ["one", "two"]
