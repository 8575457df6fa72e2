"""What the doctor finds in data whose faults are known, and in the real sets."""

import io
import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tunedeploy.data.columns import Column
from tunedeploy.data.doctor import examine as doctor
from tunedeploy.data.doctor.examine import examine
from tunedeploy.data.doctor.near import looks, near_images, near_texts, normalised
from tunedeploy.data.doctor.report import MAX_LINES, Finding, Report
from tunedeploy.data.kinds.category import CATEGORY
from tunedeploy.data.kinds.image import IMAGE
from tunedeploy.data.kinds.number import NUMBER
from tunedeploy.data.kinds.reference import REFERENCE
from tunedeploy.data.kinds.tags import TAGS
from tunedeploy.data.kinds.text import TEXT
from tunedeploy.data.kinds.words import WORDS
from tunedeploy.data.read import read

TEXTS = (Column(key="text", kind=TEXT), Column(key="label", kind=CATEGORY))
PAIRS = (TEXTS[0], Column(key="text_pair", kind=TEXT), TEXTS[1])
TAGGED = (Column(key="words", kind=WORDS), Column(key="tags", kind=TAGS, parallel="words"))
SCORED = (TEXTS[0], Column(key="score", kind=NUMBER))
IMAGES = (Column(key="image", kind=IMAGE), Column(key="label", kind=CATEGORY))

WORDS = [
    *("amber", "bridge", "candle", "dragon", "ember", "forest", "garden", "harbour"),
    *("island", "jungle", "kettle", "lantern", "meadow", "needle", "orchard"),
]


def _sentences(count: int, seed: int = 0) -> list[str]:
    choose = random.Random(seed)
    return [" ".join(choose.choices(WORDS, k=9)) + f" {number}" for number in range(count)]


def _report(folder: Path, train: list[tuple[str, str]], held_out: list[tuple[str, str]]) -> Report:
    for name, rows in (("train", train), ("test", held_out)):
        text = "".join(f'"{text}",{label}\n' for text, label in rows)
        (folder / f"{name}.csv").write_text(f"text,label\n{text}")
    data = read({"train": str(folder / "train.csv"), "eval": str(folder / "test.csv")}, TEXTS)
    return examine(data, TEXTS)


def _found(report: Report, name: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.name == name]


