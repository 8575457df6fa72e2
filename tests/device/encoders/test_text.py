"""A text too long for memory is cut by one rule, in training, in the bundle, in its kit and in apps."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.finished import Finished
from tests.tiny import Tiny, base_of
from tunedeploy import load_bundle
from tunedeploy.device.encoders import open_encoder
from tunedeploy.device.encoders import text as encoding
from tunedeploy.device.files import read_json

LIMIT = encoding.LEAST_CHARACTERS  # of the tiny model, which sees 64 tokens
TEXTS = {
    "blanks before the last word": " " * (LIMIT - 2) + "snow and wind",
    "a word longer than the limit": "a" * (3 * LIMIT),
    "signs of two UTF-16 units": "🙂" * (LIMIT - 3) + " snow and wind",
    "an ordinary text": "snow and wind",
    "many words": "snow " * LIMIT,
}


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def ways(text_run: Finished, tiny: Tiny) -> Iterator[dict[str, Any]]:
    """Each way to encode: a function from a text to its ids."""
    from tunedeploy.recipe import read as recipe

    trained = base_of(recipe.read(text_run.recipe)).encoder
    bundle = load_bundle(text_run.dist).encoder
    kit = module(text_run.dist / "parity" / "test_parity.py").BUNDLE.encoder  # apps open it likewise
    yield {
        "training": lambda text: trained.encode([{"text": text}])[0]["input_ids"],
        "bundle": lambda text: bundle.encode([{"text": text}])[0]["input_ids"],
        "kit": lambda text: kit.encode([{"text": text}])[0]["input_ids"],
    }


def test_every_way_to_encode_cuts_alike(ways: dict[str, Any]) -> None:
    for claim, text in TEXTS.items():
        ids = {way: encode(text).tolist() for way, encode in ways.items()}
        assert len(ids) == 3
        assert len({tuple(one) for one in ids.values()}) == 1, (claim, ids)
        assert ids["training"] == ways["training"](text[:LIMIT]).tolist(), claim


def test_the_cut_shows_where_only_blanks_are_left(ways: dict[str, Any]) -> None:
    """So that the test above could fail: uncut, the words behind the blanks would be seen."""
    assert len(ways["bundle"](" " * (LIMIT - 2) + "snow and wind")) < len(ways["bundle"]("snow and wind"))


def test_the_rule_is_told_in_the_bundle(text_run: Finished) -> None:
    assert read_json(text_run.dist / "manifest.json")["preprocessing"]["max_characters"] == LIMIT


def test_a_bundle_that_does_not_tell_the_rule_cuts_nothing(text_run: Finished) -> None:
    facts = read_json(text_run.dist / "manifest.json")["preprocessing"]
    del facts["max_characters"]
    old = open_encoder(text_run.dist, facts)
    assert len(old.encode([{"text": " " * (2 * LIMIT) + "snow"}])[0]["input_ids"]) == 3


def test_the_second_text_of_a_pair_is_cut_too(text_run: Finished) -> None:
    encoder = load_bundle(text_run.dist).encoder
    pairs = [{"text": "snow", "text_pair": behind} for behind in (" " * LIMIT + "wind", "")]
    first, second = (row["input_ids"] for row in encoder.encode(pairs))
    assert np.array_equal(first, second)


def test_a_tokenizer_that_keeps_the_end_of_a_text_sees_the_end(tiny: Tiny) -> None:
    from tunedeploy.models import text
    from tunedeploy.models.sources import Source

    source = Source(scheme="hf", name=str(tiny["bert"]))
    model, _ = text.build(source, labels=3, pooling="mean")
    tokenizer = text.open_tokenizer(source)
    assert text.text_facts(model, tokenizer, 64).max_characters == LIMIT
    tokenizer.truncation_side = "left"
    assert text.text_facts(model, tokenizer, 64).max_characters is None


def test_the_limit_is_generous_for_each_token() -> None:
    assert encoding.characters_kept(8) == 10_000
    assert encoding.characters_kept(512) == 32_768
    facts = encoding.TextFacts(max_length=8, pad_id=0, lone_id=0, max_characters=5)
    row = {"text": "🙂" * 6, "text_pair": "abc"}
    assert encoding.texts_read(row, facts) == ("🙂" * 5, "abc")
    assert encoding.texts_read(row, replace(facts, max_characters=None)) == ("🙂" * 6, "abc")
    assert encoding.texts_read({"text": "abcdefg", "text_pair": None}, facts) == ("abcde",)


def test_ten_megabytes_of_text_are_encoded_in_little_memory(text_run: Finished) -> None:
    program = (
        "import resource, sys\nfrom tunedeploy import load_bundle\n"
        f"encoder = load_bundle({str(text_run.dist)!r}).encoder\n"
        "text = 'snow and wind ' * 700_000\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "encoder.encode([{'text': text}])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 << 10  # KiB; uncut it was 3 GB
