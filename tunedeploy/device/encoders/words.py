"""Words, or a text that is split into words, to token ids; and where in the ids each word starts.

The tokenizer and its facts are those of encoders/text.py. What is added is the split of a raw text, by a rule that asks
for no language, and `word_starts`, by which a decision finds the scores of a word.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from .. import typed
from ..inside import inside
from . import Array, Features, Inputs, Row
from . import text as encoding
from .text import TextEncoder, TextFacts, contradictions

__all__ = ["contradictions"]  # the files are those of a text bundle

KIND = "words"
STARTS = "word_starts"


@dataclass(frozen=True, kw_only=True)
class WordFacts(TextFacts):
    """How words become ids. `beside` are arrays of a batch that no graph takes."""

    kind: str = KIND
    beside: tuple[str, ...] = (STARTS,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beside != (STARTS,):
            raise ValueError(f"beside: expected {STARTS}, got {', '.join(self.beside) or 'none'}")


def facts_from(raw: Mapping[str, Any]) -> WordFacts:
    """WordFacts read back from their JSON.

    Raises:
        Mismatch: a key is missing, unknown or has another value than it can have.
    """
    return typed.from_json(WordFacts, dict(raw))


Word = tuple[str, int, int]  # the word as the text has it, its start and its end in code points

# ---- the words of a text: each code point has a kind, one letter of those below, and a word is a pattern of kinds

BLANK, LETTER, DIGIT, ALONE, MARK, JOINER, REGION, HYPHEN, APOSTROPHE, CLITIC, SIGN = " adimjr-'cs"
KINDS = {
    **{sign: sign for sign in ".,:&"},
    **dict.fromkeys("-\u2010\u2011", HYPHEN), **dict.fromkeys("'\u2019", APOSTROPHE), "_": LETTER, "\u200d": JOINER,
    **dict.fromkeys("\u200b\ufeff", BLANK),  # of no width
    **dict.fromkeys(map(chr, range(0x1F1E6, 0x1F200)), REGION),  # two make a flag
    **dict.fromkeys(map(chr, range(0x1F3FB, 0x1F400)), MARK),  # tones of skin
}  # fmt: skip
CATEGORIES = {"Cc": BLANK, "Mn": MARK, "Mc": MARK, "Me": MARK, "Cf": MARK}
# Kana and Chinese characters, which are written without blanks: data sets have each as a word.
UNSPACED = re.compile(
    r"[\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3041-\u3096\u309d-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    r"\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003fffd]"
)
# Endings that English data sets have as words. Any other apostrophe inside a word joins: O'Neal, l'eau, don't.
CLITICS = re.compile(r"['\u2019](?=(?:s|d|m|re|ve|ll)(?!\w))", re.IGNORECASE)
RUN = "[ad][admj]*"
WORD = re.compile(
    f"{RUN}(?:[-'&]{RUN}|(?<=d)[.,:](?=d){RUN})*"  # techno-based, AT&T, 1,000.5
    f"|c{RUN}"  # 's
    "|i[mj]*"
    "|rr[mj]*"
    "|-+[mj]*"  # --
    r"|\.+[mj]*"  # ...
    "|[^ adimj](?:[mj]|(?<=j)[^ adimj])*"  # any other sign with what belongs to it, such as a family of emoji
    "|[mj]+"  # follow nothing
)


@lru_cache(4096)
def kind_of(character: str) -> str:
    """The kind of a code point."""
    if character in KINDS:
        return KINDS[character]
    if character.isspace():
        return BLANK
    if UNSPACED.match(character):
        return ALONE
    if character.isdecimal():
        return DIGIT
    return LETTER if character.isalnum() else CATEGORIES.get(unicodedata.category(character), SIGN)


def words_of(text: str) -> Iterator[Word]:
    """The words of a text, in order, found one at a time; see `split`."""
    kinds = list(map(kind_of, text))
    for match in CLITICS.finditer(text):
        kinds[match.start()] = CLITIC
    for match in WORD.finditer("".join(kinds)):
        start, end = match.span()
        yield text[start:end], start, end


def split(text: str) -> list[Word]:
    """The words of a text, in order.

    A run of letters, digits, underscores and marks is a word; so are runs that a hyphen, an apostrophe or an ampersand
    joins, and digits that a point, a comma or a colon joins. An ending such as 's is a word of its own. So is any other
    sign with the marks on it and the signs joined to it, but hyphens in a row are one word, and so are points. Blanks,
    control characters and spaces of no width only separate words.
    """
    return list(words_of(text))


def located(row: Row, most: int | None = None) -> tuple[str, list[tuple[int, int]]]:
    """A row's text, and the start and end of each word in it, of at most `most` words.

    A row of words has them joined by single blanks.
    """
    if row.get("words") is None:
        return row["text"], [(start, end) for _, start, end in islice(words_of(row["text"]), most)]
    ends = np.cumsum([len(word) + 1 for word in row["words"]]) - 1
    spans = [(int(end) - len(word), int(end)) for word, end in zip(row["words"], ends, strict=True)]
    return " ".join(row["words"]), spans[:most]


def words_read(row: Row, facts: TextFacts) -> list[str]:
    """The words of a row that are tokenized; the same in training and on every device.

    They lie in the first `max_characters` of `located`. The last two words of a longer text are left out: in a split of
    all of it they might be parts of other words, and words are known by their number.
    """
    limit = facts.max_characters
    if row.get("words") is None:
        text = row["text"]
        words = [word for word, _, _ in words_of(text[:limit])]
        return words if limit is None or len(text) <= limit else words[:-2]
    cut_words, room = [], limit
    for word in row["words"]:
        if room is not None and room <= 0:
            break
        cut_words.append(word[:room])
        room = None if room is None else room - len(word) - 1
    return cut_words


# ---- words to ids


def with_starts(features: dict[str, Array], word_ids: Sequence[int | None]) -> Features:
    """Features with `word_starts`, int64 (length,): 1 + the number of the word whose first token stands there, else 0.

    A word that tokenizes to nothing, or of which the model sees no token, has no start.

    Args:
        features: of a row, see encoders.text.as_features.
        word_ids: (tokens,), the number of the word that each token is of; None for what stands around the words.
    """
    starts = np.zeros(len(features["input_ids"]), dtype=np.int64)
    before = None
    for at, word in enumerate(word_ids):
        if word is not None and word != before:
            starts[at] = 1 + word
        before = word
    return {**features, STARTS: starts}


def collate(features: Sequence[Features], facts: TextFacts, size: int | None = None) -> Inputs:
    """See encoders.text.collate; `word_starts`, which no graph asks for, goes along, 0 where there is padding.

    Features that have none are of ids that no row gave, such as every entry of a vocabulary: no word starts there.
    """
    filled = [{STARTS: np.zeros(len(row["input_ids"]), dtype=np.int64), **row} for row in features]
    return encoding.collate(filled, facts, size, along=(STARTS,))


class WordsEncoder(TextEncoder):
    """Encode rows of `words`, or of a `text` that is split, by a tokenizer.json that holds its own truncation."""

    def encode(self, rows: Sequence[Row]) -> list[Features]:
        """Rows to ids and word starts, cut at the maximum length."""
        words = [words_read(row, self._facts) for row in rows]
        return [
            with_starts(encoding.as_features(row.ids, row.type_ids, self._facts), row.word_ids)
            for row in encoding.encoded(self.tokenizer, words, is_pretokenized=True)
        ]

    def collate(self, features: Sequence[Features], size: int | None = None) -> Inputs:
        """See the function `collate`."""
        return collate(features, self._facts, size)

    def portable(self, row: Row, at: int, folder: Path) -> dict[str, str | list[str]]:
        """A raw row as JSON; a row of words also has their text, in which entities are shown."""
        if row.get("words") is None:
            return super().portable(row, at, folder)
        return {"text": located(row)[0], "words": list(row["words"])}


def opened(folder: Path, facts: Mapping[str, Any]) -> WordsEncoder:
    """The encoder of a bundle, from its tokenizer.json."""
    return WordsEncoder(inside(folder, "tokenizer.json"), facts_from(facts))
