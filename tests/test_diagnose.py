"""Diagnose on real runs: it names the first node that differs, ranks the noisiest, and its recipe line helps."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from tests.faults import graphs
from tests.finished import Finished
from tests.tiny import Tiny
from tunedeploy import api, plugins
from tunedeploy.cli.commands import main
from tunedeploy.commands import diagnose
from tunedeploy.device.files import files_below, sha256
from tunedeploy.errors import BudgetError, ModelError, ParityError, RunError
from tunedeploy.graphs.onnx_graph import Graph, modules, origin

FP32, INT8 = "onnx/model.onnx", "quantized/model_int8.onnx"
Finisher = Callable[[str], Finished]


def found_in(run: Path, variant: str | None = None) -> dict[str, Any]:
    return diagnose.examine(api.recipe_of(run), Finished(recipe=run, run=run).rundir, variant)


def first(run: Path) -> dict[str, Any]:
    """The first diverging module's entry."""
    entry: dict[str, Any] = found_in(run, "fp32")["torch_vs_onnx"]["first"]
    assert entry is not None
    return entry


def weight_of(run: Path, module: str) -> str:
    """The stored matrix that a module's product reads."""
    model = onnx.load(run / FP32)
    node = next(one for one in graphs.nodes(model, "MatMul") if modules(one)[-1:] == [module])
    return str(node.input[1])


def one_weight(run: Path, name: str) -> None:
    def change(values: np.ndarray) -> np.ndarray:
        values[3, 5] += 0.01
        return values

    graphs.change(run / FP32, name, change)


# ---- torch against ONNX


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
def test_nothing_diverges_in_a_healthy_run(task: str, finished: Finisher) -> None:
    found = found_in(finished(task).run, "fp32")
    assert found["variants"] == {}
    within = found["torch_vs_onnx"]
    assert (within["first"], within["over"]) == (None, [])
    assert within["compared"] >= 15


def test_every_module_of_a_text_model_finds_its_value(finished: Finisher) -> None:
    assert found_in(finished("text-classification").run, "fp32")["torch_vs_onnx"]["not_matched"] == 0


def test_another_epsilon_is_found_in_the_first_norm(text_run: Finished) -> None:
    with graphs.edited(text_run.run / FP32) as model:
        for node in graphs.nodes(model, "LayerNormalization"):
            graphs.set_attribute(node, "epsilon", 1e-5)
        norm = graphs.nodes(model, "LayerNormalization")[0]
        node, value = norm.name, norm.output[0]
    entry = first(text_run.run)
    assert entry["name"] == "trunk.embeddings.LayerNorm"
    assert entry["value"] > entry["limit"] > 0
    expected = {"node": node, "operator": "LayerNormalization", "class": "LayerNorm", "value": value}
    assert {key: entry["facts"][key] for key in expected} == expected


@pytest.mark.parametrize("part", ["attention.self.key", "attention.output.dense", "output.dense"])
def test_one_changed_weight_is_found_in_its_own_module(part: str, text_run: Finished) -> None:
    module = f"trunk.encoder.layer.1.{part}"
    one_weight(text_run.run, weight_of(text_run.run, module))
    assert first(text_run.run)["name"] == module


def test_a_fault_between_two_modules_is_found_in_the_one_around_them(text_run: Finished) -> None:
    with graphs.edited(text_run.run / FP32) as model:
        softmax = graphs.nodes(model, "Softmax")[1]
        factor = graphs.constant(model, "factor", np.float32(1.01))
        graphs.between(
            model, softmax.input[0], lambda read, write: [onnx.helper.make_node("Mul", [read, factor], [write])]
        )
    assert first(text_run.run)["name"] == "trunk.encoder.layer.1.attention.self"


def test_a_changed_convolution_is_found_where_its_batch_norm_went(image_run: Finished) -> None:
    with graphs.edited(image_run.run / FP32) as model:
        node = graphs.nodes(model, "Conv")[2]
        name, module = node.input[1], modules(node)[-1]
    graphs.change(image_run.run / FP32, name, lambda values: values * 1.01)
    entry = first(image_run.run)
    assert (entry["name"], entry["facts"]["operator"]) == (module, "Conv")


def test_a_run_that_failed_to_verify_is_diagnosed(text_run: Finished) -> None:
    run = text_run.run
    one_weight(run, weight_of(run, "trunk.encoder.layer.0.intermediate.dense"))
    for name in ("verify", "bundle", "report"):
        (run / "stages" / f"{name}.json").unlink()
    (run / "ledger.json").unlink()
    shutil.rmtree(run / "dist")
    with pytest.raises(ParityError):
        api.verify(run, ["parity"])
    assert first(run)["name"] == "trunk.encoder.layer.0.intermediate.dense"


