"""Texts and right answers become ids that end with the end token, and ids become the texts again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from tunedeploy.device.encoders import Decodes, open_encoder
from tunedeploy.device.encoders.text_to_text import TextToTextEncoder, facts_from
from tunedeploy.device.errors import RunError
from tunedeploy.device.parts import row_size
from tunedeploy.device.programs.seq2seq import PREFIX, PREFIX_MASK, Seq2SeqFacts, whole_graph
from tunedeploy.device.typed import Mismatch
from tunedeploy.models.seq2seq import END, PAD, train_tokenizer

TEXTS = [
    "the cat sleeps", "a dog 🙂 and 👩‍👩‍👧", "elle n'est pas là", "two\r\nlines", "\n", "", "\u00e9 e\u0301", "日本語",
    f"a {END} in it", "trailing ",
]  # fmt: skip
LONG = "the cat sleeps and a dog sleeps " * 20
LENGTH, TARGET_LENGTH = 24, 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The part of a bundle that texts are encoded by."""
    path = tmp_path_factory.mktemp("bundle")
    tokenizer = train_tokenizer(["the cat sleeps", "a dog", "elle n'est pas là"], size=300, max_length=LENGTH)
    assert (tokenizer.token_to_id(PAD), tokenizer.token_to_id(END)) == (0, 1)
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": LENGTH}), encoding="utf-8")
    return path


def facts(**others: Any) -> dict[str, Any]:
    program = {
        "start_id": 0, "eos_id": 1, "pad_id": 0, "max_new_tokens": 8, "layers": 2, "heads": 2, "head_width": 32,
        "width": 64, "vocabulary": 300, "kind": "seq2seq",
    }  # fmt: skip
    return {
        "max_length": LENGTH, "max_target_length": TARGET_LENGTH, "pad_id": 0, "start_id": 0, "eos_id": 1, "lone_id": 1,
        "program": program, "max_characters": None, "max_target_characters": None, "beside": ["labels"],
        "kind": "text_to_text",
    } | others  # fmt: skip


@pytest.fixture
def encoder(folder: Path) -> TextToTextEncoder:
    made = open_encoder(folder, facts())
    assert isinstance(made, TextToTextEncoder) and isinstance(made, Decodes)
    return made


def test_what_is_encoded_and_decoded_is_the_text_again(encoder: TextToTextEncoder) -> None:
    features = encoder.encode([{"text": "x", "target": text} for text in TEXTS])
    assert encoder.decode(encoder.collate(features)["labels"]) == TEXTS


def test_what_stands_behind_the_end_is_not_decoded(encoder: TextToTextEncoder) -> None:
    (row,) = encoder.encode([{"text": "x", "target": "a dog"}])
    ids = np.concatenate([row["target_ids"], row["target_ids"]])
    assert encoder.decode(ids[None]) == ["a dog"]
    assert encoder.decode(row["target_ids"][None, :-1]) == ["a dog"]  # cut before it ended
    assert encoder.decode(np.asarray([[1, 5], [0, 0]])) == ["", ""]


def test_every_text_ends_with_the_end_token_also_where_it_is_cut(encoder: TextToTextEncoder) -> None:
    features = encoder.encode([{"text": text, "target": text} for text in [*TEXTS, LONG, "🙂" * 100]])
    for row in features:
        assert row["input_ids"].dtype == row["target_ids"].dtype == np.int64
        assert row["input_ids"][-1] == row["target_ids"][-1] == 1
        assert (row["target_ids"][:-1] != 1).all()  # the letters of </s> are tokens like any other
    for row in features[-2:]:
        assert (len(row["input_ids"]), len(row["target_ids"])) == (LENGTH, TARGET_LENGTH)
    assert features[TEXTS.index("")]["target_ids"].tolist() == [1]
    assert LONG.startswith(encoder.decode(features[-2]["target_ids"][None])[0])


