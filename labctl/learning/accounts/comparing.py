"""Accounts of the same work side by side, and what their ratio rests on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from labctl.learning.accounts.account import Account
from labctl.learning.accounts.figures import Figure, Figures, Published


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What a ratio becomes when one figure is halved or doubled, the latter as far as the figure can go."""

    figure: Figure
    halved: float
    doubled: float

    def reach(self, ratio: float) -> float:
        """By what factor `ratio` changes at most."""
        return max(_factor(self.halved, ratio), _factor(self.doubled, ratio))


@dataclass(frozen=True, slots=True)
class Comparison:
    """An account, others of the same work, and published ratios to stand beside.

    sensitivities: of the ratio to each of `references`, those figures that matter, most first.
    """

    account: Account
    references: tuple[Account, ...]
    sensitivities: tuple[tuple[Sensitivity, ...], ...]
    figures: Figures
    task: str

    @property
    def published(self) -> tuple[Published, ...]:
        return self.figures.published_for(self.task)

    def as_values(self) -> dict[str, Any]:
        """As plain JSON values, SI units; `saved` is the share of a reference's energy."""
        return {
            "task": self.task,
            **self.account.as_values(),
            "references": [
                {
                    **reference.as_values(),
                    "ratio": (ratio := self.account.ratio(reference)),
                    "saved": 1 - 1 / ratio if ratio else -math.inf,
                    "sensitivity": [
                        {"figure": each.figure.name, "halved": each.halved, "doubled": each.doubled} for each in found
                    ],
                }
                for reference, found in zip(self.references, self.sensitivities, strict=True)
            ],
            "published": [{**asdict(each), "ratio": each.ratio, "saved": each.saved} for each in self.published],
            "table": self.figures.as_values(),
        }


def compare(
    account: Callable[[Figures], Account],
    references: Sequence[Callable[[Figures], Account]],
    figures: Figures,
    task: str,
) -> Comparison:
    """`account` of the figures beside `references` of the same, each a function so that figures can be varied.

    Raises SettingsError.
    """
    return Comparison(
        account=account(figures),
        references=tuple(reference(figures) for reference in references),
        sensitivities=tuple(sensitivity(_ratio(account, reference), figures) for reference in references),
        figures=figures,
        task=task,
    )


def sensitivity(ratio: Callable[[Figures], float], figures: Figures) -> tuple[Sensitivity, ...]:
    """What `ratio` becomes when each figure is halved and doubled, in the order of their reach; figures that do not
    move it are left out. Raises SettingsError."""
    now = ratio(figures)
    found = [
        Sensitivity(figure, ratio(figures.scaled(name, 0.5)), ratio(figures.scaled(name, 2.0)))
        for name, figure in figures.figures.items()
    ]
    moving = [each for each in found if not (each.halved == now == each.doubled)]
    return tuple(sorted(moving, key=lambda each: each.reach(now), reverse=True))


def _ratio(
    account: Callable[[Figures], Account], reference: Callable[[Figures], Account]
) -> Callable[[Figures], float]:
    return lambda figures: account(figures).ratio(reference(figures))


def _factor(value: float, before: float) -> float:
    """How many times one is the other, whichever is more."""
    low, high = sorted((value, before))
    return high / low if low > 0 else math.inf
