"""A procedural phantom of the eye's background: what DRIVE's pictures show, drawn from a seed.

Branching arteries and veins around an optic disc and a fovea, under uneven light, with texture, spots and noise; two
observers who mark the vessels not quite alike. No picture of a person went into it, and what is measured on it says
nothing of a diagnosis. Lengths are in pixels of a picture of DRIVE's, whose field of view is 540 wide, and scale with
the size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labctl.learning.datasets.fundus import Fundus
from labctl.learning.datasets.vessel_tree import Growth, Points, draw, grow, trunks

Floats = NDArray[np.float64]

VERSION = 1
"""Goes up when the same seed gives another picture."""

_DIAMETER = 540.0


@dataclass(frozen=True, slots=True)
class Observer:
    """How one marks vessels. shift, width: standard deviations of a vessel's place, and of its relative radius.

    unseen: radius under which vessels are overlooked, on average over the picture.
    """

    shift: float
    width: float
    unseen: float


FIRST = Observer(shift=0.25, width=0.08, unseen=0.75)
SECOND = Observer(shift=0.6, width=0.15, unseen=0.85)

_FINEST = 0.4
"""Radius, px of the picture drawn, under which nobody marks a vessel however small the picture is."""


@dataclass(frozen=True, slots=True, eq=False)
class Eye:
    """Where things are in a picture of size x size px. scale: px per pixel of DRIVE. disc, fovea: (y, x).

    radius: of the field of view. from_centre: (size, size) px.
    """

    size: int
    scale: float
    radius: float
    disc: tuple[float, float]
    fovea: tuple[float, float]
    from_centre: Floats

    def away(self, place: tuple[float, float]) -> Floats:
        """(size, size) distance, px, from `place`."""
        y, x = np.mgrid[: self.size, : self.size]
        distance: Floats = np.hypot(y - place[0], x - place[1])
        return distance


def draw_fundus(seed: int, number: int, size: int) -> Fundus:
    """Picture `number` of the phantom of `seed`, size x size: the same arguments give the same picture."""
    rng = np.random.default_rng([VERSION, seed, number])
    eye = _eye(size, rng)
    view = eye.from_centre <= eye.radius
    arteries, veins = _tree(eye, view, 0.78, rng), _tree(eye, view, 1.0, rng)
    green = _background(eye, rng) * (1 - _absorption(eye, arteries, veins, rng))
    green = _with_spots(green, eye, rng)
    return Fundus(
        number=number,
        picture=_photographed(green, eye, rng),
        view=view.astype(np.uint8),
        vessels=_marked((arteries, veins), FIRST, eye, view, rng),
        second=_marked((arteries, veins), SECOND, eye, view, rng),
    )


def _eye(size: int, rng: np.random.Generator) -> Eye:
    """A left or a right eye, a little turned."""
    radius = 0.475 * size
    scale = 2 * radius / _DIAMETER
    middle = (size - 1) / 2
    side = 1.0 if rng.random() < 0.5 else -1.0  # where the disc is
    tilt = rng.normal(0, 0.08)
    centre = middle + rng.normal(0, 8 * scale, 2)
    reach = rng.uniform(0.30, 0.36) * 2 * radius
    disc = (centre[0] + reach * np.sin(tilt), centre[1] + side * reach * np.cos(tilt))
    y, x = np.mgrid[:size, :size]
    return Eye(size, scale, radius, disc, (centre[0] + 8 * scale, centre[1]), np.hypot(y - middle, x - middle))


def _tree(eye: Eye, view: NDArray[np.bool_], thickness: float, rng: np.random.Generator) -> Points:
    """Four trunks and more: the temporal arcades, which bend around the fovea, and the straighter nasal vessels."""
    towards = np.arctan2(eye.fovea[0] - eye.disc[0], eye.fovea[1] - eye.disc[1])
    arcade = 1 / (0.36 * 2 * eye.radius)  # rad per pixel
    angles = np.array([1.25, -1.25, 2.3, -2.3, 0.45 * rng.choice([-1, 1]), 3.0])
    bends = arcade * np.array([-1.0, 1.0, -0.15, 0.15, 0.0, 0.0]) * rng.uniform(0.8, 1.1, 6)
    radius = np.array([4.1, 4.1, 2.7, 2.7, 1.5, 1.6]) * rng.uniform(0.85, 1.1, 6) * thickness * eye.scale
    growth = Growth(
        smallest=0.6 * eye.scale,
        spacing=9.0,
        extra=22 * eye.scale,
        wander=0.011 / eye.scale,
        memory=20 * eye.scale,
        source=eye.disc,
        outwards=0.006 / eye.scale,
    )
    heading = towards + angles + rng.normal(0, 0.15, 6)
    tips = trunks(heading, bends, radius, growth, rng)
    avascular = eye.away(eye.fovea) < rng.uniform(22, 32) * eye.scale
    return grow(tips, view & ~avascular, growth, rng)


def _background(eye: Eye, rng: np.random.Generator) -> Floats:
    """(size, size) 0 to 1: the retina under uneven light, its texture, the bright disc with its cup, the dark fovea."""
    away = eye.from_centre / eye.radius
    light = 1 - rng.uniform(0.15, 0.4) * away**2 + 0.16 * _smooth(eye.size, 0.3 * eye.size, rng)
    texture = 0.05 * _smooth(eye.size, 12 * eye.scale, rng) + 0.03 * _smooth(eye.size, 3.5 * eye.scale, rng)
    retina = rng.uniform(0.38, 0.5) * (1 + texture)
    retina *= 1 - rng.uniform(0.2, 0.35) * np.exp(-((eye.away(eye.fovea) / (38 * eye.scale)) ** 2))
    disc = eye.away(eye.disc)
    halo = rng.uniform(0.08, 0.2) * np.exp(-((disc / (75 * eye.scale)) ** 2))
    edge = 1 / (1 + np.exp((disc - rng.uniform(34, 42) * eye.scale) / (3.0 * eye.scale)))
    cup = np.exp(-((disc / (20 * eye.scale)) ** 2))
    return light * (retina * (1 + halo) + edge * (rng.uniform(0.2, 0.32) + 0.12 * cup))


def _absorption(eye: Eye, arteries: Points, veins: Points, rng: np.random.Generator) -> Floats:
    """(size, size) 0 to 1: blood takes light by its depth; thick arteries shine along their middle."""
    taken = np.zeros((eye.size, eye.size))
    for points, darkness in ((arteries, 0.34), (veins, 0.46)):
        clarity = rng.uniform(0.75, 1.05, points.vessel.max() + 1)[points.vessel]
        depth = np.clip(points.radius / (3.0 * eye.scale), 0.2, 1) ** 0.6
        taken = np.maximum(taken, draw(points, taken.shape, darkness * clarity * depth, hollow=True))
    thick = arteries.chosen(arteries.radius > 1.8 * eye.scale)
    taken -= 0.10 * draw(thick.narrowed(0.3), taken.shape)
    return _blurred(np.maximum(taken, 0), 0.7 * eye.scale)


def _with_spots(green: Floats, eye: Eye, rng: np.random.Generator) -> Floats:
    """Some eyes have bright and dark spots that are no vessels."""
    for sign, least, most in ((0.22, 1.5, 4.0), (-0.12, 2.0, 6.0)):
        count = rng.poisson(8) if rng.random() < 0.3 else 0
        angle, far = rng.uniform(0, 2 * np.pi, count), eye.radius * np.sqrt(rng.uniform(0, 0.8, count))
        middle = (eye.size - 1) / 2
        for y, x in zip(middle + far * np.sin(angle), middle + far * np.cos(angle), strict=True):
            radius = rng.uniform(least, most) * eye.scale
            green = green * (1 + sign * np.exp(-((eye.away((y, x)) / radius) ** 4)))
    return green


def _photographed(green: Floats, eye: Eye, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(size, size, 3): what a camera makes of it; red is brighter and flatter, blue dark."""
    grain = 0.012 * _blurred(rng.standard_normal(green.shape), 0.6) / 0.47  # 0.47: what the blur leaves of its spread
    shot = 0.008 * rng.standard_normal(green.shape)
    seen = np.clip(green + grain + shot, 0, 1)
    colours = np.stack([0.42 + 0.75 * seen, seen, 0.08 + 0.32 * seen], axis=-1)
    lit = (eye.from_centre <= eye.radius + 2 * eye.scale).astype(np.float64)
    edge = _blurred(lit, 0.8 * eye.scale)[..., None]
    return np.rint(255 * np.clip(colours * edge, 0, 1)).astype(np.uint8)


