"""Text trunks from Hugging Face checkpoints, with the pooling they were trained with."""

import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedTokenizerBase

from tunedeploy.device.encoders import Features, Inputs, Row
from tunedeploy.device.encoders import text as encoding
from tunedeploy.device.encoders.text import TextFacts
from tunedeploy.errors import ModelError
from tunedeploy.models.classifier import Classifier
from tunedeploy.models.loading import (
    count_at,
    first_line,
    foreign,
    json_object,
    open_config,
    open_fast_tokenizer,
    open_trunk,
)
from tunedeploy.models.sources import Source

POOLINGS = ("mean", "cls", "max", "last", "pooler")
LONGEST = 512  # tokens; beyond it attention on a CPU takes longer than users wait, so it has to be asked for


class TextClassifier(Classifier):
    """One row of logits a text.

    Args:
        trunk: gives `last_hidden_state` (batch, length, width).
        width: of the hidden states.
        labels: how many.
        pooling: one of POOLINGS; `pooler` is the checkpoint's own CLS pooler.
    """

    def __init__(self, trunk: nn.Module, *, width: int, labels: int, pooling: str) -> None:
        super().__init__(trunk, width=width, labels=labels, dropout=0.1)
        self.width, self.pooling = width, pooling
        self.takes_types = "token_type_ids" in inspect.signature(trunk.forward).parameters

    def states(self, **inputs: torch.Tensor) -> Any:
        """What the trunk gives for `input_ids`, `attention_mask` and perhaps `token_type_ids`."""
        types = inputs.get("token_type_ids")
        extra = {"token_type_ids": types} if types is not None and self.takes_types else {}
        return self.trunk(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], **extra)

    def features(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Pooled hidden states (batch, width)."""
        out = self.states(**inputs)
        if self.pooling == "pooler":
            pooled: torch.Tensor = out.pooler_output
            return pooled
        return pool(out.last_hidden_state, inputs["attention_mask"], self.pooling)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Ids, mask and types (batch, length) to logits (batch, labels)."""
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return self.classify(self.features(input_ids=input_ids, attention_mask=attention_mask, **types))


def pool(hidden: torch.Tensor, mask: torch.Tensor, how: str) -> torch.Tensor:
    """Hidden states (batch, length, width) to (batch, width), padding left out.

    `cls` and `last` are the first and the last token that is not padding, so that the side of padding does not matter.
    """
    if how == "mean":
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1.0)
    if how == "max":
        return hidden.masked_fill(mask.unsqueeze(-1) == 0, torch.finfo(hidden.dtype).min).amax(1)
    places = torch.arange(mask.shape[1], device=mask.device)
    at = (places * mask).argmax(1) if how == "last" else mask.argmax(1)
    index = at.reshape(-1, 1, 1).expand(-1, 1, hidden.shape[-1])
    return hidden.gather(1, index).squeeze(1)


def build(
    source: Source, *, labels: int, pooling: str, attention: str = "sdpa"
) -> tuple[TextClassifier, frozenset[str]]:
    """A classifier on a checkpoint's trunk, in float32 and eval mode, and the names of its fresh parameters.

    Args:
        source: a folder or hub id.
        labels: how many.
        pooling: one of POOLINGS.
        attention: transformers' implementation; `eager` where a model has no other.

    Raises:
        ModelError: there is no such model, it does not fit its own config, or it is not a text encoder.
    """
    trunk, width, missing = pooled_trunk(source, pooling, attention)
    model = TextClassifier(trunk, width=width, labels=labels, pooling=pooling)
    return model.eval(), fresh_names(model, missing)


def fresh_names(model: Classifier, missing: Iterable[str]) -> frozenset[str]:
    """Names of a model's parameters that no checkpoint gave: those missing from its trunk's, and the head's."""
    return frozenset({f"trunk.{name}" for name in missing} | {f"head.{name}" for name in model.own_head.state_dict()})


