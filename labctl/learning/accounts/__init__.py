"""What a network costs on an array and on digital machines, in joules and seconds: counts of operations times figures.

Figures come from tables in which each has its unit and its source (`data/accounts/*.toml`, or a user's file). An
account is a sum over what was counted. Two accounts of the same work make a ratio, and its sensitivity to every figure
says what the ratio rests on. Pure: nothing is measured here, and nothing is fitted.
"""

from labctl.learning.accounts.account import Account, Entry
from labctl.learning.accounts.associative import (
    Arrays,
    AssociativeLayer,
    allowed_for_programs,
    arrays_for,
    compare_associative,
    movement_share,
    on_associative,
    on_crossbars,
    ratio_without_programs,
)
from labctl.learning.accounts.comparing import Comparison, Sensitivity, compare, sensitivity
from labctl.learning.accounts.crossbar import OnArray, Pulses, Written, inference, switching, writing
from labctl.learning.accounts.digital import PLATFORMS, Direction, Platform, digital
from labctl.learning.accounts.figures import Figure, Figures, Published
from labctl.learning.accounts.mixed_precision import compare_mixed_precision
from labctl.learning.accounts.training_counts import LayerCounts, TrainingCounts
from labctl.learning.accounts.work import compare_inference, compare_training, training

__all__ = [
    "PLATFORMS",
    "Account",
    "Arrays",
    "AssociativeLayer",
    "Comparison",
    "Direction",
    "Entry",
    "Figure",
    "Figures",
    "LayerCounts",
    "OnArray",
    "Platform",
    "Published",
    "Pulses",
    "Sensitivity",
    "TrainingCounts",
    "Written",
    "allowed_for_programs",
    "arrays_for",
    "compare",
    "compare_associative",
    "compare_inference",
    "compare_mixed_precision",
    "compare_training",
    "digital",
    "inference",
    "movement_share",
    "on_associative",
    "on_crossbars",
    "ratio_without_programs",
    "sensitivity",
    "switching",
    "training",
    "writing",
]