def test_nodes_name_their_modules_as_the_pytorch_model_does(text_run: Finished) -> None:
    paths = {origin(node).module for node in Graph(text_run.run / FP32).model.graph.node} - {""}
    assert len(paths) >= 15
    model = plugins.load("tasks", "text-classification").load(text_run.run / "merged").model
    assert paths <= {name for name, _ in model.named_modules()}


# ---- float32 against a quantized file


def doubled(run: Path, module: str) -> tuple[str, str]:
    """Double the scale of one product's integers; the name of its node and of its value."""
    model = onnx.load(run / FP32)
    node = next(one for one in graphs.nodes(model, "MatMul") if modules(one)[-1:] == [module])
    graphs.change(run / INT8, f"{node.input[1]}_scale", lambda values: values * 2)
    return node.name, node.output[0]


def test_a_doubled_scale_is_ranked_worst_and_stands_in_the_recipe_line(text_run: Finished) -> None:
    module = "trunk.encoder.layer.1.intermediate.dense"
    node, value = doubled(text_run.run, module)
    found = found_in(text_run.run)["variants"]["int8"]
    worst = found["tensors"][0]
    assert (worst["node"], worst["tensor"], worst["module"]) == (node, value, module)
    assert worst["own_db"] == pytest.approx(0, abs=0.5)  # the error is as large as the signal
    assert found["tensors"][1]["own_db"] > 25
    assert found["first_lost"]["tensor"] == value
    assert found["exclude"] == [node]
    assert yaml.safe_load(found["recipe"])["export"] == {"quantize": "int8", "max_drop": 100.0, "exclude": [node]}


def test_the_recipe_line_keeps_the_node_in_float32_and_its_error_is_gone(text_run: Finished) -> None:
    run = text_run.run
    before = found_in(run)["variants"]["int8"]
    (node,) = before["exclude"]
    value = next(one["tensor"] for one in before["tensors"] if one["spare"] == [node])
    assert node not in {one.name for one in onnx.load(run / INT8).graph.node}

    section = yaml.safe_load(before["recipe"])["export"]
    api.export(run, {"exclude": json.dumps(section["exclude"])})

    spared = next(one for one in onnx.load(run / INT8).graph.node if one.name == node)
    assert spared.op_type == "MatMul"
    weights = {one.name: one for one in onnx.load(run / INT8).graph.initializer}
    assert weights[spared.input[1]].data_type == onnx.TensorProto.FLOAT
    after = found_in(run)["variants"]["int8"]
    own = {one["tensor"]: one["own_db"] for one in after["tensors"]}
    assert own.get(value, 200.0) == 200.0
    assert node in after["recipe"] and [node] not in [one["spare"] for one in after["tensors"]]


def test_each_node_is_blamed_for_its_own_error_alone(text_run: Finished) -> None:
    clean = {one["tensor"]: one for one in found_in(text_run.run)["variants"]["int8"]["tensors"]}
    _, value = doubled(text_run.run, "trunk.encoder.layer.0.attention.self.value")
    faulty = {one["tensor"]: one for one in found_in(text_run.run)["variants"]["int8"]["tensors"]}
    assert len(clean) > 20 and clean.keys() == faulty.keys()
    changed = {name for name, one in clean.items() if one["own_db"] != faulty[name]["own_db"]}
    assert changed == {value}
    assert faulty["logits"]["total_db"] < clean["logits"]["total_db"]


def test_convolutions_in_qdq_are_ranked_with_their_rounding(image_run: Finished) -> None:
    found = found_in(image_run.run)["variants"]["int8"]
    convolutions = [one for one in found["tensors"] if one["operator"] == "Conv"]
    assert len(convolutions) >= 4
    assert all(30 < one["own_db"] < 60 for one in convolutions)  # a clipped activation folded away is no error
    names = {node.name for node in onnx.load(image_run.run / FP32).graph.node}
    assert found["exclude"] and set(found["exclude"]) <= names


def test_a_wrong_scale_of_a_convolution_is_ranked_worst(image_run: Finished) -> None:
    node = graphs.nodes(onnx.load(image_run.run / FP32), "Conv")[1]
    graphs.change(image_run.run / INT8, f"{node.input[1]}_scale", lambda values: values * 2)
    found = found_in(image_run.run)["variants"]["int8"]
    assert found["tensors"][0]["node"] == node.name
    assert found["exclude"][0] == node.name


