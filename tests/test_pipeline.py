"""A stage runs when something it depends on has changed, and is kept, with its bytes, when nothing has."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.finished import Finished, repair_run
from tests.tiny import Tiny, texts
from tunedeploy import api, progress
from tunedeploy.bundling import kit
from tunedeploy.device.files import files_below, read_json, sha256
from tunedeploy.errors import BudgetError, ParityError, RunError
from tunedeploy.proof.judge import Judge
from tunedeploy.run import pipeline, receipt
from tunedeploy.run.answers import read_answers
from tunedeploy.run.atomic import whole_folder, write_json, write_text
from tunedeploy.run.exported import parts_of
from tunedeploy.run.folder import latest
from tunedeploy.stages import plan, train
from tunedeploy.stages.quantize import over_budget

Finisher = Callable[[str], Finished]
AFTER_TRAIN = ["merge", "export", "quantize", "verify", "bundle", "report"]


class Notes:
    """A listener that keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def update(self, name: str, done: float, total: float, text: str) -> None:
        pass

    def stages(self, word: str) -> list[str]:
        """Stages whose line says `unchanged, kept` or `done`."""
        return [name for name in pipeline.STAGES if any(line.startswith(f"{name}: {word}") for line in self.lines)]


@pytest.fixture
def notes() -> Iterator[Notes]:
    heard = Notes()
    with progress.listen(heard):
        yield heard


def redone(run: Finished, *overrides: str, notes: Notes, fresh: bool = False) -> list[str]:
    """The stages that a second `run` did again; every other one has said that it was kept, and is untouched."""
    before = run.records()
    api.through(run.recipe, overrides, run=run.run, fresh=fresh, until="report")
    again = notes.stages("done")
    assert notes.stages("unchanged, kept") == [name for name in pipeline.STAGES if name not in again]
    after = run.records()
    assert [name for name in pipeline.STAGES if before[name] == after[name]] == notes.stages("unchanged, kept")
    return again


def test_a_second_run_keeps_every_stage_and_says_so(text_run: Finished, notes: Notes) -> None:
    def times() -> dict[Path, int]:
        rewritten = ("recipe.yaml", receipt.FILE)  # a receipt says where a run stands, and this one is a copy
        return {path: path.stat().st_mtime_ns for path in files_below(text_run.run) if path.name not in rewritten}

    before = times()
    assert redone(text_run, notes=notes) == []
    assert times() == before


def test_another_learning_rate_redoes_training_and_all_after_it(text_run: Finished, notes: Notes) -> None:
    assert redone(text_run, "train.lr=0.005", notes=notes) == ["plan", "train", *AFTER_TRAIN]


@pytest.mark.parametrize(
    ("override", "again"),
    [
        ("export.max_drop=99", ["plan", "quantize", "verify", "bundle", "report"]),
        ("export.quantize=fp16", ["plan", "quantize", "verify", "bundle", "report"]),
        ("export.opset=19", ["plan", *AFTER_TRAIN[1:]]),
    ],
    ids=["max_drop", "quantize", "opset"],
)
def test_another_export_value_trains_and_merges_nothing_again(
    override: str, again: list[str], text_run: Finished, notes: Notes
) -> None:
    assert redone(text_run, override, notes=notes) == again


def test_an_export_value_is_kept_in_the_run_and_not_asked_for_again(text_run: Finished, notes: Notes) -> None:
    api.export(text_run.run, {"quantize": "fp16"})
    assert set(read_json(text_run.dist / "manifest.json")["variants"]) == {"fp32", "fp16"}
    assert not (text_run.run / "quantized" / "model_int8.onnx").exists()
    notes.lines.clear()
    api.export(text_run.run)
    assert notes.stages("done") == []


def test_a_run_tells_where_each_value_first_came_from_however_often_it_is_exported(text_run: Finished) -> None:
    before = dict(api.recipe_of(text_run.run).sources)
    assert before["train.lr"].startswith("recipe:")
    assert before["tune.rank"] == "default of lora"
    api.export(text_run.run, {"max_drop": 99})
    api.export(text_run.run, {"max_drop": 98})
    assert dict(api.recipe_of(text_run.run).sources) == before | {"export.max_drop": "command line"}


