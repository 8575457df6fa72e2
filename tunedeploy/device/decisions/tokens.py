"""One label a word: named entities, chunks, parts of speech.

The evidence is the logits where each word's first token stands, (words, labels). Entities are read from labels by the
rules of conlleval (Tjong Kim Sang and De Meulder 2003), which give every sequence a meaning, also an invalid one.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, TypedDict

import numpy as np

from .. import typed
from ..class_figures import OfClass, of_class
from ..encoders import Array, Features, Row
from ..encoders.words import STARTS, located
from ..errors import RunError
from ..review import Mistake, Review, confusion, worst
from ..signature import Arrays, Value
from . import PLAIN, AllOfTheOutput, Answers, Detail, Metric, classes, without_detail

METRICS: Mapping[str, Metric] = {
    "entity_f1": Metric(better="higher", unit="%"), "token_accuracy": Metric(better="higher", unit="%"),
}  # fmt: skip
OUTSIDE = "O"  # the label of words that are in no entity
PREFIXED = re.compile(r"([BIESLUM])(?:-(.+))?", re.DOTALL)
# Which prefixes another word of the same entity may follow, and which may follow one: IOB1, IOB2, IOBES, BILOU, BMES.
OPEN, FURTHER = "BIM", "IMEL"


class Entity(TypedDict):
    """A run of words; `start` and `end` count code points of the text, and `text` is what stands there."""

    label: str
    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How labels make entities; arrays have an entry for each label, and a last one for the end of a row.

    Attributes:
        names: of the kinds of entity.
        kinds: (labels + 1,), the kind of entity that a word with this label is of; -1: of none.
        opens: (labels + 1,), whether another word of the same entity may follow.
        goes_on: (labels + 1,), whether it may follow one.
    """

    names: tuple[str, ...]
    kinds: Array
    opens: Array
    goes_on: Array


def scheme_of(labels: Sequence[str]) -> Scheme:
    """The scheme that labels are written in.

    Labels have prefixes if some begin with B- or I-, or if all have one, not just E- (E-mail is a label). A label
    without a prefix, as all are in other sets, makes every run of it an entity.
    """
    matches = [PREFIXED.fullmatch(label) for label in labels if label != OUTSIDE]
    prefixes = [match for match in matches if match]
    prefixed = any(match[1] in "BI" and match[2] for match in prefixes) or (
        len(prefixes) == len(matches) and any(match[1] in "BISU" for match in prefixes)
    )
    parts = []
    for label in labels:
        match = PREFIXED.fullmatch(label) if prefixed else None
        parts.append((match[1], match[2] or "_") if match else ("I", label))  # "_" as seqeval has it
    names = list(dict.fromkeys(name for label, (_, name) in zip(labels, parts, strict=True) if label != OUTSIDE))
    kinds = [-1 if label == OUTSIDE else names.index(name) for label, (_, name) in zip(labels, parts, strict=True)]
    return Scheme(
        names=tuple(names),
        kinds=np.asarray([*kinds, -1]),
        opens=np.asarray([*(prefix in OPEN for prefix, _ in parts), False]),
        goes_on=np.asarray([*(prefix in FURTHER for prefix, _ in parts), False]),
    )


def entities(tags: Array, scheme: Scheme) -> Array:
    """The entities in label numbers (words,): (entities, 3), the kind, the first word and the one behind the last."""
    kinds = scheme.kinds[tags]
    inside = kinds >= 0
    follows = np.zeros(len(tags), dtype=bool)
    follows[1:] = scheme.goes_on[tags[1:]] & scheme.opens[tags[:-1]] & inside[1:] & (kinds[1:] == kinds[:-1])
    starts = np.flatnonzero(inside & ~follows)
    ends = np.flatnonzero(inside & ~np.append(follows[1:], False)) + 1
    return np.stack([kinds[starts], starts, ends], axis=1)


def entity_f1(guesses: Sequence[Array], targets: Sequence[Array], scheme: Scheme) -> float:
    """Micro F1 in percent of entities that have the right words and the right kind; 0 where there is none at all."""
    guessed, true = found(guesses, scheme), found(targets, scheme)
    return 200 * len(guessed & true) / max(1, len(guessed) + len(true))


