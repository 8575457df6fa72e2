"""Facts that a run or a bundle tells wrongly, with every hash repaired: each is compared with what it speaks of."""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.faults import graphs
from tests.finished import Finished, repair_bundle, repair_run
from tunedeploy import api
from tunedeploy.bundling.tokenizer_facts import contradictions, settle
from tunedeploy.device.comparison import Ledger
from tunedeploy.errors import RunError
from tunedeploy.graphs.tensor_files import tensor
from tunedeploy.proof.bundle import Bundle
from tunedeploy.proof.bundle_facts import compared, contradicts, variants_described

SEMANTIC = ("parity", "preprocessing", "metric")
TEXTS, IMAGES = "text-classification", "image-classification"
Finisher = Callable[[str], Finished]
Inject = Callable[[Path], None]


def breach_lines(path: Path) -> list[str]:
    assert all(one.ok for one in api.comparisons_of(path, ["integrity"]))  # the hashes say that all is well
    return [one.line() for one in api.comparisons_of(path, SEMANTIC) if not one.ok]


def edit(file: str, how: Callable[[Any], Any]) -> Inject:
    return lambda folder: graphs.rewrite(folder / file, how)


def metadata(file: str, key: str, value: str) -> Inject:
    """Set an entry of an ONNX file's metadata."""

    def inject(folder: Path) -> None:
        with graphs.edited(folder / file) as model:
            next(one for one in model.metadata_props if one.key == f"tunedeploy.{key}").value = value

    return inject


def another_hash(key: str) -> Callable[[Any], Any]:
    return lambda lineage: lineage | {key: "0" * 64}


# ---- of a run


def result(stage: str, how: Callable[[Any], Any]) -> Inject:
    """Change what a stage's record says that it found."""
    return edit(f"stages/{stage}.json", lambda record: how(record["result"]) and None)


def lineage_everywhere(run: Path) -> None:
    for file in ("onnx/model.onnx", "quantized/model_int8.onnx"):
        graphs.rewrite_metadata(run / file, "lineage", another_hash("base"))


def metrics_everywhere(run: Path) -> None:
    result("train", lambda one: one["metrics"].update(accuracy=99.0))(run)
    graphs.rewrite(run / "train" / "metrics.json", lambda one: one.update(accuracy=99.0))


def logits_of_training_edited(run: Path) -> None:
    path = run / "train" / "eval_logits.npy"
    np.save(path, np.load(path) + np.float32(0.01))


