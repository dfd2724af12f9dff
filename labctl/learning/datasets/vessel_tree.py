"""Branching blood vessels: grown as random walks that fork by Murray's law, and drawn.

At a fork r0**3 = r1**3 + r2**3, and the branches leave at the angles of least work (C. D. Murray, Proc. Natl. Acad.
Sci. 12 (1926) 207, and J. Gen. Physiol. 9 (1926) 835). Lengths are in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STEP = 1.0
"""How far a tip goes at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Tips:
    """Ends of vessels that still grow; all (n,).

    y, x: where. heading: rad, from +x towards +y. bend: rad per pixel, what its turning tends to. turn: rad per pixel,
    its turning now. radius. room: how far to its next fork. vessel: a number of its own for every unbranched piece.
    """

    y: Floats
    x: Floats
    heading: Floats
    bend: Floats
    turn: Floats
    radius: Floats
    room: Floats
    vessel: NDArray[np.int64]

    def chosen(self, which: NDArray[np.bool_]) -> Tips:
        """Those of `which` (n,)."""
        return Tips(*(getattr(self, name)[which] for name in self.__slots__))

    def joined(self, *others: Tips) -> Tips:
        """These and the others."""
        tips = (self, *others)
        return Tips(*(np.concatenate([getattr(each, name) for each in tips]) for name in self.__slots__))


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """What the tips left behind, in the order they grew; all (n,). vessel: as of the tips."""

    y: Floats
    x: Floats
    radius: Floats
    vessel: NDArray[np.int64]

    def chosen(self, which: NDArray[np.bool_]) -> Points:
        """Those of `which` (n,)."""
        return Points(self.y[which], self.x[which], self.radius[which], self.vessel[which])

    def narrowed(self, share: float) -> Points:
        """The same with `share` of the radius."""
        return Points(self.y, self.x, share * self.radius, self.vessel)


@dataclass(frozen=True, slots=True)
class Growth:
    """smallest: radius below which nothing grows. spacing: length between forks, in radii, and `extra` pixels on top.

    wander: rad per pixel, standard deviation of the turning about a vessel's own bend. memory: pixels over which it
    forgets. source: (y, x) that vessels lead away from, and `outwards`, rad per pixel, how firmly.
    """

    smallest: float
    spacing: float
    extra: float
    wander: float
    memory: float
    source: tuple[float, float]
    outwards: float


def trunks(heading: Floats, bend: Floats, radius: Floats, growth: Growth, rng: np.random.Generator) -> Tips:
    """Tips (n,) that start together at the source, one for each heading."""
    n = len(heading)
    return Tips(
        y=np.full(n, growth.source[0]),
        x=np.full(n, growth.source[1]),
        heading=heading,
        bend=bend,
        turn=bend.copy(),
        radius=radius,
        room=_room(radius, growth, rng),
        vessel=np.arange(n),
    )


def grow(tips: Tips, allowed: NDArray[np.bool_], growth: Growth, rng: np.random.Generator) -> Points:
    """Grow until all have left `allowed` (height, width) or are too thin to fork."""
    grown: list[Tips] = []
    vessels = len(tips.vessel)
    for _ in range(4 * sum(allowed.shape)):
        grown.append(tips)
        tips = _advanced(tips, growth, rng)
        row, col = np.rint(tips.y).astype(int), np.rint(tips.x).astype(int)
        inside = (row >= 0) & (col >= 0) & (row < allowed.shape[0]) & (col < allowed.shape[1])
        inside[inside] = allowed[row[inside], col[inside]]
        tips = tips.chosen(inside)
        forking = tips.room <= 0
        if forking.any():
            branches = _forked(tips.chosen(forking), growth, rng, vessels)
            vessels += len(branches.vessel)
            tips = tips.chosen(~forking).joined(branches.chosen(branches.radius >= growth.smallest))
        if not len(tips.y):
            break
    every = grown[0].joined(*grown[1:])
    return Points(every.y, every.x, every.radius, every.vessel)


