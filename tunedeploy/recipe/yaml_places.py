"""Parse YAML into plain values that know their line and column; what YAML accepts silently is a mistake here.

Duplicate keys, tags, tabs, a second document, an anchor that contains itself: each is one line with its place.
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Route = tuple[str | int, ...]  # ("data", "train") or ("export", "quantize", 0)
PlainMapping = dict[str, Any]  # keys and values as YAML and JSON hold them

COMMAND_LINE = sys.maxsize  # the line of what was typed as key=value: sorts after every line of the file
_MOST_VALUES = 10_000  # a recipe has dozens; anchors inside anchors could ask for billions
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_YAML = "tag:yaml.org,2002:"
_GROUP_TAGS = {f"{_YAML}map", f"{_YAML}seq"}
_PLAIN_TAGS = {f"{_YAML}{name}" for name in ("null", "bool", "int", "float", "str", "timestamp", "value", "merge")}


@dataclass(frozen=True, order=True)
class Spot:
    """A value's place; `raw` is its text as written, `quoted` whether it is in quotes. Line 0 is the whole file."""

    line: int
    column: int = 0
    raw: str | None = field(default=None, compare=False)
    quoted: bool = field(default=False, compare=False)


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake and its place. Sorting puts them in the file's order, the command line last."""

    spot: Spot
    text: str

    def line(self, file: str) -> str:
        """The message as the user reads it: `recipe.yaml:7:3: text` or `command line: text`."""
        if self.spot.line == COMMAND_LINE:
            return f"command line: {self.text}"
        return f"{file}:{self.spot.line}:{self.spot.column}: {self.text}" if self.spot.line else f"{file}: {self.text}"


@dataclass(frozen=True)
class Document:
    """A parsed YAML text. `keys` and `values` give the spot of each key and of each value by its route from the top."""

    content: Any = None
    keys: dict[Route, Spot] = field(default_factory=dict)
    values: dict[Route, Spot] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)


