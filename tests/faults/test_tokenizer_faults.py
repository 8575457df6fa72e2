"""Faults of a tokenizer that no golden row shows, every hash repaired: the probe of the whole tokenizer sees each."""

import json
import os
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from tests.faults import graphs
from tests.finished import Finished, repair_bundle
from tests.tiny import Tiny, bert, texts
from tunedeploy import api
from tunedeploy.device.files import read_json
from tunedeploy.device.kit import tokenizer_probe
from tunedeploy.device.tokenizer_checks import as_probed, digests, probed
from tunedeploy.proof.bundle import Bundle

SEMANTIC = ("parity", "preprocessing", "metric")
CYRILLIC = "".join(chr(at) for at in range(0x430, 0x450))
GREEK = "".join(chr(at) for at in range(0x3B1, 0x3CA))
HEBREW = "".join(chr(at) for at in range(0x5D0, 0x5EB))
IDEOGRAPHS = "\u4e00\u4e2d\u4e8c\u65e5\u672c"
LETTERS = CYRILLIC + GREEK + HEBREW + IDEOGRAPHS + "\u00e9\u00e4\u0439"


def many_scripts(folder: Path) -> Path:
    """The tiny BERT with letters of other scripts, so that what is done to them reaches the ids."""
    bert(folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    entries = tokenizer["model"]["vocab"]
    for piece in [*LETTERS, *(f"##{letter}" for letter in LETTERS)]:
        entries.setdefault(piece, len(entries))
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(tokenizer)), model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    ).save_pretrained(folder)  # fmt: skip
    resized(folder, len(entries))
    return folder


