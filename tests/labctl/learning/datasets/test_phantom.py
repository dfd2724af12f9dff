"""The phantom of the eye's background, and the vessels grown in it."""

from __future__ import annotations

import numpy as np
import pytest

from labctl.learning.datasets.fundus import Fundus
from labctl.learning.datasets.phantom import draw_fundus
from labctl.learning.datasets.vessel_tree import Growth, Points, draw, grow, trunks

SIZE = 160


@pytest.fixture(scope="module")
def eyes() -> list[Fundus]:
    return [draw_fundus(1, number, SIZE) for number in range(4)]


def test_the_same_seed_draws_the_same_picture_and_another_another() -> None:
    first, again, other = (draw_fundus(seed, 1, 96) for seed in (5, 5, 6))
    assert first.digest == again.digest
    assert len({first.digest, other.digest, draw_fundus(5, 2, 96).digest}) == 3


def test_the_field_of_view_is_a_disc_and_black_around(eyes: list[Fundus]) -> None:
    for eye in eyes:
        assert eye.view.mean() == pytest.approx(np.pi * 0.475**2, abs=0.02)
        assert eye.picture[0].max() == 0
        assert eye.picture[eye.view == 1][:, 1].min() > 0


def test_vessels_are_as_rare_as_in_pictures_of_eyes_and_darker_than_what_is_around(eyes: list[Fundus]) -> None:
    for eye in eyes:
        inside, green = eye.view == 1, eye.picture[..., 1].astype(float)
        assert 0.04 < eye.vessels[inside].mean() < 0.20
        assert not eye.vessels[~inside].any()
        assert green[eye.vessels == 1].mean() < 0.93 * green[inside & (eye.vessels == 0)].mean()


def test_the_light_is_uneven_and_the_optic_disc_bright(eyes: list[Fundus]) -> None:
    for eye in eyes:
        green = eye.picture[..., 1].astype(float)
        blocks = green.reshape(10, SIZE // 10, 10, SIZE // 10).mean(axis=(1, 3))
        inner = eye.view.reshape(10, SIZE // 10, 10, SIZE // 10).min(axis=(1, 3)) == 1
        assert blocks[inner].std() > 0.05 * blocks[inner].mean()
        assert green.max() > 1.4 * np.median(green[eye.view == 1])


def test_two_observers_agree_on_most_and_not_on_all(eyes: list[Fundus]) -> None:
    for eye in eyes:
        assert eye.second is not None
        both = np.sum(eye.vessels & eye.second)
        assert 0.6 < 2 * both / (eye.vessels.sum() + eye.second.sum()) < 0.95


def growth(**changed: object) -> Growth:
    usual = {
        "smallest": 0.5,
        "spacing": 8.0,
        "extra": 8.0,
        "wander": 0.01,
        "memory": 20.0,
        "source": (50.0, 5.0),
        "outwards": 0.005,
    }
    return Growth(**{**usual, **changed})


def grown(seed: int = 1, **changed: object) -> Points:
    rng, how = np.random.default_rng(seed), growth(**changed)
    tips = trunks(np.array([0.0]), np.array([0.0]), np.array([4.0]), how, rng)
    return grow(tips, np.ones((100, 300), bool), how, rng)


def test_branches_are_thinner_by_murrays_law() -> None:
    points = grown()
    first = [np.flatnonzero(points.vessel == vessel)[0] for vessel in np.unique(points.vessel)]
    radius = dict(zip(np.unique(points.vessel), points.radius[first], strict=True))
    assert radius[1] ** 3 + radius[2] ** 3 == pytest.approx(radius[0] ** 3)
    assert len(radius) > 20
    assert min(radius.values()) >= 0.5


def test_a_vessel_is_without_gaps_and_stays_inside() -> None:
    points = grown(2)
    for vessel in np.unique(points.vessel):
        mine = points.vessel == vessel
        np.testing.assert_allclose(np.hypot(np.diff(points.y[mine]), np.diff(points.x[mine])), 1, atol=1e-9)
    assert points.y.min() > -1
    assert points.x.max() < 301


def test_vessels_lead_away_from_their_source() -> None:
    for seed in range(3):
        points = grown(seed)
        last = [np.flatnonzero(points.vessel == vessel)[-1] for vessel in np.unique(points.vessel)]
        assert np.median(points.x[last]) > 60


def test_a_vessel_is_drawn_as_wide_as_it_is() -> None:
    x = np.arange(5, 45.0)
    points = Points(np.full(40, 20.0), x, np.full(40, 3.0), np.zeros(40, np.int64))
    flat, tube = draw(points, (40, 50)), draw(points, (40, 50), hollow=True)
    assert flat[:, 25].sum() == pytest.approx(6, abs=0.5)
    np.testing.assert_array_equal(flat[18:23, 25], 1)
    assert (np.diff(tube[20:25, 25]) < 0).all()
    np.testing.assert_allclose(draw(points, (40, 50), np.full(40, 0.25)), flat / 4)


def test_what_leaves_the_picture_is_cut_off() -> None:
    points = Points(np.array([-1.0, 60.0]), np.array([3.0, 3.0]), np.array([3.0, 3.0]), np.zeros(2, np.int64))
    drawn = draw(points, (10, 10))
    assert drawn[0, 3] == 1
    assert not drawn[4:].any()
