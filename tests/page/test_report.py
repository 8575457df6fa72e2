"""report.html of every task: one page that says what to ship and why, shows rows and pictures, and can be sent."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.finished import TASKS, Finished, edit_json, repair_run
from tests.page.test_markup import HOSTILE
from tests.tiny import texts
from tunedeploy import api, plugins, progress
from tunedeploy.device.files import read_json
from tunedeploy.device.review import Confusion, Mistake, Review
from tunedeploy.errors import RunError
from tunedeploy.page.choice import choice
from tunedeploy.page.markup import foreign
from tunedeploy.page.render import NO_ROWS, page
from tunedeploy.page.rows import NOT_KNOWN
from tunedeploy.page.story import Reviewed, Story
from tunedeploy.stages import report

PACKAGE = Path(report.__file__).resolve().parents[1]
SECTIONS = ("How good is it?", "What does it get wrong?", "How large and how fast is it?", "Learning curves",
            "Size, speed and quality", "Data doctor", "The most wrong rows")  # fmt: skip


def story_of(run: Finished) -> Story:
    return report.story_of(api.recipe_of(run.run), run.rundir)


@pytest.fixture(scope="session")
def story(finished: Callable[[str], Finished]) -> Callable[[str], Story]:
    return lambda task: story_of(finished(task))


class Outline(HTMLParser):
    """Headings, attributes and elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.headings: list[str] = []
        self.names: set[str] = set()
        self.attributes: dict[str, set[str]] = {}
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        for key, value in attrs:
            self.attributes.setdefault(key, set()).add(value or "")
        if tag not in ("meta", "img", "br"):
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack[-1:] in (["h1"], ["h2"], ["summary"]):
            self.headings.append(data)


@pytest.mark.parametrize("task", TASKS)
def test_the_page_opens_with_the_metric_and_the_file_to_ship_and_folds_the_ledger(
    task: str, story: Callable[[str], Story]
) -> None:
    shown = story(task)
    outline = Outline(page(shown))
    assert outline.headings[0].startswith(f"{shown.metric.name} ")
    assert outline.headings[1] == f"Ship {shown.choice.variant}"
    assert [heading for heading in outline.headings if heading in SECTIONS] == list(SECTIONS)
    assert outline.headings[-4].startswith(f"Parity ledger: {len(shown.ledger)} comparisons, ")
    assert "svg" in outline.names and "details" in outline.names
    assert shown.reviewed is not None
    first = shown.files[shown.choice.variant][0]
    assert first.startswith("dist/onnx/") and f">{first}<" in page(shown)


@pytest.mark.parametrize("task", TASKS)
def test_the_page_loads_nothing_runs_nothing_and_names_no_folder(
    task: str, story: Callable[[str], Story], finished: Callable[[str], Finished]
) -> None:
    text = page(story(task))
    outline = Outline(text)
    assert outline.names.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form"})
    assert {key for key in outline.attributes if key.startswith("on") or key in ("href", "srcset", "action")} == set()
    assert all(value.startswith("data:image/jpeg;base64,") for value in outline.attributes.get("src", ()))
    assert "://" not in re.sub(r"(pkg|new|hf|timm|torchvision|torchhub)://", "", text) and "url(" not in text
    assert str(finished(task).run.parent) not in text
    assert re.findall(r"(?<![\w.<~:*/-])/(?:\w[\w.-]*/)+[\w.-]+", re.sub(r"base64,[\w+/=]+", "", text)) == []
    assert len(text) < 150_000


def test_no_task_and_no_kind_of_answer_is_named_in_the_page_s_code() -> None:
    files = [*sorted((PACKAGE / "page").glob("*.py")), PACKAGE / "stages" / "report.py"]
    assert len(files) > 8
    names = [*plugins.names("tasks"), '"tokens"', '"number"', '"category"', '"reference"']
    named = {(path.name, name) for path in files for name in names if name in path.read_text("utf-8")}
    assert named == set()