def pooled_trunk(source: Source, pooling: str, attention: str) -> tuple[nn.Module, int, set[str]]:
    """A checkpoint's trunk, the width of what it gives when pooled, and names of its tensors that are not in the file.

    Raises:
        ModelError: see `build`.
    """
    trunk, missing = open_trunk(source, attention)
    if pooling != "pooler" and getattr(trunk, "pooler", None) is not None:
        # An unused pooler would be counted, tuned and shipped for nothing.
        trunk.pooler = None
        missing = {name for name in missing if not name.startswith("pooler.")}
    total = len(trunk.state_dict())
    if len(missing) > total // 2:
        raise ModelError(f"model {source.name!r}: {len(missing)} of {total} tensors are not in its weights file")
    return trunk, _width(trunk, source, pooling), set(missing)


def _width(trunk: nn.Module, source: Source, pooling: str) -> int:
    """The width of a trunk's features, by four tokens put through it."""
    tokens = torch.zeros(1, 4, dtype=torch.long)
    what = f"tune.pooling is {pooling!r}" if pooling == "pooler" else "the model must be a text encoder or decoder"
    with (
        foreign(f"model {source.name!r}: {what}, which {type(trunk).__name__} is not made for", probe=True),
        torch.inference_mode(),
    ):
        probe = TextClassifier(trunk, width=1, labels=1, pooling=pooling)
        return int(probe.features(input_ids=tokens, attention_mask=torch.ones_like(tokens)).shape[-1])


def checkpoint_pooling(source: Source) -> str | None:
    """The pooling a sentence encoder's `1_Pooling/config.json` names, if it has one."""
    path = source.folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return None
    facts = json_object(path)
    modes = {
        "pooling_mode_cls_token": "cls",
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_max_tokens": "max",
        "pooling_mode_lasttoken": "last",
    }
    named = str(facts.get("pooling_mode", "")).replace("lasttoken", "last")
    pooling = next((ours for theirs, ours in modes.items() if facts.get(theirs)), named or None)
    if pooling is not None and pooling not in POOLINGS:
        raise ModelError(f"{path}: pooling {pooling!r} is not among {', '.join(POOLINGS)}; set tune.pooling")
    return pooling


def longest(source: Source, tokenizer: PreTrainedTokenizerBase) -> int:
    """The longest text in tokens that the checkpoint was made for, at most LONGEST."""
    limits = [LONGEST]
    sentence = source.folder / "sentence_bert_config.json"
    if sentence.is_file():
        limits.append(count_at(json_object(sentence), "max_seq_length", sentence) or LONGEST)
    config = open_config(source)
    try:
        limits += [int(tokenizer.model_max_length), positions(config)]
    except (TypeError, ValueError, OverflowError) as error:
        problem = f"model {source.name!r}: the length of its texts is not a number"
        raise ModelError(f"{problem}: {type(error).__name__}: {first_line(error)}") from error
    if min(limits) < 1:
        raise ModelError(f"model {source.name!r}: its longest text is {min(limits)} tokens; expected 1 or more")
    return min(limits)


def positions(config: Any) -> int:
    """How many positions a trunk has embeddings for; RoBERTa and its relatives start at pad_token_id + 1.

    A trunk of relative positions has no such number, or -1 in its place (XLNet): it has no limit of its own.
    """
    count = getattr(config, "max_position_embeddings", None)
    if count in (None, 0, -1):
        return LONGEST
    offset = (config.pad_token_id or 0) + 1 if config.model_type in transformers_with_offset() else 0
    return int(count) - offset


def transformers_with_offset() -> frozenset[str]:
    """Model types whose position ids start at pad_token_id + 1."""
    return frozenset(
        {"roberta", "xlm-roberta", "camembert", "mpnet", "longformer", "xlm-roberta-xl", "roberta-prelayernorm"}
    )


