"""Every way to int8 is right on every kind of CPU, the record says how that was shown, and verify holds files to it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.finished import Finished, answers_of_file, calibration, repair_bundle, repair_run
from tunedeploy import api
from tunedeploy.commands import diagnose
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.encoders import Inputs
from tunedeploy.device.files import read_json
from tunedeploy.device.runtime import Session
from tunedeploy.errors import ModelError
from tunedeploy.graphs import files as onnx_files
from tunedeploy.precisions import int8
from tunedeploy.proof.judge import Judge
from tunedeploy.quantization import saturation
from tunedeploy.quantization.activation_rounding import input_rounding_db
from tunedeploy.quantization.cpu_kinds import KINDS, native
from tunedeploy.run.answers import write_answers
from tunedeploy.run.atomic import write_json
from tunedeploy.run.exported import parts_of
from tunedeploy.stages import quantize
from tunedeploy.stages.quantize import over_budget_elsewhere, share_used

FP32, INT8 = "onnx/model.onnx", "quantized/model_int8.onnx"


def samples_of(run: Finished) -> list[Inputs]:
    recipe = api.recipe_of(run.run)
    return calibration(recipe, run.rundir, list(data_of(recipe).train.select(range(16))))


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
def test_no_way_to_int8_can_saturate(
    task: str, text_run: Finished, image_run: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = text_run if task == "text-classification" else image_run
    samples = samples_of(run)
    ways = int8.candidates(run.run / FP32, api.recipe_of(run.run).export, samples)
    assert len(ways) >= 2
    for way in ways:
        int8.convert(run.run / FP32, run.run / INT8, way, samples)
        model = onnx.load(run.run / INT8)
        assert sum(1 for _ in saturation.products(model)) >= 3, way["name"]
        assert saturation.can_saturate(model) == [], way["name"]
    monkeypatch.setattr(saturation, "safe_ranges", lambda model, per_channel: {})
    int8.convert(run.run / FP32, run.run / INT8, ways[0], samples)
    assert saturation.can_saturate(onnx.load(run.run / INT8)), "the quantizer's own ranges"


def test_the_record_and_the_manifest_say_on_which_cpus_a_file_holds_and_how_that_was_shown(text_run: Finished) -> None:
    variants = text_run.rundir.record("quantize").result["variants"]
    cpus = variants["int8"]["cpus"]
    assert set(cpus) == set(KINDS)
    for kind, figures in cpus.items():
        assert figures["by"] == ("measured" if kind == native() else "proved")
        assert {name: figures[name] for name in ("drop", "flips", "agreement")} == {
            name: variants["int8"][name] for name in ("drop", "flips", "agreement")
        }
    assert "cpus" not in variants["fp32"]
    manifest = read_json(text_run.dist / "manifest.json")
    assert manifest["variants"]["int8"]["cpus"] == cpus
    for path in (text_run.run, text_run.dist):
        (made,) = [one for one in api.comparisons_of(path, ["parity"]) if one.id == "saturation"]
        assert (made.value, made.limit, made.ok) == (0, 0, True)


def with_the_quantizer_s_own_ranges(run: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file as an earlier version made it, its record and its bundle left as they are but for their hashes."""
    recipe, setting = api.recipe_of(run.run), run.rundir.record("quantize").result["variants"]["int8"]["setting"]
    with monkeypatch.context() as patch:
        patch.setattr(saturation, "safe_ranges", lambda model, per_channel: {})
        int8.convert(run.run / FP32, run.run / INT8, setting, samples_of(run))
    write_answers((run.run / INT8).with_suffix(".npy"), answers_of_file(recipe, run.rundir, INT8))
    (run.dist / "onnx" / "model_int8.onnx").write_bytes((run.run / INT8).read_bytes())
    repair_run(run.run)
    repair_bundle(run.dist)


