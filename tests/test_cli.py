"""The command line on real runs: exit codes, one JSON document and nothing else, one line a mistake."""

import csv
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from tests.finished import Finished, edit_json, repair_bundle
from tests.tiny import Tiny, images, texts
from tunedeploy.cli.commands import main
from tunedeploy.device.files import files_below, read_json
from tunedeploy.proof.bundle import load_bundle
from tunedeploy.run.pipeline import STAGES


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """Its error lines, without their prefix."""
        return [line.removeprefix("error: ") for line in self.err.splitlines() if line.startswith("error: ")]

    @property
    def document(self) -> Any:
        """The one JSON document on stdout; fails where anything else stands there."""
        return json.loads(self.out)


Command = Callable[..., Done]


@pytest.fixture
def tunedeploy(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run a command in this process, in a folder of its own; file descriptors are watched, not Python's streams."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*arguments: str | Path) -> Done:
        capfd.readouterr()
        try:
            main([str(one) for one in arguments])
            code = 0
        except SystemExit as end:
            assert end.code is None or isinstance(end.code, int)
            code = end.code or 0
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Done(code=code, out=out, err=err)

    return call


def refused(done: Done, *parts: str, code: int = 1) -> None:
    """One error line with these parts, no output, this exit code."""
    assert (done.code, done.out) == (code, ""), done
    assert len(done.errors) == 1, done.err
    for part in parts:
        assert part in done.errors[0], done.errors[0]


# ---- one JSON document, of the promised shape


def test_verify_json_has_the_promised_shape_for_a_run_and_for_a_bundle(tunedeploy: Command, text_run: Finished) -> None:
    for path in (text_run.run, text_run.dist):
        done = tunedeploy("verify", path, "--json")
        assert (done.code, done.err) == (0, "")
        assert set(done.document) == {"ok", "checks"}
        assert done.document["ok"] is True
        assert len(done.document["checks"]) >= 5
        for check in done.document["checks"]:
            assert set(check) == {"id", "name", "ok", "value", "limit", "at_most", "file", "variant"}
            assert check["ok"] is True


def test_verify_json_of_a_breach_is_still_one_document(tunedeploy: Command, text_run: Finished) -> None:
    (text_run.dist / "labels.json").write_text("[]")
    done = tunedeploy("verify", text_run.dist, "--checks", "integrity", "--json")
    assert done.code == 3
    assert done.document["ok"] is False
    broken = [check for check in done.document["checks"] if not check["ok"]]
    assert [(check["id"], check["file"]) for check in broken] == [("file-changed", "labels.json")]
    assert len(done.errors) == 1


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_eval_json_has_the_promised_shape(tunedeploy: Command, text_run: Finished, variant: str) -> None:
    rows = text_run.recipe.with_name("some.csv")
    whole = Path(yaml.safe_load(text_run.recipe.read_text())["data"]["train"]).read_text().splitlines(keepends=True)
    rows.write_text("".join(whole[:31]))
    made = [
        tunedeploy("eval", path, "--data", rows, "--variant", variant, "--json").document
        for path in (text_run.run, text_run.dist)
    ]
    assert made[0] == made[1]
    assert set(made[0]) == {"metric", "value", "unit", "rows", "classes", "confused", "calibration", "wrong"}
    assert made[0]["rows"] == 30
    assert 0 <= made[0]["value"] <= 100


def test_eval_of_a_run_scores_its_own_evaluation_rows(tunedeploy: Command, text_run: Finished) -> None:
    train = text_run.rundir.record("train").result
    found = tunedeploy("eval", text_run.run, "--json").document
    value, rows = train["metrics"]["accuracy"], train["metrics"]["rows"]
    expected = {"metric": train["metric"], "value": value, "unit": "%", "rows": rows}
    assert found.items() >= expected.items()
    assert tunedeploy("eval", text_run.run, "--variant", "torch", "--json").document.items() >= expected.items()


def test_predict_json_has_a_label_and_a_probability_for_each_input(tunedeploy: Command, text_run: Finished) -> None:
    texts = ["snow, rain and a storm", "soup with bread", "", "-1 degrees"]
    for path in (text_run.run, text_run.dist):
        found = tunedeploy("predict", path, "--json", "--", *texts).document["predictions"]
        assert [one["input"] for one in found] == texts
        assert all(set(one) == {"input", "label", "probability"} for one in found)
        assert [one["label"] for one in found[:2]] == ["weather", "food"]
        assert all(1 / 3 <= one["probability"] <= 1 for one in found)


def test_predict_of_a_file_has_a_prediction_a_row(tunedeploy: Command, text_run: Finished, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("text\nsoup and bread\nrace and match\n")
    found = tunedeploy("predict", text_run.dist, "--data", tmp_path / "new.csv", "--json").document["predictions"]
    assert [(one["input"], one["label"]) for one in found] == [("soup and bread", "food"), ("race and match", "sport")]


def test_plan_json_has_recipe_weights_estimates_and_the_data_report(tunedeploy: Command, text_run: Finished) -> None:
    done = tunedeploy("plan", text_run.recipe, "train.lr=0.02", "--json")
    assert (done.code, done.err) == (0, "")
    plan = done.document
    assert plan["recipe"]["train.lr"] == {"value": 0.02, "source": "command line"}
    assert plan["recipe"]["tune.rank"] == {"value": 8, "source": "default of lora"}
    assert plan["recipe"]["task"]["source"].startswith("recipe:")
    assert 0 < plan["weights"]["trainable"] < plan["weights"]["total"]
    assert set(plan["estimates"]) >= {"minutes", "memory_mb", "fp32_mb", "int8_mb", "adapter_mb"}
    assert plan["data"]["labels"] == ["food", "sport", "weather"]
    assert plan["data"]["doctor"]


def test_every_other_command_prints_one_json_document(tunedeploy: Command, text_run: Finished, tmp_path: Path) -> None:
    rows = yaml.safe_load(text_run.recipe.read_text())["data"]["train"]
    commands: dict[str, tuple[str | Path, ...]] = {
        "init": ("init", rows, "-o", tmp_path / "new.yaml"),
        "train": ("train", text_run.recipe, "--run", text_run.run),
        "merge": ("merge", text_run.run),
        "export": ("export", text_run.run),
        "run": ("run", text_run.recipe, "--run", text_run.run),
        "bench": ("bench", text_run.dist),
        "report": ("report", text_run.run),
        "list": ("list",),
        "schema": ("schema",),
        "doctor": ("doctor",),
    }
    for name, arguments in commands.items():
        done = tunedeploy(*arguments, "--json")
        assert (done.code, done.err) == (0, ""), name
        assert isinstance(done.document, dict), name


def test_run_json_says_where_the_bundle_is_and_what_was_compared(tunedeploy: Command, text_run: Finished) -> None:
    found = tunedeploy("run", text_run.recipe, "--run", text_run.run, "--json").document
    assert found["bundle"] == str(text_run.dist)
    assert set(found["variants"]) == {"fp32", "int8"}
    assert all(one["ok"] for one in found["ledger"])
    assert {one["stage"] for one in found["ledger"]} >= {"merge", "export", "quantize"}


def test_the_same_words_for_people_and_for_programs(tunedeploy: Command, text_run: Finished) -> None:
    done = tunedeploy("verify", text_run.dist)
    assert (done.code, done.err) == (0, "")
    assert "held" in done.out
    assert "BREACH" not in done.out


# ---- what a command leaves, and what it does not


def test_plan_trains_nothing_and_leaves_no_run_folder(tunedeploy: Command, text_run: Finished, tmp_path: Path) -> None:
    before = files_below(tmp_path)
    done = tunedeploy("plan", text_run.recipe)
    assert done.code == 0
    assert "are trained" in done.out
    assert files_below(tmp_path) == before
    assert list(Path.cwd().iterdir()) == []


def test_a_second_run_takes_seconds_and_says_that_all_was_kept(tunedeploy: Command, text_run: Finished) -> None:
    began = time.monotonic()
    done = tunedeploy("run", text_run.recipe, "--run", text_run.run)
    assert done.code == 0
    assert time.monotonic() - began < 30  # the first one trains and exports; this one hashes files
    assert [line.partition(":")[0] for line in done.err.splitlines() if "unchanged, kept" in line] == list(STAGES)


def test_a_run_is_named_after_its_recipe_and_found_as_the_latest(
    tunedeploy: Command, text_run: Finished, tiny: Tiny
) -> None:
    shutil.copytree(text_run.run, Path("runs") / "tiny")
    done = tunedeploy("run", text_run.recipe, "--json")
    assert done.document["run"] == "runs/tiny"
    assert tunedeploy("merge", "--json").document["run"] == "runs/tiny"
    assert tunedeploy("report", "--json").document == {"file": "runs/tiny/report.html"}


def test_the_bundle_goes_where_o_says_again_and_again(tunedeploy: Command, text_run: Finished) -> None:
    for _ in range(2):
        done = tunedeploy("export", text_run.run, "-o", "app/model", "--json")
        assert done.document["bundle"] == "app/model"
        assert read_json(Path("app/model/manifest.json")) == read_json(text_run.dist / "manifest.json")


@pytest.mark.parametrize("command", ["export", "run"])
def test_a_folder_that_is_no_bundle_is_not_replaced(command: str, tunedeploy: Command, text_run: Finished) -> None:
    mine = Path("photos")
    mine.mkdir()
    (mine / "holiday.txt").write_text("mine")
    where = [text_run.run] if command == "export" else [text_run.recipe, "--run", text_run.run]
    for output in (mine, mine / "holiday.txt"):
        refused(tunedeploy(command, *where, "-o", output), f"-o {output}: is not empty and is not a bundle")
    assert (mine / "holiday.txt").read_text() == "mine"


def test_an_empty_folder_is_filled_with_the_bundle(tunedeploy: Command, text_run: Finished) -> None:
    Path("empty").mkdir()
    assert tunedeploy("export", text_run.run, "-o", "empty").code == 0
    assert Path("empty/manifest.json").is_file()


def test_a_run_folder_that_holds_something_else_is_left_alone(tunedeploy: Command, text_run: Finished) -> None:
    Path("file").write_text("mine")
    Path("full").mkdir()
    Path("full/notes.txt").write_text("mine")
    shutil.copyfile(text_run.recipe, "recipe.yaml")
    for run in ("file", "file/below", "full", "."):
        refused(tunedeploy("train", "recipe.yaml", "--run", run), f"--run {run}: ", "name a")
    assert Path("recipe.yaml").read_bytes() == text_run.recipe.read_bytes()
    assert Path("full/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("command", ["merge", "export", "verify", "eval", "report", "bench", "predict"])
def test_a_folder_that_is_no_run_is_refused_in_one_line(command: str, tunedeploy: Command, tmp_path: Path) -> None:
    Path("other").mkdir()
    Path("other/a.txt").write_text("")
    Path("file").write_text("")
    extra = ["a text"] if command == "predict" else []
    for path in ("other", "nowhere", "file"):
        refused(tunedeploy(command, path, *extra), path)


def test_no_run_at_all_is_said_in_one_line(tunedeploy: Command) -> None:
    refused(tunedeploy("export"), "no run under runs", "tunedeploy train RECIPE")


@pytest.mark.parametrize("command", ["verify", "merge", "export", "eval", "report"])
def test_a_run_of_which_only_the_recipe_is_there_says_what_to_do(
    command: str, tunedeploy: Command, text_run: Finished
) -> None:
    for path in list(text_run.run.iterdir()):
        if path.name != "recipe.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    refused(tunedeploy(command, text_run.run), "has not been finished", "run 'tunedeploy ")


# ---- 1: the user can fix it


def test_a_wrong_recipe_gives_one_line_for_each_mistake(tunedeploy: Command) -> None:
    Path("r.yaml").write_text(
        "task: text-classification\nmodel: nowhere\ndata: {train: no.csv, lable: x}\n"
        "train: {learning_rate: 1.0, epochs: many}\nexport: {quantize: int7}\n"
    )
    for command in ("plan", "train", "run"):
        done = tunedeploy(command, "r.yaml")
        assert (done.code, done.out) == (1, "")
        assert all(line.startswith("r.yaml:") for line in done.errors)
        assert done.err.count("\n") == len(done.errors) == 5
        for part in ("no.csv", "lable", "learning_rate", "epochs", "int7"):
            assert sum(part in line for line in done.errors) == 1, (part, done.errors)
    assert not Path("runs").exists()


@pytest.mark.parametrize("override", ["train.epoch=3", "train.lr=fast", "nonsense", "tune.method=magic", "data=x"])
def test_a_wrong_override_is_one_line(override: str, tunedeploy: Command, text_run: Finished) -> None:
    refused(tunedeploy("plan", text_run.recipe, override), override.split("=")[0])


def test_a_missing_recipe_is_one_line(tunedeploy: Command) -> None:
    refused(tunedeploy("plan", "nothing.yaml"), "nothing.yaml")


def write_csv(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


GOOD = [["text", "label"], *([f"{'soup' if at % 2 else 'rain'} {at}", "ab"[at % 2]] for at in range(20))]
BAD_FILES: dict[str, tuple[Any, str]] = {
    "an empty file": ("", "empty"),
    "a header alone": ("text,label\n", "no rows"),
    "one class": ("text,label\n" + "good soup,a\n" * 9, "every row has the label 'a'"),
    "no label column": ("text,stars\n" + "good soup,1\nbad rain,2\n" * 9, "label"),
    "one column": ("text\n" + "good soup\n" * 9, "label"),
    "bytes that are no text": (b"text,label\n\xff\xfe\x00\x81,a\n", "UTF-8"),
    "an open quote": ('text,label\n"good soup,a\nbad rain,b\n', "quote"),
    "a row that is too long": ("text,label\ngood soup,a\nbad,rain,b\n", "3"),
    "a label that is missing": ("text,label\n" + "good soup,a\nbad rain,b\n" * 9 + "more rain,\n", "label"),
    "a column twice": ("text,text,label\n" + "a,b,c\nd,e,f\n" * 9, "text"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00", ""),
    "one row": ("text,label\ngood soup,a\n", ""),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_bad_data_file_is_one_line(what: str, tunedeploy: Command, tiny: Tiny) -> None:
    content, part = BAD_FILES[what]
    Path("bad.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    recipe = {"task": "text-classification", "model": str(tiny["bert"]), "data": {"train": "bad.csv"}}
    Path("r.yaml").write_text(yaml.safe_dump(recipe))
    for command in ("plan", "run"):
        refused(tunedeploy(command, "r.yaml"), "bad.csv", part)


def test_a_wrong_column_lists_those_there_are(tunedeploy: Command, text_run: Finished) -> None:
    refused(tunedeploy("plan", text_run.recipe, "data.label=stars"), "stars", "'text', 'label'")


def test_an_evaluation_label_that_was_not_trained_is_named(tunedeploy: Command, text_run: Finished) -> None:
    write_csv(Path("eval.csv"), [["text", "label"], ["soup", "food"], ["rain", "wether"], ["goal", "sport"]])
    refused(tunedeploy("plan", text_run.recipe, f"data.eval={Path('eval.csv').absolute()}"), "eval.csv", "wether")
    refused(tunedeploy("eval", text_run.dist, "--data", "eval.csv"), "eval.csv", "wether")


def test_an_unreadable_training_image_is_named(tunedeploy: Command, tiny: Tiny) -> None:
    folder = images(Path("pictures"), each=6)
    (folder / "red" / "00.png").write_bytes(b"not a picture")
    recipe = {"task": "image-classification", "model": str(tiny["resnet"]), "data": {"train": "pictures"}}
    Path("r.yaml").write_text(yaml.safe_dump(recipe))
    refused(tunedeploy("plan", "r.yaml"), "red/00.png")


def test_predict_names_the_image_that_is_missing_or_broken(tunedeploy: Command, image_run: Finished) -> None:
    Image.new("RGB", (20, 30), (210, 50, 40)).save("red.png")
    Path("broken.png").write_bytes(Path("red.png").read_bytes()[:60])
    Path("text.png").write_text("no picture")
    found = tunedeploy("predict", image_run.dist, "red.png", "--json").document["predictions"]
    assert [(one["input"], one["label"]) for one in found] == [("red.png", "red")]
    for name in ("missing.png", "broken.png", "text.png", "."):
        refused(tunedeploy("predict", image_run.dist, "red.png", name), "predict: ", name)


def test_eval_and_predict_name_the_data_file_they_cannot_read(tunedeploy: Command, text_run: Finished) -> None:
    Path("bad.csv").write_text("a,label\n1,food\n")
    for command in ("eval", "predict"):
        for name in ("bad.csv", "none.csv"):
            refused(tunedeploy(command, text_run.dist, "--data", name), name)


def test_a_variant_that_is_not_there_lists_those_there_are(tunedeploy: Command, text_run: Finished) -> None:
    for path in (text_run.run, text_run.dist):
        refused(tunedeploy("predict", path, "a text", "--variant", "int4"), "no variant 'int4'; it has fp32, int8")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("manifest.json", "{"),
        ("manifest.json", "{}"),
        ("manifest.json", "[1]"),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", None),
        ("onnx/model.onnx", "not a model"),
        ("onnx/model.onnx", None),
    ],
    ids=["cut", "empty", "list", "tokenizer", "no-tokenizer", "model", "no-model"],
)
def test_predict_with_a_damaged_bundle_is_one_line(
    file: str, content: str | None, tunedeploy: Command, text_run: Finished
) -> None:
    path = text_run.dist / file
    path.unlink() if content is None else path.write_text(content)
    refused(tunedeploy("predict", text_run.dist, "a text"), file.rpartition("/")[2])


def test_a_file_that_was_repaired_is_never_scored_in_silence(
    tunedeploy: Command, text_run: Finished, tmp_path: Path
) -> None:
    (tmp_path / "windows.csv").write_bytes("text;label\nrain für snow;weather\nsoup;food\n".encode("cp1252"))
    done = tunedeploy("eval", text_run.dist, "--data", tmp_path / "windows.csv")
    assert done.code == 0
    assert "windows.csv:2: not UTF-8 (byte 17 is 0xfc), so read as Windows-1252" in done.err
    assert "windows.csv: columns are separated by semicolons" in done.err


def test_init_writes_a_recipe_that_plans_and_never_replaces_one(
    tunedeploy: Command, text_run: Finished, tiny: Tiny
) -> None:
    rows = yaml.safe_load(text_run.recipe.read_text())["data"]["train"]
    assert tunedeploy("init", rows).code == 0
    assert tunedeploy("plan", "recipe.yaml", f"model={tiny['bert']}").code == 0
    refused(tunedeploy("init", rows), "recipe.yaml: already exists")
    refused(tunedeploy("init", "nothing.csv", "-o", "b.yaml"), "nothing.csv")


def test_init_says_why_it_chose_the_task_and_the_columns(tunedeploy: Command, tmp_path: Path) -> None:
    rows = "".join(f"das ist der Text {n},{'gut' if n % 3 else 'schlecht'}\n" for n in range(60))
    (tmp_path / "kunden.csv").write_text(f"Kundentext,Bewertung\n{rows}", encoding="utf-8")
    done = tunedeploy("init", tmp_path / "kunden.csv")
    assert "'Kundentext' as text, by its cells; 'Bewertung' as category, by its cells" in done.out
    found = json.loads(tunedeploy("init", tmp_path / "kunden.csv", "-o", "b.yaml", "--json").out)
    assert found["columns"] == {"text": "Kundentext", "label": "Bewertung"}
    assert found["why"] in done.out
    (tmp_path / "numbers.csv").write_text("a,b\n" + "".join(f"{n},{n / 7}\n" for n in range(60)))
    refused(tunedeploy("init", tmp_path / "numbers.csv", "-o", "c.yaml"), "no task fits the columns 'a', 'b'")


# ---- 2: usage


def test_eval_of_a_bundle_without_data_exits_with_2(tunedeploy: Command, text_run: Finished) -> None:
    refused(tunedeploy("eval", text_run.dist), "has no data", "--data", code=2)


def test_predict_of_nothing_exits_with_2(tunedeploy: Command, text_run: Finished) -> None:
    refused(tunedeploy("predict", text_run.dist), "nothing to predict", code=2)


def test_an_unknown_check_exits_with_2_and_lists_those_there_are(tunedeploy: Command, text_run: Finished) -> None:
    for path in (text_run.run, text_run.dist):
        done = tunedeploy("verify", path, "--checks", "parity,metrics")
        refused(done, "unknown check 'metrics'; known: integrity, parity, preprocessing, metric", code=2)


# ---- 3: breach


@pytest.mark.parametrize("check", ["integrity", "parity", "preprocessing", "metric"])
def test_each_check_runs_alone_and_together(check: str, tunedeploy: Command, text_run: Finished) -> None:
    for path in (text_run.run, text_run.dist):
        whole = tunedeploy("verify", path, "--json").document["checks"]
        alone = tunedeploy("verify", path, "--checks", check, "--json").document["checks"]
        assert alone
        names = {one["name"] for one in whole}
        assert {one["name"] for one in alone} < names


def test_parity_is_tested_with_hashes_ignored(tunedeploy: Command, text_run: Finished) -> None:
    (text_run.dist / "labels.json").write_text('["food",   "sport", "weather"]\n')  # the same labels, other bytes
    assert tunedeploy("verify", text_run.dist, "--checks", "parity,preprocessing,metric").code == 0
    assert tunedeploy("verify", text_run.dist).code == 3


def test_a_breach_exits_with_3_and_a_line_with_stage_file_number_and_limit(
    tunedeploy: Command, text_run: Finished
) -> None:
    edit_json(text_run.dist / "parity" / "golden.json", labels=["sport", "food", "weather"])
    repair_bundle(text_run.dist)
    done = tunedeploy("verify", text_run.dist)
    assert done.code == 3
    assert done.errors == ["bundle: labels.json: label lists that differ: 6, allowed 0"]
    assert "BREACH" in done.out


def test_a_missed_budget_exits_with_3_and_the_numbers(tunedeploy: Command, text_run: Finished) -> None:
    for option in (["--max-size", "0.0001"], ["--max-latency", "0.000001"]):
        done = tunedeploy("export", text_run.run, *option)
        assert (done.code, done.out) == (3, "")
        assert done.errors
        assert all(line.startswith("quantize: int8") and "allowed" in line for line in done.errors)
        assert not text_run.dist.exists()


def test_a_breach_of_run_exits_with_3_for_the_shell_too(text_run: Finished) -> None:
    """The same through a real process: what a Makefile or a CI job sees."""
    command = ["run", text_run.recipe, "export.max_size=0.0001", "--run", text_run.run, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "tunedeploy", *map(str, command)], capture_output=True, text=True, env=dict(os.environ)
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: quantize: int8")


def test_an_interruption_is_one_line_and_the_same_command_goes_on(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.write(tmp_path / "r.yaml", "text-classification", tune={"method": "full"}, train={"epochs": 2000})
    command = [sys.executable, "-m", "tunedeploy", "train", str(recipe), "train.save_steps=1", "--run", "run"]

    def heeding_signals() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a suite that a shell runs in the background ignores it

    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=heeding_signals
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 2"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read().splitlines()
    assert process.returncode == 130
    assert rest[-1] == "error: interrupted; what was finished is kept, the same command goes on from there"
    assert not any("Traceback" in line for line in rest)
    assert (tmp_path / "run" / "train" / "checkpoint").is_dir()


@pytest.mark.parametrize("rows", [9, 15])
def test_a_handful_of_rows_ends_with_a_bundle(rows: int, tunedeploy: Command, tiny: Tiny, tmp_path: Path) -> None:
    data = texts(tmp_path / "few.csv", rows=rows)
    recipe = tiny.write(tmp_path / "few.yaml", "text-classification", data={"train": str(data)}, train={"epochs": 3})
    done = tunedeploy("run", recipe, "--run", tmp_path / "run")
    assert done.code == 0, done.errors


def test_a_model_of_pairs_takes_no_single_text(tunedeploy: Command, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(
        "first,second,label\n" + "".join(f"soup {n},{'rain' if n % 2 else 'goal'},{'ab'[n % 2]}\n" for n in range(40))
    )
    columns = {"train": str(tmp_path / "pairs.csv"), "text": "first", "text_pair": "second"}
    recipe = tiny.write(tmp_path / "r.yaml", "text-classification", data=columns)
    assert tunedeploy("run", recipe, "--run", tmp_path / "run").code == 0
    refused(tunedeploy("predict", tmp_path / "run" / "dist", "soup", "rain"), "reads pairs of texts", "--data", code=2)


def test_predict_takes_inputs_or_a_file_and_a_list_of_them(tunedeploy: Command, text_run: Finished) -> None:
    refused(tunedeploy("predict", text_run.dist, "soup", "--data", "x.csv"), "both inputs and --data x.csv", code=2)
    with pytest.raises(TypeError, match="takes a list of inputs"):
        load_bundle(text_run.dist).predict("soup")


def test_a_second_command_on_a_run_waits_for_nobody_and_says_so(tunedeploy: Command, text_run: Finished) -> None:
    with (text_run.run / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = tunedeploy("run", text_run.recipe, "--run", text_run.run)
        refused(done, "another tunedeploy command works on this run", "--run")
    assert tunedeploy("run", text_run.recipe, "--run", text_run.run).code == 0


@pytest.mark.parametrize("rank", ["x", "", "-1", "1.5"])
def test_a_rank_that_is_not_a_number_is_one_line(
    rank: str, tunedeploy: Command, text_run: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", rank)
    refused(tunedeploy("plan", text_run.recipe), f"RANK: expected a number, got {rank!r}")


def test_a_message_is_one_line_whatever_stands_in_a_name(tunedeploy: Command) -> None:
    refused(tunedeploy("plan", "no\nsuch\x1b[31m\u2028file\x07.yaml"), "no\\nsuch\\x1b[31m\\u2028file\\x07.yaml")


@pytest.mark.parametrize("where", ["a link", "a link to nothing"])
def test_a_bundle_goes_where_a_link_leads(where: str, tunedeploy: Command, text_run: Finished, tmp_path: Path) -> None:
    if where == "a link":
        shutil.copytree(text_run.dist, tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert tunedeploy("export", text_run.run, "-o", tmp_path / "link").code == 0
    assert (tmp_path / "link").is_symlink()
    assert tunedeploy("verify", tmp_path / "real").code == 0


def test_bench_of_a_run_refuses_the_bundle_of_an_earlier_recipe(tunedeploy: Command, text_run: Finished) -> None:
    (text_run.run / "stages" / "bundle.json").unlink()
    refused(tunedeploy("bench", text_run.run), "stage 'bundle' has not been finished", "tunedeploy export")


def test_a_file_that_vanishes_is_one_line_and_a_bug_is_not(
    monkeypatch: pytest.MonkeyPatch, tunedeploy: Command
) -> None:
    from tunedeploy.commands import doctor

    def gone() -> None:
        raise FileNotFoundError(2, "No such file or directory", "pictures/a.png")

    monkeypatch.setattr(doctor, "examine", gone)
    refused(tunedeploy("doctor"), "pictures/a.png: No such file or directory; check that path")
    monkeypatch.setattr(doctor, "examine", lambda: os.close(10_000))
    with pytest.raises(OSError, match="Bad file descriptor"):
        tunedeploy("doctor")


def test_a_bundle_is_not_copied_into_itself(tunedeploy: Command, text_run: Finished) -> None:
    refused(tunedeploy("export", text_run.run, "-o", text_run.dist / "sub"), "lies in the run's own bundle")
    assert tunedeploy("export", text_run.run, "-o", text_run.dist).code == 0
    assert tunedeploy("verify", text_run.dist).code == 0


@pytest.mark.parametrize("content", ["{}", "{bad", "[]", ""])
def test_a_damaged_record_is_one_line_and_run_makes_it_again(
    content: str, tunedeploy: Command, text_run: Finished
) -> None:
    (text_run.run / "stages" / "merge.json").write_text(content)
    refused(tunedeploy("verify", text_run.run), "merge.json")
    assert tunedeploy("run", text_run.recipe, "--run", text_run.run).code == 0
    assert tunedeploy("verify", text_run.run).code == 0


def test_a_node_that_is_to_be_excluded_and_is_not_there_is_named(tunedeploy: Command, text_run: Finished) -> None:
    done = tunedeploy("run", text_run.recipe, "export.exclude=[node_typo]", "--run", text_run.run)
    refused(done, "export.exclude", "no node 'node_typo'", "diagnose")


def test_no_check_at_all_is_a_mistake_and_blanks_are_not(tunedeploy: Command, text_run: Finished) -> None:
    refused(tunedeploy("verify", text_run.dist, "--checks", ""), "unknown check ''", code=2)
    assert tunedeploy("verify", text_run.dist, "--checks", "parity, metric").code == 0


def test_init_into_a_folder_that_is_not_there_is_one_line(tunedeploy: Command, tiny: Tiny) -> None:
    refused(tunedeploy("init", tiny["texts"], "-o", "no/such/r.yaml"), "folder no/such does not exist")
