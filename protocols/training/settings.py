"""What mixed-precision training on an array can be told."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from labctl.learning.mixed_precision.comparing import BaselineName
from labctl.learning.trainable.tasks import TRAINING_TASKS, TrainingTask
from labctl.units import Second, Siemens, Volt


class PulseShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pulse that is always the same."""

    voltage: Volt
    width: Second
    gate: Volt

    def __post_init__(self) -> None:
        for name in ("voltage", "width", "gate"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} must be more than 0 {value.unit}, not {value:g}")


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What network is trained for what, and how the devices are.

    task, data: as `load_dataset` takes them (`gan` learns from mnist); data is a folder, that of $LABCTL_DATA where
    empty. own_data: it is not the published set, but one's own in the same format. network, epochs, batch, rate, decay,
    devices, rounding, refresh_images: of the task where None; the learning rate is multiplied by `decay` with every
    epoch. train, test: of how many samples (all where None).

    devices: pairs of devices for each weight, which take pulses in turn. granularity: what one SET pulse is taken to
    add to a device. weight_per_siemens: of a pair; None: such that the devices as prepared are random weights as the
    network wants them. rounding: how accumulators are cut to whole pulses. most_pulses: on a device in one update; what
    is due beyond waits. set, reset: the pulses, always the same. initial: share of the devices that get one SET after
    the RESET that all get first. stuck_above: what a cell conducts after that RESET if it does not follow; where the
    array has lines to spare, the network stands on those with fewest of such. refresh_images: training samples after
    which saturated pairs are reset and rewritten (0: never): those with a device above `refresh_above` and a difference
    below `refresh_difference`, with at most `refresh_pulses` SETs, by each of which a device just RESET gains
    `refresh_step`.

    voltage: of the largest input of a product. dac_bits: of an input (None: as fine as the board takes them). adc_bits:
    of an output, 8 to 14. image_time: s of the array's clock that a training sample takes at least.

    judge: whether the network is judged on the board after every epoch; at the end it always is. rest: s after the last
    pulse, when it is judged again with nothing done meanwhile, with and without compensation of drift. baselines: what
    to train beside it. most_dead: share of cells that cannot be used, above which a line is left out. exclude:
    (rows, cols) bool, cells that are never pulsed.
    """

    task: Literal["mnist", "fashion-mnist", "text", "gan"] = "mnist"
    data: str = ""
    own_data: bool = False
    network: str | None = None
    epochs: int | None = None
    batch: int | None = None
    rate: float | None = None
    decay: float | None = None
    train: int | None = None
    test: int | None = None
    devices: int | None = None
    granularity: Siemens = Siemens(0.77e-6)
    weight_per_siemens: float | None = None
    rounding: Literal["truncate", "floor"] | None = None
    most_pulses: int = 20
    set: PulseShape = PulseShape(voltage=Volt(0.75), width=Second(5e-8), gate=Volt(2.5))
    reset: PulseShape = PulseShape(voltage=Volt(3.3), width=Second(5e-8), gate=Volt(2.5))
    initial: float = 0.3
    stuck_above: Siemens = Siemens(2e-6)
    refresh_images: int | None = None
    refresh_above: Siemens = Siemens(8e-6)
    refresh_difference: Siemens = Siemens(6e-6)
    refresh_pulses: int = 3
    refresh_step: Siemens = Siemens(1.5e-6)
    voltage: Volt = Volt(0.2)
    dac_bits: int | None = 8
    adc_bits: int = 14
    image_time: Second = Second(0.0)
    judge: bool = True
    rest: tuple[Second, ...] = ()
    baselines: tuple[BaselineName, ...] = ("float", "ideal", "granularity", "pcm")
    most_dead: float = 0.5
    exclude: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "train", "test"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        for name in ("rate", "weight_per_siemens"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e15:
                raise ValueError(f"{name} must be more than 0 and below 1e15, not {value:g}")
        if self.decay is not None and not 0 < self.decay <= 1:
            raise ValueError(f"decay must be more than 0 and at most 1, not {self.decay:g}")
        if not 1 <= self.most_pulses <= 1000:
            raise ValueError(f"most_pulses must be 1 to 1000, not {self.most_pulses}")
        if self.devices is not None and not 1 <= self.devices <= 16:
            raise ValueError(f"devices must be 1 to 16 pairs a weight, not {self.devices}")
        for name in ("granularity", "stuck_above", "refresh_above", "refresh_difference", "refresh_step", "voltage"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} must be more than 0 {value.unit}, not {value:g}")
        if not 0 <= self.initial <= 1:
            raise ValueError(f"initial must be a share from 0 to 1, not {self.initial:g}")
        for name in ("refresh_images", "refresh_pulses"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} must not be negative, not {value}")
        if self.refresh_pulses > 1000:
            raise ValueError(f"refresh_pulses must be at most 1000, not {self.refresh_pulses}")
        if self.dac_bits is not None and not 2 <= self.dac_bits <= 16:
            raise ValueError(f"dac_bits must be 2 to 16, not {self.dac_bits}")
        if not 8 <= self.adc_bits <= 14:
            raise ValueError(f"adc_bits must be 8 to 14, not {self.adc_bits}")
        if not self.image_time >= 0:
            raise ValueError(f"image_time must not be negative, not {self.image_time:g}")
        if any(not 0 <= delay < 1e9 for delay in self.rest) or list(self.rest) != sorted(self.rest):
            raise ValueError("rest must be delays in s that do not decrease")
        if not 0 < self.most_dead <= 1:
            raise ValueError(f"most_dead must be more than 0 and at most 1, not {self.most_dead:g}")

    @property
    def of_task(self) -> TrainingTask:
        return TRAINING_TASKS[self.task]

    @property
    def pairs(self) -> int:
        """Of devices, for each weight."""
        return self.of_task.devices if self.devices is None else self.devices

    @property
    def cut(self) -> Literal["truncate", "floor"]:
        """How accumulators are cut to whole pulses."""
        return self.of_task.rounding if self.rounding is None else self.rounding

    @property
    def refresh_every(self) -> int:
        """Training samples between two refreshes; 0: there is none."""
        return self.of_task.refresh_images if self.refresh_images is None else self.refresh_images
