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
from tunedeploy.data.kinds.text import TEXT
from tunedeploy.data.read import read

TEXTS = (Column(key="text", kind=TEXT), Column(key="label", kind=CATEGORY))
PAIRS = (TEXTS[0], Column(key="text_pair", kind=TEXT), TEXTS[1])
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
