"""A text that is written token by token.

A unit is a token of the right answer, which is given as the prefix of the next: so two files are compared step by step,
and a token that one gets wrong does not change what it is asked next. What an app shows is generated separately, and
judged by the metrics of texts. No logits are kept: the evidence of a unit is five numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import typed
from ..encoders import Array, Features, Row
from ..encoders.text_to_text import LABELS
from ..errors import PackageError, RunError
from ..programs.seq2seq import OUTPUT, PREFIX_MASK, STEPS
from ..review import Mistake, Review, worst
from ..signature import Arrays, Value
from . import PLAIN, Answers, Change, Detail, Metric, without_detail

METRICS: Mapping[str, Metric] = {
    "bleu": Metric(better="higher", unit="%", texts=True),
    "token_accuracy": Metric(better="higher", unit="%"),
    "perplexity": Metric(better="lower", unit=""),
}
# Columns of the evidence: the best token's id, and by how much its logit is over the second best's and over the mean of
# all; the right token's id and the logarithm of its probability. Ids are exact in float32 up to 2**24.
BEST, MARGIN, HEIGHT, RIGHT, CERTAINTY = range(5)
WIDTH = 5


BLOCK = 2**22  # logits at a time in float64: four arrays of 32 MB


def evidence_of(scores: Array, right: Array) -> Array:
    """Evidence of tokens, float32 (units, WIDTH), of logits (units, vocabulary) and the right ids (units,)."""
    units = max(1, BLOCK // max(scores.shape[-1], 1))
    blocks = [
        evidence_of_block(scores[start : start + units], right[start : start + units])
        for start in range(0, len(scores), units)
    ]
    return np.concatenate([np.zeros((0, WIDTH), np.float32), *blocks])


def evidence_of_block(scores: Array, right: Array) -> Array:
    """The same of few enough logits to be held in float64 several times over."""
    exact = np.asarray(scores, np.float64)
    best = exact.argmax(-1)
    two = np.partition(exact, -2, axis=-1)[:, -2:]
    highest = exact[np.arange(len(exact)), best]
    with np.errstate(invalid="ignore"):
        total = highest + np.log(np.exp(exact - highest[:, None]).sum(-1))
        certainty = exact[np.arange(len(exact)), right] - total
        columns = [best, two[:, 1] - two[:, 0], highest - exact.mean(-1), right, certainty]
    evidence = np.stack(columns, axis=-1).astype(np.float32)
    evidence[~np.isfinite(exact).all(-1)] = np.nan  # such logits say nothing, and no answer can be made of them
    return evidence


@dataclass(frozen=True)
class Text:
    """The decision of every task that writes texts; see decisions.Decision."""

    metrics: ClassVar[Mapping[str, Metric]] = METRICS
    beside: ClassVar[tuple[str, ...]] = (LABELS,)

    @property
    def output(self) -> Value:
        """The logits of each step, (batch, steps, vocabulary)."""
        return Value(name=OUTPUT, axes=("batch", STEPS, "vocabulary"), role="scores", valid=PREFIX_MASK)

    @property
    def width(self) -> int:
        """See the columns above."""
        return WIDTH

    @property
    def facts(self) -> dict[str, str]:
        """Only the kind."""
        return {"kind": "text"}

    def units(self, output: Array, batch: Arrays) -> Answers:
        """What stands in (batch, steps, k) where the right answer has a token."""
        row, step = np.nonzero(batch[PREFIX_MASK])
        return Answers(evidence=output[row, step], row=row, place=step)

    def places(self, features: Features) -> Array:
        """A number for each token of the right answer."""
        return np.arange(len(features["target_ids"]))

    def answers(self, outputs: Arrays, batch: Arrays) -> Answers:
        """The evidence of each token."""
        row, step = np.nonzero(batch[PREFIX_MASK])
        return Answers(evidence=evidence_of(outputs[OUTPUT][row, step], batch[LABELS][row, step]), row=row, place=step)

    def margins(self, evidence: Array) -> Array:
        """How far the best token is before the second."""
        return np.asarray(evidence[:, MARGIN], np.float64)

    @np.errstate(invalid="ignore")
    def compare(self, first: Array, second: Array) -> Change:
        """Which tokens differ, and by how much the lead of the first's best token moved."""
        reference, other = (np.asarray(evidence, np.float64) for evidence in (first, second))
        same = reference[:, BEST] == other[:, BEST]  # NaN differs
        lead = np.where(same, other[:, MARGIN], -other[:, MARGIN])
        return Change(differs=~same, moved=np.abs(reference[:, MARGIN] - lead))

    def numbers(self, evidence: Array) -> Array:
        """All but the ids, since the best token's jumps at a near-tie."""
        return evidence[:, [MARGIN, HEIGHT, CERTAINTY]]

    def centred(self, evidence: Array) -> Array:
        """By how much the best token's logit is over the mean, (units, 1): a factor on the logits is one on it."""
        return np.asarray(evidence[:, HEIGHT : HEIGHT + 1], np.float64)

    @np.errstate(invalid="ignore")
    def described(self, first: Array, second: Array) -> dict[str, float]:
        """By how much the second is more certain of the right tokens on average."""
        change = np.asarray(second[:, CERTAINTY], np.float64) - first[:, CERTAINTY]
        return {"mean_log_probability": float(change.mean())}

    def targets(self, rows: Sequence[Row]) -> list[str]:
        """The right answer of each row."""
        return [row["target"] for row in rows]

    def score(self, metric: str, answers: Answers, targets: Sequence[str]) -> float:
        """`bleu` of the generated texts as sacrebleu computes it, or of each right token given those before it
        `token_accuracy` in percent and `perplexity`; NaN where there is no such value.

        Raises:
            RunError: there is no such metric, or nothing was generated.
            PackageError: sacrebleu is not installed.
        """
        if metric not in METRICS:
            raise RunError(f"no metric {metric!r}; known: {', '.join(METRICS)}")
        if metric == "bleu":
            if answers.texts is None or len(answers.texts) != len(targets):
                raise RunError("bleu: compares generated texts, and none were generated for these rows")
            return bleu(answers.texts, targets)
        evidence = np.asarray(answers.evidence, np.float64)
        if not len(evidence) or not np.isfinite(evidence).all():
            return float("nan")
        if metric == "token_accuracy":
            return float(100 * (evidence[:, BEST] == evidence[:, RIGHT]).mean())
        with np.errstate(over="ignore"):  # beyond float64 it is infinite
            return float(np.exp(-evidence[:, CERTAINTY].mean()))

    def show(self, answers: Answers, rows: Sequence[Row], detail: Detail = PLAIN) -> list[dict[str, str]]:
        """{"text"} for each row: what was generated for it."""
        without_detail(detail, "an answer of this model is a text")
        assert answers.texts is not None, "they were not asked for"
        del rows
        return [{"text": text} for text in answers.texts]

    def review(self, answers: Answers, rows: Sequence[Row], most: int) -> Review:
        """How many texts are the right one, and of the others those whose right text was thought the least likely.

        Where no texts were generated, only the share of right tokens is known.
        """
        order = "those first whose right text was thought the least likely, token by token"
        if answers.texts is None:
            summary = f"{self.score('token_accuracy', answers, ()):.1f} % of the tokens are the right ones"
            return Review(summary=summary, mistakes=None, order=order, picture=None)
        right, given = self.targets(rows), answers.texts
        wrong = np.asarray(
            [at for at, pair in enumerate(zip(right, given, strict=True)) if pair[0] != pair[1]], np.int64
        )
        tokens = np.bincount(answers.row, minlength=len(right))
        certainty = np.bincount(answers.row, answers.evidence[:, CERTAINTY], len(right)) / np.maximum(tokens, 1)
        return Review(
            summary=f"{len(right) - len(wrong)} of {len(right)} texts are the right one to the letter",
            mistakes=tuple(
                Mistake(row=row, right=right[row], given=given[row]) for row in worst(wrong, -certainty, most)
            ),
            order=order,
            picture=None,
        )


def bleu(texts: Sequence[str], targets: Sequence[str]) -> float:
    """Corpus BLEU, 0 to 100, as sacrebleu computes it by default.

    Raises:
        PackageError: sacrebleu is not installed.
    """
    return float(sacrebleu().corpus_bleu(list(texts), [list(targets)]).score)


def sacrebleu() -> Any:
    """The package.

    Raises:
        PackageError: it is not installed.
    """
    try:
        import sacrebleu as package
    except ModuleNotFoundError as error:
        raise PackageError("bleu needs the package sacrebleu; pip install sacrebleu") from error
    return package


def opened(facts: Mapping[str, Any], labels: tuple[str, ...]) -> Text:
    """The decision of a bundle; there are no labels.

    Raises:
        Mismatch: there is a fact that this kind does not have.
    """
    del labels
    if set(facts) != {"kind"}:
        raise typed.Mismatch(f"{min(set(facts) - {'kind'})}: unknown")
    return Text()
