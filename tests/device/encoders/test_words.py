"""A text is split into words by one rule, and each word is known by the place of its first token."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.tiny import Tiny
from tests.wikigold import sentences
from tunedeploy.device.encoders import open_encoder
from tunedeploy.device.encoders.image import ImageEncoder, ImageFacts
from tunedeploy.device.encoders.words import TextFacts, WordsEncoder, located, split, words_read
from tunedeploy.device.typed import Mismatch

SPLITS = {
    "it's O'Neal’s 'quoted' don't l’eau": ["it", "'s", "O'Neal", "’s", "'", "quoted", "'", "don't", "l’eau"],
    "a techno-based, 3-D -- thing...": ["a", "techno-based", ",", "3-D", "--", "thing", "..."],
    "AT&T & 1,000.5 at 3:30, 2. e.g.": ["AT&T", "&", "1,000.5", "at", "3:30", ",", "2", ".", "e", ".", "g", "."],
    "@user_1 #tag http://x": ["@", "user_1", "#", "tag", "http", ":", "/", "/", "x"],
    "a\r\nb\r\n\tc\u3000d\u200be\ufefff\x00g": list("abcdefg"),
    "👩‍👩‍👧 🇩🇪🇫🇷🇩 👍🏽! 1️⃣ ❤️🏴󠁧󠁢󠁥󠁮󠁧󠁿": ["👩‍👩‍👧", "🇩🇪", "🇫🇷", "🇩", "👍🏽", "!", "1️⃣", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"],
    "👨🏽‍🚀🏳️‍🌈x": ["👨🏽‍🚀", "🏳️‍🌈", "x"],
    "e\u0301te\u0301 n\u0303o İstanbul": ["e\u0301te\u0301", "n\u0303o", "İstanbul"],
    "東京タワー。ガ 서울": ["東", "京", "タ", "ワ", "ー", "。", "ガ", "서울"],
    "か\u3099く स्त्री กรุงเทพ": ["か\u3099", "く", "स्त्री", "กรุงเทพ"],
    "co\u00adop می‌خواهم": ["co\u00adop", "می‌خواهم"],
    "\u0301 a \u200d": ["\u0301", "a", "\u200d"],
    " \n": [],
    "": [],
}
SIGNS = "ab1 -'.,:&_sd\u0301\u200d🙂🇩🏽東\r\n’…"


@pytest.mark.parametrize("text", SPLITS)
def test_a_text_splits_into_these_words(text: str) -> None:
    assert [word for word, _, _ in split(text)] == SPLITS[text]


def test_every_sign_but_blanks_is_in_one_word_and_stands_where_it_is_said_to() -> None:
    texts = ["".join(random.Random(seed).choices(SIGNS, k=40)) for seed in range(500)]
    for text in texts:
        words, end = split(text), 0
        for word, start, stop in words:
            assert start >= end and word == text[start:stop] and not text[end:start].strip()
            end = stop
        assert words and not text[end:].strip()


def written(words: list[str]) -> tuple[str, list[tuple[int, int]]]:
    """Words as people write them, and where they stand: no blank before a point or 's, none inside brackets."""
    text, spans, inside, glued = "", [], False, True
    for word in words:
        closes = word in ("'s", "'d", "'re", "n't", *".,:;!?)]%") or (word == '"' and inside)
        text += "" if glued or closes else " "
        spans.append((len(text), len(text) + len(word)))
        text += word
        inside ^= word == '"'
        glued = word in ("(", "[", "$") or (word == '"' and inside)
    return text, spans


