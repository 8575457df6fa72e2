"""The loop computes the same whatever a step is split into, keeps the best state, and stops when told."""

import contextlib
import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import Tiny, base_of, job, texts
from tunedeploy import plugins, progress
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.decisions import classes, one_a_row
from tunedeploy.device.decisions.classes import score
from tunedeploy.device.files import read_json
from tunedeploy.errors import ModelError, UserError
from tunedeploy.recipe.read import Recipe
from tunedeploy.run import pipeline
from tunedeploy.run.folder import RunDir
from tunedeploy.stages.train import checkpoint_key
from tunedeploy.training import loop
from tunedeploy.training.job import Job
from tunedeploy.training.loop import epoch_windows, optimizer_of, take_step
from tunedeploy.training.scores import write_report

TASKS = ("text-classification", "image-classification")
SPLITS = [(8, 1), (4, 2), (2, 4)]


def steps_of(made: Job) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The loss of every step of one epoch, and the weights after it."""
    options = made.recipe.train
    model, optimizer = made.accelerator.prepare(made.module, optimizer_of(made))
    windows = epoch_windows(made, options.batch_size * options.accumulate, 0)
    losses = [take_step(made, model, optimizer, window, at) for at, window in enumerate(windows)]
    return losses, {name: value.clone() for name, value in made.module.state_dict().items()}


@pytest.fixture(scope="module")
def skewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences of which eight in ten are of one class."""
    return texts(tmp_path_factory.mktemp("skewed") / "skewed.csv", rows=90, shares=(0.1, 0.8, 0.1))


# Adam divides a gradient by its own size, so that of a key's bias, which is rounding noise about zero, moves the weight
# as far as a true one; SGD shows what the gradients are, and LoRA has no such parameter.
@pytest.mark.parametrize(("method", "optimizer"), [("lora", "adamw"), ("full", "sgd")])
@pytest.mark.parametrize("balance", ["none", "weights"])
@pytest.mark.parametrize("model", ["bert", "vit"])
def test_8x1_and_4x2_and_2x4_give_the_same_losses_and_the_same_weights(  # noqa: PLR0913
    model: str, method: str, optimizer: str, balance: str, tiny: Tiny, skewed: Path, tmp_path: Path
) -> None:
    found = []
    for batch_size, accumulate in SPLITS:
        recipe = tiny.recipe(
            tmp_path / "r.yaml",
            "text-classification" if model == "bert" else "image-classification",
            model=str(tiny[model]),
            data={"train": str(skewed)} if model == "bert" else {},
            tune={"method": method},
            train={
                "batch_size": batch_size,
                "accumulate": accumulate,
                "optimizer": optimizer,
                "balance": balance,
                "label_smoothing": 0.1,
            },
        )
        found.append(steps_of(job(recipe, tmp_path)))
    (losses, weights), *others = found
    assert len(losses) >= 4
    assert losses[-1] != losses[0]
    for other_losses, other_weights in others:
        assert other_losses == pytest.approx(losses, abs=1e-5)
        worst = max((other_weights[name] - value).abs().max() for name, value in weights.items())
        assert worst < 1e-5


def test_a_step_minimises_the_weighted_mean_of_its_window(tiny: Tiny, skewed: Path, tmp_path: Path) -> None:
    recipe = tiny.recipe(
        tmp_path / "r.yaml",
        "text-classification",
        data={"train": str(skewed)},
        train={"balance": "weights", "label_smoothing": 0.0},
    )
    made = job(recipe, tmp_path)
    window = epoch_windows(made, 8, 0)[0]
    label_ids = torch.from_numpy(made.classes[window])
    counts = np.bincount(made.classes)
    by_hand = torch.tensor(np.minimum(len(made.classes) / (3 * counts), 10.0)[made.classes[window]])
    made.module.eval()
    with torch.inference_mode():
        rows = -torch.log_softmax(made.module(**made.train.inputs(window)).double(), 1)[range(len(window)), label_ids]
    expected = float((rows * by_hand).sum() / by_hand.sum())
    model, optimizer = made.accelerator.prepare(made.module, optimizer_of(made))
    assert take_step(made, model, optimizer, window, 0) == pytest.approx(expected, abs=1e-6)


def test_label_smoothing_is_a_share_of_the_mean_over_all_labels(tiny: Tiny, tmp_path: Path) -> None:
    found = {}
    for smoothing in (0.0, 0.3):
        recipe = tiny.recipe(tmp_path / "r.yaml", "text-classification", train={"label_smoothing": smoothing})
        made = job(recipe, tmp_path)
        window = epoch_windows(made, 8, 0)[0]
        model, optimizer = made.accelerator.prepare(made.module, optimizer_of(made))
        made.module.eval()
        with torch.inference_mode():
            chances = torch.log_softmax(made.module(**made.train.inputs(window)).double(), 1)
        plain = -chances[range(len(window)), torch.from_numpy(made.classes[window])].mean()
        expected = (1 - smoothing) * plain - smoothing * chances.mean(1).mean()
        found[smoothing] = take_step(made, model, optimizer, window, 0)
        assert found[smoothing] == pytest.approx(float(expected), abs=1e-6)
    assert found[0.0] != pytest.approx(found[0.3], abs=1e-3)


