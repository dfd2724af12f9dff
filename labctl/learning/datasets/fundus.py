"""A picture of the back of an eye, with what people say are its vessels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labctl.learning.datasets.files import digest_of, sha256


@dataclass(frozen=True, slots=True, eq=False)
class Fundus:
    """number: of the picture in its set. picture: (height, width, 3) u1, red, green, blue.

    view: (height, width) u1, 1 in the field of view. vessels: (height, width) u1, 1 where the first observer sees a
    vessel; second: likewise the second observer, None where there was none.
    """

    number: int
    picture: NDArray[np.uint8]
    view: NDArray[np.uint8]
    vessels: NDArray[np.uint8]
    second: NDArray[np.uint8] | None = None

    @property
    def digest(self) -> str:
        """sha256 of it all."""
        planes = [plane for plane in (self.picture, self.view, self.vessels, self.second) if plane is not None]
        return digest_of([str(self.number), *(f"{plane.shape} {sha256(plane.tobytes())}" for plane in planes)])