def test_the_split_agrees_with_the_words_of_wikigold(assets: Path) -> None:
    total, joined, typed = 0, 0, 0
    for sentence in sentences(assets):
        total += len(sentence.words)
        text, spans = located({"words": sentence.words})
        joined += len({(start, end) for _, start, end in split(text)} & set(spans))
        text, spans = written(sentence.words)
        typed += len({(start, end) for _, start, end in split(text)} & set(spans))
    assert total == 39007
    assert joined / total > 0.995
    assert typed / total > 0.994


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path) -> Path:
    """A bundle's tokenizer, which cuts at 8 tokens."""
    tokenizer = Tokenizer.from_file(str(tiny["bert"] / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 8}')
    return tmp_path


FACTS = {
    "kind": "words", "max_length": 8, "pad_id": 0, "lone_id": 2, "padding_side": "right", "max_characters": 10_000,
    "inputs": ["input_ids", "attention_mask", "token_type_ids"], "beside": ["word_starts"],
}  # fmt: skip


def test_a_word_starts_at_its_first_token_and_nowhere_if_it_has_none(folder: Path) -> None:
    encoder = open_encoder(folder, FACTS)
    rows = [
        {"words": ["snow", "xyz", "\u200b", "", "wind"]},
        {"words": ["the"] * 9},
        {"words": ["snow-wind", "rain"]},
        {"text": "snow-wind, rain"},
        {"words": []},
        {"text": ""},
    ]
    starts = [row["word_starts"].tolist() for row in encoder.encode(rows)]
    assert starts == [
        [0, 1, 2, 0, 0, 5, 0],
        [0, 1, 2, 3, 4, 5, 6, 0],
        [0, 1, 0, 0, 2, 0],
        [0, 1, 0, 0, 2, 3, 0],
        [0, 0],
        [0, 0],
    ]


def test_word_starts_are_padded_and_cut_like_ids(folder: Path) -> None:
    encoder = open_encoder(folder, FACTS)
    features = encoder.encode([{"text": "snow and wind"}, {"text": "rain"}])
    batch = encoder.collate(features)
    assert {name: array.dtype.name for name, array in batch.items()} == dict.fromkeys(batch, "int64")
    assert batch["word_starts"].tolist() == [[0, 1, 2, 3, 0], [0, 1, 0, 0, 0]]
    assert encoder.collate(features, 2)["word_starts"].tolist() == [[0, 1], [0, 1]]
    assert encoder.collate([{"input_ids": np.arange(3), "token_type_ids": np.zeros(3, int)}])["word_starts"].sum() == 0
    left = open_encoder(folder, FACTS | {"padding_side": "left"})
    assert left.collate(features)["word_starts"].tolist() == [[0, 1, 2, 3, 0], [0, 0, 0, 1, 0]]


def test_a_row_without_any_token_becomes_one_token(folder: Path) -> None:
    bare = json.loads((folder / "tokenizer.json").read_text()) | {"post_processor": None}
    (folder / "tokenizer.json").write_text(json.dumps(bare))
    for row in ({"words": []}, {"text": " \u200b"}, {"words": [""]}):
        (features,) = open_encoder(folder, FACTS).encode([row])
        assert {name: array.tolist() for name, array in features.items()} == {
            "input_ids": [2], "token_type_ids": [0], "word_starts": [0],
        }  # fmt: skip


def test_the_words_of_a_text_that_is_cut_are_words_of_the_whole() -> None:
    for seed in range(2000):
        text = "".join(random.Random(seed).choices(SIGNS, k=30))
        whole = [word for word, _, _ in split(text)]
        for limit in (5, 12, 29, 30):
            read = words_read({"text": text}, TextFacts(max_length=8, pad_id=0, lone_id=0, max_characters=limit))
            assert read == whole[: len(read)], (text, limit)
        assert read == whole


def test_words_are_read_as_far_as_their_text_would_be() -> None:
    facts = TextFacts(max_length=8, pad_id=0, lone_id=0, max_characters=6)
    assert words_read({"words": ["ab", "cd", "ef"]}, facts) == ["ab", "cd"]
    assert words_read({"words": ["ab", "cdefg", "h"]}, facts) == ["ab", "cde"]


def test_a_row_of_words_is_located_in_its_words_joined_by_blanks() -> None:
    assert located({"words": ["ab", "", "c"]}) == ("ab  c", [(0, 2), (3, 3), (4, 5)])
    assert located({"words": []}) == ("", [])
    assert located({"text": "ab, c d"}, 2) == ("ab, c d", [(0, 2), (2, 3)])


def test_an_encoder_writes_its_rows_as_json(folder: Path, tmp_path: Path) -> None:
    encoder = open_encoder(folder, FACTS)
    assert isinstance(encoder, WordsEncoder)
    assert encoder.key == "text" and encoder.tolerance == 0 and encoder.facts == FACTS
    assert encoder.contradictions(folder) == []
    words = {"words": ("a", "b"), "tags": [0, 1]}
    assert encoder.portable(words, 3, tmp_path) == {"text": "a b", "words": ["a", "b"]}
    assert encoder.portable({"text": "a b"}, 3, tmp_path) == {"text": "a b"}
    texts = open_encoder(folder, {key: value for key, value in FACTS.items() if key != "beside"} | {"kind": "text"})
    assert texts.portable({"text": "a", "text_pair": None, "label": 1}, 0, tmp_path) == {"text": "a"}  # type: ignore[attr-defined]
    with pytest.raises(Mismatch, match="unknown key"):
        open_encoder(folder, FACTS | {"split": "blanks"})
    with pytest.raises(Mismatch, match="beside: expected word_starts, got none"):
        open_encoder(folder, FACTS | {"beside": []})


def test_an_image_row_is_written_with_its_file(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (3, 2), (9, 8, 7)).save(tmp_path / "a.jpg")
    encoder = ImageEncoder(ImageFacts(size=8, resize=8))
    content = (tmp_path / "a.jpg").read_bytes()
    assert encoder.portable({"image": content}, 2, tmp_path) == {"image": "images/002.jpg"}
    assert (tmp_path / "images" / "002.jpg").read_bytes() == content
    assert encoder.portable({"image": tmp_path / "a.jpg"}, 3, tmp_path) == {"image": "images/003.png"}
    with Image.open(tmp_path / "images" / "003.png") as image:
        assert image.size == (3, 2)
    assert np.isclose(encoder.tolerance, 2e-5)