def found(tags: Sequence[Array], scheme: Scheme) -> set[tuple[int, ...]]:
    """The entities in the label numbers of rows, (words,) each: kind, first word and the one behind the last."""
    return set(map(tuple, entities(_in_a_row(tags, scheme), scheme).tolist()))


def _in_a_row(rows: Sequence[Array], scheme: Scheme) -> Array:
    end = np.asarray([len(scheme.kinds) - 1])  # no entity reaches over it
    return np.concatenate([end, *(part for row in rows for part in (row, end))])


@dataclass(frozen=True)
class Tokens(AllOfTheOutput):
    """The decision of every task that labels words; see decisions.Decision. A unit is a word that has a token."""

    labels: tuple[str, ...]
    metrics: ClassVar[Mapping[str, Metric]] = METRICS
    beside: ClassVar[tuple[str, ...]] = (STARTS,)

    margins = staticmethod(classes.margins)
    compare = staticmethod(classes.compare)
    centred = staticmethod(classes.centred)

    @property
    def output(self) -> Value:
        """The logits of every token, (batch, sequence, labels)."""
        axes = ("batch", "sequence", len(self.labels))
        return Value(name=classes.OUTPUT, axes=axes, role="scores", valid="attention_mask")

    @property
    def facts(self) -> dict[str, str]:
        """Only the kind; the manifest lists the labels separately."""
        return {"kind": "tokens"}

    def units(self, output: Array, batch: Arrays) -> Answers:
        """What stands in (batch, length, k) where words start."""
        starts = batch[STARTS]
        row, at = np.nonzero(starts)
        return Answers(evidence=output[row, at], row=row, place=starts[row, at] - 1)

    def places(self, features: Features) -> Array:
        """The numbers of the words that have a token."""
        starts = features[STARTS]
        return np.asarray(starts[starts > 0] - 1)

    def answers(self, outputs: Arrays, batch: Arrays) -> Answers:
        """The logits of each word."""
        return self.units(outputs[classes.OUTPUT], batch)

    def described(self, first: Array, second: Array) -> dict[str, float]:
        """How many of the five best labels stay among them."""
        return {"top_5_overlap": classes.top_k_overlap(first, second)}

    def targets(self, rows: Sequence[Row]) -> list[Array]:
        """The label number of each word, an int64 array (words,) a row."""
        return [np.asarray(row["tags"], dtype=np.int64) for row in rows]

    def guesses(self, answers: Answers, words: Sequence[int]) -> list[Array]:
        """The best label of each word, an int64 array a row; of one without a unit "O", or else the first.

        Args:
            answers: of all rows.
            words: how many each row has.
        """
        nothing = self.labels.index(OUTSIDE) if OUTSIDE in self.labels else 0
        best = answers.evidence.argmax(-1)
        guesses = [np.full(count, nothing, dtype=np.int64) for count in words]
        bounds = pairwise(np.searchsorted(answers.row, np.arange(len(words) + 1)))
        for tags, (start, end) in zip(guesses, bounds, strict=True):
            tags[answers.place[start:end]] = best[start:end]
        return guesses

    def score(self, metric: str, answers: Answers, targets: Sequence[Array]) -> float:
        """`entity_f1`, see that function, or `token_accuracy`, the share of words with the right label; in percent.

        Raises:
            RunError: there is no such metric.
        """
        if metric not in METRICS:
            raise RunError(f"no metric {metric!r}; known: {', '.join(METRICS)}")
        guesses = self.guesses(answers, [len(row) for row in targets])
        if metric == "entity_f1":
            return entity_f1(guesses, targets, scheme_of(self.labels))
        right = sum(int((guess == true).sum()) for guess, true in zip(guesses, targets, strict=True))
        return 100 * right / max(1, sum(map(len, targets)))

    def show(self, answers: Answers, rows: Sequence[Row], detail: Detail = PLAIN) -> list[dict[str, list[Entity]]]:
        """The entities of each row, see Entity, in its text or in its words joined by single blanks.

        The probability is that of its least certain word.
        """
        without_detail(detail, "an answer of this model is a list of entities")
        scheme = scheme_of(self.labels)
        chances = classes.probabilities(answers.evidence).max(-1)
        parts = [slice(*pair) for pair in pairwise(np.searchsorted(answers.row, np.arange(len(rows) + 1)))]
        places = [answers.place[part] for part in parts]
        texts = [located(row, int(place.max(initial=-1)) + 1) for row, place in zip(rows, places, strict=True)]
        guesses = self.guesses(answers, [len(spans) for _, spans in texts])
        shown = []
        for (text, spans), tags, part, place in zip(texts, guesses, parts, places, strict=True):
            certain = np.zeros(len(tags))
            certain[place] = chances[part]
            records = [
                entity(text, spans[start:end], scheme.names[kind], certain[start:end])
                for kind, start, end in entities(tags, scheme)
            ]
            shown.append({"entities": records})
        return shown

    def review(self, answers: Answers, rows: Sequence[Row], most: int) -> Review:
        """Which kinds of entity are taken for which, word by word, and the rows with the most wrong words."""
        scheme, right = scheme_of(self.labels), self.targets(rows)
        given = self.guesses(answers, [len(tags) for tags in right])
        wrong = np.asarray([np.count_nonzero(pair[0] != pair[1]) for pair in zip(given, right, strict=True)], np.int64)
        chosen = worst(np.flatnonzero(wrong), wrong, most)
        # The kind -1, of words that are in no entity, is the last name.
        kinds = [scheme.kinds[np.concatenate([np.zeros(0, np.int64), *tags])] for tags in (right, given)]
        own, taken = (np.where(kind < 0, len(scheme.names), kind) for kind in kinds)
        names = (*scheme.names, OUTSIDE)
        return Review(
            summary=f"{wrong.sum()} of {sum(map(len, right))} words get a wrong label, "
            f"in {np.count_nonzero(wrong)} of {len(right)} rows",
            mistakes=tuple(
                Mistake(
                    row=row,
                    right=only(rows[row], right[row], given[row], scheme),
                    given=only(rows[row], given[row], right[row], scheme),
                )
                for row in chosen
            ),
            order="those first with the most wrong words",
            picture=confusion(own, taken, names, unit="words"),
            classes=of_kinds(given, right, scheme),
        )


