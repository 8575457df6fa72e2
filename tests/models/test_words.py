"""The encoder of words that is trained with and that of the device agree byte for byte; logits are those of tokens."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerFast, RobertaConfig, RobertaModel

from tests.tiny import Tiny
from tests.wikigold import sentences
from tunedeploy.device.encoders import Features, open_encoder
from tunedeploy.models import text, words
from tunedeploy.models.sources import Source

HOSTILE: list[dict[str, Any]] = [
    {"words": []},
    {"words": ["a"]},
    {"words": ["\u200b", "snow", "\u200b", "", "\ufeff", "wind"]},
    {"words": ["\u200b"]},
    {"words": ["A" * 3000, "snow"]},
    {"words": ["word"] * 2000},
    {"words": ["techno-based", "it's", "[MASK]", "[SEP] a", "New York", " ", "x\r\ny", "</s>", "<mask>"]},
    {"words": ["👩‍👩‍👧", "🇩🇪", "e\u0301te\u0301", "日本語", "한국어", "ĳ", "İstanbul", "ﬁ", "\x00"]},
    {"text": ""},
    {"text": "\u200b"},
    {"text": "👩‍👩‍👧 it's 東京\r\n e\u0301 <s> [CLS] AT&T, 1,000.5 -- ..."},
    {"text": "snow " * 4000},
    {"text": " " * 9998 + "snow and wind"},
    {"words": ["snow " * 1999, "ab", "cde"]},
]


def roberta(folder: Path) -> Path:
    """A RoBERTa with a byte-level BPE that, as its kin do, puts no blank before a text."""
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    ids = {sign: at for at, sign in enumerate([*special, *signs, "Ġs", "Ġsn", "Ġsno", "Ġsnow", "sn", "sno", "snow"])}
    merges = [("Ġ", "s"), ("Ġs", "n"), ("Ġsn", "o"), ("Ġsno", "w"), ("s", "n"), ("sn", "o"), ("sno", "w")]
    tokenizer = Tokenizer(models.BPE(ids, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, bos_token="<s>", eos_token="</s>", cls_token="<s>",
        sep_token="</s>", pad_token="<pad>", unk_token="<unk>", mask_token="<mask>",
    ).save_pretrained(folder)  # fmt: skip
    config = RobertaConfig(
        vocab_size=len(ids), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=66, pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    RobertaModel(config).save_pretrained(folder)
    return folder


def tiny_roberta(tiny: Tiny, folder: Path) -> Path:
    return roberta(folder / "roberta")


def tiny_bert(tiny: Tiny, folder: Path) -> Path:
    return tiny["bert"]


def pair_of(model: Path, folder: Path, *, max_length: int) -> tuple[words.WordsEncoder, Any]:
    """The encoder of training, and the device's from what was saved."""
    source = Source(scheme="hf", name=str(model))
    classifier, _ = words.build(source, labels=3)
    tokenizer = words.open_tokenizer(source)
    facts = words.word_facts(classifier, tokenizer, max_length)
    trained = words.WordsEncoder(tokenizer, facts)
    trunk: Any = classifier.trunk
    trunk.save_pretrained(folder)
    text.save_tokenizer(tokenizer, folder, max_length)
    return trained, open_encoder(folder, json.loads(json.dumps(trained.facts)))


def assert_equal(first: Sequence[Features], second: Sequence[Features]) -> None:
    assert len(first) == len(second) > 0
    for one, two in zip(first, second, strict=True):
        assert one.keys() == two.keys()
        for name, array in one.items():
            assert array.dtype == two[name].dtype == np.int64
            assert array.tobytes() == two[name].tobytes(), name


