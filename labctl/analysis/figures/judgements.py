"""Panels of how a pruned network was judged: what it takes for what, beside other ways, after rests, in pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.ticker import MaxNLocator

from labctl.analysis.characterisation.judging import share_right
from labctl.analysis.characterisation.pruning import judged_ways
from labctl.analysis.characterisation.segmentation import counted, errors, has_pictures, verdicts
from labctl.analysis.characterisation.statistic import quantity
from labctl.analysis.estimators import Estimate
from labctl.analysis.figures.panels import BLUE, GREY, RED, thinned, with_interval
from labctl.learning.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import xarray as xr
    from matplotlib.axes import Axes

    from labctl.learning.metrics import Curve

_WHERE = ("board", "software")
_MOST_NUMBERED = 20  # classes, of which every cell has its number
_DARK = 0.55  # of the scale, from which on numbers are white
_VERDICT_COLOURS = ("#ffffff", "#d0d0d0", "#27408b", "#f2a33c")


def class_names(measured: xr.Dataset, classes: int) -> list[str]:
    """As the task calls them; numbers where it is not known here."""
    task = TASKS.get(str(measured.attrs.get("task", "")))
    return list(task.labels) if task and len(task.labels) == classes else [str(each) for each in range(classes)]


def confusion(axis: Axes, measured: xr.Dataset) -> None:
    """Samples by label down and by what they were taken for across; colours are shares of a label."""
    counts = measured["confusion"].values
    names = class_names(measured, len(counts))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    places = range(len(names))
    axis.set_xticks(places, names, rotation=90, fontsize=8)
    axis.set_yticks(places, names, fontsize=8)
    if len(names) <= _MOST_NUMBERED:
        for (row, col), count in np.ndenumerate(counts):
            colour = "white" if share[row, col] > _DARK else "#888888" if not count else "black"
            axis.text(col, row, f"{count:,}", ha="center", va="center", fontsize=6.5, color=colour)
    right = share_right(measured, float(np.trace(counts) / max(counts.sum(), 1)))
    axis.set(xlabel="taken for", ylabel="label", title=f"{counts.sum():,} samples, {right.value:.2%} right")


def beside(axis: Axes, measured: xr.Dataset) -> None:
    """What all ways reach, one below the other: their accuracies, or of detections their areas of precision."""
    area = f"pr_auc_{_WHERE[0]}" in measured.attrs or f"pr_auc_{_WHERE[1]}" in measured.attrs
    ways = judged_ways(measured, "pr_auc" if area else "accuracy")
    own = {name for name, _ in ways if name.startswith("pruned on the array")}
    stacked(axis, ways, own, *((1.0, 4) if area else (100.0, 2)))
    axis.set(xlabel="area under precision and recall" if area else "accuracy (%)", title="beside other ways")


def stacked(axis: Axes, ways: Sequence[tuple[str, Estimate]], own: Collection[str], scale: float, digits: int) -> None:
    """Each of `ways` on a line of its own with its value and interval, those of the array marked."""
    for place, (name, estimate) in enumerate(reversed(ways)):
        style = {"color": RED if name in own else GREY, "marker": "D" if name in own else "o", "linestyle": ""}
        _across(axis, place, estimate, scale, digits, **style)
    axis.set_yticks(range(len(ways)), [name.replace(", ", ",\n") for name, _ in reversed(ways)], fontsize=8)
    axis.grid(visible=True, axis="y", color="#e3e7ec")
    axis.set_axisbelow(True)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.margins(x=0.12, y=0.12)


def _across(axis: Axes, place: int, estimate: Estimate, scale: float, digits: int, **style: Any) -> None:
    value, low, high = (each * scale for each in (estimate.value, estimate.low, estimate.high))
    reach = [[max(value - low, 0.0)], [max(high - value, 0.0)]] if np.isfinite([low, high]).all() else None
    axis.errorbar([value], [place], xerr=reach, capsize=2, **style)
    text = f"{value:.{digits}f}"
    axis.annotate(text, (value, place), xytext=(0, 5), textcoords="offset points", ha="center", fontsize=8)


def rests(axis: Axes, measured: xr.Dataset) -> None:
    """At once, after each rest untouched, and once more after a verify; evenly apart, whatever the times."""
    times = [quantity(float(each), "s") for each in measured["rest"].values]
    names, found = list(times), [share_right(measured, float(each)) for each in measured["accuracy_after"].values]
    if (at_once := measured.attrs.get("accuracy_board")) is not None:
        names, found = ["at once", *names], [share_right(measured, at_once), *found]
    places = np.arange(len(found))
    with_interval(axis, places, found, 100, color=BLUE, marker="o", label="untouched")
    if (verified := measured.attrs.get("accuracy_verified")) is not None:
        names.append("then\nverified")
        style = {"color": RED, "marker": "D", "linestyle": ""}
        with_interval(axis, [len(found)], [share_right(measured, verified)], 100, label="verified", **style)
    axis.set_xticks(range(len(names)), names, fontsize=8, rotation=0 if len(names) < 6 else 90)
    axis.set(xlabel="rest", ylabel="accuracy on the board (%)", title="accuracy after rest")
    axis.margins(x=0.12, y=0.2)
    axis.legend(frameon=False, fontsize=9)


# -- segmentation ---------------------------------------------------------------------------------------------------


def precision_recall(axis: Axes, measured: xr.Dataset, found: Curve) -> None:
    shown = thinned(len(found.recall))
    axis.plot(found.recall[shown], found.precision[shown], color=BLUE)
    axis.axhline(found.precision[-1], color=GREY, linestyle=":")  # of saying that it is everywhere
    axis.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="precision and recall")
    _areas(axis, measured, "pr_auc", "lower left")


def operating_characteristic(axis: Axes, measured: xr.Dataset, found: Curve) -> None:
    shown = thinned(len(found.recall))
    axis.plot(found.fall_out[shown], found.recall[shown], color=BLUE)
    axis.plot([0, 1], [0, 1], color=GREY, linestyle=":")
    title = "receiver operating characteristic"
    axis.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.02), title=title)
    _areas(axis, measured, "roc_auc", "lower right")


def _areas(axis: Axes, measured: xr.Dataset, area: str, place: str) -> None:
    """Of all ways, as a list."""
    ways = [f"{estimate.value:.4f}  {name}" for name, estimate in judged_ways(measured, area)]
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 2}
    x, side = (0.03, "left") if place == "lower left" else (0.98, "right")
    text = "\n".join(["areas under the curve:", *ways])
    axis.annotate(text, (x, 0.04), xycoords="axes fraction", ha=side, va="bottom", fontsize=8, bbox=box)


def typical(measured: xr.Dataset) -> list[tuple[int, str]]:
    """The picture with the middle share of errors, and that with the most; which they are in words."""
    if not has_pictures(measured):
        return []
    shares = errors(measured)
    order = np.argsort(shares, kind="stable")
    chosen = {int(order[(len(order) - 1) // 2]): "middle", int(order[-1]): "worst"}
    of = len(order)
    return [(each, f"picture {each + 1} of {of}, the {which}") for each, which in chosen.items()]


def picture(axes: Sequence[Axes], measured: xr.Dataset, which: tuple[int, str]) -> None:
    """On four axes what was shown, what is there, what the network says, and where it is wrong."""
    number, told = which
    shown, truth, probability = (measured[name].values[number] for name in ("pictures", "truth", "probability"))
    axes[0].imshow(shown, cmap="gray", interpolation="nearest")
    axes[1].imshow(truth, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    drawn = axes[2].imshow(probability, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes[2].figure.colorbar(drawn, ax=axes[2], shrink=0.85)
    colours, norm = ListedColormap(list(_VERDICT_COLOURS)), BoundaryNorm(np.arange(5) - 0.5, 4)
    judged = np.where(counted(measured)[number], verdicts(measured)[number], 0)
    axes[3].imshow(judged, cmap=colours, norm=norm, interpolation="nearest")
    for colour, label in zip(_VERDICT_COLOURS[1:], ("found", "missed", "not there"), strict=True):
        axes[3].plot([], [], "s", color=colour, markeredgecolor="#666666", label=label)
    axes[3].legend(fontsize=8, loc="upper left", bbox_to_anchor=(0.0, -0.02), ncol=3, frameon=False)
    wrong = errors(measured)[number]
    where = "on the board" if "accuracy_board" in measured.attrs else "in software"
    titles = (told, "truth", f"probability of a vessel, {where}", f"errors: {wrong:.2%} of the pixels")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(title=title, xticks=[], yticks=[])
