"""Conditions and moments as people write them: what is right is understood exactly, what is not is one sentence."""

from __future__ import annotations

import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.errors import UsageError
from labctl.recording.catalogue.conditions import Condition, parse_number
from labctl.recording.catalogue.entries import Entry
from labctl.recording.catalogue.query import Query
from labctl.recording.catalogue.times import parse_moment
from labctl.recording.layout import Outcome

NOW = dt.datetime(2026, 11, 21, 15, 30).timestamp()


def entry(**replaced: object) -> Entry:
    said: dict[str, object] = {
        **dict.fromkeys(("protocol", "title", "measurement", "chip_serial", "operator", "message", "cell"), ""),
        **dict.fromkeys(("rows", "cols", "steps", "operations", "events", "pulses", "unknown_dose", "unsettled"), 3),
        "outcome": Outcome.FINISHED,
        "started": NOW,
        "elapsed": 60.0,
        "attributes": {"host": "bench-pc", "seed": 0},
        "settings": {
            "tolerance": 1e-6,
            "set.stop": 2.5,
            "reverify": [0.0, 1.0],
            "form_pristine": True,
            "rows": "all",
            "exclude": None,
            "pulses": 200,
        },
        "summary": {"fraction_in_window": 0.985, "pulses": 768},
    }
    return Entry(**(said | replaced))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("tolerance<=1uS", True),
        ("tolerance < 1 uS", False),
        ("tolerance=1e-6", True),
        ("tolerance = 1000 nS", True),
        ("tolerance!=1uS", False),
        ("tolerance>=0.9uS", True),
        ("settings.set.stop>2.4V", True),
        ("set.stop=2.5", True),
        ("fraction_in_window>=98%", True),
        ("fraction_in_window>99%", False),
        ("reverify=1s", True),
        ("reverify!=1s", False),
        ("reverify>1s", False),
        ("form_pristine=yes", True),
        ("form_pristine=false", False),
        ("form_pristine>0", False),
        ("exclude=none", True),
        ("rows=ALL", True),
        ("rows!=all", False),
        ("rows>2", False),
        ("pulses=200", True),
        ("summary.pulses=768", True),
        ("events=3", True),
        ("elapsed<=1min", True),
        ("host=bench-pc", True),
        ("seed=0", True),
        ("nothing=0", False),
        ("nothing!=0", False),
    ],
)
def test_a_condition_holds_or_does_not(text: str, holds: bool) -> None:
    assert Condition.parse(text).holds(entry()) is holds


@pytest.mark.parametrize(
    "text",
    ["", "tolerance", "tolerance<", "<1", "tolerance<=>1", "tolerance<<1", "=1", "a b=1", "tolerance<abc", "t<1foo"],
)
def test_what_is_no_condition_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--where .*like .*") as refused:
        Condition.parse(text)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=20))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        condition = Condition.parse(text)
    except UsageError:
        return
    assert condition.comparison in ("=", "!=", "<", "<=", ">", ">=")
    assert condition.holds(entry()) in (True, False)


@given(
    st.floats(-1e6, 1e6, allow_subnormal=False),
    st.sampled_from(["", " "]),
    st.sampled_from([("V", 1.0), ("mV", 1e-3), ("uS", 1e-6), ("ns", 1e-9), ("min", 60.0), ("kOhm", 1e3), ("", 1.0)]),
)
def test_numbers_are_read_in_si_units(value: float, gap: str, unit: tuple[str, float]) -> None:
    name, factor = unit
    assert parse_number(f"{value!r}{gap if name else ''}{name}") == pytest.approx(value * factor, rel=1e-12, abs=1e-300)


@given(st.floats(1e-9, 1e9), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.floats(1e-9, 1e9))
def test_comparisons_are_those_of_the_numbers(value: float, comparison: str, limit: float) -> None:
    right = {"<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit}
    right |= {"=": math.isclose(value, limit, rel_tol=1e-9), "!=": not math.isclose(value, limit, rel_tol=1e-9)}
    found = Condition.parse(f"level{comparison}{limit!r}").holds(entry(settings={"level": value}))
    assert found is right[comparison]


def test_a_path_no_run_has_is_refused_with_what_was_probably_meant() -> None:
    with pytest.raises(UsageError, match=r"no.* result called tolerence; did you mean tolerance"):
        Query(where=("tolerence<1uS",)).select([entry()])
    assert Query(where=("tolerence<1uS",), chip="none").select([entry()]) == []
    assert len(Query(where=("tolerance<=1uS",)).select([entry(), entry(settings={})])) == 1


def test_stars_and_question_marks_stand_for_text_and_nothing_else_does() -> None:
    runs = [entry(chip_serial=serial) for serial in ("R40-1", "R40-12", "r40-1", "R40.1", "R[4]0-1")]

    def found(chip: str) -> list[str]:
        return [run.chip_serial for run in Query(chip=chip).select(runs)]

    assert found("R40-*") == ["R40-1", "R40-12"]
    assert found("R40?1") == ["R40-1", "R40.1"]
    assert found("R40.1") == ["R40.1"]
    assert found("R[4]*") == ["R[4]0-1"]


def local(*when: int) -> float:
    return dt.datetime(*when).timestamp()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("2026-11-20", local(2026, 11, 20), local(2026, 11, 21)),
        ("2026-11-20T14:00", local(2026, 11, 20, 14), local(2026, 11, 20, 14)),
        ("2026-11-20 14:00:05", local(2026, 11, 20, 14, 0, 5), local(2026, 11, 20, 14, 0, 5)),
        ("2026-11-20T14:00:00Z", 1795183200.0, 1795183200.0),
        ("2026-11-20T14:00+02:00", 1795176000.0, 1795176000.0),
        ("3d", NOW - 3 * 86400, NOW - 3 * 86400),
        ("12 h", NOW - 12 * 3600, NOW - 12 * 3600),
        ("30min", NOW - 1800, NOW - 1800),
    ],
)
def test_moments_are_dates_times_or_how_long_ago(text: str, since: float, until: float) -> None:
    assert parse_moment(text, NOW) == since
    assert parse_moment(text, NOW, is_end=True) == until


@pytest.mark.parametrize("text", ["", "3", "foo", "-3d", "3 uS", "2026-13-01", "2026-02-30", "9999-12-31T24", "20:00"])
def test_what_is_no_moment_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a time: write a date like 2026-11-20"):
        parse_moment(text, NOW)


@given(st.one_of(st.text(max_size=20), st.dates().map(str), st.datetimes().map(str)), st.booleans())
def test_any_text_is_a_moment_or_refused(text: str, is_end: bool) -> None:
    try:
        found = parse_moment(text, NOW, is_end=is_end)
    except UsageError:
        return
    assert math.isfinite(found)


@given(st.dates(dt.date(1971, 1, 1), dt.date(2100, 1, 1)))
def test_a_day_is_from_its_first_moment_to_the_next_days(day: dt.date) -> None:
    first, end = parse_moment(str(day), NOW), parse_moment(str(day), NOW, is_end=True)
    assert dt.datetime.fromtimestamp(first).date() == day
    assert end == parse_moment(str(day + dt.timedelta(days=1)), NOW)
