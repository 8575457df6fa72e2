"""Every way to get a recipe wrong has its exact line: place, problem, cure."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.recipe_plugins import stand_in
from tunedeploy.errors import RecipeError
from tunedeploy.recipe import read as recipe

TOP = "task: text-classification\nmodel: org/small\n"
GOOD = TOP + "data: {train: reviews.csv}\n"  # three lines: what a test appends starts on line 4


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    (tmp_path / "reviews.csv").write_text("text,label\n")
    monkeypatch.chdir(tmp_path)


def lines_of(text: str | bytes, *overrides: str) -> list[str]:
    """The lines of the error that a recipe raises, the working directory written as HERE."""
    Path("r.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(RecipeError) as caught:
        recipe.read(Path("r.yaml"), overrides)
    assert caught.value.exit_code == 1
    return [line.replace(str(Path.cwd()), "HERE") for line in caught.value.lines]


WHOLE_FILE: dict[str, tuple[str | bytes, list[str]]] = {
    "empty": ("", ["r.yaml: empty; a recipe needs task, model and data.train"]),
    "only a comment": ("# later\n", ["r.yaml: empty; a recipe needs task, model and data.train"]),
    "another library's name of a task": (
        "task: sequence-classification\nmodel: m\ndata: {train: a/b}\n",
        ["r.yaml:1:7: task: no task 'sequence-classification'; did you mean 'text-classification'?"],
    ),
    "another library's name of a task, written with spaces": (
        "task: Sequence Classification\nmodel: m\ndata: {train: a/b}\n",
        ["r.yaml:1:7: task: no task 'Sequence Classification'; did you mean 'text-classification'?"],
    ),
    "a list": (
        "- task: text-classification\n",
        ["r.yaml:1:1: a recipe is keys and values such as 'task: text-classification', not a list"],
    ),
    "a text": (
        "text-classification\n",
        ["r.yaml:1:1: a recipe is keys and values such as 'task: text-classification', not 'text-classification'"],
    ),
    "not utf-8": (
        TOP.encode() + b"data: {train: caf\xe9.csv}\n",
        ["r.yaml:3:18: byte 0xe9 is not UTF-8 text; save the file as UTF-8"],
    ),
    "utf-16": ("task: x\n".encode("utf-16"), ["r.yaml:1:1: byte 0xff is not UTF-8 text; save the file as UTF-8"]),
    "a tab": (TOP + "data:\n\ttrain: reviews.csv\n", ["r.yaml:4:1: a tab; YAML is indented with spaces"]),
    "a control character": (
        TOP + "data: {train: a\x07}\n",
        ["r.yaml:3:16: character U+0007 is not allowed in YAML; delete it"],
    ),
    "an open bracket": (
        TOP + "data: {train: reviews.csv\n",
        [
            "r.yaml:3:7: not YAML: expected ',' or '}', but got '<stream end>'; "
            "close the bracket, or put a comma between its parts"
        ],
    ),
    "an open quote": (
        TOP + "data: {train: 'reviews.csv}\n",
        ["r.yaml:3:15: not YAML: found unexpected end of stream; close the quote"],
    ),
    "a colon in a text": (
        TOP + "data:\n  train: reviews: all.csv\n",
        ["r.yaml:4:17: not YAML: mapping values are not allowed here; quote text that contains ': '"],
    ),
    "a percent sign": (
        TOP + "data: {train: %all}\n",
        ["r.yaml:3:15: not YAML: found character '%' that cannot start any token; quote text that starts with %"],
    ),
    "a word alone on its line": (
        GOOD + "fast\ntune: {method: lora}\n",
        ["r.yaml:4:1: not YAML: could not find expected ':'; write 'key: value'"],
    ),
    "uneven indentation": (
        TOP + "data:\n  train: reviews.csv\n text: review\n",
        [
            "r.yaml:5:2: not YAML: expected <block end>, but found '<block mapping start>'; "
            "line it up with the keys above it"
        ],
    ),
    "an alias of nothing": (
        TOP + "data: {train: *reviews}\n",
        ["r.yaml:3:15: not YAML: found undefined alias 'reviews'; define it before with &"],
    ),
    "two documents": (
        GOOD + "---\n" + GOOD,
        ["r.yaml:4:1: a second document starts here; a recipe is a single one, so delete this '---'"],
    ),
    "nested without end": ("a: " + "[" * 5000, ["r.yaml: nested too deeply; a recipe is sections of keys"]),
}

STRUCTURE: dict[str, tuple[str, list[str]]] = {
    "nothing required": (
        "tune: {method: lora}\n",
        [
            "r.yaml:1:1: data is missing; add 'data: {train: reviews.csv}'",
            "r.yaml:1:1: model is missing; add 'model: NAME'",
            "r.yaml:1:1: task is missing; add 'task: NAME'; known: image-classification, text-classification",
        ],
    ),
    "data without train": (
        TOP + "data:\n  text: review\n",
        ["r.yaml:3:1: data.train is missing; add 'train: ...' to data"],
    ),
    "weights without a model": (
        "task: text-classification\nmodel: {weights: org/w}\ndata: {train: reviews.csv}\n",
        ["r.yaml:2:1: model.name is missing; add 'name: ...' to model"],
    ),
    "data is a lone value": (
        TOP + "data: reviews.csv\n",
        ["r.yaml:3:7: data must be keys and values, not 'reviews.csv'; write 'data: {train: reviews.csv}'"],
    ),
    "tune is a lone value": (
        GOOD + "tune: full\n",
        ["r.yaml:4:7: tune must be keys and values, not 'full'; write 'tune: {method: full}'"],
    ),
    "train is a number": (
        GOOD + "train: 3\n",
        ["r.yaml:4:8: train must be keys and values, not 3; write 'train: {epochs: 3}'"],
    ),
    "train is a list": (
        GOOD + "train:\n- epochs: 3\n",
        ["r.yaml:5:1: train must be keys and values, not a list; write 'train: {epochs: 3}'"],
    ),
    "an empty section": (
        GOOD + "train:\nexport: {quantize: int8}\n",
        ["r.yaml:4:1: train is empty; write 'train: {epochs: 3}' or delete the line"],
    ),
    "an empty section that is needed": (
        TOP + "data:\n",
        ["r.yaml:3:1: data is empty; write 'data: {train: reviews.csv}'"],
    ),
    "a duplicate section": (
        GOOD + "model: org/other\n",
        ["r.yaml:4:1: duplicate key 'model'; already set on line 2"],
    ),
    "a duplicate key": (
        GOOD + "train:\n  lr: 0.1\n  epochs: 2\n  lr: 0.2\n",
        ["r.yaml:7:3: duplicate key 'lr'; already set on line 5"],
    ),
    "a tag": (
        GOOD + "tune: {method: !!python/name:os.system lora}\n",
        ["r.yaml:4:16: the tag !!python/name:os.system is not allowed; write the plain value"],
    ),
    "a list for a key": (GOOD + "? [a, b]\n: 3\n", ["r.yaml:4:3: a key is a word, not a list or a mapping"]),
    "an anchor inside itself": (
        GOOD + "export: {quantize: &q [int8, *q]}\n",
        [
            "r.yaml:4:20: an anchor that refers to itself; write the value out",
            "r.yaml:4:20: export.quantize: must be text, not empty; give it a value or delete the line",
        ],
    ),
}

KEYS: dict[str, tuple[str, list[str]]] = {
    "a typo at the top": (GOOD + "trian: {lr: 0.1}\n", ["r.yaml:4:1: unknown key 'trian'; did you mean 'train'?"]),
    "a strange key at the top": (
        GOOD + "wandb: online\n",
        ["r.yaml:4:1: unknown key 'wandb'; known: task, model, data, tune, train, export"],
    ),
    "a typo in a section": (
        TOP + "data:\n  train: reviews.csv\n  lable: stars\n",
        ["r.yaml:5:3: unknown key 'lable' in data; did you mean 'label'?"],
    ),
    "a hyphen for an underscore": (
        GOOD + "train: {batch-size: 8}\n",
        ["r.yaml:4:9: unknown key 'batch-size' in train; did you mean 'batch_size'?"],
    ),
    "a strange key in a section": (
        GOOD + "tune: {zzz: 8}\n",
        ["r.yaml:4:8: unknown key 'zzz' in tune; known: pooling, rank, alpha, dropout, rslora, dora, method"],
    ),
    "a key of another section": (
        GOOD + "tune: {lr: 0.1}\n",
        ["r.yaml:4:8: unknown key 'lr' in tune; it belongs in train"],
    ),
    "a key outside its section": (
        GOOD + "epochs: 3\n",
        ["r.yaml:4:1: unknown key 'epochs'; write 'train: {epochs: 3}'"],
    ),
    "a dotted key": (
        GOOD + "train.epochs: 3\n",
        ["r.yaml:4:1: unknown key 'train.epochs'; write 'train: {epochs: 3}'"],
    ),
    "a key of another method": (
        GOOD + "tune: {method: full, rank: 4}\n",
        ["r.yaml:4:22: unknown key 'rank' in tune; only method lora has it"],
    ),
    "a key of another task": (
        TOP + "data: {train: reviews.csv, image_size: 224}\n",
        ["r.yaml:3:28: unknown key 'image_size' in data; only task image-classification has it"],
    ),
    "another tool's name in its section": (
        GOOD + "train: {num_train_epochs: 3}\n",
        ["r.yaml:4:9: unknown key 'num_train_epochs' in train; here it is called 'epochs'"],
    ),
    "another tool's name at the top": (
        GOOD + "learning_rate: 0.001\n",
        ["r.yaml:4:1: unknown key 'learning_rate'; write 'train: {lr: 0.001}'"],
    ),
    "another tool's name in the wrong section": (
        GOOD + "train: {lora_r: 8}\n",
        ["r.yaml:4:9: unknown key 'lora_r' in train; here it is called 'rank' and belongs in tune"],
    ),
    "another tool's name for another method": (
        GOOD + "tune: {method: last-layer, r: 8}\n",
        ["r.yaml:4:28: unknown key 'r' in tune; here it is called 'rank', and only method lora has it"],
    ),
    "another tool's name of the model": (
        "task: text-classification\nmodel_name_or_path: org/small\ndata: {train: reviews.csv}\n",
        [
            "r.yaml:1:1: model is missing; add 'model: NAME'",
            "r.yaml:2:1: unknown key 'model_name_or_path'; write 'model: org/small'",
        ],
    ),
    "another tool's name of a section": (
        TOP + "dataset: {train: reviews.csv}\n",
        [
            "r.yaml:1:1: data is missing; add 'data: {train: reviews.csv}'",
            "r.yaml:3:1: unknown key 'dataset'; did you mean 'data'?",
        ],
    ),
}

VALUES: dict[str, tuple[str, list[str]]] = {
    "a float without a point": (
        GOOD + "train: {lr: 1e-4}\n",
        ["r.yaml:4:13: train.lr: must be a number, not '1e-4'; YAML reads 1e-4 as text, write 1.0e-4"],
    ),
    "a float without a sign": (
        GOOD + "export: {max_size: 1.5e2}\n",
        ["r.yaml:4:20: export.max_size: must be a number, not '1.5e2'; YAML reads 1.5e2 as text, write 1.5e+2"],
    ),
    "a number in quotes": (
        GOOD + "train: {lr: '0.1'}\n",
        ["r.yaml:4:13: train.lr: must be a number, not '0.1'; remove the quotes"],
    ),
    "a float for a count": (
        GOOD + "train: {epochs: 3.0}\n",
        ["r.yaml:4:17: train.epochs: must be a whole number, not 3.0; write 3"],
    ),
    "half an epoch": (
        GOOD + "train: {epochs: 0.5}\n",
        ["r.yaml:4:17: train.epochs: must be a whole number, not 0.5"],
    ),
    "words for a count": (
        GOOD + "train: {epochs: three}\n",
        ["r.yaml:4:17: train.epochs: must be a whole number, not 'three'"],
    ),
    "a boolean for a count": (
        GOOD + "train: {accumulate: yes}\n",
        ["r.yaml:4:21: train.accumulate: must be a whole number, not true"],
    ),
    "a boolean for a number": (GOOD + "train: {clip: off}\n", ["r.yaml:4:15: train.clip: must be a number, not false"]),
    "a text for a boolean": (
        GOOD + "export: {dynamic_size: enabled}\n",
        ["r.yaml:4:24: export.dynamic_size: must be true or false, not 'enabled'"],
    ),
    "nothing for a count": (
        GOOD + "train: {epochs: }\n",
        ["r.yaml:4:16: train.epochs: must be a whole number, not empty; give it a value or delete the line"],
    ),
    "not a number": (
        GOOD + "export: {max_drop: .nan}\n",
        ["r.yaml:4:20: export.max_drop: must be a finite number, not nan"],
    ),
    "infinity": (GOOD + "train: {lr: .inf}\n", ["r.yaml:4:13: train.lr: must be a finite number, not inf"]),
    "zero": (GOOD + "train: {lr: 0}\n", ["r.yaml:4:13: train.lr: must be greater than 0, not 0"]),
    "below the least": (
        GOOD + "train: {batch_size: 0}\n",
        ["r.yaml:4:21: train.batch_size: must be at least 1, not 0"],
    ),
    "above the most": (GOOD + "export: {opset: 99}\n", ["r.yaml:4:17: export.opset: must be at most 23, not 99"]),
    "a share of one": (
        TOP + "data: {train: reviews.csv, eval_share: 1}\n",
        ["r.yaml:3:40: data.eval_share: must be less than 1, not 1"],
    ),
    "a wrong choice": (
        GOOD + "train: {schedule: cosin}\n",
        [
            "r.yaml:4:19: train.schedule: must be linear, cosine, step, one-cycle or constant, not 'cosin'; "
            "did you mean 'cosine'?"
        ],
    ),
    "a number for a length of time": (
        GOOD + "train: {budget: 20}\n",
        ["r.yaml:4:17: train.budget: must be text, not 20; quote it: 'budget: \"20\"'"],
    ),
    "not a length of time": (
        GOOD + "train: {budget: soon}\n",
        ["r.yaml:4:17: train.budget: must be a length of time such as '20m', '1h30m' or '90s', not 'soon'"],
    ),
    "a column named no": (
        TOP + "data: {train: reviews.csv, label: no}\n",
        ["r.yaml:3:35: data.label: must be text, not false; YAML reads no as false, so quote it: 'label: \"no\"'"],
    ),
    "a column named 5": (
        TOP + "data: {train: reviews.csv, label: 5}\n",
        ["r.yaml:3:35: data.label: must be text, not 5; quote it: 'label: \"5\"'"],
    ),
    "a list for a text": (
        TOP + "data: {train: [reviews.csv]}\n",
        ["r.yaml:3:15: data.train: must be text, not a list"],
    ),
    "an empty text": (
        TOP + 'data: {train: ""}\n',
        ["r.yaml:3:15: data.train: must be non-empty text, not ''"],
    ),
    "neither branch of a union": (
        GOOD + "export: {quantize: int8, granularity: 0.5}\n",
        ["r.yaml:4:39: export.granularity: must be tensor or channel or a whole number, not 0.5"],
    ),
    "a model that is a list": (
        "task: text-classification\nmodel: [a, b]\ndata: {train: reviews.csv}\n",
        ["r.yaml:2:8: model must be keys and values, not a list; write 'model: NAME'"],
    ),
    "a model that is a number": (
        "task: text-classification\nmodel: 5\ndata: {train: reviews.csv}\n",
        ["r.yaml:2:8: model.name: must be text, not 5; quote it: 'name: \"5\"'"],
    ),
}

NAMES: dict[str, tuple[str, list[str]]] = {
    "a task misspelt": (
        "task: text_clasification\nmodel: org/small\ndata: {train: reviews.csv}\n",
        ["r.yaml:1:7: task: no task 'text_clasification'; did you mean 'text-classification'?"],
    ),
    "a task that is a number": (
        "task: 1\nmodel: org/small\ndata: {train: reviews.csv}\n",
        ["r.yaml:1:7: task: must be text, not 1"],
    ),
    "an empty task": (
        "task:\nmodel: org/small\ndata: {train: reviews.csv}\n",
        ["r.yaml:1:6: task: must be text, not empty"],
    ),
    "a method misspelt": (
        GOOD + "tune: {method: last_layers}\n",
        ["r.yaml:4:16: tune.method: no method 'last_layers'; did you mean 'last-layer'?"],
    ),
    "a method there is none of": (
        GOOD + "tune: {method: magic}\n",
        ["r.yaml:4:16: tune.method: no method 'magic'; known: full, last-layer, lora"],
    ),
    "a precision in a list": (
        GOOD + "export:\n  quantize:\n  - fp16\n  - int9\n",
        ["r.yaml:7:5: export.quantize: no precision 'int9'; did you mean 'int8'?"],
    ),
    "a number in a list of precisions": (
        GOOD + "export: {quantize: [int8, 4]}\n",
        ["r.yaml:4:27: export.quantize: must be text, not 4; quote it: 'quantize: \"4\"'"],
    ),
    "no precision at all": (
        GOOD + "export: {quantize: []}\n",
        ["r.yaml:4:20: export.quantize: must be a list of at least 1, not 0"],
    ),
    "a target misspelt": (
        GOOD + "export: {target: pyton}\n",
        ["r.yaml:4:18: export.target: no target 'pyton'; did you mean 'python'?"],
    ),
    "a target that is not installed": (
        GOOD + "export: {target: needs-extra}\n",
        [
            "r.yaml:4:18: export.target: target 'needs-extra' needs the package 'extra'; "
            "install it with 'pip install extra'"
        ],
    ),
    "an objective misspelt": (
        GOOD + "train: {objective: l2sp}\n",
        ["r.yaml:4:20: train.objective: no objective 'l2sp'; did you mean 'l2-sp'?"],
    ),
    "a key of an objective not asked for": (
        GOOD + "train: {strength: 0.1}\n",
        ["r.yaml:4:9: unknown key 'strength' in train; only objective l2-sp has it"],
    ),
}

PATHS: dict[str, tuple[str, list[str]]] = {
    "a data file that is not there": (
        TOP + "data: {train: review.csv}\n",
        ["r.yaml:3:15: data.train: no such file HERE/review.csv; paths are relative to the recipe"],
    ),
    "an evaluation file that is not there": (
        TOP + "data: {train: reviews.csv, eval: test.parquet}\n",
        ["r.yaml:3:34: data.eval: no such file HERE/test.parquet; paths are relative to the recipe"],
    ),
    "a model folder that is not there": (
        "task: text-classification\nmodel: ./small\ndata: {train: reviews.csv}\n",
        ["r.yaml:2:8: model.name: no such file HERE/small; paths are relative to the recipe"],
    ),
    "a weight file that is not there": (
        "task: text-classification\nmodel: {name: org/small, weights: w.safetensors}\ndata: {train: reviews.csv}\n",
        ["r.yaml:2:35: model.weights: no such file HERE/w.safetensors; paths are relative to the recipe"],
    ),
}

OVERRIDES: dict[str, tuple[list[str], list[str]]] = {
    "not key=value": (["fast"], ["'fast' is not an override; write KEY=VALUE, such as train.epochs=5"]),
    "no value": (["train.lr="], ["train.lr: no value; write 'train.lr=null' for none"]),
    "no section": (["lr=0.1"], ["lr: unknown key 'lr'; write 'train.lr=0.1'"]),
    "only a section": (["train=3"], ["train is a section; write 'train.KEY=VALUE'"]),
    "a typo": (["train.lrr=1"], ["train.lrr: unknown key 'lrr' in train; did you mean 'lr'?"]),
    "another tool's name": (
        ["learning_rate=0.1"],
        ["learning_rate: unknown key 'learning_rate'; write 'train.lr=0.1'"],
    ),
    "a wrong type": (["train.epochs=many"], ["train.epochs: must be a whole number, not 'many'"]),
    "a wrong name": (["tune.method=lara"], ["tune.method: no method 'lara'; did you mean 'lora'?"]),
    "a name that reads as a number": (
        ["tune.method=1_0"],
        ["tune.method: no method '1_0'; known: full, last-layer, lora"],
    ),
    "out of range": (["train.lr=-1e-4"], ["train.lr: must be greater than 0, not -0.0001"]),
    "a file that is not there": (
        ["data.train=no.csv"],
        ["data.train: no such file HERE/no.csv; paths are relative to the working directory"],
    ),
}


CASES = WHOLE_FILE | STRUCTURE | KEYS | VALUES | NAMES | PATHS


@pytest.mark.parametrize(("text", "lines"), CASES.values(), ids=CASES)
def test_a_malformed_recipe_is_answered_with_its_exact_lines(text: str | bytes, lines: list[str]) -> None:
    assert lines_of(text) == lines


@pytest.mark.parametrize(("overrides", "lines"), OVERRIDES.values(), ids=OVERRIDES)
def test_a_wrong_override_is_answered_with_its_exact_lines(overrides: list[str], lines: list[str]) -> None:
    assert lines_of(GOOD, *overrides) == [f"command line: {line}" for line in lines]


def test_there_are_at_least_forty_malformed_recipes() -> None:
    tables = (WHOLE_FILE, STRUCTURE, KEYS, VALUES, NAMES, PATHS)
    assert len(CASES) == sum(len(table) for table in tables)  # no name stands in two tables
    assert len(CASES) >= 40


def test_a_good_recipe_raises_nothing() -> None:
    Path("r.yaml").write_text(GOOD)
    assert recipe.read(Path("r.yaml")).model.name == "org/small"


def test_every_mistake_is_reported_at_once_in_the_order_of_the_file() -> None:
    text = (
        "task: txt-classification\n"
        "model: ./small\n"
        "data: {train: no.csv, lable: stars}\n"
        "train:\n"
        "  lr: 1e-4\n"
        "  epochs: 0\n"
        "tune: {method: lara, learning_rate: 3}\n"
        "export: int8\n"
        "epoch: 1\n"
    )
    assert lines_of(text, "train.seed=-1", "train.sed=2") == [
        "r.yaml:1:7: task: no task 'txt-classification'; did you mean 'text-classification'?",
        "r.yaml:2:8: model.name: no such file HERE/small; paths are relative to the recipe",
        "r.yaml:3:15: data.train: no such file HERE/no.csv; paths are relative to the recipe",
        "r.yaml:3:23: unknown key 'lable' in data; did you mean 'label'?",
        "r.yaml:5:7: train.lr: must be a number, not '1e-4'; YAML reads 1e-4 as text, write 1.0e-4",
        "r.yaml:6:11: train.epochs: must be at least 1, not 0",
        "r.yaml:7:16: tune.method: no method 'lara'; did you mean 'lora'?",
        "r.yaml:7:22: unknown key 'learning_rate' in tune; here it is called 'lr' and belongs in train",
        "r.yaml:8:9: export must be keys and values, not 'int8'; write 'export: {quantize: int8}'",
        "r.yaml:9:1: unknown key 'epoch'; write 'train: {epochs: 1}'",
        "command line: train.sed: unknown key 'sed' in train; did you mean 'seed'?",
        "command line: train.seed: must be at least 0, not -1",
    ]


def test_keys_that_the_misspelt_task_may_have_are_not_called_unknown() -> None:
    text = "task: text-clasification\nmodel: org/small\ndata: {train: reviews.csv, text: a, image_size: 8}\n"
    assert lines_of(text) == ["r.yaml:1:7: task: no task 'text-clasification'; did you mean 'text-classification'?"]


@pytest.mark.parametrize(
    ("mean", "problem"),
    [("[0.5, 0.5]", "element 3 is missing"), ("[0, 0, 0, 0]", "must be a list of at most 3, not 4")],
    ids=["short", "long"],
)
def test_a_list_of_the_wrong_length_names_its_key(mean: str, problem: str) -> None:
    text = f"task: image-classification\nmodel: org/small\ndata: {{train: reviews.csv, mean: {mean}}}\n"
    assert lines_of(text) == [f"r.yaml:3:34: data.mean: {problem}"]


def test_anchors_inside_anchors_end_in_one_line() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    lines = lines_of("\n".join(rows) + "\n")
    assert [line.partition(": ")[2] for line in lines if "dozens" in line] == [
        "more than 10,000 values; a recipe has dozens"
    ]


def test_a_recipe_that_is_not_there_says_how_to_get_one() -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.read(Path("none.yaml"))
    assert caught.value.lines == ("none.yaml: no such recipe; 'tunedeploy init DATA' writes one",)


def test_a_folder_is_not_a_recipe() -> None:
    Path("folder").mkdir()
    with pytest.raises(RecipeError) as caught:
        recipe.read(Path("folder"))
    assert caught.value.lines == ("folder: this is a folder; name the recipe file in it",)


def test_reading_yaml_loads_nothing_heavy(checkout: Path) -> None:
    program = (
        "import sys, tunedeploy.recipe\n"
        "print(sorted({'torch', 'transformers', 'onnx', 'datasets', 'pandas', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=checkout)
    assert done.stdout.strip() == "[]"


def test_a_task_by_its_name_elsewhere_is_found_without_loading_anything_heavy(checkout: Path) -> None:
    """In a process of its own, with the real tasks."""
    program = (
        "import sys\nfrom tunedeploy.recipe.check import task_of\n"
        "names = ['sentiment-analysis', 'Sequence_Classification', 'summarization', 'depth-estimation']\n"
        "print(*map(task_of, names))\n"
        "print(sorted({'torch', 'transformers', 'onnx', 'datasets', 'optimum', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=checkout)
    assert done.stdout.splitlines() == ["text-classification text-classification translation None", "[]"]
