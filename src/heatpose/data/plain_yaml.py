"""The part of YAML that data sets are written in, read without another library.

Mappings and lists by indentation, lists in brackets and mappings in braces over several lines too,
numbers, true, false, null and words. Anything else (anchors, tags, texts over several lines) is an
error that names the line: never a guess.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heatpose.data.fields import read_text, shown
from heatpose.errors import DataError

WORDS = {"": None, "null": None, "~": None, "true": True, "false": False}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_KEY = re.compile(r"(\"[^\"]*\"|'[^']*'|[^\s\[\]{},:#&*!|>%@`\"'][^\[\]{},:#]*?)\s*:(?:\s+|$)")
_FLOW = re.compile(r"\s*([\[\]{},:]|\"[^\"]*\"|'[^']*'|[^\[\]{},:\s][^\[\]{},:]*)")


@dataclass(frozen=True)
class _Line:
    number: int
    indent: int
    text: str


class _NotPlainError(Exception):
    """Something that is not in the part of YAML that is read here."""


def read_yaml(path: Path) -> Any:
    """Read a file of mappings, lists, numbers and words.

    Raises:
        DataError: there is no such file, or a line is not of the kind that is read.
    """
    lines: list[_Line] = []
    try:
        lines = _logical_lines(read_text(path))
        if not lines:
            return None
        value, following = _block(lines, 0, lines[0].indent)
        if following < len(lines):
            raise _at(lines[following], "its indentation fits nothing above")
    except _NotPlainError as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    return value


def _logical_lines(text: str) -> list[_Line]:
    """Return lines without comments and empty ones; brackets that stay open join lines."""
    lines: list[_Line] = []
    open_brackets = 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = re.sub(r"(^|\s)#.*$", "", raw).rstrip()
        if not line.strip() or line == "---":
            continue
        if "\t" in line[: len(line) - len(line.lstrip())]:
            raise _NotPlainError(f"line {number} is indented with tabs")
        if open_brackets:
            last = lines.pop()
            lines.append(_Line(last.number, last.indent, f"{last.text} {line.strip()}"))
        else:
            lines.append(_Line(number, len(line) - len(line.lstrip()), line.strip()))
        open_brackets += sum(map(line.count, "[{")) - sum(map(line.count, "]}"))
    return lines


def _block(lines: list[_Line], start: int, indent: int) -> tuple[Any, int]:
    """Read what stands at an indentation; return it and the number of the line after it."""
    if lines[start].text.startswith("- ") or lines[start].text == "-":
        return _list(lines, start, indent)
    if _KEY.match(lines[start].text):
        return _mapping(lines, start, indent)
    return _scalar_or_flow(lines[start], lines[start].text), start + 1


def _list(lines: list[_Line], start: int, indent: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    place = start
    while place < len(lines) and lines[place].indent == indent:
        line = lines[place]
        if not (line.text.startswith("- ") or line.text == "-"):
            break
        rest = line.text[1:].lstrip()
        inner = indent + len(line.text) - len(rest)
        if rest:  # the item begins on the line of its dash
            lines[place] = _Line(line.number, inner, rest)
            item, place = _block(lines, place, inner)
        elif place + 1 < len(lines) and lines[place + 1].indent > indent:
            item, place = _block(lines, place + 1, lines[place + 1].indent)
        else:
            item, place = None, place + 1
        items.append(item)
    return items, place


def _mapping(lines: list[_Line], start: int, indent: int) -> tuple[dict[Any, Any], int]:
    mapping: dict[Any, Any] = {}
    place = start
    while place < len(lines) and lines[place].indent == indent:
        line = lines[place]
        match = _KEY.match(line.text)
        if match is None:
            break
        key = _scalar(line, match[1])
        if key in mapping:
            raise _at(line, f"the key {key!r} is there twice")
        rest, place = line.text[match.end() :], place + 1
        following = lines[place] if place < len(lines) else None
        if rest:
            mapping[key] = _scalar_or_flow(line, rest)
        elif following is not None and (
            following.indent > indent
            # Lists may stand at the indentation of their key.
            or (following.indent == indent and re.match(r"-(\s|$)", following.text))
        ):
            mapping[key], place = _block(lines, place, following.indent)
        else:
            mapping[key] = None
    return mapping, place


def _scalar_or_flow(line: _Line, text: str) -> Any:
    if text[0] not in "[{":
        return _scalar(line, text)
    tokens = _FLOW.findall(text)
    if "".join(tokens).replace(" ", "") != text.replace(" ", ""):
        raise _at(line, f"{shown(text)} is not a list or mapping of plain values")
    value, rest = _flow(line, [token.strip() for token in tokens])
    if rest:
        raise _at(line, f"{shown(' '.join(rest))} follows what was complete")
    return value


def _flow(line: _Line, tokens: list[str]) -> tuple[Any, list[str]]:
    """Read one value from tokens; return it and the tokens after it."""
    if not tokens:
        raise _at(line, "a bracket is not closed")
    first, *rest = tokens
    if first == "[":
        items: list[Any] = []
        while rest and rest[0] != "]":
            item, rest = _flow(line, rest)
            items.append(item)
            rest = _after_comma(line, rest, "]")
        return items, _closed(line, rest)
    if first == "{":
        mapping: dict[Any, Any] = {}
        while rest and rest[0] != "}":
            key, rest = _flow(line, rest)
            if not rest or rest[0] != ":":
                raise _at(line, f"{shown(key)} has no value")
            mapping[key], rest = _flow(line, rest[1:])
            rest = _after_comma(line, rest, "}")
        return mapping, _closed(line, rest)
    if first in "]},:":
        raise _at(line, f"{first!r} is not where a value is")
    return _scalar(line, first), rest


def _after_comma(line: _Line, tokens: list[str], closing: str) -> list[str]:
    if tokens and tokens[0] == ",":
        return tokens[1:]
    if tokens and tokens[0] != closing:
        raise _at(line, f"{tokens[0]!r} stands where a comma or {closing!r} is expected")
    return tokens


def _closed(line: _Line, tokens: list[str]) -> list[str]:
    if not tokens:
        raise _at(line, "a bracket is not closed")
    return tokens[1:]


def _scalar(line: _Line, text: str) -> Any:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'" and "\\" not in text:
        return text[1:-1]
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if _NUMBER.fullmatch(text):
        return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)
    if text[0] in "&*!|>%@`\"'" or ": " in text:
        raise _at(line, f"{shown(text)} is not a plain value")
    return text


def _at(line: _Line, problem: str) -> _NotPlainError:
    return _NotPlainError(f"line {line.number}: {problem}")
