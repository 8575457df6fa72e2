"""A text to ids for models that write another, and the ids that they write back to text.

The right answer of a labelled row becomes ids too: the decoder is given each of them as the prefix of the next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import typed
from ..inside import inside
from ..programs.seq2seq import PREFIX, PREFIX_MASK, Seq2SeqFacts, whole_graph
from ..signature import Value
from . import Array, Features, Inputs, Row
from .text import contradictions, encoded, open_tokenizer

__all__ = ["contradictions"]  # the tokenizer's files say what those of other text bundles do

KIND = "text_to_text"
LABELS = "labels"  # of a batch: the right answer, padded


@dataclass(frozen=True, kw_only=True)
class TextToTextFacts:
    """How texts become ids. Lengths are in tokens, the one that ends a text included.

    `program` is Seq2SeqFacts as JSON, and `beside` names the arrays of a batch that no graph takes.
    """

    max_length: int
    max_target_length: int
    pad_id: int
    start_id: int
    eos_id: int
    lone_id: int  # stands for a text that tokenizes to nothing at all
    program: dict[str, Any]
    max_characters: int | None = None  # a source is cut to its first so many code points; None: never
    max_target_characters: int | None = None  # the same of a right answer
    beside: tuple[str, ...] = (LABELS,)
    kind: str = KIND

    def __post_init__(self) -> None:
        for name in ("max_length", "max_target_length"):
            if not 2 <= getattr(self, name) < 2**20:
                raise ValueError(f"{name}: expected 2 to {2**20 - 1}, got {getattr(self, name)}")
        for name in ("max_characters", "max_target_characters"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name}: expected 1 or more, got {getattr(self, name)}")
        program = typed.from_json(Seq2SeqFacts, dict(self.program), "program")
        for name in ("pad_id", "start_id", "eos_id"):
            if getattr(self, name) != getattr(program, name):
                raise ValueError(f"{name}: expected the program's, {getattr(program, name)}")
        if not 0 <= self.lone_id < program.vocabulary:
            raise ValueError(f"lone_id: expected 0 to {program.vocabulary - 1}, got {self.lone_id}")
        if self.beside != (LABELS,):
            raise ValueError(f"beside: expected {LABELS}")


def facts_from(raw: Mapping[str, Any]) -> TextToTextFacts:
    """TextToTextFacts read back from its JSON.

    Raises:
        Mismatch: a key is missing, unknown or has another value than it can have.
    """
    return typed.from_json(TextToTextFacts, dict(raw))


class TextToTextEncoder:
    """Encode raw texts, and decode what was generated, by a tokenizers.Tokenizer; training and devices do it alike.

    Args:
        tokenizer: its post-processor puts the id that ends a text behind it.
        facts: lengths and ids.
    """

    key = "text"
    tolerance: float = 0  # ids are equal or wrong
    small = True

    def __init__(self, tokenizer: Any, facts: TextToTextFacts) -> None:
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()  # sources and answers have limits of their own
        self._facts = facts
        # A byte-level tokenizer may put a blank before a text and leave it there when it decodes.
        (encoding,) = encoded(tokenizer, ["a"])
        self._puts_blank = tokenizer.decode(encoding.ids, skip_special_tokens=True).startswith(" ")

    @property
    def facts(self) -> Mapping[str, Any]:
        """The TextToTextFacts as JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self._facts).items()}

    def encode(self, rows: Sequence[Row]) -> list[Features]:
        """Rows with `text`, and `target` where they are labelled, to ids; a cut text keeps the id that ends it."""
        facts = self._facts
        sources = [
            ids or [facts.lone_id]
            for ids in self._ids([row["text"] for row in rows], facts.max_length, facts.max_characters)
        ]
        features: list[Features] = [{"input_ids": np.asarray(ids, np.int64)} for ids in sources]
        labelled = [at for at, row in enumerate(rows) if row.get("target") is not None]
        # A right answer with "</s>" in it does not end there: the letters are tokens like any other.
        self.tokenizer.encode_special_tokens = True
        try:
            targets = [rows[at]["target"] for at in labelled]
            answers = self._ids(targets, facts.max_target_length, facts.max_target_characters)
        finally:
            self.tokenizer.encode_special_tokens = False
        for at, ids in zip(labelled, answers, strict=True):
            features[at] = {**features[at], "target_ids": np.asarray(ids or [facts.eos_id], np.int64)}
        return features

    def length(self, row: Row) -> int:
        """Tokens of a row's source before it is cut, of the characters that are read."""
        return len(self._ids([row["text"]], 2**31, self._facts.max_characters)[0])

    def _ids(self, texts: Sequence[str], longest: int, characters: int | None) -> list[list[int]]:
        encodings = encoded(self.tokenizer, [text[:characters] for text in texts])
        return [
            row.ids if len(row.ids) <= longest else [*row.ids[: longest - 1], self._facts.eos_id] for row in encodings
        ]

    def collate(self, features: Sequence[Features], size: int | None = None) -> Inputs:
        """Sources padded (or cut) to one length, and answers to theirs; int64 (batch, length), see `values`.

        Of rows without an answer there are the source's arrays alone.
        """
        facts = self._facts
        sources = [row["input_ids"][:size] for row in features]
        length = size or max(map(len, sources))
        batch = {
            "input_ids": padded(sources, facts.pad_id, length),
            "attention_mask": padded([np.ones_like(ids) for ids in sources], 0, length),
        }
        if any("target_ids" not in row for row in features):
            return batch
        answers = [row["target_ids"] for row in features]
        steps = max(map(len, answers))
        prefixes = [np.concatenate([[facts.start_id], ids[:-1]]) for ids in answers]
        return batch | {
            PREFIX: padded(prefixes, facts.pad_id, steps),
            PREFIX_MASK: padded([np.ones_like(ids) for ids in answers], 0, steps),
            LABELS: padded(answers, facts.pad_id, steps),
        }

    def sizes(self, features: Sequence[Features]) -> list[int | None]:
        """One token, the shortest, an odd and the longest length of the sources."""
        lengths = sorted(len(row["input_ids"]) for row in features)
        middle = lengths[len(lengths) // 2] | 1
        return [1, lengths[0], min(middle, self._facts.max_length), lengths[-1]]

    def values(self) -> tuple[Value, ...]:
        """What the whole pass takes: ids and mask of the source, and of the answer as prefix."""
        return whole_graph(typed.from_json(Seq2SeqFacts, dict(self._facts.program))).inputs

    def decode(self, ids: Array) -> list[str]:
        """Generated ids, int64 (batch, steps), as texts, each up to the id that ends it.

        The blank that the tokenizer puts before a text is taken off again.
        """
        end = self._facts.eos_id
        rows = [row[: int((row == end).argmax())] if (row == end).any() else row for row in np.asarray(ids)]
        texts: list[str] = self.tokenizer.decode_batch([row.tolist() for row in rows], skip_special_tokens=True)
        return [text.removeprefix(" ") for text in texts] if self._puts_blank else texts

    def portable(self, row: Row, at: int, folder: Path) -> dict[str, str | list[str]]:
        """A raw row as JSON."""
        del at, folder
        return {name: row[name] for name in ("text", "target") if row.get(name) is not None}

    def contradictions(self, folder: Path) -> list[str]:
        """See encoders.text.contradictions."""
        return contradictions(folder, self.facts)


def padded(rows: Sequence[Array], fill: int, length: int) -> Array:
    """Rows of integers, each (n,), as int64 (rows, length)."""
    batch = np.full((len(rows), length), fill, np.int64)
    for at, row in enumerate(rows):
        batch[at, : len(row)] = row[:length]
    return batch


def opened(folder: Path, facts: Mapping[str, Any]) -> TextToTextEncoder:
    """The encoder of a bundle, from its tokenizer.json."""
    return TextToTextEncoder(open_tokenizer(inside(folder, "tokenizer.json")), facts_from(facts))