@pytest.mark.parametrize("model", [tiny_bert, tiny_roberta])
def test_training_and_device_encode_hostile_rows_alike(
    model: Callable[[Tiny, Path], Path], tiny: Tiny, tmp_path: Path
) -> None:
    trained, device = pair_of(model(tiny, tmp_path), tmp_path / "saved", max_length=32)
    features = trained.encode(HOSTILE)
    assert_equal(features, device.encode(HOSTILE))
    assert_equal(features, [trained.encode([row])[0] for row in HOSTILE])
    assert all(1 <= len(row["input_ids"]) <= 32 for row in features)
    batch, same = trained.collate(features), device.collate(features)
    assert batch.keys() == same.keys() == {*trained.facts["inputs"], "word_starts"}
    assert all(np.array_equal(batch[name], same[name]) for name in batch)
    assert trained.length({"words": ["word"] * 100}) > 100
    assert trained.encode([]) == []


@pytest.mark.parametrize("model", [tiny_bert, tiny_roberta])
def test_a_saved_tokenizer_is_opened_as_it_was(model: Callable[[Tiny, Path], Path], tiny: Tiny, tmp_path: Path) -> None:
    trained, _ = pair_of(model(tiny, tmp_path), tmp_path / "saved", max_length=32)
    again = words.WordsEncoder(words.open_tokenizer(Source(scheme="hf", name=str(tmp_path / "saved"))), trained._facts)
    assert_equal(trained.encode(HOSTILE), again.encode(HOSTILE))
    theirs = AutoTokenizer.from_pretrained(str(tmp_path / "saved"))  # as other programs open it
    wanted = trained.encode([{"words": ["snow", "and", "snow"]}])[0]["input_ids"].tolist()
    assert theirs(["snow", "and", "snow"], is_split_into_words=True)["input_ids"] == wanted


def test_a_word_has_the_tokens_that_it_has_inside_a_text(tiny: Tiny, tmp_path: Path) -> None:
    trained, device = pair_of(roberta(tmp_path / "roberta"), tmp_path / "saved", max_length=32)
    ids = trained.tokenizer.get_vocab()
    for encoder in (trained, device):
        (row,) = encoder.encode([{"words": ["snow", "snow"]}])
        assert row["input_ids"].tolist() == [ids["<s>"], ids["Ġsnow"], ids["Ġsnow"], ids["</s>"]]
        assert row["word_starts"].tolist() == [0, 1, 2, 0]


def test_training_and_device_encode_wikigold_alike(assets: Path, minilm: Path, tmp_path: Path) -> None:
    trained, device = pair_of(minilm, tmp_path, max_length=64)
    rows = [{"words": row.words} for row in sentences(assets)]
    features = trained.encode(rows)
    assert_equal(features, device.encode(rows))
    starts = [int((row["word_starts"] > 0).sum()) for row in features]
    assert sum(starts) > 0.98 * sum(len(row["words"]) for row in rows)
    assert max(len(row["input_ids"]) for row in features) == 64
    texts = [{"text": " ".join(row["words"])} for row in rows]
    assert_equal(trained.encode(texts), device.encode(texts))


def test_logits_are_those_of_each_token_and_padding_changes_none(tiny: Tiny, tmp_path: Path) -> None:
    model, fresh = words.build(Source(scheme="hf", name=str(tiny["bert"])), labels=5)
    assert fresh == {"head.weight", "head.bias"}
    assert isinstance(model.head, nn.Linear) and not model.training
    _, device = pair_of(tiny["bert"], tmp_path, max_length=32)
    features = device.encode([{"text": "snow and wind"}, {"text": "rain"}])
    batch = {name: torch.from_numpy(array) for name, array in device.collate(features).items()}
    inputs = {name: batch[name] for name in device.facts["inputs"]}
    with torch.inference_mode():
        logits = model(**inputs)
        assert logits.shape == (2, 5, 5)
        assert torch.equal(model.classify(model.features(**inputs)), logits)
        alone = model(**{name: value[1:, :3] for name, value in inputs.items()})
    assert torch.allclose(alone[0], logits[1, :3], atol=1e-5)