def load(path: Path) -> Document:
    """Parse a file. What is wrong with its content is never raised: it is in `mistakes`."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return _broken(Spot(0), "no such recipe; 'tunedeploy init DATA' writes one")
    except IsADirectoryError:
        return _broken(Spot(0), "this is a folder; name the recipe file in it")
    except OSError as error:
        return _broken(Spot(0), f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        column = error.start - error.object.rfind(b"\n", 0, error.start)
        wrong = error.object[error.start]
        return _broken(Spot(line, column), f"byte 0x{wrong:02x} is not UTF-8 text; save the file as UTF-8")
    return parse(text)


def parse(text: str) -> Document:
    """Parse YAML text; an empty text gives the content None."""
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        return _Reader(loader).read(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        return _broken(Spot(line, column), f"character U+{error.character:04X} is not allowed in YAML; delete it")
    except yaml.MarkedYAMLError as error:
        return _broken(*_syntax(error, text))
    except RecursionError:
        return _broken(Spot(0), "nested too deeply; a recipe is sections of keys")
    finally:
        if loader is not None:
            loader.dispose()


def typed(raw: str, key: str) -> Document:
    """Parse the value of a `key=value`; every spot is the command line.

    Only brackets and quotes are YAML here: the shell has done its own quoting, so a `#` or `: ` is part of the text,
    and `1e-4` is the number it looks like.
    """
    document = parse(raw) if raw[:1] in "[{\"'" else _scalar(raw)
    keys = dict.fromkeys(document.keys, Spot(COMMAND_LINE))
    values = {at: Spot(COMMAND_LINE, raw=spot.raw, quoted=spot.quoted) for at, spot in document.values.items()}
    wrong = [Mistake(Spot(COMMAND_LINE), f"{key}: {mistake.text}") for mistake in document.mistakes]
    return Document(document.content, keys, values, wrong)


def _scalar(raw: str) -> Document:
    here: dict[Route, Spot] = {(): Spot(COMMAND_LINE, raw=raw)}
    if _NUMBER.fullmatch(raw):
        return Document(float(raw), values=here)
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, raw, (True, False))  # type: ignore[no-untyped-call]
    loader.dispose()
    node = yaml.ScalarNode(tag if tag in _PLAIN_TAGS else f"{_YAML}str", raw)  # a lone * has a tag of its own
    reader = _Reader(loader)
    return Document(reader.scalar(node, here[()]), values=here, mistakes=reader.mistakes)


def _broken(spot: Spot, text: str) -> Document:
    return Document(mistakes=[Mistake(spot, text)])


def _syntax(error: yaml.MarkedYAMLError, text: str) -> tuple[Spot, str]:
    noticed_late = any(sign in (error.problem or "") for sign in ("end of stream", "<stream end>", "expected ':'"))
    mark = (error.context_mark if noticed_late else None) or error.problem_mark or error.context_mark
    spot = Spot(mark.line + 1, mark.column + 1) if mark else Spot(0)
    lines = text.splitlines()
    written = lines[mark.line] if mark and mark.line < len(lines) else ""
    problem = error.problem or "not YAML"
    if "\t" in written[: mark.column + 1 if mark else 0]:
        return Spot(spot.line, written.index("\t") + 1), "a tab; YAML is indented with spaces"
    if "expected a single document" in (error.context or ""):
        return spot, "a second document starts here; a recipe is a single one, so delete this '---'"
    cures = {
        "mapping values are not allowed": "quote text that contains ': '",
        "could not find expected ':'": "write 'key: value'",
        "found character '%'": "quote text that starts with %",
        "found character '@'": "quote text that starts with @",
        "found character '`'": "quote text that starts with `",
        "expected ',' or": "close the bracket, or put a comma between its parts",
        "expected <block end>": "line it up with the keys above it",
        "found unexpected end of stream": "close the quote",
        "found undefined alias": "define it before with &",
    }
    cure = next((cure for sign, cure in cures.items() if sign in problem), "check quotes, brackets and indentation")
    return spot, f"not YAML: {problem}; {cure}"


class _Reader:
    """Walks the node tree once and notes the place of each key and value."""

    def __init__(self, loader: yaml.SafeLoader) -> None:
        self.loader = loader
        self.keys: dict[Route, Spot] = {}
        self.values: dict[Route, Spot] = {}
        self.mistakes: list[Mistake] = []
        self.inside: set[int] = set()  # the nodes being walked: an anchor among its own descendants never ends

    def read(self, node: yaml.Node | None) -> Document:
        content = None if node is None else self._value(node, ())
        return Document(content, self.keys, self.values, self.mistakes)

    def _value(self, node: yaml.Node, route: Route) -> Any:
        spot = _spot(node)
        self.values[route] = spot
        if id(node) in self.inside:
            self._wrong(spot, "an anchor that refers to itself; write the value out")
            return None
        if len(self.values) > _MOST_VALUES:
            if len(self.values) == _MOST_VALUES + 1:  # said once
                self._wrong(spot, f"more than {_MOST_VALUES:,} values; a recipe has dozens")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, spot)
        if node.tag not in _GROUP_TAGS:
            self._wrong(spot, f"the tag {_tag(node)} is not allowed; write the plain value")
        self.inside.add(id(node))
        content = self._mapping(node, route) if isinstance(node, yaml.MappingNode) else self._list(node, route)
        self.inside.discard(id(node))
        return content

    def scalar(self, node: yaml.ScalarNode, spot: Spot) -> Any:
        """The plain value of a scalar; its text if the tag is not a plain one."""
        if node.tag not in _PLAIN_TAGS:
            self._wrong(spot, f"the tag {_tag(node)} is not allowed; write the plain value")
            return node.value
        if node.tag.endswith((":timestamp", ":value", ":merge")):
            return node.value  # a date, a lone = or <<: text to every key there is
        try:
            node.value.encode()
            return self.loader.construct_object(node)
        except UnicodeEncodeError:
            self._wrong(spot, "half a character (a lone surrogate); write the character itself")
        except ValueError:
            self._wrong(spot, f"{node.value!r} is not a number; quote it if it is text")
        return node.value

    def _list(self, node: yaml.Node, route: Route) -> list[Any]:
        return [self._value(item, (*route, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, route: Route) -> PlainMapping:
        self._duplicates(node)
        self.loader.flatten_mapping(node)  # `<<: *anchor`: its keys first, so that the mapping's own win
        content: PlainMapping = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._wrong(_spot(key), "a key is a word, not a list or a mapping")
                continue
            self.keys[(*route, key.value)] = _spot(key)
            content[key.value] = self._value(value, (*route, key.value))
        return content

    def _duplicates(self, node: yaml.MappingNode) -> None:
        first: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            spot = _spot(key)
            if key.value in first:
                self._wrong(spot, f"duplicate key {key.value!r}; already set on line {first[key.value]}")
            first.setdefault(key.value, spot.line)

    def _wrong(self, spot: Spot, text: str) -> None:
        self.mistakes.append(Mistake(spot, text))


def _spot(node: yaml.Node) -> Spot:
    line, column = node.start_mark.line + 1, node.start_mark.column + 1
    if isinstance(node, yaml.ScalarNode):
        return Spot(line, column, node.value, quoted=bool(node.style))
    return Spot(line, column)


def _tag(node: yaml.Node) -> str:
    return str(node.tag).replace(_YAML, "!!")