def test_one_more_row_of_data_redoes_training(text_run: Finished, tmp_path: Path, notes: Notes) -> None:
    old = Path(api.recipe_of(text_run.run).data.train)
    rows = Path(shutil.copyfile(old, tmp_path / "rows.csv"))
    assert redone(text_run, f"data.train={rows}", notes=notes) == []  # the same rows elsewhere are the same data
    notes.lines.clear()
    write_text(rows, rows.read_text(encoding="utf-8") + "thunder over the coast,weather\n")
    assert redone(text_run, f"data.train={rows}", notes=notes) == ["plan", "train", *AFTER_TRAIN]


def test_a_row_that_cannot_be_read_and_is_gone_is_planned_again_and_trains_nothing(tmp_path: Path, tiny: Tiny) -> None:
    rows = texts(tmp_path / "rows.csv")
    good = rows.read_text(encoding="utf-8")
    made = tiny.recipe(tmp_path / "r.yaml", "text-classification", data={"train": str(rows), "skip_bad": True})

    def keys() -> list[str]:
        origin = pipeline.origin_of(made)
        return [pipeline.stage_key(stage, made, origin, {}) for stage in (plan, train)]

    write_text(rows, good + "no label,\nneither here,\n")
    with_two = keys()
    write_text(rows, good + "no label,\n")
    with_one = keys()
    write_text(rows, good)
    with_none = keys()
    assert len({with_two[0], with_one[0], with_none[0]}) == 3
    assert with_two[1] == with_one[1] == with_none[1]


def test_other_base_weights_redo_training(text_run: Finished, tmp_path: Path, notes: Notes) -> None:
    model = Path(shutil.copytree(api.recipe_of(text_run.run).model.name, tmp_path / "bert"))
    assert redone(text_run, f"model={model}", notes=notes) == []
    notes.lines.clear()
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1  # the last bit pattern's sign and exponent stand in its last byte
    (model / "model.safetensors").write_bytes(weights)
    assert redone(text_run, f"model={model}", notes=notes)[:2] == ["plan", "train"]


@pytest.mark.parametrize(
    ("file", "how"),
    [
        ("train/adapter.safetensors", "flipped"),
        ("train/eval_logits.npy", "gone"),
        ("merged/model.safetensors", "cut"),
        ("merged/tokenizer.json", "gone"),
        ("onnx/model.onnx", "flipped"),
        ("quantized/model_int8.onnx", "cut"),
        ("ledger.json", "cut"),
        ("dist/onnx/model_int8.onnx", "flipped"),
        ("dist/manifest.json", "gone"),
        ("report.html", "cut"),
    ],
    ids=lambda value: value,
)
def test_a_damaged_file_is_made_again(file: str, how: str, text_run: Finished, notes: Notes) -> None:
    path, seen = text_run.run / file, sha256(text_run.run / file)
    owner = next(name for name in pipeline.STAGES if file in text_run.rundir.record(name).outputs)
    damage(path, how)
    assert redone(text_run, notes=notes)[0] == owner
    if path.name not in ("report.html", "ledger.json"):  # these show seconds
        assert sha256(path) == seen


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)


@pytest.mark.parametrize("file", ["train/adapter.safetensors", "train/head.safetensors", "train/eval_logits.npy"])
def test_export_refuses_a_damaged_training_in_one_line(file: str, text_run: Finished) -> None:
    damage(text_run.run / file, "flipped")
    with pytest.raises(RunError) as caught:
        api.export(text_run.run)
    assert len(caught.value.lines) == 1
    assert f"'train' is out of date: {file}: changed" in caught.value.lines[0]
    assert f"run 'tunedeploy run {text_run.run / 'recipe.yaml'}" in caught.value.lines[0]


def test_export_refuses_a_run_that_was_never_trained(text_run: Finished) -> None:
    shutil.rmtree(text_run.run / "stages")
    with pytest.raises(RunError, match="stage 'train' has not been finished; run 'tunedeploy train"):
        api.export(text_run.run)


def test_a_run_that_fails_halfway_goes_on_from_there(text_run: Finished, notes: Notes) -> None:
    for name in ("quantize", "verify", "bundle", "report"):
        (text_run.run / "stages" / f"{name}.json").unlink()
    api.through(text_run.recipe, run=text_run.run, until="report")
    assert notes.stages("done") == ["quantize", "verify", "bundle", "report"]


