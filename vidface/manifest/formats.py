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
from typing import Any, BinaryIO, NamedTuple

from vidface.errors import ManifestError
from vidface.files.atomic import read_regular
from vidface.manifest.rows import _NEEDED, COLUMNS, Parsed, Problem, Row, header_problems, show


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
        problems.append(Problem(1, "undecodable", "the file is UTF-16; save it as UTF-8"))
        return ""
    if raw.startswith((b"PK\x03\x04", b"PAR1", b"\x1f\x8b")) or b"\0" in raw[:4]:
        what = "the file is not text, or is UTF-16 without its mark; save it as UTF-8 text"
        problems.append(Problem(1, "undecodable", what))
        return ""
    return raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


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
    from vidface.manifest.parquet import read_parquet  # pyarrow takes half a second to import

    return read_parquet(path)


def _write_parquet(handle: BinaryIO, rows: Iterable[Row]) -> None:
    from vidface.manifest.parquet import write_parquet

    write_parquet(handle, rows)


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