def test_every_row_of_the_ledger_has_its_direction_or_is_only_reported(story: Callable[[str], Story]) -> None:
    shown = story("text-classification")
    text = page(shown)
    outcomes = re.findall(r'data-head="limit">(.*?)</td>.*?data-head="outcome"><span class="\w+">(.*?)</span>', text)
    assert len(outcomes) == len(shown.ledger) > 40
    assert {outcome for _, outcome in outcomes} == {"held", "reported only"}
    assert all((limit == "none") == (outcome == "reported only") for limit, outcome in outcomes)
    by_name = dict(zip((entry["id"] for entry in shown.ledger), (limit for limit, _ in outcomes), strict=True))
    assert by_name["merged-vs-base"].startswith("&gt;= ") and by_name["torch-vs-onnx"].startswith("&lt;= ")


def test_fp32_over_a_limit_of_the_recipe_is_not_recommended(text_run: Finished) -> None:
    variants = text_run.rundir.record("quantize").result["variants"]
    size = {name: variant["bytes"] / 1e6 for name, variant in variants.items()}
    assert size["int8"] < size["fp32"]
    api.through(
        text_run.recipe, [f"export.max_size={(size['int8'] + size['fp32']) / 2:.6f}"], run=text_run.run,
        until="quantize",
    )  # fmt: skip
    recorded = text_run.rundir.record("quantize").result["variants"]
    (line,) = recorded["fp32"]["problems"]
    assert line.startswith("quantize: fp32: has ") and recorded["int8"]["problems"] == []
    chosen = choice(recorded, allowed=100.0, unit="%")
    assert chosen.variant == "int8" and "only one of 2" in chosen.reasons[0]


class Interrupter:
    """A listener that ends the command, as Ctrl-C does, when it hears of a stage's work."""

    def __init__(self, start: str) -> None:
        self.start = start

    def note(self, text: str) -> None:
        if text.startswith(self.start):
            raise KeyboardInterrupt

    def update(self, name: str, done: float, total: float, text: str) -> None: ...


@pytest.mark.parametrize("stage", ["verify", "bundle"])
def test_after_an_interrupted_export_the_page_recommends_nothing(stage: str, text_run: Finished) -> None:
    assert f"Ship {story_of(text_run).choice.variant}" in Outline(page(story_of(text_run))).headings
    with (
        pytest.raises(KeyboardInterrupt),
        progress.listen(Interrupter(f"{stage}: verif" if stage == "bundle" else f"{stage}: ")),
    ):
        api.export(text_run.run, {"max_drop": 99})
    assert (text_run.run / "ledger.json").exists() == (stage == "bundle")
    text = page(story_of(text_run))
    outline = Outline(text)
    assert outline.headings[1] == "Do not ship: not verified"
    assert "Ship " not in text and 'class="chosen"' not in text
    assert [heading for heading in outline.headings if heading in SECTIONS] == list(SECTIONS)


def test_a_ledger_or_a_bundle_of_other_files_verifies_nothing(text_run: Finished) -> None:
    records = text_run.run / "stages"
    for path in (records / "quantize.json", text_run.run / "ledger.json", text_run.dist / "onnx" / "model.onnx"):
        content = path.read_bytes()
        if path.name == "quantize.json":
            outputs = read_json(path)["outputs"] | {"quantized/model_int8.onnx": "0" * 64}
            edit_json(path, outputs=outputs)
        else:
            path.write_bytes(content + b" ")
        assert not story_of(text_run).is_verified, path
        path.write_bytes(content)
        assert story_of(text_run).is_verified


def test_a_breach_is_what_the_page_opens_with(story: Callable[[str], Story]) -> None:
    shown = story("text-classification")
    ledger: list[Any] = [dict(entry) for entry in shown.ledger]
    ledger[3]["ok"] = False
    outline = Outline(page(replace(shown, ledger=ledger)))
    assert outline.headings[1] == "Do not ship: 1 comparison broke the limit"
    assert any("1 BREACH" in heading for heading in outline.headings)