def test_the_recipe_line_makes_a_rounded_activation_exact_too(image_run: Finished) -> None:
    before = found_in(image_run.run)["variants"]["int8"]
    worst = next(one for one in before["tensors"] if one["spare"])
    assert set(worst["spare"]) <= set(before["exclude"]) and len(worst["spare"]) >= 2  # it, and what reads it
    api.export(image_run.run, {"exclude": json.dumps(before["exclude"])})
    after = {one["tensor"]: one["own_db"] for one in found_in(image_run.run)["variants"]["int8"]["tensors"]}
    assert len(after) > 3
    assert after.get(worst["tensor"], 200.0) == 200.0


def test_fp16_is_ranked_and_has_nothing_to_exclude(text_run: Finished) -> None:
    api.export(text_run.run, {"quantize": "fp16"})
    found = found_in(text_run.run)["variants"]["fp16"]
    own = [one["own_db"] for one in found["tensors"]]
    assert len(own) > 20 and own == sorted(own)
    assert own[0] > 45  # eleven bits; the mask's lowest number, which float16 does not have, is no noise
    assert (found["exclude"], found["recipe"]) == ([], None)
    assert found["note"] == "fp16 has no option 'exclude'"


def test_a_file_that_missed_its_budget_is_diagnosed(text_run: Finished) -> None:
    with pytest.raises(BudgetError):
        api.export(text_run.run, {"quantize": "int8", "max_size": 0.001})
    assert not text_run.rundir.has("quantize")
    assert found_in(text_run.run)["variants"]["int8"]["tensors"]


# ---- what cannot be diagnosed, and the command line


def test_what_is_missing_or_damaged_is_one_line(text_run: Finished) -> None:
    run = text_run.run
    with pytest.raises(RunError, match="has no int4; it has fp32, int8"):
        found_in(run, "int4")
    with graphs.edited(run / FP32) as model:
        graphs.nodes(model, "Softmax")[0].op_type = "Sofdmax"
    with pytest.raises(RunError, match="cannot run it as written") as caught:
        found_in(run)
    assert len(caught.value.lines) == 1 and "\n" not in caught.value.lines[0]
    (run / FP32).write_bytes(b"no protobuf")
    with pytest.raises(ModelError, match="is not an ONNX file"):
        found_in(run)
    (run / FP32).unlink()
    with pytest.raises(RunError, match=f"has no {FP32}; run 'tunedeploy export"):
        found_in(run)


def test_json_is_one_document_and_the_run_stays_as_it_is(text_run: Finished, capfd: pytest.CaptureFixture[str]) -> None:
    before = {path: sha256(path) for path in files_below(text_run.run)}
    capfd.readouterr()
    main_ends_well(["diagnose", str(text_run.run), "--json"])
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert err == ""
    assert set(document) == {"run", "torch_vs_onnx", "variants"}
    assert set(document["variants"]) == {"int8"}
    assert {path: sha256(path) for path in files_below(text_run.run)} == before


def test_text_has_the_module_the_table_the_histogram_and_the_recipe_line(
    text_run: Finished, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")  # in a narrower terminal a table that does not fit becomes paragraphs
    module = "trunk.encoder.layer.1.output.dense"
    node, _ = doubled(text_run.run, module)
    one_weight(text_run.run, weight_of(text_run.run, module))
    capfd.readouterr()
    main_ends_well(["diagnose", str(text_run.run), "--variant", "int8"])
    lines = capfd.readouterr().out.splitlines()
    assert f"first diverging: {module} (Linear)" in lines
    head = next(at for at, line in enumerate(lines) if line.split() == ["own", "total", "operator", "node", "module"])
    assert lines[head + 1].split()[2:] == ["MatMul", node, module]
    assert any(line.split()[1:2] == ["dB"] and line.endswith("#") for line in lines)
    recipe = next(line for line in lines if line.startswith("export: {"))
    assert node in yaml.safe_load(recipe)["export"]["exclude"]


def test_a_folder_that_is_no_run_exits_with_1_in_one_line(tiny: Tiny, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        main(["diagnose", str(tiny.folder)])
    out, err = capfd.readouterr()
    assert (end.value.code, out, err.count("\n")) == (1, "", 1)
    assert "is not a run folder" in err


def main_ends_well(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert not end.value.code