def resized(folder: Path, entries: int) -> None:
    """Give a BERT an embedding row for each entry."""
    from transformers import BertModel

    model = BertModel.from_pretrained(folder)
    model.resize_token_embeddings(entries, mean_resizing=False)
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def run(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A finished run whose tokenizer knows letters of five scripts."""
    folder = tmp_path_factory.mktemp("scripts")
    recipe = tiny.write(
        folder / "r.yaml", "text-classification", model=str(many_scripts(folder / "model")),
        data={"train": str(texts(folder / "rows.csv"))}, tune={"method": "last-layer"},
    )  # fmt: skip
    return Finished(recipe=recipe, run=api.through(recipe, run=folder / "run", until="bundle"))


# ---- the faults: each changes a parsed tokenizer.json


def replaced(old: str, new: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def before_the_normalizer(tokenizer: Any, *steps: dict[str, Any]) -> None:
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": [*steps, tokenizer["normalizer"]]}


def lower_case_of_latin_letters_alone(tokenizer: Any) -> None:
    tokenizer["normalizer"]["lowercase"] = False
    plain = ({"type": "NFD"}, {"type": "StripAccents"})
    before_the_normalizer(tokenizer, *plain, *(replaced(chr(at), chr(at + 32)) for at in range(ord("A"), ord("Z") + 1)))


def accents_of_greek_letters_kept(tokenizer: Any) -> None:
    before_the_normalizer(tokenizer, *(replaced(one, f"{one}'") for one in "\u03ac\u03ad\u03ae\u03af"))


def accents_of_cyrillic_letters_kept(tokenizer: Any) -> None:
    tokenizer["normalizer"]["strip_accents"] = False
    latin = {"\u00c4": "a", "\u00d6": "o", "\u00dc": "u", "\u00ef": "i", "\u0130": "i"}
    before_the_normalizer(tokenizer, *(replaced(one, plain) for one, plain in latin.items()))


def ideographs_no_longer_parted(tokenizer: Any) -> None:
    tokenizer["normalizer"]["handle_chinese_chars"] = False


def control_characters_kept(tokenizer: Any) -> None:
    tokenizer["normalizer"]["clean_text"] = False


def zero_width_characters_taken_for_spaces(tokenizer: Any) -> None:
    before_the_normalizer(tokenizer, replaced("\u200b", " "), replaced("\u200d", " "))


def full_width_letters_folded(tokenizer: Any) -> None:
    before_the_normalizer(tokenizer, *(replaced(chr(0xFF21 + at), chr(0x41 + at)) for at in range(26)))


def a_sharp_s_written_out(tokenizer: Any) -> None:
    before_the_normalizer(tokenizer, replaced("\u00df", "ss"))


def ids_of_two_rare_words_swapped(tokenizer: Any) -> None:
    entries = tokenizer["model"]["vocab"]
    entries["\u4e8c"], entries["\u4e2d"] = entries["\u4e2d"], entries["\u4e8c"]


def ids_of_two_pieces_inside_words_swapped(tokenizer: Any) -> None:
    entries = tokenizer["model"]["vocab"]
    entries["##\u05d0"], entries["##\u05d1"] = entries["##\u05d1"], entries["##\u05d0"]


def one_script_unknown(tokenizer: Any) -> None:
    entries = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {
        f"unused {at}" if word.removeprefix("##") in HEBREW else word: at for word, at in entries.items()
    }


def an_added_token_that_takes_the_space_before_it(tokenizer: Any) -> None:
    next(one for one in tokenizer["added_tokens"] if one["content"] == "[MASK]")["lstrip"] = True


def an_added_token_that_is_a_word_no_more(tokenizer: Any) -> None:
    tokenizer["added_tokens"] = [one for one in tokenizer["added_tokens"] if one["content"] != "[MASK]"]


def a_word_added(tokenizer: Any) -> None:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
    at = tokenizer["model"]["vocab"]["\u672c"]
    tokenizer["added_tokens"].append({"id": at, "content": "\u672c", **flags})


def words_of_sixty_letters_unknown(tokenizer: Any) -> None:
    tokenizer["model"]["max_input_chars_per_word"] = 50


def words_of_one_letter_more_known(tokenizer: Any) -> None:
    tokenizer["model"]["max_input_chars_per_word"] = 101


FAULTS: dict[str, tuple[str, Callable[[Any], None]]] = {
    inject.__name__: (part, inject)
    for part, inject in (
        ("Cyrillic", lower_case_of_latin_letters_alone),
        ("Greek", accents_of_greek_letters_kept),
        ("Cyrillic", accents_of_cyrillic_letters_kept),
        ("CJK ideographs", ideographs_no_longer_parted),
        ("control characters", control_characters_kept),
        ("control characters", zero_width_characters_taken_for_spaces),
        ("compatibility forms", full_width_letters_folded),
        ("Latin", a_sharp_s_written_out),
        ("vocabulary entries 0 to 4095", ids_of_two_rare_words_swapped),
        ("vocabulary entries 0 to 4095", ids_of_two_pieces_inside_words_swapped),
        ("Hebrew", one_script_unknown),
        ("added tokens", an_added_token_that_takes_the_space_before_it),
        ("added tokens", an_added_token_that_is_a_word_no_more),
        ("added tokens", a_word_added),
        ("long words", words_of_sixty_letters_unknown),
        ("long words", words_of_one_letter_more_known),
    )
}


BREACH = "bundle: tokenizer.json: tokenizer's probe: parts that differ: "
SHOWN_BY_ROWS = ("ideographs_no_longer_parted",)  # an edge row is in Japanese


def faulty(run: Finished, folder: Path, name: str) -> Path:
    """A bundle with one fault, its hashes repaired."""
    dist = run.copy(folder).dist
    graphs.rewrite(dist / "tokenizer.json", FAULTS[name][1])
    repair_bundle(dist)
    return dist


def breach_lines(dist: Path) -> list[str]:
    return [one.line() for one in api.comparisons_of(dist, ("integrity", *SEMANTIC)) if not one.ok]


def parts_that_differ(dist: Path) -> list[str]:
    """Digests in the goldens against those of the tokenizer that is there."""
    wanted = read_json(dist / "parity" / "golden.json")["tokenizer_probe"]
    got = digests(dist / "tokenizer.json", pairs=wanted["pairs"])["sha256"]
    return [part for part in {**wanted["sha256"], **got} if wanted["sha256"].get(part) != got.get(part)]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_no_golden_row_shows_is_a_breach_that_names_its_part(
    name: str, run: Finished, tmp_path: Path
) -> None:
    dist = faulty(run, tmp_path, name)
    lines = breach_lines(dist)
    assert len([line for line in lines if line.startswith(BREACH)]) == 1
    assert len(lines) == 1 or name in SHOWN_BY_ROWS
    assert FAULTS[name][0] in parts_that_differ(dist)


def test_the_kit_fails_on_each_of_these_faults(run: Finished, tmp_path: Path) -> None:
    """In one pytest, by its own settings; nothing of ours is imported."""
    folders = {name: faulty(run, tmp_path / name, name) / "parity" for name in FAULTS}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-k", "tokenizer", "--import-mode=importlib"]
        + [str(folder) for folder in (run.dist / "parity", *folders.values())],
        capture_output=True, text=True, env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, cwd=tmp_path,
    )  # fmt: skip
    assert f"{len(FAULTS)} failed, 1 passed" in done.stdout, done.stdout
    assert all(part in done.stdout for part, _ in FAULTS.values())


def test_a_healthy_bundle_raises_no_alarm_and_one_from_before_the_probe_still_holds(
    run: Finished, tmp_path: Path
) -> None:
    assert breach_lines(run.dist) == []
    dist = run.copy(tmp_path).dist
    graphs.rewrite(dist / "parity" / "golden.json", lambda golden: golden.pop("tokenizer_probe") and None)
    repair_bundle(dist)
    assert breach_lines(dist) == []
    assert not [one for one in Bundle(dist).verify() if one.id.startswith("tokenizer-probe")]


def test_a_breach_under_another_version_of_the_package_names_both(run: Finished, tmp_path: Path) -> None:
    dist = faulty(run, tmp_path, "a_sharp_s_written_out")
    graphs.rewrite(dist / "parity" / "golden.json", lambda golden: golden["tokenizer_probe"].update(tokenizers="0.1.2"))
    repair_bundle(dist)
    (line,) = breach_lines(dist)
    assert f"(made with tokenizers 0.1.2, here {version('tokenizers')})" in line


def of_version(run: Finished, folder: Path, number: Any) -> Path:
    """A bundle with a fault whose probe is said to be of another version of the texts."""
    dist = faulty(run, folder, "a_sharp_s_written_out")
    graphs.rewrite(dist / "parity" / "golden.json", lambda golden: golden["tokenizer_probe"].update(version=number))
    repair_bundle(dist)
    return dist


def test_a_probe_of_a_later_version_of_the_texts_is_a_breach_that_says_what_to_do(
    run: Finished, tmp_path: Path
) -> None:
    """Otherwise a number in golden.json would switch the check off."""
    (line,) = breach_lines(of_version(run, tmp_path, 99))
    assert f"tokenizer_probe: version: expected {tokenizer_probe.VERSION} or lower, got 99" in line
    assert "verify with that one, or run pytest on the parity kit" in line


def test_a_probe_of_an_earlier_version_of_the_texts_is_reported_and_not_compared(
    run: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dist = of_version(run, tmp_path, tokenizer_probe.VERSION)
    monkeypatch.setattr(tokenizer_probe, "VERSION", tokenizer_probe.VERSION + 1)
    assert breach_lines(dist) == []
    (reported,) = (comparison for comparison in Bundle(dist).verify() if comparison.id.startswith("tokenizer-probe"))
    assert reported.limit is None
    assert "not compared" in reported.name


WHOLE = {"version": 1, "tokenizers": "0.22.0", "pairs": False, "sha256": {}}
PROBES: list[Any] = [
    [], "no", {}, {"version": "1"}, WHOLE | {"sha256": []}, WHOLE | {"version": 0}, WHOLE | {"version": True},
    WHOLE | {"sha256": {"Latin": 1}},
]  # fmt: skip


@pytest.mark.parametrize("value", PROBES)
def test_goldens_whose_probe_is_something_else_are_a_breach_in_one_line(
    value: Any, run: Finished, tmp_path: Path
) -> None:
    dist = run.copy(tmp_path).dist
    graphs.rewrite(dist / "parity" / "golden.json", lambda golden: golden.update(tokenizer_probe=value))
    repair_bundle(dist)
    (line,) = breach_lines(dist)
    assert "tokenizer_probe: is not a probe of a tokenizer" in line or "tokenizer_probe: expected an object" in line


def one_type(tokenizer: Any) -> None:
    for part in tokenizer["post_processor"]["pair"]:
        next(iter(part.values()))["type_id"] = 0


PAIR_FAULTS: dict[str, Callable[[Any], None]] = {
    "no sign between the texts": lambda one: one["post_processor"]["pair"].pop(2) and None,
    "both texts have one type": one_type,
}


@pytest.mark.parametrize("name", PAIR_FAULTS)
def test_pairs_are_probed_where_the_rows_are_pairs(name: str, run: Finished, tmp_path: Path) -> None:
    wanted = probed(run.dist, [{"text": "a", "text_pair": "b"}])
    assert all(one.ok for one in as_probed(run.dist, wanted))
    dist = run.copy(tmp_path).dist
    graphs.rewrite(dist / "tokenizer.json", PAIR_FAULTS[name])
    (one,) = as_probed(dist, wanted)
    assert not one.ok
    assert "pairs" in one.where
    if "type" in name:
        assert as_probed(dist, probed(run.dist, [{"text": "a"}]))[0].ok  # single texts have one type anyway


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_a_text_at_the_limit_is_probed(side: str, run: Finished, tmp_path: Path) -> None:
    dist = run.copy(tmp_path).dist
    more = {"direction": "Left"} if side == "Left" else {"max_length": 65}
    graphs.rewrite(dist / "tokenizer.json", lambda one: one["truncation"].update(more))
    assert parts_that_differ(dist) == ["cutting"]


# ---- the texts


def test_every_entry_of_a_real_vocabulary_and_every_script_is_probed_within_two_seconds(minilm: Path) -> None:
    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    texts = {name: some for name, _, some in tokenizer_probe.parts(tokenizer)}
    entries = " ".join(text for name, some in texts.items() if name.startswith("vocabulary") for text in some).split()
    words = {word.removeprefix("##") for word in tokenizer.get_vocab()}
    assert len(words) > 25_000
    assert words <= set(entries)
    points = {letter for name in tokenizer_probe.CODE_POINTS for text in texts[name] for letter in text}
    assert len(points) > 13_000
    began = time.process_time()
    made = digests(minilm / "tokenizer.json", pairs=True)
    assert time.process_time() - began < 2
    assert len(made["sha256"]) == len(set(made["sha256"].values())) > 30


def test_the_code_points_are_assigned_in_the_oldest_tables_of_unicode_at_hand() -> None:
    """So that a tokenizers package with newer tables takes them for what they were; emoji are younger."""
    old = unicodedata.ucd_3_2_0
    ranges = {name: text for name, text in tokenizer_probe.CODE_POINTS.items() if name != "emoji"}
    points = {point for text in ranges.values() for point in tokenizer_probe.code_points(text)}
    never = {0xFFFF, 0x10FFFF}  # no characters, for good
    assert {point for point in points if old.category(chr(point)) == "Cn"} == never
    assert {chr(point) for point in tokenizer_probe.code_points("61-7a/5 e9")} == set("afkpuz\u00e9")


def test_entries_of_every_kind_of_model_are_written_as_they_stand_in_a_text() -> None:
    written = {
        "##ing": "ing",
        "\u2581hello": " hello",
        "\u0120hello": " hello",
        "caf\u00c3\u00a9": "caf\u00e9",
        "low</w>": "low",
    }
    assert {entry: tokenizer_probe.as_text(entry) for entry in written} == written
    assert tokenizer_probe.as_text("\u4e2d") == "\u4e2d"
    assert tokenizer_probe.as_text("\u00e9") == "\u00e9"
