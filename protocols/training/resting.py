"""A trained network at rest: how it does when its devices have drifted, with and without compensation."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from labctl.protocols.training.board import BoardTraining
from labctl.protocols.training.compensating import Compensated
from labctl.protocols.training.judging import Verdict, judge
from labctl.steps import Step


@dataclass(frozen=True, slots=True)
class Rested:
    """How the network did `after` s of rest, without and with compensation by `factors`, one a layer."""

    after: float
    plain: Verdict
    compensated: Verdict
    factors: tuple[float, ...]


def rest(training: BoardTraining, found: list[Rested]) -> Generator[Step, None, None]:
    """Judge at the times of the settings after the last pulse; what comes of it goes into `found`."""
    for delay in training.settings.rest:
        training.array.clock.sleep_until(training.ended + delay)
        with training.devices.untallied():
            found.append(_rested(training, float(delay)))
        plain, compensated = found[-1].plain, found[-1].compensated
        values = {**plain.scalars, "after": float(delay), "accuracy_compensated": compensated.accuracy}
        yield Step("rest", values, training.maps())


def _rested(training: BoardTraining, delay: float) -> Rested:
    assert training.reference is not None
    devices = training.devices
    devices.forget_offsets()
    factors = training.reference.factors(devices)
    plain, better = (
        judge(training.network, each, training.data, training.seed) for each in (devices, Compensated(devices, factors))
    )
    return Rested(delay, plain, better, factors)
