"""The three spellings of a manifest: CSV, JSON Lines and Parquet, as rows of text with their line numbers.

Nothing is guessed or converted: a number where text belongs is a problem, as it may have lost zeros already.
The readers go on after a problem, so that one pass finds all of them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from vidface.errors import ManifestError, printable
from vidface.files.atomic import read_regular
from vidface.manifest.rows import _NEEDED, COLUMNS, Parsed, Problem, Row, header_problems, show

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_ROWS = 20_000_000  # of Parquet
_MOST_BYTES = 4 << 30


def parse(path: Path) -> Parsed:
    """Read a manifest's rows; only well-formed rows are returned, the others are among the problems.

    A file that cannot be opened, or whose suffix is not that of a manifest, is a ManifestError.
    """
    form = format_of(path)
    try:
        return form.read(path)
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror or error}") from None


def _text(path: Path, problems: list[Problem]) -> str:
    """Decode a text file; bytes that are not UTF-8 become lone surrogates, which the row checks report."""
    raw = read_regular(path)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        what = "the file is UTF-16; save it as UTF-8"
    elif raw.startswith((b"PK\x03\x04", b"PAR1", b"\x1f\x8b")) or b"\0" in raw[:4]:
        what = "the file is not text, or is UTF-16 without its mark; save it as UTF-8 text"
    else:
        return raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    problems.append(Problem(1, "undecodable", what))
    return ""


def _read_csv(path: Path) -> Parsed:
    problems: list[Problem] = []
    text = _text(path, problems)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: list[int] = []
    rows: list[Row] = []
    header: list[str] | None = None
    places: list[int] = []
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return Parsed(lines, rows, problems)
        except csv.Error as error:
            # The reader starts afresh on the next line.
            problems.append(Problem(line, "syntax", f"not CSV: {error}; is a quote missing or too many?"))
            continue
        if not record:  # a blank line
            continue
        if header is None:
            header = record
            if len(header) == 1 and (mark := next((mark for mark in ";\t" if mark in header[0]), "")):
                message = f"fields are separated by {mark!r}; separate them by commas"
                problems.append(Problem(line, "syntax", message))
                return Parsed(lines, rows, problems)
            problems += header_problems(header, line)
            if any(header.count(name) != 1 for name in _NEEDED):
                return Parsed(lines, rows, problems)
            places = [header.index(name) if name in header else len(header) for name in COLUMNS]
        elif len(record) != len(header):
            message = f"{len(record)} fields where the first line has {len(header)}"
            problems.append(Problem(line, "fields", message))
        else:
            record.append("")  # what a column that is not there reads as
            lines.append(line)
            rows.append((record[places[0]], record[places[1]], record[places[2]], record[places[3]]))


def _write_csv(handle: BinaryIO, rows: Iterable[Row]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    handle.write(text.getvalue().encode())


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _read_jsonl(path: Path) -> Parsed:
    problems: list[Problem] = []
    lines: list[int] = []
    rows: list[Row] = []
    unknown: set[str] = set()
    decode = json.JSONDecoder(object_pairs_hook=_object).decode
    # Not splitlines(): it also breaks at characters that may stand inside a JSON string.
    for line, text in enumerate(_text(path, problems).split("\n"), 1):
        if not text.strip():
            continue
        try:
            value = decode(text)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(line, "syntax", f"not a JSON object: {error}"))
            continue
        if not isinstance(value, dict):
            problems.append(Problem(line, "syntax", f"a JSON {type(value).__name__} where an object belongs"))
            continue
        for name in sorted(value.keys() - set(COLUMNS) - unknown):
            unknown.add(name)  # once is enough: it will be in every line
            problems += [p for p in header_problems([*_NEEDED, name], line) if p.kind == "unknown-column"]
        found = _json_row(value, line)
        if isinstance(found, list):
            problems += found
        else:
            lines.append(line)
            rows.append(found)
    return Parsed(lines, rows, problems)


def _json_row(value: dict[str, Any], line: int) -> Row | list[Problem]:
    fields = [value.get(name, "") for name in COLUMNS]
    if all(type(field) is str for field in fields) and all(name in value for name in _NEEDED):
        return (fields[0], fields[1], fields[2], fields[3])
    problems = []
    for place, name in enumerate(COLUMNS):
        if name in _NEEDED and name not in value:
            problems.append(Problem(line, "missing-column", f"no {name}"))
        elif fields[place] is None:
            fields[place] = ""
        elif type(fields[place]) is not str:
            what = show(json.dumps(fields[place]))
            problems.append(Problem(line, "type", f"{name} is {what[1:-1]}, not text; put it in quotes"))
    return problems or (fields[0], fields[1], fields[2], fields[3])


def _write_jsonl(handle: BinaryIO, rows: Iterable[Row]) -> None:
    for row in rows:
        line = json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False, separators=(",", ":"))
        handle.write(line.encode() + b"\n")


def _read_parquet(path: Path) -> Parsed:
    """``line`` of a problem is its row, from 1."""
    import pyarrow as pa  # takes half a second
    import pyarrow.parquet as pq

    content = pa.BufferReader(read_regular(path))
    try:
        metadata = pq.read_metadata(content)
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        size = sum(max(group.total_byte_size, 0) for group in groups)
        if metadata.num_rows > _MOST_ROWS or size > _MOST_BYTES:
            wrong = f"{metadata.num_rows:,} rows, {size:,} bytes once unpacked; no manifest is so large"
            return Parsed([], [], [Problem(0, "too-large", wrong)])
        paths = {metadata.schema.column(number).path for number in range(metadata.num_columns)}
        # A text that comes again and again takes no memory again: a few kilobytes can hold millions of it.
        with pq.ParquetFile(content, metadata=metadata, read_dictionary=sorted(paths & set(COLUMNS))) as file:
            schema = file.schema_arrow
            problems = header_problems(schema.names, 0)
            names = [name for name in COLUMNS if schema.names.count(name) == 1]
            for name in names:
                if not _is_text(kind := schema.field(name).type):
                    what = f"column {name} is {show(str(kind))[1:-1]}, not text; write it as a string column"
                    problems.append(Problem(0, "type", what))
            if any(problem.kind != "unknown-column" for problem in problems):
                return Parsed([], [], problems)
            table = file.read(columns=names)
        columns = [_texts(table[name]) if name in names else [""] * len(table) for name in COLUMNS]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # of a buffer: it is damaged
        reason = printable(str(error))
        return Parsed([], [], [Problem(0, "syntax", f"not a Parquet file, or damaged: {reason}")])
    return Parsed(list(range(1, len(table) + 1)), list(zip(*columns, strict=True)), problems)


def _is_text(kind: pa.DataType) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    texts = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    return any(is_text(kind) for is_text in texts)


def _texts(column: pa.ChunkedArray) -> list[str]:
    """A text column as a list; null is empty, and bytes that are not UTF-8 become lone surrogates."""
    from pyarrow import ArrowInvalid, compute, large_binary, large_string, types

    found: list[str] = []
    for chunk in column.chunks:
        is_dictionary = types.is_dictionary(chunk.type)
        values = chunk.dictionary if is_dictionary else chunk
        raw = values.cast(large_string(), safe=False).cast(large_binary()).to_pylist()
        words = ["" if value is None else value.decode("utf-8", "surrogateescape") for value in raw]
        if is_dictionary:
            ends = compute.min_max(chunk.indices).as_py()
            if ends["min"] is not None and not 0 <= ends["min"] <= ends["max"] < len(words):
                raise ArrowInvalid("a value is not in its dictionary")
            words = ["" if place is None else words[place] for place in chunk.indices.to_pylist()]
        found += words
    return found


def _write_parquet(handle: BinaryIO, rows: Iterable[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(columns, names=list(COLUMNS)), handle)


class Format(NamedTuple):
    """How one spelling is read and written."""

    read: Callable[[Path], Parsed]
    write: Callable[[BinaryIO, Iterable[Row]], None]


FORMATS = {
    ".csv": Format(_read_csv, _write_csv),
    ".jsonl": Format(_read_jsonl, _write_jsonl),
    ".parquet": Format(_read_parquet, _write_parquet),
}


def format_of(path: Path) -> Format:
    """How a manifest of this name is spelled; a ManifestError if its suffix says nothing."""
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        raise ManifestError(f"{path}: not the name of a manifest; it must end in {', '.join(FORMATS)}")
    return form
