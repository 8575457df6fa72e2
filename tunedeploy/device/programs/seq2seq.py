"""An encoder that is called once and a decoder that is called for each step, with a cache of keys and values.

The graphs have the names, inputs and outputs under which transformers.js and optimum look for them. The decoder
projects whatever part of the encoder's states is not in its cache yet: all of it in a call with an empty cache, nothing
later. So one file does both, and where a text is cut into calls changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from .. import typed
from ..encoders import Array
from ..errors import RunError
from ..signature import Arrays, Graph, Run, Value
from . import SEQUENCES

ENCODER, DECODER = "encoder_model", "decoder_model_merged"
STATES, OUTPUT = "last_hidden_state", "logits"
# Of a batch: the right answer without its last token, behind the one that starts it; and 1 where it has a token.
PREFIX, PREFIX_MASK = "decoder_input_ids", "decoder_attention_mask"
PAST, PRESENT = "past_key_values", "present"
# Names of axes. The decoder's own cache grows by the steps of a call; that of the encoder's states is full after one.
SOURCE, STEPS, CACHED, GROWN, PROJECTED = "sequence", "steps", "past", "past + steps", "past_sequence"


# What any model has: a bundle's facts are held to it before arrays of that size are made. The rest ends at 2**20.
LIMITS = {"layers": (1, 1000), "heads": (1, 1000), "head_width": (1, 10_000), "vocabulary": (2, 2**24)}


@dataclass(frozen=True, kw_only=True)
class Seq2SeqFacts:
    """What the loop must know of a model. Widths are in numbers, `max_new_tokens` without the token that starts."""

    start_id: int
    eos_id: int
    pad_id: int
    max_new_tokens: int
    layers: int  # of the decoder
    heads: int
    head_width: int
    width: int  # of the encoder's states
    vocabulary: int
    kind: str = "seq2seq"

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least, most = (0, self.vocabulary - 1) if name.endswith("_id") else LIMITS.get(name, (1, 2**20))
            if name != "kind" and not least <= value <= most:
                raise ValueError(f"{name}: expected {least} to {most}, got {value}")


@dataclass(frozen=True, kw_only=True)
class Seq2Seq:
    """The program of translation and its kind; see programs.Program. A batch is of the encoder's inputs and PREFIX."""

    settings: Seq2SeqFacts
    generates: ClassVar[bool] = True

    @property
    def facts(self) -> dict[str, str | int]:
        """The Seq2SeqFacts as JSON."""
        return asdict(self.settings)

    @property
    def graph(self) -> Graph:
        """Source and right answer in; logits out, which mean something where the answer has a token."""
        return whole_graph(self.settings)

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """The encoder and the decoder."""
        return encoder_graph(self.settings), decoder_graph(self.settings)

    def forward(self, run: Run, batch: Arrays) -> dict[str, Array]:
        """Logits (batch, steps, vocabulary) at each place of the right answer, in one call."""
        return self.forward_in_calls(run, batch, ())

    def forward_in_calls(self, run: Run, batch: Arrays, cut: tuple[int, ...]) -> dict[str, Array]:
        """The same in several calls with the cache between them; a new one begins before each step of `cut`.

        Raises:
            RunError: a row of the batch has no right answer.
        """
        if PREFIX not in batch:
            raise RunError("a row has no target: each token is judged behind those of the right answer before it")
        memory = self.memory(run, batch)
        past = self.no_past(len(batch[PREFIX]))
        logits = []
        for ids in np.split(batch[PREFIX], cut, axis=1):
            step, past = self.step(run, memory, ids, past)
            logits.append(step)
        return {OUTPUT: np.concatenate(logits, axis=1)}

    def cuts(self, batch: Arrays) -> Sequence[tuple[int, ...]]:
        """A call a step, and one cut in the middle."""
        steps = batch[PREFIX].shape[1]
        middle = [(steps // 2,)] if steps > 2 else []
        return [*middle, tuple(range(1, steps))] if steps > 1 else []

    def forced(self, batch: Arrays, sequences: Array) -> dict[str, Array]:
        """The batch with these ids, int64 (batch, steps), as right answers: the last of each is only predicted."""
        start = np.full((len(sequences), 1), self.settings.start_id, np.int64)
        prefix = np.concatenate([start, sequences[:, :-1]], axis=1)
        return {**batch, PREFIX: prefix, PREFIX_MASK: np.ones_like(prefix)}

    def answer(self, run: Run, batch: Arrays) -> dict[str, Array]:
        """The best token at each step, int64 (batch, steps), until every row has ended; behind its end a row is padded.

        A row that has not ended after `max_new_tokens` is cut there.

        Raises:
            RunError: the decoder gives a logit that is not finite.
        """
        memory = self.memory(run, batch)
        rows = len(batch["input_ids"])
        past = self.no_past(rows)
        ids = np.full((rows, 1), self.settings.start_id, np.int64)
        ended = np.zeros(rows, bool)
        steps: list[Array] = []
        while len(steps) < self.settings.max_new_tokens and not ended.all():
            logits, past = self.step(run, memory, ids, past)
            last = logits[:, -1]
            if not np.isfinite(last[~ended]).all():
                raise RunError(f"{DECODER}: gives NaN or infinity at step {len(steps) + 1}; no text can be made of it")
            best = last.argmax(-1)
            ids = np.where(ended, self.settings.pad_id, best).astype(np.int64)[:, None]
            ended |= best == self.settings.eos_id
            steps.append(ids)
        return {SEQUENCES: np.concatenate(steps, axis=1)}

    def memory(self, run: Run, batch: Arrays) -> dict[str, Array]:
        """What the decoder reads of the source in every call."""
        states = run(ENCODER, encoder_graph(self.settings).select(batch))[STATES]
        return {"encoder_attention_mask": batch["attention_mask"], "encoder_hidden_states": states}

    def no_past(self, rows: int) -> dict[str, Array]:
        """An empty cache."""
        shape = (rows, self.settings.heads, 0, self.settings.head_width)
        return {name: np.zeros(shape, np.float32) for name in cache_names(PAST, self.settings.layers)}

    def step(self, run: Run, memory: Arrays, ids: Array, past: Arrays) -> tuple[Array, dict[str, Array]]:
        """One call of the decoder: new ids (batch, steps) to their logits (batch, steps, vocabulary), and the cache."""
        outputs = run(DECODER, {**memory, "input_ids": ids, **past})
        names = zip(cache_names(PAST, self.settings.layers), cache_names(PRESENT, self.settings.layers), strict=True)
        return outputs[OUTPUT], {ours: outputs[theirs] for ours, theirs in names}


def cache_names(prefix: str, layers: int) -> list[str]:
    """Names of the cache's arrays, in the order of the graph."""
    return [
        f"{prefix}.{layer}.{part}.{what}"
        for layer in range(layers)
        for part in ("decoder", "encoder")
        for what in ("key", "value")
    ]


def whole_graph(facts: Seq2SeqFacts) -> Graph:
    """A pass of both: ids of the source and of the right answer in, logits of each of its tokens out."""
    source, target = ("batch", SOURCE), ("batch", STEPS)
    return Graph(
        name="model",
        inputs=(
            Value(name="input_ids", axes=source, dtype="int64"),
            Value(name="attention_mask", axes=source, dtype="int64", role="mask"),
            Value(name=PREFIX, axes=target, dtype="int64"),
            Value(name=PREFIX_MASK, axes=target, dtype="int64", role="mask"),
        ),
        outputs=(Value(name=OUTPUT, axes=(*target, facts.vocabulary), role="scores", valid=PREFIX_MASK),),
    )


def encoder_graph(facts: Seq2SeqFacts) -> Graph:
    """Ids of the source in, a state for each of them out."""
    axes = ("batch", SOURCE)
    return Graph(
        name=ENCODER,
        inputs=(
            Value(name="input_ids", axes=axes, dtype="int64"),
            Value(name="attention_mask", axes=axes, dtype="int64", role="mask"),
        ),
        outputs=(Value(name=STATES, axes=(*axes, facts.width), valid="attention_mask"),),
    )


def decoder_graph(facts: Seq2SeqFacts) -> Graph:
    """Ids of the target so far, the encoder's states and the cache in; logits of the next id and a longer cache out."""
    return Graph(
        name=DECODER,
        inputs=(
            Value(name="encoder_attention_mask", axes=("batch", SOURCE), dtype="int64", role="mask"),
            Value(name="input_ids", axes=("batch", STEPS), dtype="int64"),
            Value(name="encoder_hidden_states", axes=("batch", SOURCE, facts.width)),
            *_cache(facts, PAST, CACHED, PROJECTED),
        ),
        outputs=(
            Value(name=OUTPUT, axes=("batch", STEPS, facts.vocabulary), role="scores"),
            *_cache(facts, PRESENT, GROWN, SOURCE),
        ),
    )


def _cache(facts: Seq2SeqFacts, prefix: str, own: str, cross: str) -> list[Value]:
    return [
        Value(
            name=name,
            axes=("batch", facts.heads, own if ".decoder." in name else cross, facts.head_width),
            role="state",
        )
        for name in cache_names(prefix, facts.layers)
    ]  # fmt: skip


def opened(facts: Mapping[str, Any], graph: Graph) -> Seq2Seq:
    """The program of a bundle.

    Raises:
        Mismatch: a fact is missing, unknown or has another value than it can have.
    """
    del graph
    return Seq2Seq(settings=typed.from_json(Seq2SeqFacts, dict(facts)))
