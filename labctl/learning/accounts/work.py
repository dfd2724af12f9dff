"""What a network on an array is asked to do, to answer for a sample or to be trained, beside digital machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from labctl.learning.accounts.account import Account
from labctl.learning.accounts.comparing import Comparison, compare
from labctl.learning.accounts.crossbar import OnArray, Written, inference, switching, writing
from labctl.learning.accounts.digital import PLATFORMS, Direction, Platform, digital
from labctl.learning.accounts.figures import Figures
from labctl.learning.networks.network import Layer


def compare_inference(
    network: OnArray, figures: Figures, task: str = "", *, turn_cells: float = 0, turn_samples: float = 1
) -> Comparison:
    """A sample through the network: the array beside a GPU (with a batch, and one sample at a time), a CPU and a
    dedicated design, and beside what was published for `task`.

    turn_cells: that change when tiles take turns, in one round of all tiles, which `turn_samples` share: as `switching`
    has them. Raises SettingsError.
    """

    def account(figures: Figures) -> Account:
        answer = inference(network, figures)
        return answer.plus(switching(turn_cells, figures, turn_samples)) if turn_cells else answer

    return compare(account, _machines(network.layers, "forwards", 1), figures, task)


def training(
    network: OnArray,
    figures: Figures,
    samples: float,
    written: Written,
    *,
    on_array: bool = True,
    platform: Platform = "gpu",
) -> Account:
    """A training run of `samples`, of all epochs, with what was `written` in it.

    Forwards on the array or, without `on_array`, on the digital `platform` from readings of the array; backwards on the
    platform. Raises SettingsError.
    """
    forwards = inference(network, figures) if on_array else digital(network.layers, figures, platform)
    backwards = digital(network.layers, figures, platform, "backwards")
    apart = [replace(entry, component=f"backwards, {entry.component}") for entry in backwards.entries]
    sample = Account(f"{figures.title}; backwards: {backwards.name}", (*forwards.entries, *apart))
    return sample.times(samples).plus(writing(written, figures))


def compare_training(
    network: OnArray,
    figures: Figures,
    samples: float,
    written: Written,
    *,
    on_array: bool = True,
    platform: Platform = "gpu",
) -> Comparison:
    """`training` beside the same samples forwards and backwards on digital machines alone. Raises SettingsError."""

    def account(figures: Figures) -> Account:
        return training(network, figures, samples, written, on_array=on_array, platform=platform)

    return compare(account, _machines(network.layers, "both", samples), figures, "")


def _machines(layers: Sequence[Layer], direction: Direction, samples: float) -> list[Callable[[Figures], Account]]:
    def on(platform: Platform, figures: Figures) -> Account:
        return digital(layers, figures, platform, direction).times(samples)

    def one_at_a_time(figures: Figures) -> Account:
        return on("gpu", figures.changed({"gpu_batch": 1}))

    gpu, *others = (partial(on, platform) for platform in PLATFORMS)
    return [gpu, one_at_a_time, *others]
