"""What the cells of an array show to products on its lines, kept up to date where something changes.

Conductance and variance are those of `CrossbarMacro.multiply`, of all cells, but each cell is seen as of a moment of
its own, the latest of these: the last whole second of the clock; the last tenth of a second, up to a second after its
last pulse; the last 10 ms, up to 0.1 s after; the end of the batch of that pulse. (Where heat makes cells age faster,
finer ticks follow.) Fluctuators that are slow to a product stand as at the whole second. So what is seen goes by what
happened to a cell and by the time, not by who looked when; and a pulse costs a look at the cells that it is given, not
at the array.

What the lines take (`lines.py`) depends on all cells, so its factors for each are those of the last look at all of
them: at the last whole second, or at the last one by which another 1/64 of the cells had changed. In between, a cell
that was pulsed is seen as it is, behind lines as they were: where they take a share s of a current, that current is
wrong by s times the relative change of what the line's cells conduct together. The same goes for the noise that
drivers make which are not quite at 0 V.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..cells.arena import Arena
from ..cells.model import CellModel, Fluctuation, Selection, Sense, select
from .ageing import Ageing
from .converters import Converter
from .front_end import ROOM_TEMPERATURE, FrontEnd

Cells = NDArray[np.uint32]
Indices = NDArray[np.intp]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_SECOND = 1.0  # s: what was pulsed longer ago is seen as of whole ones
_FINER = 10  # ticks in one of the kind before
_FINEST = 0.01  # s of age between ticks
_KINDS = 8  # of ticks within a second, at most
_STALE = 64  # one of so many cells may have changed before the lines are looked at again


class SeenCells:
    """Of a chip's `cells`, (rows * cols,) each: conductance, what the array shows of it, S; variance, S**2 of it.

    wholes: how often all of them were looked at. changes: rows and columns of those looked at again since, in order.
    resting: A that columns, and A that rows, show for what drives all lines across them when it should give 0 V;
    resting_variance: A**2 of the noise of that.
    """

    def __init__(
        self,
        cells: CellModel,
        front_end: FrontEnd,
        ageing: Ageing,
        shape: tuple[int, int],
        dac: Converter,
        arena: Arena,
    ) -> None:
        self._cells, self._front_end, self._ageing, self._arena = cells, front_end, ageing, arena
        self.shape = shape
        count = shape[0] * shape[1]
        self.conductance, self.variance = np.empty((2, count), np.float32)
        self._scratch = np.empty((3, count), np.float32)
        self._fluctuation: Fluctuation | None = None  # as of the last look at all
        self.wholes = 0
        self.changes: list[tuple[Indices, Indices]] = []
        self._off = [front_end.line_drivers(dac, transpose)[1] for transpose in (False, True)]
        self.resting = [np.zeros(lines) for lines in reversed(shape)]
        self.resting_variance = [np.zeros(lines) for lines in reversed(shape)]
        self._pulsed = np.full(count, -np.inf)  # s, when the batch of a cell's last pulse ended
        self._latest = -math.inf  # s, the last of these
        self._fresh: list[Cells] = []  # not looked at since something was done to them
        self._recent: list[Cells] = []  # looked at since, but not yet among the young
        self._young = np.empty(0, np.uint32)  # pulsed within the last second, which have ticks of their own
        self._changed = 0  # cells, since all were looked at
        self._begun = ageing.changed_time  # s, before which nothing is seen
        self._looked = self._next = -math.inf  # s, of the last look, and of the next that can show anything else
        self._whole = -math.inf  # s, as of which all were looked at
        self._voltage, self._temperature = math.nan, math.nan  # V, K, of the last look at all
        self._rates: list[int] = []  # ticks in a second, of each kind

    def pulsed(self, cells: Cells | None, until: float) -> None:
        """A batch of pulses on `cells` (None: all) ended at `until`, s."""
        self._pulsed[slice(None) if cells is None else cells] = until
        self._latest = max(self._latest, until)
        self.disturbed(cells)

    def disturbed(self, cells: Cells | None) -> None:
        """`cells` (None: all) are not what they were."""
        count = len(self.conductance) if cells is None else len(cells)
        self._changed += count
        if cells is not None and count and self._changed * _STALE <= len(self.conductance):
            self._fresh.append(cells.copy())

    def heated(self, time: float) -> None:
        """From `time` on, s, all cells age at another pace."""
        self._begun, self._voltage = time, math.nan

    def look(self, time: float, voltage: float, temperature: float) -> None:
        """Bring all up to `time`, s on the bench's clock, as read at `voltage`, V, and `temperature`, K."""
        self._ageing.moment(time, 0.0)
        now = self._ageing.time
        is_whole = (
            self._changed * _STALE > len(self.conductance)
            or now >= math.floor(max(self._looked, 0.0)) + _SECOND
            or (voltage, temperature) != (self._voltage, self._temperature)
        )
        if not is_whole and not self._fresh and now < self._next:
            return
        if is_whole:
            self._voltage, self._temperature = voltage, temperature
            self._look_at_all(now)
        else:
            self._look_at_some(now)
        self._looked = now
        self._fresh.clear()
        self._next = self._next_tick(now)

    def _look_at_all(self, now: float) -> None:
        self._rates = _rates(self._ageing.pace)
        self._whole = max(float(math.floor(now)), self._begun)
        conductance, variance, factor = self.conductance, self.variance, self._scratch[2]
        sense = Sense(self._voltage, self._ageing.before(self._whole))
        for batch, where in select(None, len(conductance), self._arena):
            fluctuation = self._cells.fluctuation(where, sense.at)
            if fluctuation is not None:
                if self._fluctuation is None:
                    self._fluctuation = Fluctuation(*np.empty((2, len(conductance)), np.float32))
                self._fluctuation.shift[batch], self._fluctuation.variance[batch] = fluctuation
            conductance[batch], variance[batch] = self._shown(where, sense, fluctuation)
        if self._front_end.lines:
            through, trip = self._front_end.lines.factors(conductance.reshape(self.shape), self._scratch)
            _behind_lines(conductance, variance, through.ravel(), trip.ravel(), factor)
        self._rest()
        self.wholes += 1
        self.changes.clear()
        self._changed = 0
        self._recent.clear()
        self._young = np.flatnonzero(self._pulsed > self._whole - _SECOND).astype(np.uint32)
        seen = self._moments(self._pulsed[self._young], now)
        later = seen > self._whole
        self._look_at(self._young[later], seen[later])

    def _look_at_some(self, now: float) -> None:
        if now >= self._next:
            self._grow_young()
            seen = self._moments(self._pulsed[self._young], now)
            moved = seen > self._moments(self._pulsed[self._young], self._looked)
            self._look_at(self._young[moved], seen[moved])
        if self._fresh:
            fresh = self._fresh[0] if len(self._fresh) == 1 else np.unique(np.concatenate(self._fresh))
            self._recent.append(fresh)
            self._look_at(fresh, self._moments(self._pulsed[fresh], now))

    def _grow_young(self) -> None:
        """With cells changed since the last time, without those that were to be seen for the last time by then."""
        young = np.unique(np.concatenate([self._young, *self._recent]))
        self._recent.clear()
        self._young = young[self._pulsed[young] > self._looked - _SECOND]

    def _next_tick(self, now: float) -> float:
        """When some cell is to be seen as of another moment than at `now`."""
        nearest, before = math.floor(now) + _SECOND, _SECOND
        for rate in self._rates:
            if self._latest + before > now:
                nearest = min(nearest, (math.floor(now * rate) + 1) / rate)
            before = 1 / rate
        return nearest

    def _moments(self, until: Float64, now: float) -> Float64:
        """As of when cells are seen at `now` whose last batches ended at `until` (n,): (n,) s."""
        seen = np.maximum(until, self._whole)
        before = _SECOND
        for rate in self._rates:
            np.maximum(seen, np.floor(np.minimum(until + before, now) * rate) / rate, out=seen)
            before = 1 / rate
        return seen

    def _look_at(self, cells: Cells, seen: Float64) -> None:
        """Look at `cells` (n,), each as of the moment `seen` (n,), s."""
        while len(cells):
            moment = seen[0]
            here = seen == moment
            now, cells, seen = (cells, cells[:0], seen[:0]) if here.all() else (cells[here], cells[~here], seen[~here])
            sense = Sense(self._voltage, self._ageing.before(float(moment)))
            for _, where in select(now, len(self.conductance), self._arena):
                index = np.array(where.index)
                known = self._fluctuation and Fluctuation(*(each[index] for each in self._fluctuation))
                self._replace(index, *self._shown(where, sense, known))

    def _replace(self, index: Indices, conductance: Float32, variance: Float32) -> None:
        """What the cells `index` (n,) have is now this, S and S**2: as the array shows it."""
        if self._front_end.lines:
            through, trip = self._scratch[0][index], self._scratch[1][index]
            _behind_lines(conductance, variance, through, trip, np.empty_like(trip))
        change = conductance.astype(np.float64)
        change -= self.conductance[index]
        self.conductance[index] = conductance
        self.variance[index] = variance
        row, col = np.divmod(index, self.shape[1])
        self.changes.append((row, col))
        np.add.at(self.resting[0], col, self._off[0][row] * change)
        np.add.at(self.resting[1], row, self._off[1][col] * change)

    def _rest(self) -> None:
        conductance, variance = self.conductance.reshape(self.shape), self.variance.reshape(self.shape)
        rows, cols = self._off
        self.resting = [(rows @ conductance).astype(np.float64), (conductance @ cols).astype(np.float64)]
        self.resting_variance = [
            (np.square(rows) @ variance).astype(np.float64),
            (variance @ np.square(cols)).astype(np.float64),
        ]

    def _shown(self, where: Selection, sense: Sense, fluctuation: Fluctuation | None) -> tuple[Float32, Float32]:
        """Conductance, S, and variance, S**2, of some cells: (n,) each, to be changed at will."""
        conductance, variance = self._cells.read_moments(where, sense, fluctuation)
        if self._temperature == ROOM_TEMPERATURE:
            return conductance, variance
        factor = self._front_end.temperature_factor(conductance, self._temperature)
        return conductance * factor, variance * np.square(factor)


def _behind_lines(conductance: Float32, variance: Float32, through: Float32, trip: Float32, scratch: Float32) -> None:
    """What the array shows of cells, in place; `through`, `trip`: `Lines.factors` of them."""
    conductance += trip
    conductance *= through
    np.square(through, out=scratch)
    variance *= scratch


def _rates(pace: float) -> list[int]:
    """Ticks in a second, of each kind, where cells age `pace` s in one."""
    kinds = math.ceil(math.log(max(pace, 1.0) * _SECOND / _FINEST, _FINER) - 1e-9)
    return [_FINER**kind for kind in range(1, min(kinds, _KINDS) + 1)]
