"""A bundle answers as the trained model does, on a machine that has none of the packages that made it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from tests.finished import Finished, edit_json, repair_bundle
from tests.tiny import Tiny, images, texts, tiny_task
from tunedeploy import api, plugins
from tunedeploy.bundling.layout import copy
from tunedeploy.commands.bench import measure
from tunedeploy.device import agreement
from tunedeploy.device.decisions import classes
from tunedeploy.device.files import files_below, read_json, sha256
from tunedeploy.device.integrity import integrity
from tunedeploy.errors import RunError
from tunedeploy.models.runs import torch_run
from tunedeploy.proof.bundle import Bundle, load_bundle
from tunedeploy.run.atomic import write_json

NAMES = ("text-classification", "image-classification")
ABSENT = (
    "torch",
    "torchvision",
    "transformers",
    "datasets",
    "onnx",
    "sklearn",
    "peft",
    "pandas",
    "pyarrow",
    "accelerate",
    "yaml",
    "filelock",
    "safetensors",
    "huggingface_hub",
    "onnxscript",
)
# A finder that comes first and refuses: to the program below it, the packages are not installed.
BLOCK = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(params=NAMES)
def run(request: pytest.FixtureRequest, finished: Callable[[str], Finished], tmp_path: Path) -> Finished:
    """A copy of each task's finished run."""
    return finished(request.param).copy(tmp_path)