def test_auto_weighs_classes_of_skewed_data_and_resample_evens_them_out(tiny: Tiny, tmp_path: Path) -> None:
    data = {"train": str(texts(tmp_path / "skewed.csv", rows=300, shares=(0.05, 0.9, 0.05)))}
    made = {
        balance: job(
            tiny.recipe(tmp_path / "r.yaml", "text-classification", data=data, train={"balance": balance}), tmp_path
        )
        for balance in ("auto", "none", "resample")
    }
    assert made["auto"].metric == "macro_f1"
    assert len(np.unique(made["auto"].row_weights)) > 1
    assert set(made["none"].row_weights) == {1.0}
    assert set(made["resample"].row_weights) == {1.0}
    drawn = {
        name: np.bincount(one.classes[np.concatenate(epoch_windows(one, 8, 0))]) / len(one.classes)
        for name, one in made.items()
    }
    assert drawn["none"].max() > 0.8
    assert drawn["resample"] == pytest.approx([1 / 3] * 3, abs=0.12)


def train(recipe: Recipe, folder: Path) -> dict[str, Any]:
    return dict(pipeline.run(recipe, RunDir(folder), until="train")["train"].result)


def test_training_stops_after_patience_epochs_without_a_better_evaluation(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(
        tmp_path / "r.yaml",
        "image-classification",
        tune={"method": "full", "head_lr": 1e-12},
        train={"epochs": 50, "lr": 1e-12, "patience": 3},
    )
    result = train(recipe, tmp_path / "run")
    assert len(result["history"]) == 4
    assert result["best_epoch"] == 1


def test_the_best_state_is_kept_and_not_the_last(tiny: Tiny, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"  # what is learned from the training rows costs accuracy on these
    for label, other in {"blue": "green", "green": "red", "red": "blue"}.items():
        shutil.copytree(tiny["images"] / label, wrong / other)
    recipe = tiny.recipe(
        tmp_path / "r.yaml",
        "image-classification",
        model=str(tiny["vit"]),
        data={"eval": str(wrong)},
        tune={"method": "full", "head_lr": 0.001},
        train={"epochs": 8, "lr": 0.001, "warmup": 1.0},
    )
    result = train(recipe, tmp_path / "run")
    accuracies = [one["accuracy"] for one in result["history"]]
    assert len(accuracies) == 8
    assert accuracies[-1] == 0 < max(accuracies)
    assert accuracies.index(max(accuracies)) + 1 == result["best_epoch"]
    logits = np.load(tmp_path / "run" / "train" / "eval_logits.npy")
    label_ids = np.array(data_of(recipe).eval["label"])
    assert score("accuracy", logits, label_ids) == pytest.approx(max(accuracies), abs=1e-4)
    assert result["metrics"]["accuracy"] == pytest.approx(max(accuracies), abs=1e-4)
    assert read_json(tmp_path / "run" / "train" / "metrics.json")["accuracy"] == result["metrics"]["accuracy"]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_rate_that_ruins_the_weights_is_one_line_and_no_run(optimizer: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(
        tmp_path / "r.yaml",
        "image-classification",
        tune={"method": "full", "head_lr": 1e30},
        train={"epochs": 5, "lr": 1e30, "clip": 0.0, "optimizer": optimizer},
    )
    with pytest.raises(UserError, match=r"train: .* (NaN|nan|inf).*; lower train.lr \(1e\+30 now\)") as raised:
        train(recipe, tmp_path / "run")
    assert len(raised.value.lines) == 1
    assert not (tmp_path / "run" / "train" / "head.safetensors").exists()


def test_a_run_ends_with_a_report_and_a_confusion_matrix_of_every_evaluation_row(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "text-classification")
    train(recipe, tmp_path / "run")
    rows = [line.split(",") for line in (tmp_path / "run" / "train" / "confusion.csv").read_text().splitlines()]
    labels = ["food", "sport", "weather"]
    assert rows[0][1:] == [row[0] for row in rows[1:]] == labels
    assert sum(int(cell) for row in rows[1:] for cell in row[1:]) == len(data_of(recipe).eval)
    report = (tmp_path / "run" / "train" / "report.txt").read_text()
    assert all(word in report for word in (*labels, "macro avg", "accuracy"))


@pytest.mark.parametrize("task", TASKS)
def test_what_is_trained_tells_rows_apart_that_it_has_not_seen(task: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", task, train={"epochs": 6, "lr": 0.02})
    history = train(recipe, tmp_path / "run")["history"]
    assert history[-1]["eval_loss"] < 0.9 * np.log(3)  # of a guess
    assert history[-1]["accuracy"] > 60


def test_a_budget_of_time_ends_training_early_with_a_finished_run(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "image-classification", train={"epochs": 100000, "budget": "1s"})
    result = train(recipe, tmp_path / "run")
    assert 1 <= len(result["history"]) < 1000
    assert (tmp_path / "run" / "train" / "head.safetensors").is_file()


def test_the_rate_of_the_recipe_is_that_of_a_trunk_from_random_weights(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(
        tmp_path / "r.yaml",
        "image-classification",
        model="torchvision://shufflenet_v2_x0_5",
        data={"image_size": 64},
        tune={"method": "full"},
        train={"lr": 0.0123},
    )
    assert {group["lr"] for group in optimizer_of(job(recipe, tmp_path)).param_groups} == {0.0123}


def test_the_new_head_of_a_pretrained_trunk_has_a_rate_of_its_own(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(
        tmp_path / "r.yaml", "text-classification", tune={"method": "full", "head_lr": 0.5}, train={"lr": 0.001}
    )
    made = job(recipe, tmp_path)
    rates = {id(one): group["lr"] for group in optimizer_of(made).param_groups for one in group["params"]}
    by_name = {name: rates[id(one)] for name, one in made.module.named_parameters() if one.requires_grad}
    assert {name for name, rate in by_name.items() if rate == 0.5} == {"head.weight", "head.bias"}
    assert {rate for name, rate in by_name.items() if name.startswith("trunk.")} == {0.001}


def test_vectors_are_not_decayed_and_matrices_are(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(
        tmp_path / "r.yaml", "text-classification", tune={"method": "full"}, train={"weight_decay": 0.3}
    )
    groups = optimizer_of(job(recipe, tmp_path)).param_groups
    assert {(one.dim() > 1, group["weight_decay"]) for group in groups for one in group["params"]} == {
        (True, 0.3),
        (False, 0.0),
    }


class Interrupt:
    """Ends the program, as a user would, when a note begins with a text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)
        if text.startswith(self.text):
            raise KeyboardInterrupt

    def update(self, name: str, done: float, total: float, text: str) -> None:
        pass


@contextlib.contextmanager
def interrupted(text: str) -> Iterator[None]:
    with progress.listen(Interrupt(text)), pytest.raises(KeyboardInterrupt):
        yield


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "train" / "adapter.safetensors") | load_file(folder / "train" / "head.safetensors")


@pytest.mark.parametrize("save_steps", [1, 3, None])
@pytest.mark.parametrize(
    ("model", "tune"),
    [("bert", {"method": "lora", "dropout": 0.2}), ("resnet", {"method": "full"})],  # dropout; running statistics
    ids=["dropout", "batch normalisation"],
)
def test_a_run_interrupted_while_it_evaluates_goes_on_to_the_same_bits(
    model: str, tune: dict[str, Any], save_steps: int | None, tiny: Tiny, tmp_path: Path
) -> None:
    recipe = tiny.recipe(
        tmp_path / "r.yaml",
        "text-classification" if model == "bert" else "image-classification",
        tune=tune,
        train={"epochs": 3, "save_steps": save_steps},
    )
    train(recipe, tmp_path / "whole")
    with interrupted("epoch 2"):
        train(recipe, tmp_path / "cut")
    assert not (tmp_path / "cut" / "train" / "head.safetensors").exists()
    heard = Interrupt("no such note")
    with progress.listen(heard):
        train(recipe, tmp_path / "cut")
    assert [note for note in heard.notes if note.startswith("resumed after step")]
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())
    records = [read_json(tmp_path / name / "stages" / "train.json") for name in ("whole", "cut")]
    assert records[0]["result"] == records[1]["result"]
    assert not (tmp_path / "cut" / "train" / loop.checkpoint.NAME).exists()


@pytest.mark.parametrize("damaged", [1, 2])
@pytest.mark.parametrize("file", ["state.safetensors", "meta.json"])
@pytest.mark.parametrize("how", ["cut", "flipped", "gone"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    how: str, file: str, damaged: int, tiny: Tiny, tmp_path: Path
) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "text-classification", train={"epochs": 4})
    train(recipe, tmp_path / "whole")
    with interrupted("epoch 3"):
        train(recipe, tmp_path / "cut")
    folders = loop.checkpoint.numbered(tmp_path / "cut" / "train")
    assert [folder.name for folder in folders] == ["000002", "000001"]
    for folder in folders[:damaged]:
        content = bytearray((folder / file).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / file).write_bytes(content[: -len(content) // 3] if how == "cut" else content)
        if how == "gone":
            (folder / file).unlink()
    heard = Interrupt("no such note")
    with progress.listen(heard):
        train(recipe, tmp_path / "cut")
    assert len([note for note in heard.notes if note.endswith("passed over")]) == damaged
    assert len([note for note in heard.notes if note.startswith("resumed after step")]) == 2 - damaged
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())


def test_a_metric_of_nan_ends_training_in_one_line(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes.Classes, "score", lambda *arguments: float("nan"))
    with pytest.raises(UserError, match="train: accuracy is nan after epoch 1; check the rows of data.eval"):
        train(tiny.recipe(tmp_path / "r.yaml", "text-classification"), tmp_path / "run")
    assert not (tmp_path / "run" / "train" / "head.safetensors").exists()


def test_no_cell_of_the_confusion_matrix_is_a_formula_to_a_spreadsheet(tmp_path: Path) -> None:
    labels = ["=1+1", "+a", "-b", "@c", "\td", 'plain, "quoted"']
    task = plugins.load("tasks", "text-classification")
    write_report(tmp_path, task, one_a_row(np.eye(6)), np.arange(6), labels)
    with (tmp_path / "confusion.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == [row[0] for row in rows[1:]] == [*(f"'{label}" for label in labels[:5]), labels[5]]
    assert [[int(cell) for cell in row[1:]] for row in rows[1:]] == np.eye(6).tolist()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"train": {"lr": 0.0123}}, "another recipe"),
        ({"data": "other rows"}, "other data, as many rows"),
        ({"model": "other weights"}, "another model in the same place"),
    ],
    ids=["recipe", "data", "model"],
)
def test_a_checkpoint_of_something_else_is_not_gone_on_from(
    change: dict[str, Any], why: str, tiny: Tiny, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny["bert"], tmp_path / "bert"))
    data = texts(tmp_path / "rows.csv")
    options = {"epochs": 3}
    recipe = tiny.recipe(
        tmp_path / "r.yaml", "text-classification", model=str(model), data={"train": str(data)}, train=options
    )
    with interrupted("epoch 2"):
        train(recipe, tmp_path / "cut")
    if "data" in change:
        data.write_text(data.read_text().replace("the", "some"), encoding="utf-8")
    if "model" in change:
        state = {name: value * 1.1 for name, value in load_file(model / "model.safetensors").items()}
        save_file(state, model / "model.safetensors", metadata={"format": "pt"})
    recipe = tiny.recipe(
        tmp_path / "r.yaml",
        "text-classification",
        model=str(model),
        data={"train": str(data)},
        train=options | change.get("train", {}),
    )
    heard = Interrupt("no such note")
    with progress.listen(heard):
        train(recipe, tmp_path / "cut")
    assert not [note for note in heard.notes if note.startswith("resumed")], why


def test_a_checkpoint_of_one_process_is_not_gone_on_from_by_two(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "text-classification")
    model = base_of(recipe)
    keys = [checkpoint_key(recipe, data_of(recipe), model, processes) for processes in (1, 2, 1)]
    assert keys[0] == keys[2] != keys[1]


def test_fresh_does_not_go_on_from_a_checkpoint(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "text-classification", train={"epochs": 3})
    with interrupted("epoch 2"):
        train(recipe, tmp_path / "cut")
    heard = Interrupt("no such note")
    with progress.listen(heard):
        pipeline.run(recipe, RunDir(tmp_path / "cut"), until="train", fresh=True)
    assert not [note for note in heard.notes if note.startswith("resumed")]


def test_a_batch_of_one_row_that_batch_norm_cannot_learn_from_is_one_line(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(
        tmp_path / "r.yaml", "image-classification", model="torchvision://mobilenet_v3_small",
        tune={"method": "full"}, train={"batch_size": 1}, data={"image_size": 32},
    )  # fmt: skip
    with pytest.raises(UserError, match=r"BatchNorm cannot learn from a batch of one row; raise train.batch_size"):
        pipeline.run(recipe, RunDir(tmp_path / "run"), until="train")


@pytest.mark.parametrize("method", ["last-layer", "lora"])
def test_a_trunk_that_tells_no_row_from_another_is_refused_in_one_line(method: str, tiny: Tiny, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny["resnet"], tmp_path / "dead"))
    weights = load_file(folder / "model.safetensors")
    save_file({name: value * 0 for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    recipe = tiny.recipe(tmp_path / "r.yaml", "image-classification", model=str(folder), tune={"method": method})
    with pytest.raises(ModelError, match="all rows get the same features, so a head learns nothing"):
        pipeline.run(recipe, RunDir(tmp_path / "run"), until="train")