def test_a_file_that_was_not_proved_to_hold_is_a_breach_where_it_says_so(
    text_run: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_the_quantizer_s_own_ranges(text_run, monkeypatch)
    for path, stage in ((text_run.run, "quantize"), (text_run.dist, "bundle")):
        (made,) = [one for one in api.comparisons_of(path, ["parity"]) if one.id == "saturation"]
        assert not made.ok
        assert (made.stage, made.value > 0, made.where != "") == (stage, True, True)


def test_a_run_simulates_the_other_cpu_where_a_product_can_saturate(
    text_run: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_the_quantizer_s_own_ranges(text_run, monkeypatch)
    made = [one for one in api.comparisons_of(text_run.run, ["parity"]) if one.id == "flips-on-the-other-cpu"]
    assert len(made) == 1
    assert made[0].ok
    assert made[0].rows > 0


def test_a_manifest_that_says_something_else_of_cpus_is_one_line(text_run: Finished) -> None:
    manifest = text_run.dist / "manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"by"', '"bye"'), encoding="utf-8")
    (made,) = [one for one in api.comparisons_of(text_run.dist, ["parity"]) if not one.ok]
    assert "'cpus' of 'int8' is not a record for each of avx2, vnni" in made.line()


def judge_of(run: Finished) -> Judge:
    recipe = api.recipe_of(run.run)
    return Judge(recipe=recipe, parts=parts_of(recipe, run.rundir), metric="accuracy", reference=90.0)


def test_a_file_that_fails_on_the_other_cpu_is_over_budget(text_run: Finished) -> None:
    judge = judge_of(text_run)
    judge = replace(
        judge, recipe=replace(judge.recipe, export=judge.recipe.export.model_copy(update={"max_drop": 1.0}))
    )
    one = {"flips_allowed": 10, "cpus": {"avx2": {"by": "measured", "drop": 0.0, "flips": 0, "agreement": 100.0}}}
    assert over_budget_elsewhere(judge, "quantize: int8 (way)", one) == []
    worse = one | {"cpus": {"vnni": {"by": "simulated", "drop": 2.5, "flips": 11, "agreement": 90.0}}}
    assert over_budget_elsewhere(judge, "quantize: int8 (way)", worse) == [
        "quantize: int8 (way): on a CPU with VNNI, simulated, loses 2.50 points, allowed 1",
        "quantize: int8 (way): on a CPU with VNNI, simulated, changes 11 answers that were no near-ties, allowed 10",
    ]
    unknown = one | {"cpus": {"avx2": {"by": "nothing"}}}
    (line,) = over_budget_elsewhere(judge, "quantize: int8 (way)", unknown)
    assert line.endswith("on a CPU without VNNI its products can saturate, and that cannot be simulated here")


def test_the_share_that_a_setting_uses_is_of_its_tightest_limit(text_run: Finished) -> None:
    judge = judge_of(text_run)
    limit = judge.recipe.export.max_drop
    one = {"drop": 0.5 * limit, "flips": 3, "flips_allowed": 10, "agreement": 99.5, "problems": []}
    assert share_used(judge, one) == 0.5
    assert share_used(judge, one | {"flips": 8}) == 0.8
    assert share_used(judge, one | {"drop": -1.0, "flips": 0}) == pytest.approx(0.25)
    assert share_used(judge, one | {"agreement": 98.0}) == pytest.approx(1.0)
    assert share_used(judge, one | {"problems": ["a limit"]}) == float("inf")


def test_the_share_counts_the_kind_of_cpu_on_which_most_is_used(text_run: Finished) -> None:
    judge = judge_of(text_run)
    limit = judge.recipe.export.max_drop
    here = {"drop": 0.1 * limit, "flips": 1, "agreement": 99.9}
    attempt = here | {"flips_allowed": 10, "problems": [], "cpus": {native(): {"by": "measured", **here}}}
    assert share_used(judge, attempt) == pytest.approx(0.1)
    for there, share in (
        ({"drop": 0.9 * limit, "flips": 1, "agreement": 99.9}, 0.9),
        ({"drop": 0.0, "flips": 8, "agreement": 99.9}, 0.8),
        ({"drop": 0.0, "flips": 0, "agreement": 98.5}, 0.75),
        ({"drop": 0.0, "flips": 0, "agreement": 100.0}, 0.1),  # this CPU is the worst
    ):
        other = attempt["cpus"] | {"other": {"by": "simulated", **there}}
        assert share_used(judge, attempt | {"cpus": other}) == pytest.approx(share)
    assert share_used(judge, attempt | {"cpus": {"other": {"by": "nothing"}}}) == pytest.approx(0.1)


def test_a_setting_without_room_on_the_other_cpu_gives_way_to_the_next(
    text_run: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its figures here leave room; those simulated, of the first setting alone, do not."""
    recipe = api.recipe_of(text_run.run)
    calls: list[str] = []

    def on_each_kind(paths: dict[str, Path], own: dict[str, Any], measure: Any) -> dict[str, Any]:
        calls.append(paths["model"].name)
        flips = 1 if len(calls) == 1 else 0
        return {"avx2": {"by": "measured", **own}, "vnni": {"by": "simulated", **own, "flips": flips}}

    monkeypatch.setattr(quantize, "on_each_kind", on_each_kind)
    result = quantize.run(recipe, text_run.rundir)["variants"]["int8"]
    assert len(calls) >= 2
    assert result["tried"][0]["cpus"]["vnni"]["flips"] == 1
    assert result["cpus"]["vnni"]["flips"] == 0


def test_an_interrupted_attempt_leaves_no_file(text_run: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, *_: Any) -> None:
        assert path.is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(quantize, "label", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quantize.run(api.recipe_of(text_run.run), text_run.rundir)
    assert list((text_run.run / "quantized").iterdir()) == []


CPUS: dict[str, tuple[Any, str]] = {
    "nothing": ({"avx2": {"by": "nothing"}, "vnni": {"by": "measured"}}, "expected measured, simulated or proved"),
    "another word": ({"avx2": {"by": "luck"}, "vnni": {"by": "measured"}}, "expected measured, simulated or proved"),
    "a list": ({"avx2": {"by": []}, "vnni": {"by": "measured"}}, "expected measured, simulated or proved"),
    "one kind alone": ({"avx2": {"by": "measured"}}, "is not a record for each of avx2, vnni"),
    "no by": ({"avx2": {}, "vnni": {"by": "measured"}}, "is not a record for each of avx2, vnni"),
    "no record": (None, "is not a record for each of avx2, vnni"),
}


@pytest.mark.parametrize("name", CPUS)
def test_a_file_that_was_shown_on_no_kind_of_cpu_is_a_breach(name: str, text_run: Finished) -> None:
    cpus, line = CPUS[name]
    manifest = read_json(text_run.dist / "manifest.json")
    manifest["variants"]["int8"]["cpus"] = cpus
    write_json(text_run.dist / "manifest.json", manifest)
    (breach,) = [one for one in api.comparisons_of(text_run.dist, ["parity"]) if not one.ok]
    assert line in breach.line()


def test_a_precision_that_names_no_rewrites_is_reported_with_its_nodes_and_can_be_diagnosed(
    text_run: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plug-in may leave them out: then answers alone judge its file, and the ledger says so."""
    monkeypatch.setattr(int8, "REWRITES", None)  # what `plugins.load` puts where a plug-in has none
    comparisons = api.comparisons_of(text_run.run, ["parity"])
    assert [one.line() for one in comparisons if not one.ok] == []
    (reported,) = [one for one in comparisons if one.id == "nodes-not-compared"]
    assert (reported.value, reported.limit) == (len(onnx.load(text_run.run / INT8).graph.node), None)
    assert not [one for one in comparisons if one.id == "unexplained-nodes"]
    assert diagnose.examine(api.recipe_of(text_run.run), text_run.rundir, "int8")["variants"]["int8"]


# ---- inputs that round roughly


def two_products(tmp_path: Path) -> Path:
    """`quiet` reads the rows squashed, `rough` reads them as they are, with one value far from all others."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Tanh", ["x"], ["plain"]),
        helper.make_node("MatMul", ["plain", "quiet_weights"], ["left"], "quiet"),
        helper.make_node("Neg", ["x"], ["turned"]),
        helper.make_node("MatMul", ["turned", "rough_weights"], ["right"], "rough"),
        helper.make_node("Add", ["left", "right"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "head_weights"], ["logits"], "head"),
    ]
    stored = {
        "quiet_weights": rng.normal(size=(512, 32)), "rough_weights": rng.normal(size=(512, 32)),
        "head_weights": rng.normal(size=(32, 3)),
    }  # fmt: skip
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in stored.items()]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 512])
    taken = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "g", [given], [taken], tensors)
    path = tmp_path / "model.onnx"
    onnx_files.write(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    return path


def rows(seed: int = 0) -> Sequence[Inputs]:
    rng = np.random.default_rng(seed)
    batch = rng.normal(size=(2, 64, 512)).astype(np.float32)
    batch[:, 3, 7] = 100
    return [{"x": one} for one in batch]


def test_a_product_whose_input_rounds_roughly_stays_in_float32(tmp_path: Path) -> None:
    source = two_products(tmp_path)
    decibels = input_rounding_db(source, rows())
    assert decibels["rough"] < 22 < 35 < decibels["quiet"]
    ways = int8.candidates(source, int8.Options(), rows())
    assert [way["exclude"] for way in ways] == [["head", "rough"], ["head"], ["head"]]
    int8.convert(source, tmp_path / "int8.onnx", ways[0], rows())
    kinds = {node.name: node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert (kinds["rough"], kinds["quiet_quant"]) == ("MatMul", "MatMulInteger")
    (exact,) = Session(source)(rows(1)[0]).values()
    errors = []
    for way in ways[:2]:
        int8.convert(source, tmp_path / "int8.onnx", way, rows())
        (got,) = Session(tmp_path / "int8.onnx")(rows(1)[0]).values()
        errors.append(float(np.abs(got - exact).max()))
    assert errors[0] < errors[1] / 4


def test_without_such_a_product_everything_is_tried_in_int8_first(text_run: Finished) -> None:
    ways = int8.candidates(text_run.run / FP32, api.recipe_of(text_run.run).export, samples_of(text_run))
    assert [way["name"] for way in ways] == ["dynamic, per channel", "dynamic, per tensor"]


def test_a_gemm_is_kept_in_float32_by_its_own_name_and_by_its_product_s() -> None:
    weights = numpy_helper.from_array(np.eye(4, dtype=np.float32), "weights")
    nodes = [
        helper.make_node("Gemm", ["x", "weights"], ["hidden"], "pooler"),
        helper.make_node("Gemm", ["hidden", "weights"], ["logits"], "head"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 4]) for name in ("x", "logits")]
    model = helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], [weights]))
    assert int8.excluded(model, ["pooler"]) == ["pooler", "pooler_MatMul"]
    assert int8.excluded(model, ["pooler_MatMul"]) == ["pooler_MatMul"]


# ---- a quantizer that fails


def test_what_the_quantizer_raises_is_one_line(image_run: Finished) -> None:
    setting: dict[str, Any] = {"name": "way", "method": "Percentile", "exclude": []}
    with pytest.raises(ModelError, match="onnxruntime's quantizer fails: ValueError: No data is collected") as caught:
        int8.convert(image_run.run / FP32, image_run.run / INT8, setting, [])
    assert len(caught.value.lines) == 1


def test_a_bug_of_our_own_inside_the_quantizer_keeps_its_trace(image_run: Finished) -> None:
    class Broken(list[Inputs]):
        def __iter__(self) -> Any:
            raise ZeroDivisionError

    setting: dict[str, Any] = {"name": "way", "method": "MinMax", "exclude": []}
    with pytest.raises(ZeroDivisionError):
        int8.convert(image_run.run / FP32, image_run.run / INT8, setting, Broken())