def _advanced(tips: Tips, growth: Growth, rng: np.random.Generator) -> Tips:
    """One step on: the turning is a random walk drawn back to the vessel's own bend (Ornstein-Uhlenbeck)."""
    pull = _STEP / growth.memory
    pushed = growth.wander * np.sqrt(2 * pull) * rng.standard_normal(len(tips.y))
    turn = tips.turn + pull * (tips.bend - tips.turn) + pushed
    away = np.arctan2(tips.y - growth.source[0], tips.x - growth.source[1])
    heading = tips.heading + _STEP * (turn + growth.outwards * np.sin(away - tips.heading))
    return Tips(
        y=tips.y + _STEP * np.sin(heading),
        x=tips.x + _STEP * np.cos(heading),
        heading=heading,
        bend=tips.bend,
        turn=turn,
        radius=tips.radius,
        room=tips.room - _STEP,
        vessel=tips.vessel,
    )


def _forked(tips: Tips, growth: Growth, rng: np.random.Generator, vessels: int) -> Tips:
    """Both branches of each tip: the thicker, then the thinner; numbered from `vessels` on."""
    n = len(tips.y)
    ratio = 0.3 + 0.7 * rng.beta(1.0, 2.0, n)  # of the thinner branch's radius to the thicker one's
    thick = tips.radius / np.cbrt(1 + ratio**3)
    thin = ratio * thick
    side = np.where(rng.random(n) < 0.5, -1.0, 1.0)
    made = []
    for number, (radius, other, sign) in enumerate(((thick, thin, side), (thin, thick, -side))):
        angle = _fork_angle(tips.radius, radius, other) * rng.uniform(0.8, 1.2, n)
        made.append(
            Tips(
                y=tips.y,
                x=tips.x,
                heading=tips.heading + sign * angle,
                bend=tips.bend * (0.95 if number == 0 else 0.0),
                turn=np.zeros(n),
                radius=radius,
                room=_room(radius, growth, rng),
                vessel=vessels + number * n + np.arange(n),
            )
        )
    return made[0].joined(made[1])


def _fork_angle(parent: Floats, branch: Floats, other: Floats) -> Floats:
    """rad, between parent and branch: cos = (r0^4 + r1^4 - r2^4) / (2 r0^2 r1^2), Murray's second paper."""
    cosine = (parent**4 + branch**4 - other**4) / (2 * parent**2 * branch**2)
    return np.arccos(np.clip(cosine, -1, 1))


def _room(radius: Floats, growth: Growth, rng: np.random.Generator) -> Floats:
    return (growth.spacing * radius + growth.extra) * rng.lognormal(0, 0.4, len(radius))


def draw(points: Points, shape: tuple[int, int], strength: Floats | None = None, hollow: bool = False) -> Floats:
    """(height, width), 0 to 1: how far each pixel is covered, its edges smooth over a pixel.

    strength: (n,) of the points, by which their cover is multiplied. hollow: along the middle as through a tube, whose
    depth at distance d from its axis is sqrt(1 - (d / r)**2), rather than flat.
    """
    picture = np.zeros(shape)
    weight = np.ones(len(points.y)) if strength is None else strength
    reach = np.ceil(points.radius + 1).astype(int)
    for size in np.unique(reach):  # points of one reach have stamps of one shape
        chosen = reach == size
        span = np.arange(-size, size + 1)
        down, across = (each.ravel() for each in np.meshgrid(span, span, indexing="ij"))
        row, col = np.rint(points.y[chosen]).astype(int), np.rint(points.x[chosen]).astype(int)
        rows, cols = row[:, None] + down, col[:, None] + across
        distance = np.hypot(rows - points.y[chosen, None], cols - points.x[chosen, None])
        radius = points.radius[chosen, None]
        cover = np.clip(radius + 0.5 - distance, 0, np.minimum(1, 2 * radius))
        if hollow:
            cover = cover * np.sqrt(np.clip(1 - (distance / (radius + 0.5)) ** 2, 0, 1))
        there = (rows >= 0) & (cols >= 0) & (rows < shape[0]) & (cols < shape[1]) & (cover > 0)
        np.maximum.at(picture, (rows[there], cols[there]), (cover * weight[chosen, None])[there])
    return picture