def of_kinds(guesses: Sequence[Array], targets: Sequence[Array], scheme: Scheme) -> dict[str, OfClass]:
    """Figures of each kind of entity that occurs or is found, of tag indices (words,) a row."""
    guessed, true = found(guesses, scheme), found(targets, scheme)
    counts = [Counter(kind for kind, *_ in group) for group in (guessed & true, guessed, true)]
    kinds = sorted({kind for count in counts for kind in count})
    return {scheme.names[kind]: of_class(*(count[kind] for count in counts)) for kind in kinds}


def only(row: Row, tags: Array, others: Array, scheme: Scheme) -> str:
    """The entities that these tags of a row's words make and the others do not, such as `LOC: New York; PER: Ada`."""
    text, spans = located(row, len(tags))
    known = set(map(tuple, entities(others, scheme).tolist()))
    records = [
        f"{scheme.names[kind]}: {text[spans[start][0] : spans[end - 1][1]]}"
        for kind, start, end in entities(tags, scheme).tolist()
        if (kind, start, end) not in known
    ]
    return "; ".join(records) or "nothing"


def entity(text: str, spans: Sequence[tuple[int, int]], label: str, certain: Array) -> Entity:
    """The record of an entity, of its words' spans in a text and their probabilities, (words,)."""
    start, end = spans[0][0], spans[-1][1]
    return {
        "label": label,
        "text": text[start:end],
        "start": start,
        "end": end,
        "probability": round(float(certain.min()), 6),
    }


def opened(facts: Mapping[str, Any], labels: tuple[str, ...]) -> Tokens:
    """The decision of a bundle.

    Raises:
        Mismatch: there is a fact that this kind does not have.
    """
    if set(facts) != {"kind"}:
        raise typed.Mismatch(f"{min(set(facts) - {'kind'})}: unknown")
    return Tokens(labels)
