"""The record of a chip: what all its runs say of each cell, and which cells protocols leave alone."""

from labctl.chips.defects import Defect
from labctl.chips.exclusions import Exclusion
from labctl.chips.record import ChipRecord, ChipRun, FormingYield, chip_record

__all__ = ["ChipRecord", "ChipRun", "Defect", "Exclusion", "FormingYield", "chip_record"]
