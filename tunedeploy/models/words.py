"""One label a word: the model, and the encoder of words that it is trained with."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import PreTrainedTokenizerBase

from tunedeploy.device.encoders import Features, Inputs, Row
from tunedeploy.device.encoders import text as encoding
from tunedeploy.device.encoders import words as word_encoding
from tunedeploy.device.encoders.words import WordFacts
from tunedeploy.models import text
from tunedeploy.models.loading import foreign
from tunedeploy.models.sources import Source


class TokenClassifier(text.TextClassifier):
    """One row of logits a token.

    Args:
        trunk: gives `last_hidden_state` (batch, sequence, width).
        width: of the hidden states.
        labels: how many.
    """

    def __init__(self, trunk: nn.Module, *, width: int, labels: int) -> None:
        super().__init__(trunk, width=width, labels=labels, pooling="none")

    def features(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Hidden states (batch, sequence, width)."""
        hidden: torch.Tensor = self.states(**inputs).last_hidden_state
        return hidden


def build(source: Source, *, labels: int, attention: str = "sdpa") -> tuple[TokenClassifier, frozenset[str]]:
    """A classifier of tokens on a checkpoint's trunk, in float32 and eval mode, and the names of its fresh parameters.

    Args:
        source: see models.text.build, as for `attention` and the errors.
        labels: how many.
        attention: transformers' implementation.
    """
    trunk, width, missing = text.pooled_trunk(source, "mean", attention)
    model = TokenClassifier(trunk, width=width, labels=labels)
    return model.eval(), text.fresh_names(model, missing)


def open_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer, which takes each word as one behind a blank.

    A byte-level one has other tokens for a word at the start of a text, and words are put to it one by one.

    Raises:
        ModelError: see models.text.open_tokenizer.
    """
    tokenizer: Any = text.open_tokenizer(source)
    first = tokenizer.backend_tokenizer.pre_tokenizer
    if isinstance(first, ByteLevel) and not first.add_prefix_space:
        first.add_prefix_space = True
        tokenizer.backend_tokenizer.pre_tokenizer = first
        tokenizer.add_prefix_space = tokenizer.init_kwargs["add_prefix_space"] = True
    opened: PreTrainedTokenizerBase = tokenizer
    return opened


def word_facts(model: TokenClassifier, tokenizer: PreTrainedTokenizerBase, max_length: int) -> WordFacts:
    """How words become this model's inputs.

    Raises:
        ModelError: see models.text.text_facts.
    """
    return WordFacts(**asdict(text.text_facts(model, tokenizer, max_length)) | {"kind": word_encoding.KIND})


class WordsEncoder(text.TransformersEncoder):
    """Encode rows of `words`, or of a `text` that is split, as training does, by the checkpoint's own tokenizer."""

    def encode(self, rows: Sequence[Row]) -> list[Features]:
        """Rows to ids and word starts, cut at the maximum length."""
        if not rows:
            return []
        words = [word_encoding.words_read(row, self._facts) for row in rows]
        with foreign("the model's tokenizer cannot encode the rows"):
            out: Any = self.tokenizer(
                words, is_split_into_words=True, truncation=True, max_length=self._facts.max_length
            )
        types = out.get("token_type_ids") or [None] * len(rows)
        return [
            word_encoding.with_starts(encoding.as_features(ids, kinds, self._facts), out.word_ids(at))
            for at, (ids, kinds) in enumerate(zip(out["input_ids"], types, strict=True))
        ]

    def length(self, row: Row) -> int:
        """Tokens of a row before truncation, of the characters that are read."""
        return len(self.tokenizer(word_encoding.words_read(row, self._facts), is_split_into_words=True)["input_ids"])

    def collate(self, features: Sequence[Features], size: int | None = None) -> Inputs:
        """See tunedeploy.device.encoders.words.collate."""
        return word_encoding.collate(features, self._facts, size)
