"""Manifests as Parquet; apart from the other spellings, as pyarrow is slow to import."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from vidface.errors import printable
from vidface.files.atomic import read_regular
from vidface.manifest.rows import COLUMNS, Parsed, Problem, Row, header_problems, show

MOST_ROWS = 20_000_000
MOST_BYTES = 4 << 30


def read_parquet(path: Path) -> Parsed:
    """Read the rows of a Parquet file; `line` of a problem is its row, from 1."""
    content = pa.BufferReader(read_regular(path))
    try:
        metadata = pq.read_metadata(content)
        if wrong := _too_much(metadata):
            return Parsed([], [], [Problem(0, "too-large", wrong)])
        paths = {metadata.schema.column(number).path for number in range(metadata.num_columns)}
        # A text that comes again and again takes no memory again: a few kilobytes can hold millions of it.
        with pq.ParquetFile(content, metadata=metadata, read_dictionary=sorted(paths & set(COLUMNS))) as file:
            schema = file.schema_arrow
            problems = header_problems(schema.names, 0)
            names = [name for name in COLUMNS if schema.names.count(name) == 1]
            for name in names:
                kind = schema.field(name).type
                if not _is_text(kind):
                    message = (
                        f"column {name} is {show(str(kind))[1:-1]}, not text; write it as a string column"
                    )
                    problems.append(Problem(0, "type", message))
            if any(p.kind != "unknown-column" for p in problems):
                return Parsed([], [], problems)
            table = file.read(columns=names)
    except (pa.ArrowException, OSError) as error:  # of a buffer, OSError says that it is damaged
        reason = printable(str(error))
        return Parsed([], [], [Problem(0, "syntax", f"not a Parquet file, or damaged: {reason}")])
    columns = [_texts(table[name]) if name in names else [""] * len(table) for name in COLUMNS]
    return Parsed(list(range(1, len(table) + 1)), list(zip(*columns, strict=True)), problems)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)
    )


def _texts(column: pa.ChunkedArray) -> list[str]:
    """A text column as a list; null is empty, and bytes that are not UTF-8 become lone surrogates."""
    if pa.types.is_null(column.type):
        return [""] * len(column)
    found: list[str] = []
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            words = _words(chunk.dictionary)
            found += ["" if place is None else words[place] for place in chunk.indices.to_pylist()]
        else:
            found += _words(chunk)
    return found


def _words(values: pa.Array) -> list[str]:
    raw = values.cast(pa.large_string(), safe=False).cast(pa.large_binary()).to_pylist()
    return ["" if value is None else value.decode("utf-8", "surrogateescape") for value in raw]


def _too_much(metadata: pq.FileMetaData) -> str:
    """What a file claims to unpack to, where no manifest is so large; else nothing."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    size = sum(max(group.total_byte_size, 0) for group in groups)
    if metadata.num_rows > MOST_ROWS or size > MOST_BYTES:
        return f"{metadata.num_rows:,} rows, {size:,} bytes once unpacked; no manifest is so large"
    return ""


def write_parquet(handle: BinaryIO, rows: Iterable[Row]) -> None:
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(columns, names=list(COLUMNS)), handle)
