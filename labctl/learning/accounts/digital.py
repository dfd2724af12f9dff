"""What the same network takes on digital machines: a GPU, a CPU, and a design that does nothing else, all in 32 bit.

GPU and CPU: power x time, time from multiply-adds at a share of the peak; a GPU also waits for its kernels to be
launched, at its idle power. Dedicated: per operation, with weights from a memory on the chip if they fit, else from
outside, and both operands and results through small local memories.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from labctl.errors import SettingsError
from labctl.learning.accounts.account import Account, Entry
from labctl.learning.accounts.crossbar import after_products
from labctl.learning.accounts.figures import Figures
from labctl.learning.networks.network import Layer

Platform = Literal["gpu", "cpu", "dedicated"]
Direction = Literal["forwards", "backwards", "both"]
PLATFORMS: tuple[Platform, ...] = get_args(Platform)

_BITS = 32
_PASSES: dict[Direction, tuple[int, int]] = {"forwards": (1, 0), "backwards": (0, 1), "both": (1, 1)}


def digital(
    layers: Sequence[Layer], figures: Figures, platform: Platform = "gpu", direction: Direction = "forwards"
) -> Account:
    """One sample through the network, forwards, backwards or both.

    Backwards are gradients of the weights and, but for the first layer, of the inputs, as many multiply-adds each as
    forwards. Raises SettingsError.
    """
    if platform not in PLATFORMS:
        raise SettingsError(f"there is no platform {platform!r}: choose one of {', '.join(PLATFORMS)}")
    forwards, backwards = _PASSES[direction]
    pairs = [(layer, forwards + backwards * (1 if place == 0 else 2)) for place, layer in enumerate(layers)]
    if platform == "dedicated":
        kept = sum(layer.inputs * layer.outputs for layer in layers) * _BITS
        entries = [entry for layer, count in pairs for entry in _dedicated(layer, count, kept, figures)]
        return Account("dedicated 32-bit design", tuple(entries))
    entries = [_processor(layer, count, figures, platform) for layer, count in pairs]
    if platform == "gpu":
        batch = figures.positive("gpu_batch", "1")
        entries += [_launches(layer, count, batch, figures) for layer, count in pairs]
        return Account(f"GPU, batches of {batch:g}", tuple(entries))
    return Account("CPU", tuple(entries))


def multiply_adds(layer: Layer) -> int:
    """Of one sample, forwards."""
    return layer.inputs * layer.outputs * layer.products


def _processor(layer: Layer, passes: int, figures: Figures, platform: str) -> Entry:
    count = passes * multiply_adds(layer)
    rate = figures.positive(f"{platform}_rate", "1/s") * figures.positive(f"{platform}_utilisation", "1")
    seconds = count / rate
    power = figures.value(f"{platform}_power", "W")
    return Entry(layer.name, "processor", "multiply-add", count, seconds * power, seconds)


def _launches(layer: Layer, passes: int, batch: float, figures: Figures) -> Entry:
    count = passes * figures.value("gpu_launches_per_layer", "1") / batch
    seconds = count * figures.value("gpu_launch", "s")
    return Entry(layer.name, "launches", "launch", count, seconds * figures.value("gpu_idle_power", "W"), seconds)


def _dedicated(layer: Layer, passes: int, kept: int, figures: Figures) -> tuple[Entry, ...]:
    """kept: bits of all weights."""
    count = passes * multiply_adds(layer)
    fits = kept <= figures.value("dedicated_weight_memory", "1")
    fetched = passes * layer.inputs * layer.outputs * _BITS / figures.positive("dedicated_batch", "1")
    weights = figures.value("large_memory_bit" if fits else "external_memory_bit", "J")
    operands = 2 * _BITS * count
    moved = passes * layer.products * (layer.inputs + layer.outputs) * _BITS
    arithmetic = figures.value("float_multiply", "J") + figures.value("float_add", "J")
    return (
        Entry(
            layer.name,
            "multiply-adds",
            "multiply-add",
            count,
            count * arithmetic,
            count / figures.positive("dedicated_rate", "1/s"),
        ),
        Entry(layer.name, "local memory", "operand bit", operands, operands * figures.value("local_memory_bit", "J")),
        Entry(
            layer.name,
            "weight memory" if fits else "external memory",
            "weight bit fetched",
            fetched,
            fetched * weights,
        ),
        Entry(layer.name, "buffers", "bit moved", moved, moved * figures.value("buffer_bit", "J")),
        *after_products(layer, figures),
    )