def test_fresh_redoes_every_stage_and_gives_the_same_weights(text_run: Finished, notes: Notes) -> None:
    before = text_run.rundir.record("train").outputs
    assert redone(text_run, notes=notes, fresh=True) == list(pipeline.STAGES)
    assert text_run.rundir.record("train").outputs["train/adapter.safetensors"] == before["train/adapter.safetensors"]


def test_two_runs_in_two_directories_give_the_same_bytes(text_run: Finished, tmp_path: Path) -> None:
    recipe = Path(shutil.copyfile(text_run.recipe, tmp_path / "elsewhere.yaml"))
    other = api.through(recipe, run=tmp_path / "deep" / "down" / "here", until="report")
    names = [path.relative_to(other / "dist").as_posix() for path in files_below(other / "dist")]
    assert "onnx/model_int8.onnx" in names
    for name in names:
        assert sha256(other / "dist" / name) == sha256(text_run.dist / name), name
    assert read_json(other / "dist" / "manifest.json") == read_json(text_run.dist / "manifest.json")


def test_exporting_twice_gives_the_same_bytes(text_run: Finished) -> None:
    before = {path: sha256(path) for path in files_below(text_run.dist)}
    api.export(text_run.run, {"quantize": "fp16"})
    api.export(text_run.run, {"quantize": "int8"})
    assert {path: sha256(path) for path in files_below(text_run.dist)} == before


def test_whole_folder_leaves_nothing_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "out") as folder:
        (folder / "half").write_text("written")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_whole_folder_keeps_the_old_content_when_the_block_fails(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "out") as folder:
        (folder / "half").write_text("written")
        raise ZeroDivisionError
    assert [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)] == ["out/old"]


def test_whole_folder_swaps_the_old_content_out_whole(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    with whole_folder(tmp_path / "out") as folder:
        (folder / "new").write_text("new")
    assert [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)] == ["out/new"]


def test_written_text_is_never_half_there(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "one")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a" / "b.txt", "two \ud800")
    assert (tmp_path / "a" / "b.txt").read_text() == "one"


def test_a_failing_verify_leaves_no_bundle_and_says_where(text_run: Finished) -> None:
    before = bundle(text_run.dist)
    swap_two_weights(text_run.run / "merged" / "model.safetensors")
    repair_run(text_run.run)
    with pytest.raises(ParityError) as caught:
        api.through(text_run.recipe, ["export.max_drop=99"], run=text_run.run, until="report")
    assert any("trained model vs onnx" in line for line in caught.value.lines)
    assert not text_run.dist.exists()
    assert bundle(text_run.run / "dist.previous") == before
    ledger = read_json(text_run.run / "ledger.json")
    assert not ledger["ok"]
    assert not (text_run.run / "stages" / "bundle.json").exists()


def swap_two_weights(path: Path) -> None:
    """Exchange the last two float32 values of a safetensors file: same size, same header."""
    content = path.read_bytes()
    path.write_bytes(content[:-8] + content[-4:] + content[-8:-4])


def bundle(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files_below(folder)}


def test_a_budget_that_is_missed_leaves_no_bundle_but_the_earlier_one_under_another_name(text_run: Finished) -> None:
    before = bundle(text_run.dist)
    for _ in range(2):
        with pytest.raises(BudgetError, match="MB, allowed 0.001"):
            api.export(text_run.run, {"max_size": 0.001})
        assert not text_run.dist.exists()
        assert bundle(text_run.run / "dist.previous") == before
    api.export(text_run.run)
    assert bundle(text_run.dist) == before
    assert not (text_run.run / "dist.previous").exists()


def test_the_earlier_bundle_stands_until_the_next_one_does_and_has_no_record_meanwhile(text_run: Finished) -> None:
    before, seen = bundle(text_run.dist), []

    class Looking(Notes):
        def note(self, text: str) -> None:
            assert bundle(text_run.dist) == before or text.startswith(("bundle: done", "report"))
            seen.append(text_run.rundir.has("bundle"))

    with progress.listen(Looking()):
        api.export(text_run.run, {"max_drop": 99.0})
    assert seen[0] and not all(seen)
    assert text_run.rundir.has("bundle")


