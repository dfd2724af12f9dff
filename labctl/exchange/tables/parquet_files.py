"""Tables as Parquet: a file each; units in the fields' metadata, provenance in the file's, flags as dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labctl.exchange.tables.columns import BLOCK_ROWS, Column, Table
from labctl.exchange.tables.extras import needed
from labctl.exchange.tables.origin import Origin
from labctl.recording.text import json_text

_BLOCKS_A_GROUP = 4
"""A group of about a million rows: what readers skip by, and hold at a time."""


def write_parquet(table: Table, origin: Origin, path: Path) -> None:
    """The table at `path`, a group of rows at a time. Raises ExportError where pyarrow is missing."""
    arrow, parquet = needed("pyarrow", "Parquet"), needed("pyarrow.parquet", "Parquet")
    kinds = {column.name: _Kind(arrow, column) for column in table.columns}
    schema = arrow.schema([kind.field for kind in kinds.values()], metadata=_metadata(table, origin))
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for block in table.blocks(_BLOCKS_A_GROUP * BLOCK_ROWS):
            arrays = [kind.array(block[name]) for name, kind in kinds.items()]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


class _Kind:
    """How a column is held."""

    def __init__(self, arrow: Any, column: Column) -> None:
        self._arrow, self._column = arrow, column
        self._words = column.flags.words() if column.flags else {}
        self.field = arrow.field(column.name, self._type(), metadata=_field_metadata(column))

    def array(self, values: NDArray[Any]) -> Any:
        """NaN and unknown times are nulls: Parquet's readers all have those."""
        if self._words:
            return self._flags(values)
        if self._column.integer is not None:
            return self._arrow.array(self._column.stored(values), mask=np.isnan(values))
        if self._column.is_time:
            return self._arrow.array(self._column.stored(values), mask=np.isnat(values)).cast(self.field.type)
        return self._arrow.array(values, from_pandas=True)

    def _type(self) -> Any:
        if self._words:
            return self._arrow.dictionary(self._arrow.int16(), self._arrow.string())
        if self._column.is_time:
            return self._arrow.timestamp("ns", tz="UTC")
        is_bool = self._column.dtype == bool
        return self._arrow.from_numpy_dtype(self._column.dtype if is_bool else self._column.stored_dtype)

    def _flags(self, codes: NDArray[Any]) -> Any:
        """Codes without a word are null."""
        places = np.full(int(max(max(self._words), codes.max(initial=0))) + 1, -1, np.int16)
        places[list(self._words)] = np.arange(len(self._words))
        found = places[codes]
        indices = self._arrow.array(found, mask=found < 0)
        return self._arrow.DictionaryArray.from_arrays(indices, self._arrow.array(list(self._words.values())))


def _field_metadata(column: Column) -> dict[str, str]:
    found = {"units": column.unit, "long_name": column.long_name}
    if column.flags is not None:
        found |= {"flags": json_text({str(code): word for code, word in column.flags.words().items()})}
    return {name: value for name, value in found.items() if value}


def _metadata(table: Table, origin: Origin) -> Mapping[str, str]:
    """`labctl` holds it all; `PANDAS_ATTRS` is where pandas keeps a frame's `attrs`."""
    units = {column.name: column.unit for column in table.columns if column.unit}
    attributes = json_text({**origin.flat, "units": units})
    return {"labctl": origin.as_json(), "history": origin.history, "PANDAS_ATTRS": attributes}