def _marked(
    trees: tuple[Points, ...], observer: Observer, eye: Eye, view: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """(size, size) 1 where `observer` marks a vessel."""
    cover = np.zeros(view.shape)
    unseen = max(observer.unseen * eye.scale, _FINEST) * (1 + 0.15 * _smooth(eye.size, eye.size / 10, rng))
    for points in trees:
        vessels = points.vessel.max() + 1
        down, across = rng.normal(0, observer.shift * eye.scale, (2, vessels))[:, points.vessel]
        wider = rng.lognormal(0, observer.width, vessels)[points.vessel]
        at = np.rint(points.y).astype(int), np.rint(points.x).astype(int)
        seen = points.radius > unseen[at]
        marked = Points(points.y + down, points.x + across, np.maximum(points.radius * wider, 0.5), points.vessel)
        cover = np.maximum(cover, draw(marked.chosen(seen), view.shape))
    return ((cover >= 0.5) & view).astype(np.uint8)


def _smooth(size: int, length: float, rng: np.random.Generator) -> Floats:
    """(size, size) noise of mean 0 and standard deviation 1 that changes over `length` px."""
    noise = _blurred(rng.standard_normal((size, size)), length)
    noise -= noise.mean()
    noise /= noise.std()
    return noise


def _blurred(picture: Floats, sigma: float) -> Floats:
    """`picture` under a Gaussian of `sigma` px, which goes around at the edges."""
    down = np.fft.fftfreq(picture.shape[0])[:, None]
    across = np.fft.rfftfreq(picture.shape[1])
    passed = np.exp(-2 * (np.pi * sigma) ** 2 * (down**2 + across**2))
    blurred: Floats = np.fft.irfft2(np.fft.rfft2(picture) * passed, picture.shape)
    return blurred
