"""Delimited text (csv, tsv and their kin) as rows of fields, in whatever encoding and dialect it is.

Encodings: UTF-8, UTF-16 and UTF-32 by their byte order marks, else UTF-8, else Windows-1252, which is noted.
The delimiter is a comma, a semicolon, a tab or a bar; whoever reads the rows says which one makes sense.
Fields may be quoted with double quotes, lines end in any way, blank lines do not count.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from resight.core.errors import DataError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with UTF-16's mark, so it comes first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Row:
    """One record.

    Attributes:
        line: the line on which it begins, from 1.
        fields: its fields, unquoted.
    """

    line: int
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Text:
    """A delimited text that is decoded but not yet cut into fields.

    Attributes:
        file: where it is from.
        text: all of it.
        skipped: lines before the first record, such as Excel's `sep=;`.
        delimiter: the one that such a line gives; None if there is none.
        notes: what was decided about the encoding.
    """

    file: Path
    text: str
    skipped: int
    delimiter: str | None
    notes: tuple[str, ...]

    def rows(self, delimiter: str) -> Iterator[Row]:
        """Yield the records, blank ones left out.

        Raises:
            DataError: if a quote is not closed or not at a field's end, or a field is longer than 131,072
                characters.
        """
        spaced = re.search(re.escape(delimiter) + ' +"', self.text) is not None
        reader = csv.reader(
            io.StringIO(self.text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=spaced
        )
        line = self.skipped + 1
        while True:
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise DataError(
                    f"{self.file}:{line}: the record that begins here cannot be read ({error}); close its "
                    'quotes, and write a quote inside a field twice ("")'
                ) from error
            if any(field.strip() for field in fields):
                yield Row(line, tuple(fields))
            line = self.skipped + reader.line_num + 1

    def first(self, delimiter: str) -> Row | None:
        """Return the first record; None if there is none, or it cannot be cut so."""
        try:
            return next(self.rows(delimiter), None)
        except DataError:
            return None


def read_delimited(file: Path) -> Text:
    """Read and decode a delimited text.

    Raises:
        DataError: if it cannot be read or decoded, or holds a NUL character.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    text, notes = _decoded(file, content)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{file}:{line}: holds a NUL character; save it as UTF-8 text")
    mark = re.match(r"sep=([,;|\t])\r?\n", text)
    if mark is None:
        return Text(file, text, 0, None, notes)
    return Text(file, text[mark.end() :], 1, mark[1], notes)


def _decoded(file: Path, content: bytes) -> tuple[str, tuple[str, ...]]:
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), None)
    try:
        return content.decode(encoding or "utf-8"), ()
    except UnicodeDecodeError as error:
        if encoding is not None:
            raise DataError(
                f"{file}: begins as {encoding.removesuffix('-sig').upper()} but is not ({error.reason} at "
                f"byte {error.start:,}); save it as UTF-8"
            ) from error
    try:
        return content.decode("cp1252"), (
            f"{file.name} is not UTF-8 and was read as Windows-1252; save it as UTF-8 if names look wrong",
        )
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file}: is neither UTF-8 nor Windows-1252 (byte {error.start:,}); save it as UTF-8"
        ) from error
