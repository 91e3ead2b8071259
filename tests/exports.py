"""Reads exported files back, as the programs do that they are for."""

import csv
import io
import json
from typing import Any

import pyarrow.parquet as pq

from queries.table_files import text


def read_back(data: bytes, extension: str) -> list[dict[str, Any]]:
    """Return the rows of a file: text only of CSV, typed values of Parquet, what JSON knows of JSON."""
    match extension:
        case "csv":
            return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
        case "parquet":
            return list(pq.read_table(io.BytesIO(data)).to_pylist())
        case _:
            found: list[dict[str, Any]] = json.loads(data)
            return found


def as_csv(data: bytes, extension: str) -> list[dict[str, str]]:
    """Return the rows of a file of any format as the CSV of the same table has them."""
    rows = read_back(data, extension)
    return rows if extension == "csv" else [{name: text(cell) for name, cell in row.items()} for row in rows]