@pytest.fixture
def clean() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Sixty training and thirty evaluation rows without a fault."""
    rows = [(text, "ab"[number % 2]) for number, text in enumerate(_sentences(90))]
    return rows[:60], rows[60:]


Clean = tuple[list[tuple[str, str]], list[tuple[str, str]]]


def test_clean_data_gives_no_warning(tmp_path: Path, clean: Clean) -> None:
    report = _report(tmp_path, *clean)
    assert [finding.name for finding in report.findings] == ["imbalance"]
    assert report.lines() == [
        "60 rows to train on, 30 to evaluate on; 2 classes of 30 to 30 training rows",
        "the largest class, 'a', has 50.0% of the training rows",
    ]
    assert report.rows == {"train": 60, "eval": 30}
    assert report.classes == {"train": {"a": 30, "b": 30}, "eval": {"a": 15, "b": 15}}


def test_an_evaluation_row_that_was_trained_on_is_a_leak(tmp_path: Path, clean: Clean) -> None:
    train, held_out = clean
    (leak,) = _found(_report(tmp_path, train, [*held_out, train[3]]), "leak")
    assert leak.severity == "warning"
    assert leak.count == 1
    assert leak.examples == ("test.csv:32 = train.csv:5",)
    assert leak.text == "1 of 31 evaluation rows also trained on; remove them from one side"


def test_a_leak_but_for_case_and_punctuation_is_near(tmp_path: Path, clean: Clean) -> None:
    train, held_out = clean
    report = _report(tmp_path, train, [*held_out, (train[3][0].upper().replace(" ", ", ") + "!", train[3][1])])
    (leak,) = _found(report, "near_leak")
    assert leak.examples == ("test.csv:32 = train.csv:5",)
    assert not _found(report, "leak")


def test_a_row_with_one_word_changed_is_a_near_twin(tmp_path: Path, clean: Clean) -> None:
    train, held_out = clean
    long = "the quick brown fox jumps over the lazy dog while the old cat sleeps in the warm afternoon sun"
    report = _report(tmp_path, [*train, (long, "a"), (long.replace("lazy", "lame"), "a")], held_out)
    (twin,) = _found(report, "near_duplicate")
    assert twin.severity == "info"
    assert twin.examples == ("train.csv:63 = train.csv:62",)


def test_one_text_with_two_labels_is_a_conflict(tmp_path: Path, clean: Clean) -> None:
    train, held_out = clean
    report = _report(tmp_path, [*train, (train[0][0], "b")], held_out)
    (conflict,) = _found(report, "conflict")
    assert conflict.examples == ("train.csv:62 (b) = train.csv:2 (a)",)
    assert not _found(report, "duplicate")


def test_copies_inside_a_split_are_counted(tmp_path: Path, clean: Clean) -> None:
    train, held_out = clean
    (copies,) = _found(_report(tmp_path, [*train, *train[:5]], held_out), "duplicate")
    assert copies.severity == "warning"
    assert copies.count == 5
    assert copies.examples[0] == "train.csv:62 = train.csv:2"


def test_blank_texts_are_found_and_are_not_twins(tmp_path: Path, clean: Clean) -> None:
    train, held_out = clean
    report = _report(tmp_path, [*train, ("", "a"), ("  ", "b"), ("\u00a0", "b")], held_out)
    (blank,) = _found(report, "blank")
    assert blank.examples == ("train.csv:62", "train.csv:63", "train.csv:64")
    assert not _found(report, "near_duplicate")


def test_a_majority_rare_classes_and_classes_not_evaluated_are_warned_of(tmp_path: Path) -> None:
    texts = _sentences(120)
    train = [(text, "common") for text in texts[:90]] + [(text, "Rare") for text in texts[90:95]]
    train += [(text, "rare") for text in texts[95:100]]
    report = _report(tmp_path, train, [(text, "common") for text in texts[100:]])
    (imbalance,) = _found(report, "imbalance")
    assert imbalance.severity == "warning"
    assert "'common', has 90.0% of the training rows; read macro-F1" in imbalance.text
    assert _found(report, "rare")[0].examples == ("Rare", "rare")
    assert _found(report, "not_evaluated")[0].examples == ("Rare", "rare")
    assert _found(report, "same_name")[0].examples == ("Rare / rare",)


def test_many_classes_that_are_all_numbers_are_asked_about(tmp_path: Path) -> None:
    rows = [(text, str(n % 40 / 10)) for n, text in enumerate(_sentences(900))]
    (asked,) = _found(_report(tmp_path, rows[:600], rows[600:]), "numbers")
    assert asked.line() == (
        "warning: 40 classes that are all numbers (0.0, 0.1, 0.2, ...); did you mean to predict a number? "
        "'task: text-regression' does"
    )
    few = [(text, str(n % 5 + 1)) for n, text in enumerate(_sentences(90))]
    assert not _found(_report(tmp_path, few[:60], few[60:]), "numbers")


def test_rows_longer_than_the_model_sees_are_counted(tmp_path: Path, clean: Clean) -> None:
    train, held_out = clean
    _report(tmp_path, [*train, ("word " * 40, "a")], held_out)
    data = read({"train": str(tmp_path / "train.csv"), "eval": str(tmp_path / "test.csv")}, TEXTS)
    report = examine(data, TEXTS, length=lambda row: len(row["text"].split()), max_length=12)
    (cut,) = _found(report, "truncated")
    assert cut.count == 1
    assert cut.text == "1.1% of the rows cut at 12 tokens; the longest has 40"
    assert cut.examples == ("train.csv:62",)
    assert cut.severity == "info"
    assert _found(examine(data, TEXTS, length=lambda row: 20, max_length=12), "truncated")[0].severity == "warning"


def test_both_texts_of_a_pair_make_the_row(tmp_path: Path) -> None:
    rows = "".join(f"same question,{text},{'ab'[n % 2]}\n" for n, text in enumerate(_sentences(40)))
    (tmp_path / "train.csv").write_text(f"text,text_pair,label\n{rows}")
    report = examine(read({"train": str(tmp_path / "train.csv")}, PAIRS), PAIRS)
    assert {finding.name for finding in report.findings} == {"imbalance"}


def test_a_task_without_labels_or_texts_is_examined(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text\n" + "\n".join(_sentences(30)))
    columns = (Column(key="text", kind=TEXT),)
    report = examine(read({"train": str(tmp_path / "train.csv")}, columns), columns)
    assert report.findings == ()
    assert report.classes == {}
    assert len(report.lines()) == 1


def test_the_report_is_json_and_at_most_twelve_lines(tmp_path: Path, clean: Clean) -> None:
    train, held_out = clean
    padded = [(text, f" {label} ") for text, label in train]
    train = [*padded, *padded[:3], ("", "a"), (train[4][0], "b"), ("only", "rare"), ("lone", "RARE"), ("x " * 50, "a")]
    report = _report(tmp_path, train, [*held_out, train[0]])
    data = read({"train": str(tmp_path / "train.csv"), "eval": str(tmp_path / "test.csv")}, TEXTS)
    report = examine(data, TEXTS, length=lambda row: len(row["text"].split()), max_length=12)
    lines = report.lines()
    assert len(lines) <= MAX_LINES
    severities = [finding.severity for finding in report.findings]
    assert severities == sorted(severities, reverse=True)
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    many = Report(rows=report.rows, classes=report.classes, findings=report.findings * 3, notes=report.notes)
    assert len(many.lines()) == MAX_LINES
    assert many.lines()[-1].startswith("and ")


# words and their tags


def _tagged(folder: Path, train: list[str], held_out: list[str]) -> Report:
    """Rows as "word/TAG word", where a word without a tag is O."""
    for name, rows in (("train", train), ("test", held_out)):
        parts = [[word.partition("/") for word in row.split()] for row in rows]
        text = "\n\n".join("\n".join(f"{word} {tag or 'O'}" for word, _, tag in row) for row in parts)
        (folder / f"{name}.conll").write_text(text)
    data = read({"train": str(folder / "train.conll"), "eval": str(folder / "test.conll")}, TAGGED)
    return examine(data, TAGGED)


def _people(count: int, seed: int = 0) -> list[str]:
    return [f"Anna/B-PER {text} Mary/B-PER Ann/I-PER" for text in _sentences(count, seed)]


def test_most_words_without_a_tag_are_no_imbalance(tmp_path: Path) -> None:
    report = _tagged(tmp_path, _people(60), _people(30, 1))
    assert [finding.name for finding in report.findings] == ["tags"]
    assert report.lines() == [
        "60 rows to train on, 30 to evaluate on; 3 tags of 60 to 600 training words",
        "76.9% of the training words are 'O'; most of the others are 'PER' (100.0% of them)",
    ]
    assert report.classes["eval"] == {"B-PER": 60, "I-PER": 30, "O": 300}


def test_types_of_tags_on_a_few_words_are_rare(tmp_path: Path) -> None:
    train = [*_people(60), "Rome/B-LOC", "Oslo/B-Loc", "in New/B-LOC York/I-LOC"]
    report = _tagged(tmp_path, train, _people(30, 1))
    assert _found(report, "rare")[0].examples == ("LOC", "Loc")
    assert _found(report, "rare")[0].text == "2 of 3 types of tags on fewer than 8 training words"
    assert _found(report, "not_evaluated")[0].examples == ("LOC", "Loc")
    assert _found(report, "same_name")[0].examples == ("LOC / Loc",)


def test_an_entity_that_begins_with_i_among_others_that_begin_with_b_is_named(tmp_path: Path) -> None:
    train = [*_people(60), "we saw Ben/I-PER", "Rome/B-LOC Ben/I-PER", "Ann/B-PER Bo/I-PER"]
    (scheme,) = _found(_tagged(tmp_path, train, _people(30, 1)), "scheme")
    assert scheme.count == 2
    assert scheme.examples == ("train.conll:841", "train.conll:845")
    assert scheme.text == "2 rows with an entity that begins with I-, not B- as in the others; write it one way"


def test_entities_that_all_begin_with_i_are_one_scheme(tmp_path: Path) -> None:
    first = [row.replace("B-PER", "I-PER") for row in _people(60)]
    first.append("Anna/I-PER Ben/B-PER")  # IOB1 parts two entities of one type so
    second = [row.replace("B-PER", "I-PER") for row in _people(30, 1)]
    assert not _found(_tagged(tmp_path, first, second), "scheme")


def test_tags_of_every_word_have_no_outside(tmp_path: Path) -> None:
    rows = [" ".join(f"{word}/{'NV'[n % 2]}" for n, word in enumerate(text.split())) for text in _sentences(90)]
    report = _tagged(tmp_path, rows[:60], rows[60:])
    assert [finding.text for finding in report.findings] == [
        "the most common tag, 'N', is on 50.0% of the training words"
    ]


def test_leaks_and_twins_of_rows_of_words_are_found(tmp_path: Path) -> None:
    train, held_out = _people(60), _people(30, 1)
    other = train[5].replace("I-PER", "I-ORG")
    lively = train[2].replace("amber", "Amber").replace("Anna", "ANNA")
    report = _tagged(tmp_path, [*train, train[3], other], [*held_out, train[4], lively])
    assert _found(report, "leak")[0].count == 1
    assert _found(report, "near_leak")[0].count == 1
    assert _found(report, "duplicate")[0].count == 1
    (conflict,) = _found(report, "conflict")
    assert conflict.examples == ("train.conll:855 = train.conll:71",)
    assert conflict.text == "1 of 94 rows with the input of an earlier one and other tags; decide for one"


def test_wikigold_is_one_scheme_and_has_no_warning_of_its_tags(assets: Path) -> None:
    data = read({"train": str(assets / "data" / "wikigold" / "wikigold.conll.txt")}, TAGGED)
    report = examine(data, TAGGED)
    warnings = {finding.name for finding in report.findings if finding.severity == "warning"}
    assert warnings <= {"leak", "near_leak", "conflict"}
    assert "of the training words are 'O'; most of the others are 'ORG'" in _found(report, "tags")[0].text


# numbers


def _scored(folder: Path, train: list[float], held_out: list[float]) -> Report:
    texts = iter(_sentences(len(train) + len(held_out)))
    for name, scores in (("train", train), ("test", held_out)):
        rows = "".join(f"{next(texts)},{score}\n" for score in scores)
        (folder / f"{name}.csv").write_text(f"text,score\n{rows}")
    data = read({"train": str(folder / "train.csv"), "eval": str(folder / "test.csv")}, SCORED)
    return examine(data, SCORED)


SPREAD = [n % 37 / 7 for n in range(100)]


def test_numbers_with_a_spread_give_no_warning(tmp_path: Path) -> None:
    report = _scored(tmp_path, SPREAD, SPREAD[:30])
    assert report.lines() == [
        "100 rows to train on, 30 to evaluate on",
        "numbers from 0 to 5.14286, half of them above 2.28571",
    ]
    assert report.classes == {}


NUMBER_FINDINGS: dict[str, tuple[list[float], list[float], str, str]] = {
    "hardly any spread": (
        [3.5] * 97 + [1, 2, 4.5],
        [1, 2],
        "near_constant",
        "97.0% of the training rows have one number, e.g. 3.5",
    ),
    "none to evaluate": (SPREAD, [2.5, 2.5], "not_evaluated", "every evaluation row has one number, so no ranking is"),
    "values far beyond": ([*SPREAD, 1e6], [1, 2], "outlier", "1 of 101 training rows with a number far beyond the"),
    "classes in disguise": (
        [n % 5 for n in range(100)],
        [1, 2],
        "few_values",
        "only 5 distinct whole numbers (0, 1, 2, ...); did you mean cl",
    ),
}


@pytest.mark.parametrize("claim", NUMBER_FINDINGS)
def test_numbers_that_teach_little_are_found(tmp_path: Path, claim: str) -> None:
    train, held_out, name, text = NUMBER_FINDINGS[claim]
    (finding,) = _found(_scored(tmp_path, train, held_out), name)
    assert text in finding.line()


def test_an_outlier_is_named_with_its_value(tmp_path: Path) -> None:
    assert _found(_scored(tmp_path, [*SPREAD, -4e5], [1, 2]), "outlier")[0].examples == ("train.csv:102 (-400000)",)


def test_one_text_with_two_numbers_is_told_and_no_warning(tmp_path: Path) -> None:
    _scored(tmp_path, SPREAD, SPREAD[:30])
    with (tmp_path / "train.csv").open("a") as file:
        file.write((tmp_path / "train.csv").read_text().splitlines()[1].replace(",0.0", ",4.5") + "\n")
    report = examine(read({"train": str(tmp_path / "train.csv"), "eval": str(tmp_path / "test.csv")}, SCORED), SCORED)
    (conflict,) = _found(report, "conflict")
    assert (conflict.severity, conflict.examples) == ("info", ("train.csv:102 (4.5) = train.csv:2 (0)",))


def test_references_that_differ_are_told_and_no_warning(tmp_path: Path) -> None:
    columns = (Column(key="source", kind=TEXT), Column(key="target", kind=REFERENCE))
    rows = [{"source": text, "target": text.upper()} for text in _sentences(40)]
    rows.append({"source": rows[0]["source"], "target": "another way to say it"})
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = examine(read({"train": str(tmp_path / "train.jsonl")}, columns), columns)
    (conflict,) = report.findings
    assert (conflict.name, conflict.severity, conflict.count) == ("conflict", "info", 1)


# near texts


def test_near_texts_are_those_that_share_their_shingles() -> None:
    texts = _sentences(300)
    texts += [text.replace(" ", "  ").title() + "." for text in texts[:50]]
    pairs = {tuple(pair) for pair in near_texts(texts).tolist()}
    assert {(number, 300 + number) for number in range(50)} <= pairs
    assert all(_similarity(texts[one], texts[other]) > 0.65 for one, other in pairs)


def _similarity(one: str, other: str) -> float:
    first, second = (
        {f"{text}\0\0\0"[at : at + 4] for at in range(len(text))} for text in map(normalised, (one, other))
    )
    return len(first & second) / len(first | second)


def test_texts_of_signs_alone_are_compared_as_they_are() -> None:
    assert normalised("¡Hola,  MUNDO!") == "hola mundo"
    assert normalised(":-)") == ":-)"
    assert near_texts([":-)", ":-(", "!!!", "👍", "👎"]).tolist() == []


def test_near_texts_of_any_script_and_length() -> None:
    texts = [
        "我想取消我的订单请帮帮我谢谢",
        "我想取消我的订单请帮帮我谢谢。",
        "a",
        "A.",
        "b",
        "мир и труд",
        "Мир и труд!",
    ]
    assert near_texts(texts).tolist() == [[0, 1], [2, 3], [5, 6]]


def test_above_the_limit_texts_are_sampled_and_that_is_said(
    tmp_path: Path, clean: Clean, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "NEAR_ROWS", 50)
    train, held_out = clean
    report = _report(tmp_path, [*train, *((f"{text}!", label) for text, label in train)], held_out)
    (twins,) = _found(report, "near_duplicate")
    assert "(a sample of 50 distinct rows)" in twins.text


def test_the_sample_holds_rows_of_both_sides_of_an_automatic_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "NEAR_ROWS", 100)
    rows = "".join(f"this is row {number} of a file of alike rows,{'ab'[number % 2]}\n" for number in range(1000))
    (tmp_path / "train.csv").write_text(f"text,label\n{rows}")
    report = examine(read({"train": str(tmp_path / "train.csv")}, TEXTS), TEXTS)
    (leaks,) = _found(report, "near_leak")
    held_out = int(leaks.text.split(" of ")[1].split()[0])
    assert 5 < held_out < 40


def test_ten_thousand_texts_take_seconds(tmp_path: Path) -> None:
    rows = [(text, "ab"[number % 2]) for number, text in enumerate(_sentences(10_000))]
    start = time.perf_counter()
    _report(tmp_path, rows[:8000], rows[8000:])
    assert time.perf_counter() - start < 30  # 1 s on an idle machine


# images


def _scene(seed: int, size: int = 96) -> Image.Image:
    """A smooth picture of its own."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


