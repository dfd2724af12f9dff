"""What pruning a network on an array can be told."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from labctl.learning.tasks import TASKS, Task, TaskName
from labctl.protocols.density_forming import DensitySettings
from labctl.protocols.ramps import Ramp
from labctl.units import Second, Siemens, Volt

Baseline = Literal["untouched", "last_layer", "trained_then_written", "pruned_software", "float"]


class PruningSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What network is pruned for what, and how the array is.

    task, data, split: as `load_dataset` takes them; data is a folder, that of $LABCTL_DATA where empty. own_data: it is
    not the published set, but one's own in the same format. network, bits, epochs, batch, rate: of the task where None.
    train, test: of how many samples (all where None).

    keep: share of each layer's edges. rate, momentum, decay: of the scores' gradient descent; the rate falls to 0 as a
    half cosine. hysteresis: an edge flips only if its score moved by this share of its layer's threshold.
    policy: whether an edge is pruned by RESET of both cells of its pair, or of the one that conducts more.
    synchronise: batches after which the array is brought into the state of the masks; 0: after each epoch.
    forward: whether training multiplies with the last readings of the cells, or on the board. reads: whether each batch
    has readings of its own, or one of `replayed_reads` that are kept, drawn at random.

    form: to which density, and how, pristine cells are formed first. set, reset, hold: ramps that reinstate and prune,
    with `hold` further pulses at their ends. kept_above, pruned_below: where a cell counts as switched. voltage: of a
    row in a product. calibrate: training samples that batch norms are calibrated with. most_dead: share of cells
    that cannot be used, above which a line is left out.

    board: whether the network is evaluated on the board at the end. rest: s after which, with nothing done meanwhile,
    it is again; then once more after a verify. baselines: which of them to train and evaluate beside it;
    baseline_epochs: for how long, `epochs` where None. programming_error: of trained weights written to cells: standard
    deviation over the full scale (5 to 6 % closed loop on three chips: NI-RRAM-Python, MIT). exclude: (rows, cols)
    bool, cells that are never pulsed.
    """

    task: TaskName = "fashion-mnist"
    data: str = ""
    own_data: bool = False
    split: str = "official"
    network: str | None = None
    bits: int | None = None
    epochs: int | None = None
    batch: int | None = None
    train: int | None = None
    test: int | None = None
    keep: float = 0.5
    rate: float | None = None
    momentum: float = 0.9
    decay: float = 5e-4
    hysteresis: float = 0.01
    policy: Literal["both", "one"] = "both"
    synchronise: int = 0
    forward: Literal["reads", "board"] = "reads"
    reads: Literal["replayed", "fresh"] = "replayed"
    replayed_reads: int = 8
    form: DensitySettings = DensitySettings()
    set: Ramp = Ramp(start=Volt(1.8), stop=Volt(2.6), step=Volt(0.2), width=Second(1e-7), gate=Volt(1.2))
    reset: Ramp = Ramp(start=Volt(2.4), stop=Volt(3.2), step=Volt(0.2), width=Second(1e-7), gate=Volt(2.5))
    hold: int = 3
    kept_above: Siemens = Siemens(6e-6)
    pruned_below: Siemens = Siemens(2e-6)
    voltage: Volt = Volt(0.3)
    calibrate: int = 1000
    most_dead: float = 0.5
    board: bool = True
    rest: tuple[Second, ...] = ()
    baselines: tuple[Baseline, ...] = ("untouched", "last_layer", "trained_then_written", "pruned_software", "float")
    baseline_epochs: int | None = None
    programming_error: float = 0.055
    exclude: np.ndarray | None = None

    def __post_init__(self) -> None:
        _within("keep", self.keep, 0, 1)
        _within("most_dead", self.most_dead, 0, 1)
        for name in ("epochs", "batch", "train", "test", "baseline_epochs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        for name in ("synchronise", "hold"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)}")
        if self.rate is not None and not 0 < self.rate < 1000:
            raise ValueError(f"rate must be more than 0 and below 1000, not {self.rate:g}")
        for name in ("programming_error", "hysteresis", "decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name):g}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be 0 to below 1, not {self.momentum:g}")
        if self.bits is not None and not 1 <= self.bits <= 8:
            raise ValueError(f"bits must be 1 to 8, not {self.bits}")
        if not 1 <= self.replayed_reads <= 64:
            raise ValueError(f"replayed_reads must be 1 to 64, not {self.replayed_reads}")
        if not self.voltage > 0:
            raise ValueError(f"voltage must be more than 0 V, not {self.voltage:g}")
        if not self.calibrate >= 10:
            raise ValueError(f"calibrate must be at least 10, not {self.calibrate}")
        if not 0 < self.pruned_below < self.kept_above:
            raise ValueError("pruned_below must be more than 0 S and below kept_above")
        if any(not 0 <= delay < 1e9 for delay in self.rest) or list(self.rest) != sorted(self.rest):
            raise ValueError("rest must be delays in s that do not decrease")
        if self.forward == "board" and not self.board:
            raise ValueError('forward "board" needs board to be true')

    @property
    def of_task(self) -> Task:
        return TASKS[self.task]

    @property
    def scores_rate(self) -> float:
        """Of the scores' descent at first."""
        return self.of_task.rate if self.rate is None else self.rate


class InferenceSettings(PruningSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the pruning run whose network is to be judged.

    state: (bytes,) u8, its last checkpoint, an .npz file. verify: switch cells first that are no longer in their state.
    """

    state: np.ndarray
    verify: bool = False
    baselines: tuple[Baseline, ...] = ()


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low < value <= high:
        raise ValueError(f"{name} must be more than {low:g} and at most {high:g}, not {value:g}")