def test_a_text_is_cut_to_its_first_characters(folder: Path) -> None:
    encoder = open_encoder(folder, facts(max_characters=3, max_target_characters=3))
    long, short = encoder.encode([{"text": text, "target": text} for text in ("🙂🙂🙂 a dog", "🙂🙂🙂")])
    for name in ("input_ids", "target_ids"):
        assert np.array_equal(long[name], short[name])


def test_rows_without_a_right_answer_have_none_in_the_batch(encoder: TextToTextEncoder) -> None:
    rows = [{"text": "a dog", "target": "a"}, {"text": "a dog", "target": None}, {"text": "a dog"}]
    features = encoder.encode(rows)
    assert [sorted(row) for row in features] == [["input_ids", "target_ids"], ["input_ids"], ["input_ids"]]
    labelled = features[:1]
    assert set(encoder.collate(features)) == {"input_ids", "attention_mask"}
    assert set(encoder.collate(labelled)) == {
        "input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask", "labels",
    }  # fmt: skip
    assert encoder.encode([]) == []


def test_the_decoder_reads_the_right_answer_behind_the_start(folder: Path) -> None:
    program = {**facts()["program"], "start_id": 7}
    encoder = open_encoder(folder, facts(start_id=7, program=program))
    features = encoder.encode([{"text": "a dog", "target": "a"}, {"text": "a", "target": "the cat sleeps"}])
    batch = encoder.collate(features)
    short, long = (row["target_ids"].tolist() for row in features)
    gap = len(long) - len(short)
    assert gap > 0
    assert batch["labels"].tolist() == [[*short, *[0] * gap], long]
    assert batch[PREFIX].tolist() == [[7, *short[:-1], *[0] * gap], [7, *long[:-1]]]
    assert batch[PREFIX_MASK].tolist() == [[1] * len(short) + [0] * gap, [1] * len(long)]
    assert {array.dtype.name for array in batch.values()} == {"int64"}


def test_a_size_pads_or_cuts_what_goes_in_and_leaves_right_answers_whole(encoder: TextToTextEncoder) -> None:
    features = encoder.encode([{"text": "the cat sleeps", "target": "a dog"}])
    (own, wide, cut) = (encoder.collate(features, size) for size in (None, 40, 1))
    count = own["input_ids"].shape[1]
    assert wide["input_ids"].shape == wide["attention_mask"].shape == (1, 40)
    assert np.array_equal(wide["input_ids"][:, :count], own["input_ids"])
    assert wide["attention_mask"].sum() == count
    assert cut["input_ids"].tolist() == own["input_ids"][:, :1].tolist()
    for name in (PREFIX, PREFIX_MASK, "labels"):
        assert np.array_equal(wide[name], own[name]) and np.array_equal(cut[name], own[name])


def test_rows_are_sorted_and_sized_by_what_goes_in(encoder: TextToTextEncoder) -> None:
    features = encoder.encode([{"text": text, "target": LONG} for text in ("a", "the cat sleeps", LONG)])
    lengths = [len(row["input_ids"]) for row in features]
    assert [row_size(row) for row in features] == lengths
    assert encoder.sizes(features) == [1, lengths[0], lengths[1] | 1, LENGTH]


def test_a_batch_is_what_the_whole_pass_takes(encoder: TextToTextEncoder) -> None:
    graph = whole_graph(Seq2SeqFacts(**facts()["program"]))
    assert encoder.values() == graph.inputs
    batch = encoder.collate(encoder.encode([{"text": "a", "target": "b"}]))
    assert set(batch) - set(graph.select(batch)) == {"labels"} == set(encoder.facts["beside"])