def test_a_bundle_that_fails_its_own_verification_never_stands(
    text_run: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kit.write

    def too_strict(folder: Path, **arguments: Any) -> None:
        real(folder, **arguments)
        rules = read_json(folder / "tolerances.json")
        rules["variants"]["int8"]["max_abs"] = -1.0
        write_json(folder / "tolerances.json", rules)

    monkeypatch.setattr(kit, "write", too_strict)
    with pytest.raises(ParityError) as caught:
        api.export(text_run.run, {"max_drop": 99.0})
    assert [line for line in caught.value.lines if "int8 vs golden outputs: largest logit difference" in line]
    assert not [line for line in caught.value.lines if ".tmp" in line]
    assert not text_run.dist.exists()


def test_a_run_on_noise_has_a_bundle_that_verifies(tiny: Tiny, tmp_path: Path) -> None:
    rng, rows = np.random.default_rng(0), texts(tmp_path / "rows.csv", rows=40)
    lines = rows.read_text().splitlines()
    labels = rng.permutation([line.rpartition(",")[2] for line in lines[1:]])
    noise = [f"{line.rpartition(',')[0]},{label}" for line, label in zip(lines[1:], labels, strict=True)]
    rows.write_text("\n".join([lines[0], *noise]) + "\n")
    recipe = tiny.write(
        tmp_path / "r.yaml", "text-classification", data={"train": str(rows)}, train={"lr": 1e-6},
        tune={"method": "full"}, export={"quantize": "int8", "max_drop": 100.0},
    )  # fmt: skip
    run = api.through(recipe, run=tmp_path / "run", until="report")
    assert api.verify(run / "dist")


@pytest.mark.parametrize("key", ["metric", "drop", "gain", "flips"])
def test_a_figure_that_is_not_a_number_breaks_the_budget(key: str, text_run: Finished) -> None:
    recipe, source = api.recipe_of(text_run.run), {"model": text_run.run / "onnx" / "model.onnx"}
    healthy = {"metric": 90.0, "drop": 0.0, "flips": 0, "flips_allowed": 1, "gain": 1.0, "bytes": 1, "ms": 1.0}
    judge = Judge(recipe=recipe, parts=parts_of(recipe, text_run.rundir), metric="accuracy", reference=90.0)
    assert over_budget(judge, "quantize: int8", healthy, source) == []
    for value in (float("nan"), float("inf")):
        assert len(over_budget(judge, "quantize: int8", healthy | {key: value}, source)) == 1


def test_a_metric_of_nan_is_not_taken_for_no_reference(text_run: Finished) -> None:
    recipe, source = api.recipe_of(text_run.run), {"model": text_run.run / "onnx" / "model.onnx"}
    judge = Judge(recipe=recipe, parts=parts_of(recipe, text_run.rundir), metric="accuracy", reference=float("nan"))
    figures, _ = judge(source)
    assert any("loses inf points" in line for line in over_budget(judge, "quantize: int8", figures, source))


def test_a_setting_whose_answers_verify_would_stop_is_not_taken(text_run: Finished) -> None:
    recipe, source = api.recipe_of(text_run.run), {"model": text_run.run / "onnx" / "model.onnx"}
    judge = Judge(recipe=recipe, parts=parts_of(recipe, text_run.rundir), metric="accuracy")
    _, answers = judge(source)
    same, _ = replace(judge, fp32=answers)(source)
    assert (same["flips"], same["flips_allowed"]) == (0, 1)
    assert over_budget(judge, "quantize: int8", same | {"drop": 0.0}, source) == []
    turned = replace(answers, evidence=np.roll(answers.evidence, 1, axis=1))
    other, _ = replace(judge, fp32=turned)(source)
    line = f"changes {other['flips']} answers that were no near-ties, allowed 1"
    assert other["flips"] > 1
    lines = over_budget(judge, "quantize: int8", other | {"drop": 0.0}, source)
    assert lines[0] == f"quantize: int8: {line}"
    assert lines[1].startswith("quantize: int8: its logits are ")
    louder, _ = replace(judge, fp32=replace(answers, evidence=answers.evidence / 10))(source)
    (said,) = over_budget(judge, "quantize: int8", louder | {"drop": 0.0}, source)
    assert said == "quantize: int8: its logits are 10 times larger or smaller, allowed 2"


def test_a_bundle_elsewhere_is_a_copy_of_the_run_s(text_run: Finished, tmp_path: Path) -> None:
    there = api.export(text_run.run, output=tmp_path / "app" / "model")
    assert there == tmp_path / "app" / "model"
    assert {p.relative_to(there): sha256(p) for p in files_below(there)} == {
        p.relative_to(text_run.dist): sha256(p) for p in files_below(text_run.dist)
    }


def test_the_latest_run_is_the_one_touched_last(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_text(tmp_path / name / "recipe.yaml", "")
    write_json(tmp_path / "b" / "stages" / "plan.json", {})
    assert latest(tmp_path) == tmp_path / "b"
    with pytest.raises(RunError, match="no run under"):
        latest(tmp_path / "a")


EDITS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "a label list that is a number": ("train", lambda one: one["result"].update(labels=3), "labels: "),
    "a metric that is text": ("train", lambda one: one["result"]["metrics"].update(accuracy="9"), "metrics.accuracy: "),
    "a metric that is not there": ("train", lambda one: one["result"].update(metric="f2"), "result.metric "),
    "a history of words": ("train", lambda one: one["result"].update(history=["x"]), "history.0: "),
    "no hash of the adapter": ("train", lambda one: one.update(outputs={}), "missing outputs.train/adapter"),
    "a file outside": ("merge", lambda one: one["outputs"].update({"../x": "0"}), "below the run's folder"),
    "no comparison": ("merge", lambda one: one["result"].update(comparisons=[]), "comparisons: "),
    "no noise floor": ("merge", lambda one: one["result"]["comparisons"][0].update(facts={}), "noise_floor: "),
    "seconds that are not finite": ("export", lambda one: one.update(seconds=float("nan")), "seconds: "),
    "another stage": ("export", lambda one: one.update(stage="merge"), "is not a record of stage 'export'"),
    "a variant elsewhere": (
        "quantize", lambda one: one["result"]["variants"]["int8"].update(file="/etc/passwd"), "variants.int8.file: "
    ),
    "no fp32": ("quantize", lambda one: one["result"]["variants"].pop("fp32"), "missing result.variants.fp32"),
    "a size that is true": ("quantize", lambda one: one["result"]["variants"]["int8"].update(bytes=True), "bytes: "),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITS)
def test_a_record_is_read_strictly_and_refused_in_one_line(what: str, finished: Finisher, tmp_path: Path) -> None:
    stage, edit, place = EDITS[what]
    run = finished("text-classification").copy(tmp_path)
    record = read_json(run.run / "stages" / f"{stage}.json")
    assert run.rundir.record(stage)
    edit(record)
    write_json(run.run / "stages" / f"{stage}.json", record)
    with pytest.raises(RunError) as caught:
        run.rundir.record(stage)
    (line,) = caught.value.lines
    assert f"{stage}.json: " in line and place in line and line.endswith("the stage is done again"), line


def test_json_that_no_later_step_can_handle_is_refused(tmp_path: Path) -> None:
    for text in ("[" * 100_000, '"\\ud800"', "1" * 5000, "{", ""):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(RunError, match="a.json: is not JSON: "):
            read_json(tmp_path / "a.json")


def test_logits_of_another_shape_or_kind_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 3), np.float32))
    assert read_answers(tmp_path / "a.npy", rows=4, width=3).evidence.shape == (4, 3)
    for other in (np.zeros((3, 4), np.float32), np.zeros((4, 3), np.int64), np.array([["a"] * 3] * 4)):
        np.save(tmp_path / "b.npy", other)
        with pytest.raises(RunError, match=r"b.npy: expected float32 \(4, 3\), got "):
            read_answers(tmp_path / "b.npy", rows=4, width=3)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "c.npy").write_bytes(content.replace(b"(4, 3), }      ", b"(4, 3999999), }"))
    for name in ("c.npy", "none.npy"):
        with pytest.raises(RunError, match=f"{name}: cannot be read: "):
            read_answers(tmp_path / name, rows=4, width=3)


def test_a_record_names_every_file_of_its_stage(text_run: Finished) -> None:
    listed = {name for stage in pipeline.STAGES for name in text_run.rundir.record(stage).outputs}
    there = {path.relative_to(text_run.run).as_posix() for path in files_below(text_run.run)}
    own = {name for name in there if name.startswith(("stages/", "cache/"))} | {"recipe.yaml", ".lock", receipt.FILE}
    assert there - own == listed
    versions = text_run.rundir.record("export").versions
    assert {"python", "torch", "onnx", "onnxruntime", "transformers", "peft"} <= set(versions)
    assert json.dumps(versions)
