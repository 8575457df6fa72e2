"""Read sentences of tagged words as CoNLL files have them: a word and its tag a line, a blank line between sentences.

The first column is the word and the last its tag; of CoNLL-U's ten, FORM and UPOS. `-DOCSTART-` lines part documents.
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from sys import intern

from tunedeploy.data.kinds._items import BLANKS
from tunedeploy.data.readers.plain_text import read_text
from tunedeploy.data.table import Places, Table
from tunedeploy.errors import DataError

DOCUMENT = "-DOCSTART-"
NEW_DOCUMENT = "# newdoc"  # CoNLL-U's own
SNIFFED = 65_536  # bytes of a .txt file that are looked at
_TAG = re.compile(r"O|[BIESLUM]-\S+")
_BLANK = " \t"
_ID = re.compile(r"([0-9]+)([-.][0-9]+)?")  # of CoNLL-U: 3, 3-4 for two words written as one, 3.1 for one left out
CONLL_U = 10  # columns


@dataclass(frozen=True, kw_only=True)
class _Form:
    """How the lines of a file are split into columns."""

    tabs: bool
    width: int
    word: int = 0  # which column
    tag: int = -1
    is_conll_u: bool = False

    def cells(self, line: str) -> list[str]:
        """The columns of a line."""
        return [cell.strip(" ") for cell in line.split("\t")] if self.tabs else BLANKS.split(line.strip(_BLANK))


@dataclass(kw_only=True)
class _Sentence:
    line: int  # of its first word
    document: int
    words: list[str]
    tags: list[str]


def read_conll(path: Path, name: str) -> Table:
    """Sentences as a table with columns "words" and "tags", and "document" where the file has several.

    Raises:
        DataError: not UTF-8, no words, or a line with more or fewer columns than the first.
    """
    text, notes = read_text(path, name)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    form = _form(lines, name)
    sentences = list(_sentences(lines, form, name))
    if form.is_conll_u:
        notes.append(f"{name}: CoNLL-U; its FORM is taken as words, its UPOS as tags")
    cells: dict[str, list[object]] = {
        "words": [sentence.words for sentence in sentences],
        "tags": [sentence.tags for sentence in sentences],
    }
    if len({sentence.document for sentence in sentences}) > 1:
        cells["document"] = list(_documents(sentences))
    return Table(
        name=name,
        header=tuple(cells),
        column=lambda column: list(cells[column]),
        places=Places(f"{name}:", array("L", (sentence.line for sentence in sentences))),
        folder=path.parent,
        notes=tuple(notes),
        group="document" if "document" in cells else "",
    )


def looks_like_conll(path: Path) -> bool:
    """Whether a file that could hold any text begins with tagged words; a file that cannot be read does not."""
    try:
        with path.open("rb") as file:
            start = file.read(SNIFFED)
    except OSError:
        return False
    lines = [line.strip(_BLANK) for line in re.split(r"\r\n|\r|\n", start.decode("utf-8-sig", "replace"))]
    if len(start) == SNIFFED:
        lines.pop()  # cut off in its middle
    rows = [BLANKS.split(line) for line in lines if line and not line.startswith(DOCUMENT)]
    widths = {len(row) for row in rows}
    return len(widths) == 1 and 1 not in widths and all(_TAG.fullmatch(row[-1]) for row in rows)


def _form(lines: list[str], name: str) -> _Form:
    """How the lines are split, judged by that of the first word."""
    for number, line in enumerate(lines, start=1):
        if not line.strip(_BLANK) or line.startswith(DOCUMENT):
            continue
        columns = line.split("\t")
        if len(columns) == CONLL_U and _ID.fullmatch(columns[0]):
            return _Form(tabs=True, width=CONLL_U, word=1, tag=3, is_conll_u=True)
        if line.startswith("#") and _begins_conll_u(lines[number:]):
            continue
        form = _Form(tabs="\t" in line, width=0)
        width = len(form.cells(line))
        if width < 2:
            raise DataError(f"{name}:{number}: one column; write a word and its tag on each line, as in 'Paris B-LOC'")
        return _Form(tabs=form.tabs, width=width)
    raise DataError(f"{name}: no words in it")


def _begins_conll_u(lines: list[str]) -> bool:
    """Whether the next line that is not a comment is in CoNLL-U."""
    line = next((line for line in lines if line.strip(_BLANK) and not line.startswith("#")), "")
    return line.count("\t") == CONLL_U - 1 and bool(_ID.fullmatch(line.split("\t")[0]))


def _sentences(lines: list[str], form: _Form, name: str) -> Iterator[_Sentence]:
    document = 0
    sentence: _Sentence | None = None
    for number, line in enumerate(lines, start=1):
        starts = line.startswith(NEW_DOCUMENT) if form.is_conll_u else line.startswith(DOCUMENT)
        document += starts
        if starts or not line.strip(_BLANK):
            if sentence is not None:
                yield sentence
            sentence = None
            continue
        if form.is_conll_u and (line.startswith("#") or re.match(r"[0-9]+[-.]", line)):
            continue
        cells = form.cells(line)
        if len(cells) != form.width or not cells[form.word].strip():
            raise DataError(f"{name}:{number}: {_trouble(cells, form, is_last=number == len(lines))}")
        if sentence is None:
            sentence = _Sentence(line=number, document=document, words=[], tags=[])
        sentence.words.append(cells[form.word])
        sentence.tags.append(intern(cells[form.tag]))
    if sentence is not None:
        yield sentence


def _trouble(cells: list[str], form: _Form, *, is_last: bool) -> str:
    if len(cells) == form.width:
        return "the word is blank; remove the line"
    count = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
    if len(cells) > form.width:
        cure = "take the spaces out of the word, or put tabs between columns"
        cure = "remove the rest" if form.tabs else cure
    else:
        cure = "the file is cut off here" if is_last else "add what is missing"
    return f"{count} where the first word has {form.width}; {cure}"


def _documents(sentences: list[_Sentence]) -> Iterator[str]:
    """The name of each sentence's document: the document's first sentence, numbered where several begin alike.

    It does not depend on the place in the file, so that adding a document before it does not change it.
    """
    seen: Counter[str] = Counter()
    last, name = -1, ""
    for sentence in sentences:
        if sentence.document != last:
            first = " ".join(sentence.words)
            seen[first] += 1
            last, name = sentence.document, first if seen[first] == 1 else f"{first} ({seen[first]})"
        yield name