def test_its_facts_are_json_that_opens_it_again(encoder: TextToTextEncoder) -> None:
    assert json.loads(json.dumps(encoder.facts)) == facts()


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no length": ({"max_length": 0}, "max_length: expected 2 to"),
    "a huge length": ({"max_target_length": 2**31}, "max_target_length: expected 2 to"),
    "a negative id": ({"lone_id": -1}, "lone_id: expected 0 to"),
    "no characters": ({"max_characters": 0}, "max_characters: expected 1 or more, got 0"),
    "nothing beside": ({"beside": []}, "beside: expected .*labels"),
    "another end": ({"eos_id": 2}, "eos_id: expected the program's, 1"),
    "no program": ({"program": {}}, "program.start_id: missing"),
    "an end that is no token": (
        {"program": {**facts()["program"], "eos_id": 300}}, "program: eos_id: expected 0 to 299, got 300"
    ),
    "an unknown key": ({"beams": 4}, "beams: unknown key"),
    "a text for a number": ({"max_length": "24"}, 'max_length: expected a whole number, got "24"'),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_facts_that_mean_nothing_are_refused_in_one_line(name: str) -> None:
    others, message = REFUSED[name]
    with pytest.raises(Mismatch, match=f"^{message}") as caught:
        facts_from(facts(**others))
    assert len(caught.value.lines) == 1


def test_a_missing_fact_is_named() -> None:
    with pytest.raises(Mismatch, match="max_target_length: missing"):
        facts_from({key: value for key, value in facts().items() if key != "max_target_length"})


def test_special_tokens_in_a_source_stay_what_they_were(encoder: TextToTextEncoder) -> None:
    """Checkpoints were trained so; only a right answer must not end early."""
    before = encoder.encode([{"text": f"a {END} b"}])[0]["input_ids"]
    encoder.encode([{"text": "x", "target": f"a {END} b"}])
    after = encoder.encode([{"text": f"a {END} b"}])[0]["input_ids"]
    assert before.tolist() == after.tolist()
    assert (before == 1).sum() == 2


def test_a_blank_that_no_tokenizer_put_there_stays() -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = {sign: at + 2 for at, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer.model = models.BPE({PAD: 0, END: 1, **alphabet}, [])
    tokenizer.add_special_tokens([PAD, END])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    encoder = TextToTextEncoder(tokenizer, facts_from(facts()))
    features = encoder.encode([{"text": "x", "target": text} for text in (" a dog", "a dog")])
    assert encoder.decode(encoder.collate(features)["labels"]) == [" a dog", "a dog"]


def test_a_missing_tokenizer_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        open_encoder(tmp_path, facts())
    assert len(caught.value.lines) == 1


def test_files_that_say_otherwise_than_the_facts_are_named(folder: Path) -> None:
    assert open_encoder(folder, facts()).contradictions(folder) == []
    assert open_encoder(folder, facts(max_length=12)).contradictions(folder) == ["truncation", "model_max_length"]


def test_a_raw_row_is_json_with_its_right_answer(encoder: TextToTextEncoder, folder: Path) -> None:
    row = {"text": "a\r\n🙂", "target": "b", "origin": "row 3"}
    assert encoder.portable(row, 0, folder) == {"text": "a\r\n🙂", "target": "b"}
    assert encoder.portable({"text": "a", "target": None}, 0, folder) == {"text": "a"}


def test_a_row_without_an_answer_takes_none_from_the_others(encoder: TextToTextEncoder) -> None:
    first, second = encoder.encode([{"text": "a dog", "target": "un chien"}, {"text": "a dog"}])
    assert "target_ids" in first and "target_ids" not in second
    assert PREFIX in encoder.collate([first])
    assert PREFIX not in encoder.collate([first, second])


def test_a_right_answer_is_cut_by_its_own_length(folder: Path) -> None:
    encoder = open_encoder(folder, facts(max_target_length=30_000, max_characters=10))
    (features,) = encoder.encode([{"text": "a", "target": "a dog " * 3_000}])
    (shorter,) = encoder.encode([{"text": "a", "target": "a dog " * 2_000}])
    assert len(features["target_ids"]) > len(shorter["target_ids"])
