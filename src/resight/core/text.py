"""Untrusted text made safe to show: names of files and classes may hold any character."""

import unicodedata

LONGEST_LINE = 2_000
"""Letters of one line on the terminal; a file's name may have thousands."""

_TURNING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029, 0x200E, 0x200F}
"""Characters that turn the reading direction or break lines."""


def printable(text: str) -> str:
    r"""Return the text with control characters escaped, so that a name cannot control a terminal.

    Line feed and tab stay. Control characters (ESC, the C1 set, DEL), characters that change the reading
    direction and bytes that are not UTF-8 (surrogates) become `\x1b`, `\u202e` or `\udcff`.
    """
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or not _steers(c) else _escape(c) for c in text)


def printable_json(document: str) -> str:
    r"""Return JSON with the characters of `printable` as JSON's own escapes, such as `\\u009b`."""
    if document.isprintable():
        return document
    return "".join(f"\\u{ord(c):04x}" if c != "\n" and _steers(c) else c for c in document)


def one_line(text: str) -> str:
    """Return the text as one printable line of bounded length, its middle left out where it is longer."""
    line = printable(text).replace("\r", r"\r").replace("\n", r"\n").replace("\t", r"\t")
    if len(line) <= LONGEST_LINE:
        return line
    half = LONGEST_LINE // 2 - 3
    return f"{line[:half]} ... {line[-half:]}"


def amount(count: int, thing: str, things: str = "") -> str:
    """Return a count with its noun: "1 class", "1,024 pictures".

    Args:
        count: 0 or more.
        thing: the noun of one.
        things: the noun of several, if it is not `thing` with an s (or es, after s and x).
    """
    several = things or thing + ("es" if thing.endswith(("s", "x")) else "s")
    return f"{count:,} {thing if count == 1 else several}"


def _steers(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or ord(character) in _TURNING


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
