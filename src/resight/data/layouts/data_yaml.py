"""The few forms of YAML in which a YOLO set says its classes and places; everything else is refused.

Read are top-level keys with a plain or quoted word, a list (in brackets or with dashes) or a table (in
braces or indented). What stands under other keys, as `download: |`, is passed over.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from resight.core.errors import DataError
from resight.core.text import amount

WANTED = ("path", "train", "val", "test", "names", "nc", "kpt_shape")
LARGEST = 1 << 20
"""Bytes of the file."""

Value = str | list[str] | dict[str, str]


@dataclass(frozen=True)
class DataYaml:
    """What a data.yaml says.

    Attributes:
        names: class name by number; empty if the file has none.
        places: the words of train, val and test: folders or lists of pictures; several for a list.
        path: the folder that they count from, as it is written; "" if it says none.
        points: whether it is of key points.
    """

    names: dict[int, str]
    places: dict[str, list[str]]
    path: str = ""
    points: bool = False


def read_data_yaml(file: Path) -> DataYaml:
    """Read a YOLO set's data.yaml.

    Raises:
        DataError: with the line, if one of the wanted keys is written in an unsupported form, or names
            and nc differ in their count.
    """
    try:
        content = file.read_bytes()
        if len(content) > LARGEST:
            raise DataError(f"{file}: is too large to be a data.yaml; give the right file")
        values = _Lines(file, content.decode("utf-8-sig")).values()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); save it as UTF-8 text") from error
    names = _names(file, values.get("names", []))
    count = values.get("nc")
    if names and isinstance(count, str) and count != str(len(names)):
        raise DataError(f"{file}: says nc: {count} but names {amount(len(names), 'class')}; fix one of them")
    places: dict[str, list[str]] = {}
    for split in ("train", "val", "test"):
        value = values.get(split)
        if isinstance(value, dict):
            raise DataError(
                f"{file}: {split} is a table, but must be a folder; write {split}: images/{split}"
            )
        if value not in (None, "", "null", "~", []):
            places[split] = [value] if isinstance(value, str) else value  # type: ignore[list-item]
    path = values.get("path", "")
    if not isinstance(path, str):
        raise DataError(f"{file}: path must be one folder; write path: FOLDER")
    return DataYaml(names, places, path, "kpt_shape" in values)


def _names(file: Path, value: Value) -> dict[int, str]:
    if isinstance(value, str) and value:
        raise DataError(f"{file}: names is a single value, {value!r}; write names: [first, second]")
    try:
        pairs = [(int(k), v) for k, v in value.items()] if isinstance(value, dict) else [*enumerate(value)]
    except ValueError:
        raise DataError(f"{file}: names has a key that is not a number; write names as 0: first") from None
    names = dict(pairs)
    empty = next((number for number, name in pairs if not name), None)
    if empty is not None:
        raise DataError(f"{file}: class {empty} has no name; give it one")
    if len(names) < len(pairs) or len(set(names.values())) < len(pairs):
        raise DataError(f"{file}: two classes share a number or a name; make them different")
    return names


class _Lines:
    """The lines of a file, read from top to bottom."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        self.lines = text.splitlines()
        self.at = 0

    def values(self) -> dict[str, Value]:
        """Return the values of the wanted keys."""
        found: dict[str, Value] = {}
        while self.at < len(self.lines):
            line = self.lines[self.at]
            self.at += 1
            if not _bare(line) or line[0] in " \t-" or line.startswith(("---", "...")):
                continue  # nothing, or what belongs to a key that is not wanted
            key, colon, rest = line.partition(":")
            key = _unquoted(key.strip())
            if not colon or (rest and rest[0] not in " \t"):
                raise self._fault(f"{line.strip()[:40]!r} is not KEY: VALUE")
            if key not in WANTED:
                continue
            if key in found:
                raise self._fault(f"{key} appears twice")
            found[key] = self._value(_bare(rest))
        return found

    def _value(self, rest: str) -> Value:
        if not rest:
            return self._block()
        if rest[0] in "[{":
            while not _closed(rest):
                if self.at == len(self.lines):
                    raise self._fault("a bracket is not closed")
                rest += " " + _bare(self.lines[self.at])
                self.at += 1
            return self._inline(rest)
        return self._word(rest)

    def _inline(self, text: str) -> Value:
        close = "]" if text[0] == "[" else "}"
        if not text.endswith(close):
            raise self._fault("there is text after the closing bracket")
        items = [item.strip() for item in _parted(text[1:-1])]
        items = items[:-1] if items and not items[-1] else items  # a trailing comma is allowed
        if close == "]":
            return [self._word(item) for item in items]
        return self._table(items)

    def _block(self) -> Value:
        """Return the list or table in the lines that follow, up to the next key."""
        items: list[str] = []
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if _bare(line) and line[0] not in " \t-":
                break
            self.at += 1
            if _bare(line):
                items.append(line.rstrip())
        if len({len(item) - len(item.lstrip()) for item in items}) > 1:
            raise self._fault("its lines differ in indentation")
        words = [_bare(item) for item in items]
        if not words:
            return ""
        if all(word == "-" or word.startswith("- ") for word in words):
            return [self._word(word[1:].strip()) for word in words]
        return self._table(words)

    def _table(self, items: list[str]) -> dict[str, str]:
        pairs = [self._pair(item) for item in items]
        if len(dict(pairs)) < len(pairs):
            raise self._fault("two lines share a number or a name")
        return dict(pairs)

    def _pair(self, text: str) -> tuple[str, str]:
        match = re.fullmatch(r"""(\w+|'[^']*'|"[^"]*")\s*:(?:\s+(.*))?""", text)
        if match is None:
            raise self._fault(f"{text[:40]!r} is not KEY: VALUE")
        return _unquoted(match[1]), self._word((match[2] or "").strip())

    def _word(self, text: str) -> str:
        if text[:1] in ("'", '"'):
            if len(text) < 2 or text[-1] != text[0] or ("\\" in text and text[0] == '"'):
                raise self._fault(f"{text[:40]!r} is quoted in an unsupported way")
            return _unquoted(text)
        if text[:1] in tuple("[]{}|>&*!%@`?,#") or ": " in text or text == "-" or text.startswith("- "):
            raise self._fault(f"{text[:40]!r} is an unsupported form of YAML")
        return text

    def _fault(self, fault: str) -> DataError:
        return DataError(
            f"{self.file}:{self.at}: {fault}; write classes as names: [first, second] and folders as plain "
            "words"
        )


def _bare(text: str) -> str:
    """Return a line without its comment and the spaces around."""
    quote = ""
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and (not place or text[place - 1] in " \t[{,:"):
            quote = letter
        elif letter == "#" and (not place or text[place - 1] in " \t"):
            return text[:place].strip()
    return text.strip()


def _closed(text: str) -> bool:
    """Return whether the bracket that opens a text is closed in it."""
    depth, quote = 0, ""
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and text[place - 1] in " \t[{,:":
            quote = letter
        else:
            depth += (letter in "[{") - (letter in "]}")
    return depth <= 0 and not quote


def _parted(text: str) -> list[str]:
    """Return the parts of a text between unquoted commas."""
    parts, quote = [""], ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"" and (not parts[-1].strip() or parts[-1].rstrip().endswith(":")):
            quote = letter
        if letter == "," and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1].replace("''", "'") if text[0] == "'" else text[1:-1]
    return text
