"""The PLY container: header, elements and properties; ascii, binary little endian and binary big endian.

Source: Turk, The PLY Polygon File Format, 1994.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np

_TYPES = {
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
}
_BYTE_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class Property:
    """One column of an element; a list column also has the type of its length."""

    name: str
    """Column name."""
    kind: str
    """NumPy type code without byte order."""
    length_kind: str | None = None
    """Type code of the length of a list column, None for a scalar."""


@dataclass(frozen=True)
class Element:
    """One table of the file."""

    name: str
    """Table name, such as ``vertex``."""
    count: int
    """Rows."""
    properties: tuple[Property, ...]
    """Columns, in file order."""

    @property
    def has_lists(self) -> bool:
        """True when rows differ in length."""
        return any(column.length_kind for column in self.properties)

    def dtype(self, byte_order: str) -> np.dtype:
        """The packed record type of one row without lists."""
        return np.dtype([(column.name, byte_order + column.kind) for column in self.properties])


@dataclass(frozen=True)
class Header:
    """What a PLY file says about itself."""

    encoding: str
    """``ascii``, ``binary_little_endian`` or ``binary_big_endian``."""
    comments: tuple[str, ...]
    """Comment lines without the keyword."""
    elements: tuple[Element, ...]
    """Tables, in file order."""
    size: int
    """Bytes from the start of the file to the first table."""

    @property
    def byte_order(self) -> str:
        """NumPy's byte order character."""
        return _BYTE_ORDERS[self.encoding]


def read_header(path: str | PathLike[str]) -> Header:
    """Read the header of a PLY file.

    Raises:
        ValueError: when the file is not a PLY file or its header is malformed.
    """
    path = Path(path)
    if not path.is_file():
        found = "it is a folder: name a file in it" if path.is_dir() else "there is none. Check the path"
        raise FileNotFoundError(f"Expected a PLY file at {path}; {found}.")
    with path.open("rb") as file:
        return _read_header(path, file)


def read_elements(path: str | PathLike[str], wanted: Collection[str]) -> tuple[Header, dict[str, np.ndarray]]:
    """Read the wanted tables of a PLY file as structured arrays; tables with list columns are passed over.

    Raises:
        ValueError: when the file is not a PLY file, is malformed, or ends before its tables do.
    """
    path = Path(path)
    with path.open("rb") as file:
        header = _read_header(path, file)
        present = [index for index, element in enumerate(header.elements) if element.name in wanted]
        tables = {}
        text = io.TextIOWrapper(file, encoding="utf-8", errors="replace") if header.encoding == "ascii" else None
        for element in header.elements[: present[-1] + 1 if present else 0]:
            keep = element.name in wanted and not element.has_lists
            if text is not None:
                table = _ascii_table(path, text, element, keep)
            else:
                table = _binary_table(path, file, element, header.byte_order, keep)
            if table is not None:
                tables[element.name] = table
        return header, tables


def _read_header(path: Path, file: BinaryIO) -> Header:
    if file.read(3) != b"ply" or file.readline().strip():
        raise ValueError(
            f"{path} must be a PLY file, whose first line is 'ply'; got something else. "
            "Convert the map to a Gaussian splat PLY (SuperSplat exports one)."
        )
    encoding, comments = "", list[str]()
    elements: list[tuple[str, int, list[Property]]] = []
    for number in range(2, 1_000_000):
        line = file.readline()
        words = line.decode("utf-8", errors="replace").split()
        if not line.endswith(b"\n"):
            raise _malformed(path, number, "end_header", "the end of the file")
        match words:
            case [] | ["obj_info", *_]:
                pass
            case ["comment", *_]:
                comments.append(line.decode("utf-8", errors="replace").strip()[len("comment") :].strip())
            case ["format", kind, _] if kind in _BYTE_ORDERS:
                encoding = kind
            case ["element", name, count] if count.isdecimal() and name not in {known[0] for known in elements}:
                elements.append((name, int(count), []))
            case ["property", kind, name] if kind in _TYPES and elements:
                elements[-1][2].append(Property(name, _TYPES[kind]))
            case ["property", "list", length, kind, name] if {length, kind} <= _TYPES.keys() and elements:
                elements[-1][2].append(Property(name, _TYPES[kind], _TYPES[length]))
            case ["end_header"] if encoding:
                tables = tuple(Element(name, count, tuple(columns)) for name, count, columns in elements)
                for table in tables:
                    if len({column.name for column in table.properties}) < len(table.properties):
                        raise _malformed(path, number, f"distinct property names in element {table.name}", "a repeat")
                return Header(encoding, tuple(comments), tables, file.tell())
            case _:
                raise _malformed(path, number, "a PLY header line", repr(" ".join(words)[:80]))
    raise _malformed(path, number, "end_header", "a million other lines")


def _malformed(path: Path, line: int, expected: str, came: str) -> ValueError:
    return ValueError(f"{path}, header line {line}: expected {expected}; got {came}. Export the file again.")


def _cut_short(path: Path, element: Element, came: int) -> ValueError:
    return ValueError(
        f"{path} is cut short: its header promises {element.count} rows of element {element.name}; "
        f"got {came} whole rows. Copy or export the file again."
    )


def _ascii_table(path: Path, text: io.TextIOWrapper, element: Element, keep: bool) -> np.ndarray | None:
    lines = list(islice((line for line in text if line.strip()), element.count))
    if len(lines) < element.count:
        raise _cut_short(path, element, len(lines))
    if not keep:
        return None
    table = np.zeros(element.count, dtype=element.dtype("="))
    if not lines:
        return table
    wanted = len(element.properties)
    try:
        rows = np.loadtxt(lines, dtype=np.float64, ndmin=2, comments=None)
    except ValueError as error:
        raise ValueError(
            f"{path}: rows of element {element.name} must hold {wanted} numbers; got: {error}. Export the file again."
        ) from error
    if rows.shape[1] != wanted:
        raise ValueError(
            f"{path}: rows of element {element.name} must hold {wanted} numbers; got {rows.shape[1]}. "
            "Export the file again."
        )
    for index, column in enumerate(element.properties):
        table[column.name] = rows[:, index]
    return table


def _binary_table(path: Path, file: BinaryIO, element: Element, byte_order: str, keep: bool) -> np.ndarray | None:
    if element.has_lists:
        _pass_over_lists(path, file, element, byte_order)
        return None
    dtype = element.dtype(byte_order)
    start = file.tell()
    available = path.stat().st_size - start
    if available < element.count * dtype.itemsize:
        raise _cut_short(path, element, available // dtype.itemsize)
    if not keep:
        file.seek(start + element.count * dtype.itemsize)
        return None
    return np.fromfile(file, dtype=dtype, count=element.count)


def _pass_over_lists(path: Path, file: BinaryIO, element: Element, byte_order: str) -> None:
    for row in range(element.count):
        for column in element.properties:
            length = 1
            if column.length_kind is not None:
                prefix = np.dtype(byte_order + column.length_kind)
                data = file.read(prefix.itemsize)
                if len(data) < prefix.itemsize:
                    raise _cut_short(path, element, row)
                length = int(np.frombuffer(data, dtype=prefix)[0])
            file.seek(length * np.dtype(column.kind).itemsize, io.SEEK_CUR)