MERGED, RECORD = "merged: facts of the merged folder that differ", "facts in the file that differ"
RUN_FAULTS: dict[str, tuple[str, str, Inject]] = {
    "the_padding_id_of_the_configuration": (
        TEXTS, f"merge: {MERGED}", edit("merged/config.json", lambda one: one.update(pad_token_id=5)),
    ),
    "the_labels_of_the_configuration": (
        TEXTS, f"merge: {MERGED}", edit("merged/config.json", lambda one: one["id2label"].update({"0": "z"})),
    ),
    "labels_that_the_configuration_of_an_image_model_lacks": (
        IMAGES, f"merge: {MERGED}", edit("merged/config.json", lambda one: one.pop("id2label") and None),
    ),
    "the_side_of_truncation": (
        TEXTS, f"merge: {MERGED}", edit("merged/tokenizer_config.json", lambda one: one | {"truncation_side": "left"}),
    ),
    "a_flag_of_casing": (
        TEXTS, f"merge: {MERGED}", edit("merged/tokenizer_config.json", lambda one: one | {"do_lower_case": False}),
    ),
    "the_token_of_unknown_words": (
        TEXTS, f"merge: {MERGED}", edit("merged/tokenizer_config.json", lambda one: one | {"unk_token": "[PAD]"}),
    ),
    "the_pooling_that_other_programs_read": (
        TEXTS, f"merge: {MERGED}",
        edit("merged/1_Pooling/config.json", lambda one: one | {"pooling_mode_cls_token": True}),
    ),
    "what_the_quantized_file_was_made_from": (
        TEXTS, f"quantize: quantized/model_int8.onnx: int8: {RECORD}",
        metadata("quantized/model_int8.onnx", "made_from", "0" * 64),
    ),
    "the_lineage": (TEXTS, f"export: onnx/model.onnx: fp32: {RECORD}", lineage_everywhere),
    "the_task": (
        IMAGES, f"export: onnx/model.onnx: fp32: {RECORD}", metadata("onnx/model.onnx", "task", "regression"),
    ),
    "the_setting_of_the_quantizer": (
        TEXTS, f"quantize: quantized/model_int8.onnx: int8: {RECORD}",
        metadata("quantized/model_int8.onnx", "quantization", '{"name": "by hand"}'),
    ),
    "preprocessing_of_the_quantized_file_alone": (
        IMAGES, f"quantize: quantized/model_int8.onnx: int8: {RECORD}",
        lambda run: graphs.rewrite_metadata(
            run / "quantized" / "model_int8.onnx", "preprocessing", lambda facts: facts | {"resize": 99}
        ),
    ),
    "the_metric_s_name": (
        TEXTS, "train: train/eval_logits.npy: scores of training that differ",
        result("train", lambda one: one.update(metric="macro_f1")),
    ),
    "the_metric_s_value": (TEXTS, "train: train/eval_logits.npy: scores of training that differ", metrics_everywhere),
    "the_quantized_file_s_value": (
        TEXTS, "quantize: quantized: scores of the files that differ",
        result("quantize", lambda one: one["variants"]["int8"].update(metric=12.5, drop=0.0)),
    ),
    "the_logits_of_training": (
        IMAGES, "train: train/eval_logits.npy: logits of training vs trained model", logits_of_training_edited,
    ),
    "the_score_of_the_bundle": (
        TEXTS, "bundle: dist/manifest.json: facts of the manifest that differ",
        edit("dist/manifest.json", lambda one: one.update(value=12.5)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUN_FAULTS)
def test_a_fact_of_a_run_that_is_wrong_is_a_breach(name: str, finished: Finisher, tmp_path: Path) -> None:
    task, start, inject = RUN_FAULTS[name]
    run = finished(task).copy(tmp_path).run
    inject(run)
    repair_run(run)
    lines = breach_lines(run)
    assert [line for line in lines if line.startswith(start)], lines


def test_a_merged_folder_of_another_version_of_transformers_raises_no_alarm(finished: Finisher, tmp_path: Path) -> None:
    run = finished(TEXTS).copy(tmp_path).run
    graphs.rewrite(run / "stages" / "merge.json", lambda record: record["versions"].update(transformers="5.0.0"))
    graphs.rewrite(run / "merged" / "config.json", lambda one: one | {"transformers_version": "5.0.0", "is_old": True})
    repair_run(run)
    assert breach_lines(run) == []


# ---- of a bundle


def both_lineages(dist: Path) -> None:
    for file in ("model.onnx", "model_int8.onnx"):
        graphs.rewrite_metadata(dist / "onnx" / file, "lineage", another_hash("data"))


def output_of_a_test_set(dist: Path) -> None:
    path = dist / "parity" / "test_data_set_2" / "output_0.pb"
    there = onnx.numpy_helper.to_array(onnx.load_tensor(path))
    path.write_bytes(onnx.numpy_helper.from_array(there + np.float32(0.5), "logits").SerializeToString())


def input_of_a_test_set(dist: Path) -> None:
    path = dist / "parity" / "test_data_set_1" / "input_0.pb"
    one = onnx.load_tensor(path)
    path.write_bytes(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(one) + 1, one.name).SerializeToString())


def a_test_set_of_nothing(dist: Path) -> None:
    (dist / "parity" / "test_data_set_9").mkdir()
    (dist / "parity" / "test_data_set_9" / "output_0.pb").write_bytes(b"")


def raised(manifest: Any) -> None:
    """Two points more for all: no count of rows gives them."""
    manifest["value"] = 97.13
    for one in manifest["variants"].values():
        one["value"] = 97.13


CONFIG, TOKENIZER = "config.json: facts of the model", "tokenizer_config.json: facts of the tokenizer"
RECIPE, SETS = "manifest.json: facts of the recipe", "parity: ONNX test sets"
BUNDLE_FAULTS: dict[str, tuple[str, str, Inject]] = {
    "the_padding_id": (TEXTS, CONFIG, edit("config.json", lambda one: one.update(pad_token_id=3))),
    "the_size_of_the_vocabulary": (TEXTS, CONFIG, edit("config.json", lambda one: one.update(vocab_size=30522))),
    "the_width": (TEXTS, CONFIG, edit("config.json", lambda one: one.update(hidden_size=768))),
    "the_model_type": (TEXTS, CONFIG, edit("config.json", lambda one: one.update(model_type="roberta"))),
    "the_model_type_of_an_image_model": (IMAGES, CONFIG, edit("config.json", lambda one: one.update(model_type="vit"))),
    "the_opset": (IMAGES, CONFIG, edit("manifest.json", lambda one: one.update(opset=17))),
    "the_side_of_truncation": (
        TEXTS, TOKENIZER, edit("tokenizer_config.json", lambda one: one.update(truncation_side="left")),
    ),
    "the_side_of_padding": (
        TEXTS, TOKENIZER, edit("tokenizer_config.json", lambda one: one.update(padding_side="left")),
    ),
    "a_flag_of_casing": (TEXTS, TOKENIZER, edit("tokenizer_config.json", lambda one: one.update(do_lower_case=False))),
    "a_flag_of_accents": (TEXTS, TOKENIZER, edit("tokenizer_config.json", lambda one: one.update(strip_accents=False))),
    "the_padding_token": (TEXTS, TOKENIZER, edit("tokenizer_config.json", lambda one: one.update(pad_token="[SEP]"))),
    "first_and_last_token_swapped": (
        TEXTS, TOKENIZER,
        edit("tokenizer_config.json", lambda one: one.update(cls_token="[SEP]", sep_token="[CLS]")),
    ),
    "a_token_that_the_tokenizer_lacks": (
        TEXTS, TOKENIZER, edit("tokenizer_config.json", lambda one: one.update(mask_token="<mask>")),
    ),
    "what_the_quantized_file_was_made_from": (
        TEXTS, "onnx/model_int8.onnx: int8: facts", metadata("onnx/model_int8.onnx", "made_from", "0" * 64),
    ),
    "the_variant_s_name": (IMAGES, "onnx/model.onnx: fp32: facts", metadata("onnx/model.onnx", "variant", "int8")),
    "the_lineage_in_the_files": (TEXTS, "onnx/model.onnx: fp32: facts", both_lineages),
    "the_lineage_in_the_manifest": (
        IMAGES, "onnx/model_int8.onnx: int8: facts",
        edit("manifest.json", lambda one: one["lineage"].update(merged="0" * 64)),
    ),
    "the_setting_of_the_quantizer": (
        TEXTS, "onnx/model_int8.onnx: int8: facts",
        edit("manifest.json", lambda one: one["variants"]["int8"]["setting"].update(per_channel="maybe")),
    ),
    "an_accuracy_that_no_count_gives": (TEXTS, "manifest.json: scores", edit("manifest.json", raised)),
    "a_drop_that_is_no_difference": (
        TEXTS, "manifest.json: scores", edit("manifest.json", lambda one: one["variants"]["int8"].update(drop=-3.0)),
    ),
    "a_score_that_is_no_percentage": (
        IMAGES, "manifest.json: scores", edit("manifest.json", lambda one: one.update(value=-3.0)),
    ),
    "the_method": (TEXTS, RECIPE, edit("manifest.json", lambda one: one.update(method="full"))),
    "a_value_of_the_recipe": (TEXTS, RECIPE, edit("manifest.json", lambda one: one["recipe"]["train"].update(lr=0.5))),
    "an_output_of_a_test_set": (TEXTS, SETS, output_of_a_test_set),
    "an_input_of_a_test_set": (IMAGES, SETS, input_of_a_test_set),
    "a_test_set_added": (IMAGES, SETS, a_test_set_of_nothing),
    "a_test_set_lost": (TEXTS, SETS, lambda dist: (dist / "parity" / "test_data_set_3" / "input_1.pb").unlink()),
}  # fmt: skip


@pytest.mark.parametrize("name", BUNDLE_FAULTS)
def test_a_fact_of_a_bundle_that_is_wrong_is_a_breach(name: str, finished: Finisher, tmp_path: Path) -> None:
    task, start, inject = BUNDLE_FAULTS[name]
    dist = finished(task).copy(tmp_path).dist
    inject(dist)
    repair_bundle(dist)
    lines = breach_lines(dist)
    assert [line for line in lines if line.startswith(f"bundle: {start}")], lines


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def deep_lineage(dist: Path) -> None:
    """Metadata that Python's json refuses with a RecursionError."""
    with graphs.edited(dist / "onnx" / "model.onnx") as model:
        entry = next(entry for entry in model.metadata_props if entry.key == "tunedeploy.lineage")
        entry.value = '{"a":' * 3000 + "1" + "}" * 3000


def no_drop(variants: Any) -> Any:
    return variants | {"int8": {key: value for key, value in variants["int8"].items() if key != "drop"}}


SCORES = "manifest.json: scores that differ: "
OTHER_FORMS: dict[str, tuple[str, Inject]] = {
    "a configuration that is a list": ("config.json: facts of the model", edit("config.json", lambda one: [])),
    "a tokenizer's configuration that is a list": (
        "tokenizer_config.json: facts of the tokenizer", edit("tokenizer_config.json", lambda one: []),
    ),
    "names of inputs that are lists": (
        "tokenizer_config.json: facts of the tokenizer",
        edit("tokenizer_config.json", lambda one: one.update(model_input_names=[["input_ids"]])),
    ),
    "no figure": (f"{SCORES}value: missing", edit("manifest.json", lambda one: one.pop("value") and None)),
    "no drop": (
        f"{SCORES}variants.int8.drop: missing",
        edit("manifest.json", lambda one: {**one, "variants": no_drop(one["variants"])}),
    ),
    "no rows": (f"{SCORES}rows.eval", edit("manifest.json", lambda one: one["rows"].update(eval=0))),
    "a figure as large as numbers get": (
        f"{SCORES}2 (value, ", edit("manifest.json", lambda one: one.update(value=9e299)),
    ),
    "a recipe of a thousand levels": (
        "manifest.json: failures to load or run: ",
        edit("manifest.json", lambda one: one["recipe"]["tune"].update(x=nested(300))),
    ),
    "a lineage of a thousand levels": ("onnx/model.onnx: fp32: facts in the file that differ: lineage", deep_lineage),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_facts_of_another_form_are_a_breach_that_names_them(name: str, finished: Finisher, tmp_path: Path) -> None:
    start, inject = OTHER_FORMS[name]
    dist = finished(TEXTS).copy(tmp_path).dist
    inject(dist)
    repair_bundle(dist)
    lines = [one.line() for one in api.comparisons_of(dist) if not one.ok]
    assert [line for line in lines if line.startswith(f"bundle: {start}")], lines


def test_a_tokenizer_that_is_none_is_a_breach_that_names_its_file(finished: Finisher, tmp_path: Path) -> None:
    """No input can be made without it, so nothing else of the kit is compared."""
    dist = finished(TEXTS).copy(tmp_path).dist
    edit("tokenizer.json", lambda one: {"model": 1})(dist)
    repair_bundle(dist)
    (line,) = (each.line() for each in api.comparisons_of(dist) if not each.ok)
    assert line.startswith(f"bundle: parity: failures to load or run: {dist / 'tokenizer.json'}: is not a tokenizer")


@pytest.mark.parametrize("bug", [KeyError("name"), TypeError("a bug"), ZeroDivisionError(), AttributeError("a bug")])
def test_a_bug_in_a_comparison_of_facts_keeps_its_traceback(bug: Exception) -> None:
    """Taken for a fact that differs, it would stop healthy bundles and name no line of ours."""

    def differ() -> list[str]:
        raise bug

    with pytest.raises(type(bug)) as caught:
        compared(Ledger(stage="bundle", file="a.json"), "scores", differ)
    assert caught.value is bug


def test_a_file_that_cannot_be_read_is_a_fact_that_differs() -> None:
    def differ() -> list[str]:
        raise RunError("a.json: is not JSON")

    comparison = compared(Ledger(stage="bundle", file="a.json"), "scores", differ)
    assert comparison.line() == "bundle: a.json: scores that differ: a.json: is not JSON"


@pytest.mark.parametrize("values", [{"bytes": 1}, {"sha256": "0" * 64}])
def test_bytes_and_hash_of_a_variant_are_those_of_its_file(
    values: dict[str, Any], finished: Finisher, tmp_path: Path
) -> None:
    dist = finished(TEXTS).copy(tmp_path).dist
    assert all(one.ok for one in variants_described(Bundle(dist)))
    graphs.rewrite(dist / "manifest.json", lambda one: one["variants"]["int8"].update(values))
    (one,) = (one for one in api.comparisons_of(dist, ["integrity"]) if not one.ok)
    assert one.line() == "bundle: manifest.json: bytes or SHA-256 of variants that differ: int8"


# ---- what is honest


def test_a_tensor_file_is_read_as_the_onnx_package_reads_it() -> None:
    for value in (np.arange(300, dtype=np.int64).reshape(2, 150), np.zeros((1, 3, 2, 2), np.float32), np.float32(2)):
        name, shape, content = tensor(
            onnx.numpy_helper.from_array(np.asarray(value), "pixel_values").SerializeToString()
        )
        assert (name, shape, content) == ("pixel_values", np.shape(value), np.asarray(value).tobytes())
    assert tensor(b"") == ("", (), b"")
    assert tensor(b"\xff\xff") == ("", (), b"")


@pytest.mark.parametrize(
    ("model_type", "folder"),
    [("bert", "bert"), ("xlm-roberta", "xlm_roberta"), ("openai-gpt", "openai"), ("siglip_vision_model", "siglip")],
)
def test_a_model_type_is_that_of_its_folder(model_type: str, folder: str) -> None:
    assert not contradicts(model_type, {folder})
    assert not contradicts(model_type, set())  # another library's classes, or an exporter that notes none
    assert contradicts("deberta-v2", {folder})


FACTS = {"max_length": 64, "pad_id": 0, "lone_id": 1, "padding_side": "right", "inputs": ["input_ids"]}
LOWER = {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]}


@pytest.mark.parametrize(
    ("config", "tokenizer", "expected"),
    [
        ({}, {}, []),
        ({"do_lower_case": True}, {"normalizer": LOWER}, []),
        ({"do_lower_case": False}, {"normalizer": LOWER}, ["do_lower_case"]),
        ({"do_lower_case": True}, {"normalizer": None}, ["do_lower_case"]),
        ({"do_lower_case": None}, {"normalizer": {"type": "BertNormalizer", "lowercase": True}}, []),
        ({"pad_token": {"content": "<p>"}}, {"model": {"vocab": [["<p>", 0.0], ["a", -1.0]]}}, []),
        ({"pad_token": {"content": "a"}}, {"model": {"vocab": [["<p>", 0.0], ["a", -1.0]]}}, ["pad_token"]),
        ({"truncation_side": "right"}, {"truncation": {"direction": "Right"}}, []),
        ({"model_input_names": ["attention_mask"]}, {}, ["model_input_names"]),
    ],
)  # fmt: skip
def test_a_tokenizer_s_configuration_is_held_to_what_it_says(
    config: dict[str, Any], tokenizer: dict[str, Any], expected: list[str]
) -> None:
    assert contradictions(config, tokenizer, FACTS) == expected


def test_a_bundle_does_not_repeat_what_a_checkpoint_says_wrongly(finished: Finisher, tmp_path: Path) -> None:
    """A decoder's own id and side of padding are not those that it was tuned with."""
    dist = finished(TEXTS).copy(tmp_path).dist
    graphs.rewrite(dist / "tokenizer_config.json", lambda one: one.update(padding_side="left", do_lower_case=False))
    graphs.rewrite(dist / "config.json", lambda one: one.update(pad_token_id=None))
    repair_bundle(dist)
    assert len(breach_lines(dist)) == 1
    settle(dist, Bundle(dist).manifest["preprocessing"])
    repair_bundle(dist)
    assert breach_lines(dist) == []
    assert '"pad_token_id": 0' in (dist / "config.json").read_text(encoding="utf-8")
    assert "padding_side" not in (dist / "tokenizer_config.json").read_text(encoding="utf-8")


def test_a_breach_of_pixels_under_another_version_of_the_decoder_names_both(finished: Finisher, tmp_path: Path) -> None:
    dist = finished(IMAGES).copy(tmp_path).dist
    graphs.rewrite(dist / "manifest.json", lambda one: one["versions"].update(pillow="12.0.0"))
    repair_bundle(dist)
    assert breach_lines(dist) == []  # another version alone is none
    graphs.rewrite(dist / "manifest.json", lambda one: one["preprocessing"].update(interpolation="bicubic"))
    (line,) = (line for line in breach_lines(dist) if "raw rows vs golden inputs" in line)
    assert f"(made with pillow 12.0.0, here {version('pillow')})" in line
