"""A pruned network on the board: its columns and batch norms calibrated there, then judged, now and after rests."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labctl.learning.networks import Network
from labctl.protocols.pruning.judging import Judged, judged
from labctl.protocols.pruning.training import PrunedNetwork, as_scalars
from labctl.steps import Result, Step

_SAMPLES = 1000  # at once, of a network that stands on the array as a whole


@dataclass(frozen=True, slots=True)
class Rested:
    """How the network did `after` s of rest: untouched, and, of the last rest, once verified and calibrated anew."""

    after: float
    judged: Judged
    verified: Judged | None = None


class OnBoard:
    """`pruned` as the board computes it."""

    def __init__(self, pruned: PrunedNetwork) -> None:
        self._pruned = pruned
        self._network: Network = pruned.network.fresh()

    def evaluate(self) -> Generator[Step, None, Judged]:
        """Calibrate, and judge the test samples."""
        yield from self._calibrate()
        return (yield from self._judge())

    def rest(self, delays: Sequence[float], since: float) -> Generator[Step, None, list[Rested]]:
        """Judge again so many s after `since`, with nothing done in between; after the last, verify and judge anew."""
        found: list[Rested] = []
        clock = self._pruned.array.clock
        for delay in delays:
            clock.sleep_until(since + delay)
            judged_now = yield from self._judge("rest")
            verified = None
            if delay == delays[-1]:
                done = self._pruned.reverify()
                yield Step("rest", {**as_scalars(done)})
                verified = yield from self.evaluate()
            found.append(Rested(delay, judged_now, verified))
        return found

    def _calibrate(self) -> Generator[Step, None, None]:
        """Batch norms and ranges for the currents as the board gives them."""
        pruned = self._pruned
        board = pruned.on_board()
        board.samples = pruned.sampled_codes()
        board.forget()
        self._network = pruned.network.fresh()
        inputs = pruned.data.train_inputs[: pruned.settings.calibrate]
        whole = {"batch": len(inputs)} if pruned.cells.takes_turns else {}
        self._network.calibrate(pruned.weights(0), inputs, pruned.on_board(), **whole)
        yield Step("calibrate", {"saturated": pruned.on_board().counts.saturated})

    def _judge(self, phase: str = "infer") -> Generator[Step, None, Judged]:
        pruned = self._pruned
        inputs = pruned.data.test_inputs
        pruned.turned = 0
        at_once = len(inputs) if pruned.cells.takes_turns else _SAMPLES
        parts = []
        for start in range(0, len(inputs), at_once):
            part = inputs[start : start + at_once]
            parts.append(self._network.predict(pruned.weights(0), part, pruned.on_board()))
            yield Step(phase, progress=(start + len(part), len(inputs)))
        found = judged(np.concatenate(parts), pruned.data, pruned.field)
        saturated = pruned.on_board().counts.saturated
        yield Step(phase, {"accuracy_board": found.accuracy.value, "saturated": saturated})
        return found


def of_rests(rests: Sequence[Rested]) -> dict[str, Any]:
    """For the summary: accuracy over time, and what a verify makes of it."""
    if not rests:
        return {}
    verified = rests[-1].verified
    return {
        "rests": [
            {
                "after_s": float(rest.after),
                **rest.judged.as_values(),
                **({"verified": rest.verified.as_values()} if rest.verified else {}),
            }
            for rest in rests
        ],
        "after": Result(
            np.array([rest.after for rest in rests]), ("after",), "rest before the network was judged", "s"
        ),
        "accuracy_after": Result(
            np.array([rest.judged.accuracy.value for rest in rests]), ("after",), "accuracy on the board, untouched"
        ),
        **({"accuracy_verified": verified.accuracy.value} if verified else {}),
    }
