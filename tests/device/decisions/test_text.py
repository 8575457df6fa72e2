"""Five numbers stand for a token's logits: torch's probabilities, sacrebleu's BLEU, and NaN that fails closed."""

import subprocess
import sys
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sacrebleu
import torch
from tokenizers import Tokenizer

from tunedeploy.device import agreement, decisions
from tunedeploy.device.decisions import Answers
from tunedeploy.device.decisions.text import BEST, CERTAINTY, HEIGHT, MARGIN, RIGHT, Text
from tunedeploy.device.encoders import Array
from tunedeploy.device.encoders.text_to_text import TextToTextEncoder, facts_from
from tunedeploy.device.errors import PackageError, RunError
from tunedeploy.device.parts import Parts
from tunedeploy.device.programs.seq2seq import Seq2Seq, Seq2SeqFacts, whole_graph
from tunedeploy.device.signature import Arrays, Value
from tunedeploy.device.typed import Mismatch
from tunedeploy.models import seq2seq
from tunedeploy.models.torch_inputs import arguments, named, tensors

DECISION = decisions.open_decision({"kind": "text"}, ())
MASK = np.asarray([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
LABELS = np.asarray([[3, 9, 1, 0], [1, 0, 0, 0], [4, 4, 8, 1]])
BATCH = {"decoder_attention_mask": MASK, "labels": LABELS}


def logits(scale: float = 3.0, vocabulary: int = 50) -> Array:
    return np.random.default_rng(0).normal(0, scale, (*MASK.shape, vocabulary)).astype(np.float32)


def answers(values: Array) -> Answers:
    """With every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return DECISION.answers({"logits": values}, BATCH)


@pytest.mark.parametrize("scale", [1e-3, 3.0, 1e4])
def test_evidence_is_what_torch_computes(scale: float) -> None:
    made = answers(logits(scale))
    assert list(zip(made.row, made.place, strict=True)) == [
        (0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (2, 2), (2, 3),
    ]  # fmt: skip
    assert made.evidence.dtype == np.float32
    assert made.evidence.shape == (8, DECISION.width)
    chosen = torch.from_numpy(logits(scale)[MASK == 1]).double()
    right = torch.from_numpy(LABELS[MASK == 1])
    two = chosen.topk(2)
    wanted = {
        BEST: two.indices[:, 0],
        MARGIN: two.values[:, 0] - two.values[:, 1],
        CERTAINTY: chosen.log_softmax(-1).gather(1, right[:, None])[:, 0],
        RIGHT: right,
        HEIGHT: two.values[:, 0] - chosen.mean(-1),
    }
    assert sorted(wanted) == list(range(5))
    for column, values in wanted.items():
        assert made.evidence[:, column] == pytest.approx(values.numpy(), rel=1e-6, abs=1e-9), column


def test_of_equal_logits_the_first_is_best_as_in_the_loop() -> None:
    made = answers(np.zeros((*MASK.shape, 12), np.float32))
    assert (made.evidence[:, [BEST, MARGIN, HEIGHT]] == 0).all()
    assert made.evidence[:, CERTAINTY] == pytest.approx(-np.log(12))


def test_units_are_the_tokens_of_the_right_answer() -> None:
    states = np.arange(3 * 4 * 2, dtype=np.float32).reshape(3, 4, 2)
    units = DECISION.units(states, BATCH)
    assert np.array_equal(units.evidence, states[MASK == 1])
    assert DECISION.places({"target_ids": LABELS[0, :3]}).tolist() == units.place[units.row == 0].tolist()
    assert DECISION.beside == ("labels",)
    assert DECISION.output == whole_output()


def whole_output() -> Value:
    facts = Seq2SeqFacts(
        start_id=0, eos_id=1, pad_id=0, max_new_tokens=9, layers=1, heads=1, head_width=1, width=1, vocabulary=50
    )
    (value,) = whole_graph(facts).outputs
    return replace(value, axes=(*value.axes[:2], "vocabulary"))


# ---- on a small model and its tokenizer

ROWS = [
    {"text": "the cat sleeps", "target": "le chat dort"},
    {"text": "a dog", "target": "un chien"},
    {"text": "we saw the old house today", "target": "nous avons vu la vieille maison aujourd'hui 🙂"},
]


@pytest.fixture(scope="module")
def parts_and_run() -> tuple[Parts, Any]:
    torch.manual_seed(0)
    texts = [row[name] for row in ROWS for name in ("text", "target")]
    tokenizer: Tokenizer = seq2seq.train_tokenizer(texts, size=300, max_length=32)
    model = seq2seq.small_t5(tokenizer, width=32, layers=1)
    facts = seq2seq.facts_of(model, 12)
    program = Seq2Seq(settings=facts)
    encoder = TextToTextEncoder(tokenizer, facts_from({
        "max_length": 32, "max_target_length": 64, "pad_id": 0, "start_id": 0, "eos_id": 1, "lone_id": 1,
        "program": program.facts,
    }))  # fmt: skip
    nets = seq2seq.nets_of(model)
    graphs = {graph.name: graph for graph in program.graphs}

    def run(name: str, inputs: Arrays) -> dict[str, Array]:
        with torch.inference_mode():
            made = nets[name](**arguments(graphs[name], tensors(inputs)))
        return {key: tensor.numpy() for key, tensor in named(graphs[name], made).items()}

    return Parts(encoder=encoder, program=program, decision=DECISION), run


def test_padding_to_another_length_changes_no_evidence(parts_and_run: tuple[Parts, Any]) -> None:
    parts, run = parts_and_run
    features = parts.encoder.encode(ROWS)
    together = parts.answers_of_features(run, features)
    assert np.bincount(together.row).tolist() == [len(row["target_ids"]) for row in features]
    for at, row in enumerate(features):
        alone = parts.answers_of_features(run, [row]).evidence
        own = together.evidence[together.row == at]
        assert np.array_equal(alone[:, [BEST, RIGHT]], own[:, [BEST, RIGHT]])
        assert alone == pytest.approx(own, abs=2e-5)  # torch sums a batch in another order


def test_logits_of_padding_are_not_looked_at() -> None:
    values = logits()
    spoiled, batch = np.full((3, 9, 50), np.nan, np.float32), {}
    spoiled[:, :4][MASK == 1] = values[MASK == 1]
    for name, array in BATCH.items():
        batch[name] = np.pad(array, ((0, 0), (0, 5)))
    assert np.array_equal(DECISION.answers({"logits": spoiled}, batch).evidence, answers(values).evidence)


def test_what_a_model_writes_is_shown_and_scored(parts_and_run: tuple[Parts, Any]) -> None:
    parts, run = parts_and_run
    made = parts.answers(run, ROWS, metric="bleu")
    assert made.texts is not None
    assert DECISION.show(made, ROWS) == [{"text": text} for text in made.texts]
    targets = DECISION.targets(ROWS)
    assert targets == [row["target"] for row in ROWS]
    assert 0 <= DECISION.score("bleu", made, targets) < 100
    assert parts.answers(run, ROWS, metric="perplexity").texts is None


# ---- metrics


def texts_answer(*texts: str) -> Answers:
    return Answers(
        evidence=np.zeros((0, 5), np.float32), row=np.zeros(0, int), place=np.zeros(0, int), texts=texts
    )  # fmt: skip


def test_bleu_is_sacrebleus() -> None:
    right = ["Le chat dort sur le lit.", "Il y a un chien, là-bas, dans l'herbe !", "Oui."]
    said = ["Le chat dort dans le lit.", "Il y a un chien là-bas, dans l'herbe !", ""]
    value = DECISION.score("bleu", texts_answer(*said), right)
    assert value == sacrebleu.corpus_bleu(said, [right]).score
    assert 10 < value < 90
    assert DECISION.score("bleu", texts_answer(*right), right) == pytest.approx(100)


def test_bleu_without_a_text_for_each_row_is_an_error() -> None:
    for few in (answers(logits()), texts_answer("a")):
        with pytest.raises(RunError, match="none were generated for these rows"):
            DECISION.score("bleu", few, ["a", "b"])


def test_bleu_without_sacrebleu_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu", None)  # as if it were not installed
    with pytest.raises(PackageError, match="needs the package sacrebleu; pip install sacrebleu"):
        DECISION.score("bleu", texts_answer("a"), ["a"])


def test_a_device_that_does_not_ask_for_bleu_does_not_load_it() -> None:
    code = "import sys, tunedeploy.device.decisions.text as text; text.Text(); print('sacrebleu' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_accuracy_and_perplexity_are_torchs() -> None:
    values = logits()
    values[0, 0, LABELS[0, 0]] += 30
    chosen, right = torch.from_numpy(values[MASK == 1]).double(), torch.from_numpy(LABELS[MASK == 1])
    made = answers(values)
    assert DECISION.score("token_accuracy", made, []) == 100 * float((chosen.argmax(-1) == right).double().mean()) > 0
    wanted = float(torch.nn.functional.cross_entropy(chosen, right).exp())
    assert DECISION.score("perplexity", made, []) == pytest.approx(wanted, rel=1e-6)


def test_an_unknown_metric_is_one_line() -> None:
    with pytest.raises(RunError, match="no metric 'rouge'; known: bleu, token_accuracy, perplexity"):
        DECISION.score("rouge", answers(logits()), [])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("metric", ["token_accuracy", "perplexity"])
def test_a_logit_that_is_not_finite_leaves_no_metric_a_value(metric: str, bad: float) -> None:
    values = logits()
    values[2, 1, 17] = bad
    value = DECISION.score(metric, answers(values), [])
    assert np.isnan(value)
    assert DECISION.metrics[metric].worse(50.0, value) == float("inf")


def test_a_perplexity_beyond_all_numbers_is_infinite_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = DECISION.score("perplexity", answers(logits(1e6)), [])
        assert value == float("inf")
        assert DECISION.metrics["perplexity"].worse(50.0, value) == float("inf")
        assert np.isnan(DECISION.score("perplexity", texts_answer(), []))


# ---- comparisons


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_unit_that_is_not_finite_differs_and_is_excused_by_no_near_tie(bad: float) -> None:
    values, broken = logits(), logits()
    broken[2, 1, 17] = bad
    for first, second in ((values, broken), (broken, values), (broken, broken)):
        one, other = answers(first).evidence, answers(second).evidence
        assert np.flatnonzero(DECISION.compare(one, other).differs).tolist() == [5]
        assert decisions.flipped(DECISION, one, other, 0.0).tolist() == [5]
        if first is broken:  # a margin that is no number excuses nothing, however large a near-tie may be
            assert decisions.flipped(DECISION, one, other, 1e9).tolist() == [5]


def test_another_best_token_differs_and_rounding_does_not() -> None:
    first = answers(logits()).evidence
    assert not DECISION.compare(first, answers(logits() + np.float32(1e-6)).evidence).differs.any()
    values = logits()
    values[1, 0, 7] = values.max() + 1
    change = DECISION.compare(first, answers(values).evidence)
    assert np.flatnonzero(change.differs).tolist() == [3]
    assert np.flatnonzero(change.moved).tolist() == [3]
    assert np.array_equal(DECISION.margins(first), first[:, MARGIN])


def test_an_offset_says_nothing_and_a_factor_is_the_gain() -> None:
    first = DECISION.centred(answers(logits()).evidence)
    assert first.shape == (8, 1) and first.dtype == np.float64
    assert agreement.gain(first, DECISION.centred(answers(logits() + 5).evidence)) == pytest.approx(1, rel=1e-5)
    assert agreement.gain(first, DECISION.centred(answers(logits() * 3).evidence)) == pytest.approx(3, rel=1e-5)


def test_people_are_told_of_probabilities() -> None:
    first, second = answers(logits()).evidence, answers(logits() * 2).evidence
    change = second[:, CERTAINTY].astype(float) - first[:, CERTAINTY]
    assert DECISION.described(first, second) == {"mean_log_probability": pytest.approx(change.mean())}


def test_numbers_are_all_but_ids() -> None:
    evidence = answers(logits()).evidence
    assert np.array_equal(DECISION.numbers(evidence), evidence[:, [MARGIN, HEIGHT, CERTAINTY]])


def test_facts_open_it_again_and_others_are_refused() -> None:
    assert DECISION == Text() == decisions.open_decision(DECISION.facts, ("a", "b"))
    with pytest.raises(Mismatch, match="beams: unknown"):
        decisions.open_decision({"kind": "text", "beams": 4}, ())
