"""The two texts of a pair to token ids of their own: two sequences a row, for models that read each text alone.

The tokenizer and its facts are those of encoders/text.py. Features of a row are the ids of both texts in one array,
where `token_type_ids` says of which text each is; a batch has the texts apart, padded to one length.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RunError
from ..inside import inside
from ..signature import Value
from . import Features, Inputs, Row
from . import text as encoding
from .text import TextEncoder, TextFacts, contradictions, facts_from

__all__ = ["contradictions", "facts_from"]  # a bundle of pairs has the files and the facts of a text bundle

KIND = "text_pairs"
INPUTS = ("input_ids", "attention_mask")  # each text is a first one, and types of 0 are what a model does without them
TYPES = "token_type_ids"


def pair_facts(facts: TextFacts) -> TextFacts:
    """Facts of texts as those of pairs."""
    return replace(facts, kind=KIND, inputs=INPUTS)


def single_texts(rows: Sequence[Row]) -> list[Row]:
    """Rows with `text` and `text_pair` as two rows of a text each.

    Raises:
        RunError: a row has no second text.
    """
    if any(row.get("text_pair") is None for row in rows):
        raise RunError("missing text_pair: the model compares two texts; write both, as text and text_pair")
    return [{"text": row[key]} for row in rows for key in ("text", "text_pair")]


def paired(features: Sequence[Features]) -> list[Features]:
    """Features of two rows of a text each as those of one pair."""
    return [
        {"input_ids": np.concatenate([first, second]), TYPES: np.repeat([0, 1], [len(first), len(second)])}
        for first, second in (
            (text_row["input_ids"], pair_row["input_ids"])
            for text_row, pair_row in zip(features[::2], features[1::2], strict=True)
        )
    ]


def collate(features: Sequence[Features], facts: TextFacts, size: int | None = None) -> Inputs:
    """Pad (or cut) each text to one length; int64 (batch, 2, length), see encoders.text.collate."""
    batch = encoding.collate(apart(features, facts), facts, size)
    return {name: array.reshape(len(features), 2, -1) for name, array in batch.items()}


def sizes(features: Sequence[Features], facts: TextFacts) -> list[int | None]:
    """See encoders.text.sizes; lengths are those of single texts."""
    return encoding.sizes(apart(features, facts), facts)


def apart(features: Sequence[Features], facts: TextFacts) -> list[Features]:
    """Features of pairs as those of two rows of a text each."""
    return [
        encoding.as_features(row["input_ids"][row[TYPES] == part].tolist(), None, facts)
        for row in features
        for part in (0, 1)
    ]


def values(inputs: Sequence[str]) -> tuple[Value, ...]:
    """What goes into the graph: ids and their mask, int64 (batch, 2, sequence)."""
    return tuple(replace(value, axes=("batch", 2, "sequence")) for value in encoding.values(inputs))


class TextPairsEncoder(TextEncoder):
    """Encode pairs of raw texts by a tokenizer.json that holds its own truncation, which is that of each text."""

    def encode(self, rows: Sequence[Row]) -> list[Features]:
        """Rows with `text` and `text_pair` to ids, each text cut at the maximum length."""
        return paired(super().encode(single_texts(rows)))

    def collate(self, features: Sequence[Features], size: int | None = None) -> Inputs:
        """See the function `collate`."""
        return collate(features, self._facts, size)

    def sizes(self, features: Sequence[Features]) -> list[int | None]:
        """See the function `sizes`."""
        return sizes(features, self._facts)

    def values(self) -> tuple[Value, ...]:
        """See the function `values`."""
        return values(self._facts.inputs)


def opened(folder: Path, facts: Mapping[str, Any]) -> TextPairsEncoder:
    """The encoder of a bundle, from its tokenizer.json."""
    return TextPairsEncoder(inside(folder, "tokenizer.json"), facts_from(facts))