class TransformersEncoder:
    """Encode texts as training does, by the checkpoint's own tokenizer."""

    tolerance = 0
    small = True

    def __init__(self, tokenizer: PreTrainedTokenizerBase, facts: TextFacts) -> None:
        self.tokenizer = tokenizer
        self._facts = facts

    @property
    def facts(self) -> dict[str, Any]:
        """The TextFacts as JSON."""
        return encoding.facts_json(self._facts)

    def encode(self, rows: Sequence[Row]) -> list[Features]:
        """Rows with `text` and perhaps `text_pair` to ids, cut at the maximum length."""
        if not rows:
            return []
        texts = zip(*(encoding.texts_read(row, self._facts) for row in rows), strict=True)  # one column, or two
        with foreign("the model's tokenizer cannot encode the rows"):
            out: Any = self.tokenizer(*map(list, texts), truncation=True, max_length=self._facts.max_length)
        types = out.get("token_type_ids") or [None] * len(rows)
        return [
            encoding.as_features(ids, kinds, self._facts) for ids, kinds in zip(out["input_ids"], types, strict=True)
        ]

    def length(self, row: Row) -> int:
        """Tokens of a row before truncation, of the characters that are read."""
        return len(self.tokenizer(*encoding.texts_read(row, self._facts))["input_ids"])

    def collate(self, features: Sequence[Features], size: int | None = None) -> Inputs:
        """See tunedeploy.device.encoders.text.collate."""
        return encoding.collate(features, self._facts, size)

    def sizes(self, features: Sequence[Features]) -> list[int | None]:
        """See tunedeploy.device.encoders.text.sizes."""
        return encoding.sizes(features, self._facts)


def open_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer, with a padding token.

    Raises:
        ModelError: it has none that can run on a device (a tokenizer.json).
    """
    tokenizer = open_fast_tokenizer(source)
    if not tokenizer.is_fast:
        raise ModelError(f"model {source.name!r}: its tokenizer has no tokenizer.json, which the bundle needs")
    if not set(tokenizer.get_vocab().values()) - set(tokenizer.all_special_ids):
        # transformers makes one of five tokens where the files are missing: every word would be unknown
        cure = "add the checkpoint's tokenizer.json or vocabulary"
        raise ModelError(f"model {source.name!r}: its tokenizer knows no word; {cure}")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def text_facts(model: TextClassifier, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TextFacts:
    """How texts become this model's inputs.

    Raises:
        ModelError: the tokenizer gives ids that the trunk has no embedding for.
    """
    rows = getattr(getattr(model.trunk, "get_input_embeddings", lambda: None)(), "num_embeddings", None)
    highest = max(tokenizer.get_vocab().values())
    if rows is not None and highest >= rows:
        raise ModelError(
            f"model: its tokenizer has ids up to {highest}, its embeddings {rows} rows; files of two models?"
        )
    types = "token_type_ids" in tokenizer.model_input_names and model.takes_types
    pad = int(tokenizer.pad_token_id or 0)
    special_ids = (tokenizer.bos_token_id, tokenizer.cls_token_id, tokenizer.eos_token_id)
    lone = next((token_id for token_id in special_ids if token_id is not None), pad)
    return TextFacts(
        max_length=max_length,
        pad_id=pad,
        lone_id=int(lone),
        padding_side="right",  # pooling reads the mask, and causal trunks count positions from the left
        inputs=("input_ids", "attention_mask", *(("token_type_ids",) if types else ())),
        max_characters=encoding.characters_kept(max_length) if tokenizer.truncation_side == "right" else None,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, max_length: int) -> None:
    """Write the tokenizer with the truncation that was trained with inside its tokenizer.json, and no padding."""
    tokenizer.model_max_length = max_length
    tokenizer.init_kwargs.pop("local_files_only", None)  # of this process, not of the model
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer.json"
    fast = Tokenizer.from_file(str(path))
    fast.no_padding()
    fast.enable_truncation(max_length, direction=str(tokenizer.truncation_side))
    fast.save(str(path))