def test_images_are_small_pictures_in_the_page_and_a_lost_one_is_a_sentence(image_run: Finished) -> None:
    path = image_run.run / "quantized" / "model_int8.npy"
    logits = np.load(path)
    np.save(path, np.roll(logits, 1, axis=1))
    with pytest.raises(
        RunError, match=r"model_int8\.npy: changed since stage 'quantize' wrote it; run 'tunedeploy run "
    ):
        answers(image_run)
    repair_run(image_run.run)
    shown = answers(image_run)
    assert len(shown.inputs) == 12 and all(
        entry.startswith('<img src="data:image/jpeg;base64,') for entry in shown.inputs
    )
    assert max(map(len, shown.inputs)) < 8000


def answers(run: Finished) -> Reviewed:
    """Those of int8, whichever variant is the faster one here."""
    recipe = api.recipe_of(run.run)
    variant = run.rundir.record("quantize").result["variants"]["int8"]
    decision = plugins.load("tasks", recipe.task).decision(run.rundir.record("train").result["labels"])
    shown = report.reviewed(recipe, run.rundir, decision, ("int8", variant))
    assert shown is not None
    return shown


def test_a_run_whose_data_has_changed_has_a_page_without_rows(text_run: Finished, tmp_path: Path) -> None:
    texts(tmp_path / "other.csv", rows=30, seed=7)
    recipe = api.recipe_of(text_run.run, [f"data.train={tmp_path / 'other.csv'}"])
    assert report.run(recipe, text_run.rundir) == {"file": "report.html"}
    written = (text_run.run / "report.html").read_text(encoding="utf-8")
    assert written.count(NO_ROWS) == 2
    assert "Ship " in written and str(tmp_path) not in written


def hostile(shown: Story) -> Story:
    """The same run with markup wherever a user's data or recipe stands, and with very many classes."""
    names = tuple(f"{HOSTILE} {at}" for at in range(40))
    at = np.arange(40)
    confusion = Confusion(
        names=names, right=np.concatenate([at, at]), given=np.concatenate([at, (at * 7 + 1) % 40]),
        count=np.arange(1, 81), unit="rows",
    )  # fmt: skip
    mistakes = tuple(Mistake(row=row, right=HOSTILE, given=HOSTILE * 50) for row in range(12))
    review = Review(summary="wrong", mistakes=mistakes, order="all", picture=confusion)
    reviewed = Reviewed(
        variant="int8", review=review, inputs=[foreign(HOSTILE + "x" * 900)] * 12, places=[HOSTILE] * 12
    )
    counts = {name: 40 - place for place, name in enumerate(names)}
    finding = {"name": "rare", "severity": "warning", "text": HOSTILE, "count": 1, "examples": [HOSTILE, HOSTILE]}
    doctor: Any = {"classes": {"train": counts, "eval": {}}, "findings": [finding], "notes": [HOSTILE]}
    return replace(
        shown, task=HOSTILE, model=HOSTILE * 9, eval_source=HOSTILE, reviewed=reviewed, doctor=doctor,
        text=HOSTILE * 30, recipe=[("data.train", HOSTILE * 9, HOSTILE)],
    )  # fmt: skip


@pytest.mark.parametrize(("mistakes", "sentence"), [((), "No row is wrong."), (None, NOT_KNOWN)])
def test_a_page_that_knows_of_no_wrong_row_says_whether_there_is_none(
    mistakes: tuple[Mistake, ...] | None, sentence: str, story: Callable[[str], Story]
) -> None:
    review = Review(summary="97.0 % of the tokens are the right ones", mistakes=mistakes, order="all", picture=None)
    text = page(
        replace(
            story("text-classification"),
            reviewed=Reviewed(variant="int8", review=review, inputs=[], places=[]),
        )
    )
    assert [known in text for known in ("No row is wrong.", NOT_KNOWN)].count(True) == 1
    assert sentence in text


def test_markup_in_labels_texts_and_names_is_text(story: Callable[[str], Story]) -> None:
    text = page(hostile(story("text-classification")))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 100
    assert Outline(text).names.isdisjoint({"script", "b&gt;"})
    assert "… 22 classes between …" in text
    assert "The 11 of 40 with the most mistakes have rows of their own." in text