def without_training_packages(code: str, *arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a process that cannot import what a device has not."""
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code, *map(str, arguments)],
        capture_output=True, text=True, cwd=folder, env=os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)},
    )  # fmt: skip


TUNEDEPLOY = "from tunedeploy.cli.commands import main\nmain(sys.argv[1:])"


def test_the_block_blocks(tmp_path: Path) -> None:
    for name in ABSENT:
        done = without_training_packages(f"import {name}", folder=tmp_path)
        assert f"No module named '{name}'" in done.stderr


# ---- the answers


def test_a_bundle_answers_as_the_trained_model(run: Finished) -> None:
    bundle = load_bundle(run.dist)
    task = plugins.load("tasks", bundle.manifest["task"])
    merged = task.load(run.run / "merged")
    rows = [tiny_task(bundle.manifest["task"]).row, *task.edge_rows({})]
    expected = np.concatenate([merged.parts.answers(torch_run(merged), [row]).evidence for row in rows])
    limit = max(read_json(run.dist / "parity" / "tolerances.json")["variants"]["fp32"]["max_abs"], 1e-5)
    assert agreement.largest_difference(expected, bundle.answers(rows).evidence)[0] <= limit
    assert [one["label"] for one in bundle.predict(rows)] == [bundle.labels[int(one.argmax())] for one in expected]


def test_a_text_an_image_or_a_row_can_be_given(text_run: Finished, image_run: Finished) -> None:
    bundle = load_bundle(text_run.dist)
    assert bundle.predict(["snow"]) == bundle.predict([{"text": "snow"}])
    assert bundle.predict([]) == []
    picture = tiny_task("image-classification").row["image"]
    picture.save(image_run.run / "green.png")
    bundle = load_bundle(str(image_run.dist))
    found = bundle.predict([picture, image_run.run / "green.png", str(image_run.run / "green.png")])
    assert [one["label"] for one in found] == ["green"] * 3
    assert len({one["probability"] for one in found}) == 1


def test_goldens_of_fp32_are_held_to_the_tolerance_of_torch_against_onnx(run: Finished) -> None:
    (one,) = (one for one in read_json(run.run / "ledger.json")["comparisons"] if one["id"] == "torch-vs-onnx")
    assert read_json(run.dist / "parity" / "tolerances.json")["variants"]["fp32"]["max_abs"] == one["limit"] > 0


def test_the_score_of_the_manifest_is_the_score_of_the_file(run: Finished) -> None:
    from tunedeploy import api
    from tunedeploy.data.recipe_data import data_of

    bundle = load_bundle(run.dist)
    rows = list(data_of(api.recipe_of(run.run)).eval)
    assert len(rows) == bundle.manifest["rows"]["eval"]
    for name, variant in bundle.manifest["variants"].items():
        assert bundle.score(rows, name) == pytest.approx(variant["value"], abs=1e-3)


# ---- without the packages that made it


def test_predict_needs_no_package_of_training(run: Finished) -> None:
    if run.recipe.with_name("images").exists() or "image" in run.recipe.read_text():
        picture = run.run / "green.png"
        tiny_task("image-classification").row["image"].save(picture)
        inputs, label = str(picture), "green"
    else:
        inputs, label = "thunder and wind", "weather"
    for variant in ("fp32", "int8"):
        done = without_training_packages(
            TUNEDEPLOY, "predict", run.dist, inputs, "--variant", variant, "--json", folder=run.run
        )
        assert done.returncode == 0, done.stderr
        assert [one["label"] for one in json.loads(done.stdout)["predictions"]] == [label]


def test_eval_needs_no_package_of_training(run: Finished) -> None:
    fresh = run.run / "fresh"
    rows = (
        images(fresh, each=4, seed=9) if "image" in run.recipe.read_text() else texts(fresh.with_suffix(".csv"), seed=9)
    )
    done = without_training_packages(TUNEDEPLOY, "eval", run.dist, "--data", rows, "--json", folder=run.run)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == (12 if rows.is_dir() else 60)
    assert found["value"] > 80  # colours and words tell the classes; chance is 33


def test_verify_needs_no_package_of_training(run: Finished) -> None:
    done = without_training_packages(TUNEDEPLOY, "verify", run.dist, "--json", folder=run.run)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True


def test_bench_needs_no_package_of_training(text_run: Finished) -> None:
    done = without_training_packages(TUNEDEPLOY, "bench", text_run.dist, "--json", folder=text_run.run)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["megabytes"]) == {"fp32", "int8"}


def test_the_pytest_plug_in_needs_no_package_of_training(text_run: Finished) -> None:
    code = "import pytest\nsys.exit(pytest.main(sys.argv[1:]))"
    arguments = ("-q", "-p", "no:cacheprovider", "-c", os.devnull, f"--tunedeploy-bundle={text_run.dist}")
    (text_run.run / "empty").mkdir()
    done = without_training_packages(code, *arguments, text_run.run / "empty", folder=text_run.run / "empty")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


@pytest.mark.parametrize("arguments", ["train recipe.yaml", "plan recipe.yaml", "merge run", "report run", "schema"])
def test_a_command_that_lacks_the_extra_is_one_line_with_the_cure(arguments: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("task: text-classification\n")
    (tmp_path / "recipe.yaml").write_text("task: text-classification\nmodel: x\ndata: {train: rows.csv}\n")
    done = without_training_packages(TUNEDEPLOY, *arguments.split(), folder=tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*needs the package '\w+'; pip install 'tunedeploy\[train\]'\n", done.stderr)


def parity_kit(run: Finished) -> subprocess.CompletedProcess[str]:
    """`pytest dist/parity` where only numpy, onnxruntime, pytest, tokenizers and Pillow can be imported."""
    plugin = run.recipe.parent / "plugins"
    plugin.mkdir(exist_ok=True)
    (plugin / "blocked.py").write_text(BLOCK.replace(repr(ABSENT), repr((*ABSENT, "pydantic", "typer", "tunedeploy"))))
    environment = os.environ | {"PYTHONPATH": str(plugin), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    # -c /dev/null: no settings of ours; the kit stands alone.
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "blocked", "-c", os.devnull, "dist/parity"],
        capture_output=True, text=True, cwd=run.run, env=environment,
    )  # fmt: skip


def test_the_parity_kit_passes_alone(run: Finished) -> None:
    done = parity_kit(run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[67] passed", done.stdout)  # a test a variant, and four; of texts one for the whole tokenizer
    assert "skipped" not in done.stdout
    assert all(one.ok for one in integrity(load_bundle(run.dist)))  # what pytest leaves behind is no change


def test_the_parity_kit_fails_on_another_file(run: Finished) -> None:
    model = onnx.load(run.dist / "onnx" / "model.onnx")
    bias = next(one for one in model.graph.initializer if one.name == "head.bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(0.001), bias.name))
    onnx.save(model, run.dist / "onnx" / "model.onnx")
    done = parity_kit(run)
    assert done.returncode == 1
    assert "fp32 vs golden outputs: largest logit difference is 0.001 on golden row" in done.stdout
    assert "int8: " not in done.stdout.partition("short test summary")[0].replace("int8: labels", "")


def test_onnx_s_own_test_data_gives_the_golden_outputs(run: Finished) -> None:
    bundle = load_bundle(run.dist)
    folders = sorted((run.dist / "parity").glob("test_data_set_*"))
    assert [one.name for one in folders] == [f"test_data_set_{at}" for at in range(4)]
    batches = []
    for folder in folders:
        tensors = {path.stem: onnx.load_tensor(path) for path in folder.glob("*.pb")}
        inputs = {
            one.name: onnx.numpy_helper.to_array(one) for name, one in tensors.items() if name.startswith("input")
        }
        assert list(sorted(inputs)) == sorted(bundle.manifest["preprocessing"]["inputs"])
        assert tensors["output_0"].name == "logits"
        expected = onnx.numpy_helper.to_array(tensors["output_0"])
        assert np.allclose(bundle.session()(inputs)["logits"], expected, atol=1e-5)
        batches.append(len(expected))
    assert batches == [1, 2, 3, 7]


# ---- integrity


def breaches(run: Finished) -> list[tuple[str, str]]:
    return [(one.name, one.file) for one in integrity(Bundle(run.dist)) if not one.ok]


def test_integrity_finds_each_changed_file(run: Finished) -> None:
    assert breaches(run) == []
    names = [name for name in read_json(run.dist / "manifest.json")["files"]]
    assert len(names) > 15
    for name in names:
        path = run.dist / name
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        assert breaches(run) == [("file changed", name)]
        path.write_bytes(before)


def test_integrity_finds_missing_and_added_files(run: Finished) -> None:
    (run.dist / "labels.json").unlink()
    (run.dist / "onnx" / "model_q4.onnx").write_bytes(b"")
    assert breaches(run) == [("file missing", "labels.json"), ("file added", "onnx/model_q4.onnx")]


def test_a_manifest_lists_every_file_with_its_hash_and_each_variant_with_its_own(run: Finished) -> None:
    manifest = read_json(run.dist / "manifest.json")
    there = {path.relative_to(run.dist).as_posix(): path for path in files_below(run.dist)}
    assert manifest["files"] == {name: sha256(path) for name, path in there.items() if name != "manifest.json"}
    for variant in manifest["variants"].values():
        assert variant["sha256"] == manifest["files"][variant["file"]]
        assert variant["bytes"] == there[variant["file"]].stat().st_size


# ---- what it tells, and what it does not


def test_a_manifest_tells_the_lineage_and_how_it_was_made(run: Finished) -> None:
    manifest = read_json(run.dist / "manifest.json")
    assert set(manifest["lineage"]) >= {"base", "data", "recipe", "adapter", "head", "merged"}
    assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in manifest["lineage"].values())
    assert manifest["lineage"]["adapter"] == sha256(run.run / "train" / "adapter.safetensors")
    assert manifest["lineage"]["merged"] == sha256(run.run / "merged" / "model.safetensors")
    assert {"opset", "ir", "seed", "versions", "instruction_set", "target", "rows", "metric"} <= set(manifest)


def test_the_lineage_stands_in_every_onnx_file(run: Finished) -> None:
    manifest = read_json(run.dist / "manifest.json")
    for name, variant in manifest["variants"].items():
        metadata = {one.key: one.value for one in onnx.load(run.dist / variant["file"]).metadata_props}
        assert json.loads(metadata["tunedeploy.lineage"]) == manifest["lineage"]
        assert json.loads(metadata["tunedeploy.labels"]) == manifest["labels"]
        assert metadata["tunedeploy.variant"] == name
    int8 = {one.key: one.value for one in onnx.load(run.dist / "onnx" / "model_int8.onnx").metadata_props}
    assert int8["tunedeploy.made_from"] == manifest["variants"]["fp32"]["sha256"]


def test_no_file_of_a_bundle_holds_a_path_of_this_machine(run: Finished, checkout: Path) -> None:
    recipe = yaml.safe_load((run.run / "recipe.yaml").read_text())
    machine = {str(checkout), str(Path.home()), recipe["model"]["name"], recipe["data"]["train"], sys.prefix, "/tmp/"}
    machine |= {str(Path(recipe["data"]["train"]).parent.parent)}
    for path in files_below(run.dist):
        content = path.read_bytes()
        assert not [one for one in machine if one.encode() in content], path


def test_the_layout_is_the_one_that_transformers_js_reads(run: Finished) -> None:
    there = {path.relative_to(run.dist).as_posix() for path in files_below(run.dist)}
    own = "preprocessor_config.json" if "image" in run.recipe.read_text() else "tokenizer.json"
    assert there >= {"config.json", own, "onnx/model.onnx", "onnx/model_int8.onnx", "labels.json", "README.md"}
    config = read_json(run.dist / "config.json")
    assert [config["id2label"][str(at)] for at in range(3)] == read_json(run.dist / "labels.json")
    assert config["label2id"] == {label: int(at) for at, label in config["id2label"].items()}


def test_a_trunk_that_is_not_of_hugging_face_claims_no_model_type(run: Finished, tmp_path: Path) -> None:
    """transformers.js chooses a loader by it, and none of its loaders is for these."""
    write_json(run.run / "merged" / "config.json", {"architecture": "torchvision://mobilenet_v3_small"})
    (tmp_path / "dist").mkdir()
    copy(run.rundir, tmp_path / "dist", {}, ["a", "b"])
    assert read_json(tmp_path / "dist" / "config.json") == {
        "architecture": "torchvision://mobilenet_v3_small", "id2label": {"0": "a", "1": "b"},
        "label2id": {"a": 0, "b": 1},
    }  # fmt: skip


def test_the_card_has_the_metric_the_ledger_and_the_limits(run: Finished) -> None:
    card = (run.dist / "README.md").read_text()
    manifest, ledger = read_json(run.dist / "manifest.json"), read_json(run.run / "ledger.json")
    assert f"**{manifest['value']:.2f} %**" in card
    for one in [*ledger["merge"], *ledger["comparisons"]]:
        assert one["name"] in card
    assert "## Limits" in card


# ---- damage


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a bundle: missing manifest.json; 'tunedeploy export' writes one"):
        load_bundle(tmp_path)


@pytest.mark.parametrize(
    "file",
    ["onnx/model.onnx", "onnx/model_int8.onnx", "parity/golden.npz", "parity/golden.json", "parity/tolerances.json",
     "tokenizer.json", "config.json", "labels.json"],
)  # fmt: skip
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_verify_of_a_damaged_bundle_is_a_breach_that_names_the_file(file: str, how: str, text_run: Finished) -> None:
    path = text_run.dist / file
    path.unlink() if how == "gone" else path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    made = load_bundle(text_run.dist).verify()
    assert file in [one.file for one in made if not one.ok]
    repair_bundle_if_there(text_run, file)
    blind = [one for one in load_bundle(text_run.dist).verify(("parity", "preprocessing", "metric")) if not one.ok]
    assert any(path.name in one.file + one.where for one in blind), [one.line() for one in blind]


def repair_bundle_if_there(run: Finished, file: str) -> None:
    if (run.dist / file).exists():
        repair_bundle(run.dist)


def test_goldens_of_another_machine_are_judged_by_decisions(text_run: Finished) -> None:
    """The written rule: on another instruction set int8 may round otherwise; float32 is held to its tolerance."""
    path = text_run.dist / "parity" / "tolerances.json"
    rules = read_json(path)
    edit_json(path, made_on={"instruction_set": ["elsewhere"], "onnxruntime": "0"})
    made = {one.name: one for one in load_bundle(text_run.dist).verify(["parity"])}
    assert "int8 vs golden outputs: answers changed outside near-ties" in made
    assert "fp32 vs golden outputs: largest logit difference" in made
    assert all(one.ok for one in made.values())
    assert set(rules["variants"]["int8"]) == {"file", "max_abs", "near_tie"}


def elsewhere(run: Finished, *, tied: bool) -> int:
    """Make int8's golden answer another one on a row that was a near-tie, or on the clearest of all; which one.

    On an instruction set where integer kernels round otherwise, that is what an int8 file would give.
    """
    kit = run.dist / "parity"
    edit_json(kit / "tolerances.json", made_on={"instruction_set": ["elsewhere"], "onnxruntime": "0"})
    with np.load(kit / "golden.npz") as archive:
        arrays = dict(archive)
    names = sorted(name for name in arrays if name.startswith("raw") and name.endswith("/output/int8"))
    margins = [float(classes.margins(arrays[name])[0]) for name in names]
    at = int(np.argmax(margins))
    best, second = np.argsort(arrays[names[at]][0])[::-1][:2]
    near_tie = read_json(kit / "tolerances.json")["variants"]["int8"]["near_tie"]
    wanted = arrays[names[at]].copy()
    middle = (wanted[0, best] + wanted[0, second]) / 2
    half = near_tie * (0.45 if tied else 0.75)
    wanted[0, best], wanted[0, second] = middle - half, middle + half
    arrays[names[at]] = wanted
    np.savez(kit / "golden.npz", **arrays)
    repair_bundle(run.dist)
    return at


@pytest.mark.parametrize("tied", [True, False])
def test_on_another_machine_no_clear_answer_may_change_for_the_kit_as_for_verify(tied: bool, run: Finished) -> None:
    at = elsewhere(run, tied=tied)
    lines = [one.line() for one in load_bundle(run.dist).verify(["parity"]) if not one.ok]
    done = parity_kit(run)
    if tied:
        assert lines == []
        assert done.returncode == 0, done.stdout
    else:
        (line,) = lines
        assert f"int8 vs golden outputs: answers changed outside near-ties: 1 (golden row {at}), allowed 0" in line
        assert line.partition(": int8")[2] in done.stdout


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("labels", None), ("files", []), ("variants", {"fp32": {}}), ("recipe", {}), ("preprocessing", {}),
        ("preprocessing", {"kind": "text", "unknown": 1}), ("metric", 3), ("task", None),
    ],
    ids=str,
)  # fmt: skip
def test_a_manifest_that_tells_something_else_is_one_line(key: str, value: Any, text_run: Finished) -> None:
    edit_json(text_run.dist / "manifest.json", **{key: value})
    with pytest.raises(RunError, match=rf"manifest.json: .*{key}") as caught:
        load_bundle(text_run.dist).predict(["soup"])
    assert len(caught.value.lines) == 1


def test_bench_of_a_bundle_without_goldens_is_one_line(text_run: Finished) -> None:
    (text_run.dist / "parity" / "golden.npz").write_bytes(b"PK\3\4 cut")
    with pytest.raises(RunError, match=r"golden.npz: cannot be read"):
        measure(text_run.dist)


@pytest.mark.parametrize("key", ["do_flip_channel_order", "do_pad"])
def test_a_switch_for_other_programs_that_training_does_not_know_is_a_breach(key: str, image_run: Finished) -> None:
    edit_json(image_run.dist / "preprocessor_config.json", **{key: True})
    repair_bundle(image_run.dist)
    (odd,) = [one for one in api.comparisons_of(image_run.dist, ["preprocessing"]) if not one.ok]
    assert odd.name == "preprocessing told otherwise"
    assert key in odd.where


def test_a_file_of_free_sides_is_tried_on_images_that_are_not_square(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.write(tmp_path / "r.yaml", "image-classification", export={"dynamic_size": True})
    run = api.through(recipe, run=tmp_path / "run", until="verify")
    encoder = plugins.load("tasks", "image-classification").device_encoder(
        run / "merged", read_json(run / "merged" / "tunedeploy.json")["encoder"]
    )
    features = encoder.encode([tiny_task("image-classification").row])
    shapes = {encoder.collate(features, size)["pixel_values"].shape[2:] for size in encoder.sizes(features)}
    assert shapes == {(32, 32), (64, 96)}