def _bytes(image: Image.Image, form: str = "PNG", **how: int) -> bytes:
    sink = io.BytesIO()
    image.save(sink, form, **how)
    return sink.getvalue()


CHANGES = {
    "another quality": lambda image: _bytes(image, "JPEG", quality=30),
    "another size": lambda image: _bytes(image.resize((61, 61))),
    "brighter": lambda image: _bytes(image.point(lambda value: int(value * 0.8) + 20)),
    "grey": lambda image: _bytes(image.convert("L")),
    "blurred": lambda image: _bytes(image.filter(ImageFilter.GaussianBlur(1))),
    "palette": lambda image: _bytes(image.convert("P", palette=Image.Palette.ADAPTIVE)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_an_image_is_near(change: str) -> None:
    images = [_bytes(_scene(seed)) for seed in range(40)] + [CHANGES[change](_scene(seed)) for seed in range(40)]
    seen = [look for look in looks([{"path": "", "bytes": image} for image in images]) if look is not None]
    pairs = near_images(seen).tolist()
    assert len([pair for pair in pairs if pair[1] == pair[0] + 40]) >= 38
    assert all(other == one + 40 for one, other in pairs)


def test_images_of_one_colour_are_blank_and_not_twins_of_another_colour(tmp_path: Path) -> None:
    colours = ["white", "black", (9, 9, 9), (128, 0, 0)]
    for label in ("iris", "rose"):
        (tmp_path / "flowers" / label).mkdir(parents=True)
        for number in range(8):
            _scene(number + 50 * (label == "rose")).save(tmp_path / "flowers" / label / f"{number}.png")
    for number, colour in enumerate(colours):
        Image.new("RGB", (20, 30), colour).save(tmp_path / "flowers" / "rose" / f"flat{number}.png")
    report = examine(read({"train": str(tmp_path / "flowers")}, IMAGES), IMAGES)
    (blank,) = _found(report, "blank")
    assert blank.count == 4
    assert not _found(report, "near_duplicate")
    assert not _found(report, "near_leak")
    (images,) = _found(report, "images")
    assert images.text == "images are 20 RGB; 20 to 96 px wide, 30 to 96 px high"


def test_what_is_transparent_counts_as_white(tmp_path: Path) -> None:
    drawing = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    drawing.paste((0, 0, 0, 255), (4, 4, 12, 28))
    white = Image.alpha_composite(Image.new("RGBA", (32, 32), "white"), drawing).convert("RGB")
    seen = looks([{"path": "", "bytes": _bytes(drawing)}, {"path": "", "bytes": _bytes(white)}])
    assert seen[0] is not None and not seen[0].flat
    assert near_images([look for look in seen if look is not None]).tolist() == [[0, 1]]


def test_images_that_went_away_are_a_finding_and_no_error(tmp_path: Path) -> None:
    for label in ("iris", "rose"):
        (tmp_path / "flowers" / label).mkdir(parents=True)
        for number in range(8):
            _scene(number + 50 * (label == "rose")).save(tmp_path / "flowers" / label / f"{number}.png")
    data = read({"train": str(tmp_path / "flowers")}, IMAGES)
    (tmp_path / "flowers" / "rose" / "3.png").unlink()
    (gone,) = _found(examine(data, IMAGES), "unreadable")
    assert gone.examples == ("flowers/rose/3.png",)


# real data


def test_the_known_faults_of_real_sets_are_found(assets: Path) -> None:
    report = examine(read({"train": str(assets / "data" / "sentiment_sentences")}, TEXTS), TEXTS)
    assert _found(report, "leak")[0].count == 10
    assert _found(report, "duplicate")[0].severity == "info"
    start = time.perf_counter()
    report = examine(read({"train": str(assets / "data" / "flowers12")}, IMAGES), IMAGES)
    assert time.perf_counter() - start < 30  # 1 s on an idle machine
    twins = {example for finding in report.findings for example in finding.examples if finding.name == "near_leak"}
    assert "flowers12/test/buttercup/image_1168.jpg = flowers12/train/buttercup/image_1150.jpg" in twins
    assert _found(report, "near_leak")[0].count >= 20
