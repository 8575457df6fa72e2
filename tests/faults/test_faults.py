"""Faults put into a finished run or bundle, with every hash repaired: the checks see each, and name its stage."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.faults import graphs
from tests.finished import Finished, answers_of_file, calibration, repair_bundle, repair_run, tell_anew
from tests.tiny import Tiny, base_of
from tunedeploy import api, plugins
from tunedeploy.cli.commands import main
from tunedeploy.commands.use import evaluate
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.comparison import Comparison
from tunedeploy.errors import ParityError, RunError
from tunedeploy.graphs import files as onnx_files
from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.proof.inside.origins import origins
from tunedeploy.proof.inside.stored import worst_rounding
from tunedeploy.run.answers import write_answers

Finisher = Callable[[str], Finished]
SEMANTIC = ("parity", "preprocessing", "metric")
FP32, INT8 = "onnx/model.onnx", "quantized/model_int8.onnx"


def breaches(path: Path, checks: Sequence[str] = SEMANTIC) -> list[Comparison]:
    """What verify finds with the hashes ignored."""
    return [one for one in api.comparisons_of(path, checks) if not one.ok]


# ---- the faults: each changes the files of a run, and names the stage that is to blame


@dataclass(frozen=True, kw_only=True)
class Fault:
    task: str
    stage: str
    inject: Callable[[Path], None]


RUN_FAULTS: dict[str, Fault] = {}


def fault(stage: str, task: str = "text-classification") -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Enter a function into the table, under its name."""

    def enter(inject: Callable[[Path], None]) -> Callable[[Path], None]:
        RUN_FAULTS[inject.__name__] = Fault(task=task, stage=stage, inject=inject)
        return inject

    return enter


def typical(values: np.ndarray) -> tuple[int, ...]:
    """Where the entry of median size is: neither the one that matters most nor one that matters to nobody."""
    flat = np.argsort(np.abs(values), axis=None)
    return tuple(int(at) for at in np.unravel_index(flat[len(flat) // 2], values.shape))


def one_percent(values: np.ndarray) -> np.ndarray:
    values[typical(values)] *= 1.01
    return values


def names(run: Path, kind: str) -> list[str]:
    return graphs.weight_names(onnx.load(run / FP32), kind)


@fault("export")
def one_weight_of_a_projection_changed_by_one_percent(run: Path) -> None:
    graphs.change(run / FP32, names(run, "MatMul")[0], one_percent)


@fault("export")
def one_weight_of_the_last_layer_changed_by_one_percent(run: Path) -> None:
    graphs.change(run / FP32, names(run, "MatMul")[-1], one_percent)


@fault("export")
def one_weight_of_the_head_changed_by_one_percent(run: Path) -> None:
    graphs.change(run / FP32, "head.weight", one_percent)


@fault("export")
def one_weight_of_a_norm_changed_by_one_percent(run: Path) -> None:
    graphs.change(run / FP32, names(run, "LayerNormalization")[0], one_percent)


@fault("export")
def a_bias_with_the_other_sign(run: Path) -> None:
    graphs.change(run / FP32, "head.bias", lambda values: -values)


@fault("export")
def another_layernorm_epsilon(run: Path) -> None:
    with graphs.edited(run / FP32) as model:
        for node in graphs.nodes(model, "LayerNormalization"):
            graphs.set_attribute(node, "epsilon", 1e-5)


@fault("export")
def gelu_by_tanh(run: Path) -> None:
    with graphs.edited(run / FP32) as model:
        for node in graphs.nodes(model, "Gelu"):
            graphs.set_attribute(node, "approximate", "tanh")


@fault("export")
def the_attention_mask_ignored(run: Path) -> None:
    def ones(read: str, write: str) -> list[onnx.NodeProto]:
        one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
        return [
            helper.make_node("Shape", [read], ["mask_shape"]),
            helper.make_node("ConstantOfShape", ["mask_shape"], [write], value=one),
        ]

    with graphs.edited(run / FP32) as model:
        graphs.between(model, "attention_mask", ones)


@fault("export")
def the_attention_mask_inverted(run: Path) -> None:
    with graphs.edited(run / FP32) as model:
        one = graphs.constant(model, "one", np.int64(1))
        graphs.between(model, "attention_mask", lambda read, write: [helper.make_node("Sub", [one, read], [write])])


@fault("export")
def position_ids_off_by_one(run: Path) -> None:
    graphs.change(run / FP32, "trunk.embeddings.position_ids", lambda ids: np.minimum(ids + 1, ids.size - 1))


@fault("export")
def the_row_of_a_word_that_no_text_holds_zeroed(run: Path) -> None:
    def last(values: np.ndarray) -> np.ndarray:
        values[-1] = 0  # the piece ##z
        return values

    graphs.change(run / FP32, "trunk.embeddings.word_embeddings.weight", last)


@fault("export")
def the_token_type_dropped(run: Path) -> None:
    graphs.change(run / FP32, "trunk.embeddings.token_type_embeddings.weight", np.zeros_like)


@fault("export")
def the_token_type_no_input_any_more(run: Path) -> None:
    def zeros(read: str, write: str) -> list[onnx.NodeProto]:
        return [helper.make_node("Sub", ["input_ids", "input_ids"], [write])]

    with graphs.edited(run / FP32) as model:
        graphs.between(model, "token_type_ids", zeros)
        kept = [one for one in model.graph.input if one.name != "token_type_ids"]
        del model.graph.input[:]
        model.graph.input.extend(kept)


@fault("export")
def the_batch_baked_in(run: Path) -> None:
    graphs.fix_axis(run / FP32, 0, 2)


@fault("export")
def the_sequence_length_baked_in(run: Path) -> None:
    graphs.fix_axis(run / FP32, 1, 9)


@fault("export")
def only_the_first_row_of_a_batch_computed(run: Path) -> None:
    """A batch that is baked in without an error: every row gets the first one's logits."""

    def first(read: str, write: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Shape", [read], ["whole"]),
            helper.make_node("Gather", [read, "none"], ["single"], axis=0),
            helper.make_node("Expand", ["single", "whole"], [write]),
        ]

    with graphs.edited(run / FP32) as model:
        graphs.constant(model, "none", np.array([0], np.int64))
        graphs.between(model, graphs.head(model).input[0], first)


@fault("export")
def a_nan_weight(run: Path) -> None:
    def last(values: np.ndarray) -> np.ndarray:
        values[0, 0] = np.nan
        return values

    graphs.change(run / FP32, names(run, "MatMul")[-1], last)


@fault("export")
def float16_overflow(run: Path) -> None:
    def half(read: str, write: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Mul", [read, "large"], ["scaled"]),
            helper.make_node("Cast", ["scaled"], ["half"], to=TensorProto.FLOAT16),
            helper.make_node("Cast", ["half"], ["whole"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["whole", "large"], [write]),
        ]

    with graphs.edited(run / FP32) as model:
        graphs.constant(model, "large", np.float32(1e6))
        graphs.between(model, graphs.head(model).input[0], half)


@fault("export")
def float16_rounding(run: Path) -> None:
    def half(read: str, write: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("Cast", [read], ["half"], to=TensorProto.FLOAT16),
            helper.make_node("Cast", ["half"], [write], to=TensorProto.FLOAT),
        ]

    with graphs.edited(run / FP32) as model:
        graphs.between(model, graphs.head(model).input[0], half)


@fault("export")
def dropout_active(run: Path) -> None:
    """As a model that was traced in training mode writes it: a random mask."""

    def drop(read: str, write: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("RandomUniformLike", [read], ["luck"]),
            helper.make_node("Greater", ["luck", "share"], ["kept"]),
            helper.make_node("Where", ["kept", read, "nothing"], [write]),
        ]

    with graphs.edited(run / FP32) as model:
        graphs.constant(model, "share", np.float32(0.1))
        graphs.constant(model, "nothing", np.float32(0))
        graphs.between(model, graphs.head(model).input[0], drop)


@fault("export")
def a_dropout_node_in_training_mode(run: Path) -> None:
    """onnxruntime passes over it, so no logit shows it; other run times drop."""
    with graphs.edited(run / FP32) as model:
        graphs.constant(model, "ratio", np.float32(0.1))
        graphs.constant(model, "training", np.bool_(True))
        graphs.between(
            model,
            graphs.head(model).input[0],
            lambda read, write: [helper.make_node("Dropout", [read, "ratio", "training"], [write])],
        )


@fault("export")
def the_output_renamed(run: Path) -> None:
    graphs.rename_output(run / FP32)


@fault("export")
def labels_permuted_in_the_file(run: Path) -> None:
    graphs.rewrite_metadata(run / FP32, "labels", lambda labels: labels[::-1])


@fault("export")
def labels_sorted_otherwise_everywhere(run: Path) -> None:
    """The record of training, the merged folder and both files agree with each other, and not with the data."""
    for file in (FP32, INT8):
        graphs.rewrite_metadata(run / file, "labels", lambda labels: labels[::-1])
    graphs.rewrite(run / "merged" / "tunedeploy.json", lambda facts: facts | {"labels": facts["labels"][::-1]})
    graphs.rewrite(
        run / "stages" / "train.json",
        lambda record: record | {"result": record["result"] | {"labels": record["result"]["labels"][::-1]}},
    )


# ---- faults of the merge: the merged folder and the file agree, the training does not


def base_weights(run: Path) -> dict[str, np.ndarray]:
    recipe = api.recipe_of(run)
    state = base_of(recipe).model.state_dict()
    return {name: value.numpy() for name, value in state.items()}


def tuned_weights(run: Path) -> dict[str, np.ndarray]:
    """The weights that the adapter changed."""
    base = base_weights(run)
    merged = graphs.merged_weights(run)
    changed = {name for name, value in merged.items() if name in base and not np.array_equal(value, base[name])}
    return {name: merged[name] for name in sorted(changed) if name.startswith("trunk.")}


@fault("merge")
def an_unmerged_adapter(run: Path) -> None:
    """The base weights in place of the merged ones; the head is the trained one."""
    base = base_weights(run)
    graphs.replace_weights(run, {name: base[name] for name in tuned_weights(run)})


@fault("merge")
def base_weights_in_place_of_the_merged(run: Path) -> None:
    """Nothing of the training arrived: trunk and head are where they began."""
    base = base_weights(run)
    graphs.replace_weights(run, {name: base[name] for name in [*tuned_weights(run), "head.weight", "head.bias"]})


@fault("merge")
def the_adapter_merged_twice(run: Path) -> None:
    base = base_weights(run)
    graphs.replace_weights(run, {name: 2 * value - base[name] for name, value in tuned_weights(run).items()})


@fault("merge")
def alpha_ignored(run: Path) -> None:
    """The update at half its size: alpha / rank is 2."""
    base = base_weights(run)
    graphs.replace_weights(run, {name: (value + base[name]) / 2 for name, value in tuned_weights(run).items()})


@fault("merge")
def the_head_left_at_its_initialisation(run: Path) -> None:
    base = base_weights(run)
    graphs.replace_weights(run, {name: base[name] for name in ("head.weight", "head.bias")})


@fault("merge")
def rows_of_the_head_permuted(run: Path) -> None:
    merged = graphs.merged_weights(run)
    graphs.replace_weights(run, {name: merged[name][::-1] for name in ("head.weight", "head.bias")})


@fault("merge")
def one_merged_weight_changed_by_one_percent(run: Path) -> None:
    name, value = next(iter(tuned_weights(run).items()))
    graphs.replace_weights(run, {name: one_percent(value.copy())})


@fault("merge")
def another_pooling(run: Path) -> None:
    graphs.rewrite(run / "merged" / "tunedeploy.json", lambda facts: facts | {"pooling": "max"})


# ---- faults of the preprocessing of texts


@fault("merge")
def lower_casing_switched(run: Path) -> None:
    def switch(tokenizer: Any) -> None:
        tokenizer["normalizer"]["lowercase"] = not tokenizer["normalizer"]["lowercase"]

    graphs.rewrite(run / "merged" / "tokenizer.json", switch)


@fault("merge")
def two_words_that_no_text_holds_swapped(run: Path) -> None:
    def swap(tokenizer: Any) -> None:
        words = tokenizer["model"]["vocab"]
        words["##y"], words["##z"] = words["##z"], words["##y"]

    graphs.rewrite(run / "merged" / "tokenizer.json", swap)


@fault("merge")
def accents_kept(run: Path) -> None:
    def keep(tokenizer: Any) -> None:
        tokenizer["normalizer"]["strip_accents"] = False

    graphs.rewrite(run / "merged" / "tokenizer.json", keep)


@fault("merge")
def truncation_from_the_left(run: Path) -> None:
    graphs.rewrite(run / "merged" / "tokenizer.json", lambda one: one["truncation"].update(direction="Left"))
    graphs.rewrite(run / "merged" / "tokenizer_config.json", lambda one: one | {"truncation_side": "left"})


@fault("merge")
def another_maximum_length(run: Path) -> None:
    graphs.rewrite(run / "merged" / "tokenizer.json", lambda one: one["truncation"].update(max_length=32))
    graphs.rewrite(run / "merged" / "tunedeploy.json", lambda facts: facts["encoder"].update(max_length=32))
    for file in (FP32, INT8):
        graphs.rewrite_metadata(run / file, "preprocessing", lambda facts: facts | {"max_length": 32})


@fault("bundle")
def truncation_forgotten_by_the_tokenizer_alone(run: Path) -> None:
    """transformers cuts by its own argument, so training's library does not notice; the device does."""
    graphs.rewrite(run / "merged" / "tokenizer.json", lambda one: one.update(truncation=None))


@fault("merge")
def padding_switched_on_in_the_tokenizer(run: Path) -> None:
    padding = {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
    padding |= {"pad_type_id": 0, "pad_token": "[PAD]"}
    graphs.rewrite(run / "merged" / "tokenizer.json", lambda one: one.update(padding=padding))


# ---- faults of the quantized file


def first_quantized(run: Path) -> str:
    stored = [one.name for one in onnx.load(run / INT8).graph.initializer if one.name.endswith("_quantized")]
    return stored[len(stored) // 2].removesuffix("_quantized")


@fault("quantize")
def an_int8_scale_doubled_on_one_layer(run: Path) -> None:
    graphs.change(run / INT8, f"{first_quantized(run)}_scale", lambda scale: 2 * scale)


@fault("quantize")
def an_int8_zero_point_shifted(run: Path) -> None:
    graphs.change(run / INT8, f"{first_quantized(run)}_zero_point", lambda point: point + 2)


@fault("quantize")
def one_int8_weight_changed(run: Path) -> None:
    def turn(values: np.ndarray) -> np.ndarray:
        values[typical(values.astype(np.float32))] += 3
        return values

    graphs.change(run / INT8, f"{first_quantized(run)}_quantized", turn)


@fault("quantize")
def a_quantized_file_of_another_run(run: Path) -> None:
    """Quantized as this one was, from weights one training step away."""
    recipe = api.recipe_of(run)
    other = run / "other.onnx"
    shutil.copyfile(run / FP32, other)
    for name in names(run, "MatMul"):
        graphs.change(other, name, lambda values: values + 0.02 * np.random.default_rng(0).normal(size=values.shape))
    int8 = plugins.load("precisions", "int8")
    samples = calibration(recipe, run_dir(run), list(data_of(recipe).train.select(range(8))))
    props = list(onnx.load(run / INT8).metadata_props)
    int8.convert(other, run / INT8, int8.candidates(other, recipe.export, samples)[0], samples)
    with graphs.edited(run / INT8) as model:
        del model.metadata_props[:]
        model.metadata_props.extend(props)
    other.unlink()


def run_dir(run: Path) -> Any:
    return Finished(recipe=run, run=run).rundir


def rounding(source: Path, target: Path) -> tuple[float, str, int]:
    """The largest error of a stored weight, its name, and how many were rounded."""
    matched = origins(Graph(source), Graph(target), plugins.load("precisions", "int8").REWRITES)
    assert not matched.problems
    return worst_rounding(matched.pairs, matched.products)


# A converter's own bug is in the logits that the file was judged by, too: the judge's notes are written anew.


def judged_anew(run: Path, file: str = INT8) -> None:
    recipe = api.recipe_of(run)
    write_answers((run / file).with_suffix(".npy"), answers_of_file(recipe, run_dir(run), file))


def scaled_logits(run: Path, factor: float, file: str = INT8) -> None:
    with graphs.edited(run / file) as model:
        graphs.constant(model, "factor", np.float32(factor))
        graphs.head(model).output[list(graphs.head(model).output).index("logits")] = "cold"
        model.graph.node.append(helper.make_node("Mul", ["cold", "factor"], ["logits"]))


@fault("quantize")
def a_softmax_built_into_the_quantized_file(run: Path) -> None:
    """Answers are as before; probabilities computed from its output are not."""
    with graphs.edited(run / INT8) as model:
        graphs.head(model).output[list(graphs.head(model).output).index("logits")] = "raw"
        model.graph.node.append(helper.make_node("Softmax", ["raw"], ["logits"], axis=-1))
    judged_anew(run)


@fault("quantize")
def a_temperature_built_into_the_quantized_file(run: Path) -> None:
    scaled_logits(run, 10)
    judged_anew(run)


@fault("quantize")
def a_bias_that_stayed_float_changed_by_the_converter(run: Path) -> None:
    graphs.change(run / INT8, "head.bias", lambda values: values + 1e-3)
    judged_anew(run)


@fault("quantize")
def the_quantized_output_renamed(run: Path) -> None:
    graphs.rename_output(run / INT8)


@fault("quantize")
def labels_permuted_in_the_quantized_file(run: Path) -> None:
    graphs.rewrite_metadata(run / INT8, "labels", lambda labels: labels[::-1])


@fault("quantize")
def a_nan_in_the_quantized_head(run: Path) -> None:
    graphs.change(run / INT8, "head.bias", lambda values: values * np.nan)


@fault("quantize", "image-classification")
def the_scale_of_an_activation_doubled(run: Path) -> None:
    graphs.change(run / INT8, "relu_1_scale", lambda scale: 2 * scale)


@fault("quantize", "image-classification")
def the_zero_point_of_an_activation_shifted(run: Path) -> None:
    graphs.change(run / INT8, "getitem_6_zero_point", lambda point: point + 40)


@fault("quantize", "image-classification")
def the_scale_of_one_channel_doubled(run: Path) -> None:
    def one(scales: np.ndarray) -> np.ndarray:
        scales[3] *= 2
        return scales

    graphs.change(run / INT8, "trunk.encoder.stages.1.layers.0.layer.0.convolution.weight_scale", one)


# ---- faults of images


IMAGES = "image-classification"


def facts_everywhere(run: Path, **values: Any) -> None:
    """Preprocessing as the bundle is told it."""
    for file in (FP32, INT8):
        graphs.rewrite_metadata(run / file, "preprocessing", lambda facts: facts | values)


@fault("bundle", IMAGES)
def mean_and_std_swapped(run: Path) -> None:
    facts_everywhere(run, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


@fault("bundle", IMAGES)
def a_resize_without_antialias(run: Path) -> None:
    facts_everywhere(run, interpolation="nearest")


@fault("bundle", IMAGES)
def another_crop(run: Path) -> None:
    facts_everywhere(run, resize=36)


@fault("bundle", IMAGES)
def another_size(run: Path) -> None:
    facts_everywhere(run, resize=64, size=64)


@fault("merge", IMAGES)
def mean_and_std_swapped_for_other_programs(run: Path) -> None:
    """`preprocessor_config.json` is what transformers.js reads; ours does not, so no logit would show it."""

    def swap(config: Any) -> None:
        config["image_mean"], config["image_std"] = [0.25] * 3, config["image_mean"]

    graphs.rewrite(run / "merged" / "preprocessor_config.json", swap)


@fault("export", IMAGES)
def bgr_for_rgb(run: Path) -> None:
    with graphs.edited(run / FP32) as model:
        order = graphs.constant(model, "bgr", np.array([2, 1, 0], np.int64))
        graphs.between(
            model, "pixel_values", lambda read, write: [helper.make_node("Gather", [read, order], [write], axis=1)]
        )


@fault("export", IMAGES)
def batch_normalisation_in_training_mode(run: Path) -> None:
    """Normalised by the batch's own mean and variance, then set back to what evaluation would have on average."""

    def normalise(read: str, write: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("ReduceMean", [read, "over"], ["batch_mean"], keepdims=1),
            helper.make_node("Sub", [read, "batch_mean"], [write]),
        ]

    with graphs.edited(run / FP32) as model:
        graphs.constant(model, "over", np.array([0, 2, 3], np.int64))
        graphs.between(model, graphs.nodes(model, "Conv")[1].output[0], normalise)


@fault("export", IMAGES)
def one_weight_of_a_convolution_changed_by_one_percent(run: Path) -> None:
    graphs.change(run / FP32, names(run, "Conv")[2], one_percent)


@fault("export", IMAGES)
def the_batch_of_images_baked_in(run: Path) -> None:
    graphs.fix_axis(run / FP32, 0, 1)


# ---- the claims


@pytest.mark.parametrize("name", RUN_FAULTS)
def test_a_fault_in_a_run_is_a_breach_of_its_stage(name: str, finished: Finisher, tmp_path: Path) -> None:
    one = RUN_FAULTS[name]
    run = finished(one.task).copy(tmp_path).run
    one.inject(run)
    repair_run(run)
    assert not breaches(run, ["integrity"])  # the hashes say that all is well
    with pytest.raises(ParityError) as caught:
        api.verify(run, SEMANTIC)
    assert caught.value.exit_code == 3
    stages = {line.partition(":")[0] for line in caught.value.lines}
    assert one.stage in stages, caught.value.lines


def test_there_are_faults_of_every_stage() -> None:
    assert len(RUN_FAULTS) >= 30
    assert {one.stage for one in RUN_FAULTS.values()} == {"merge", "export", "quantize", "bundle"}


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
def test_a_healthy_run_and_its_bundle_raise_no_alarm(task: str, finished: Finisher, tmp_path: Path) -> None:
    run = finished(task).copy(tmp_path)
    repair_run(run.run)
    repair_bundle(run.dist)
    for path in (run.run, run.dist):
        for checks in (["integrity"], SEMANTIC):
            assert breaches(path, checks) == []


def test_the_same_graph_in_another_order_raises_no_alarm(finished: Finisher, tmp_path: Path) -> None:
    """Initializers turned round, node names and doc strings changed: other bytes, the same program."""
    run = finished("text-classification").copy(tmp_path).run
    with graphs.edited(run / FP32) as model:
        turned = list(model.graph.initializer)[::-1]
        del model.graph.initializer[:]
        model.graph.initializer.extend(turned)
        for at, node in enumerate(model.graph.node):
            node.name, node.doc_string = f"n{at}", "moved"
    tell_anew(run)
    judged_anew(run)
    repair_run(run)
    assert breaches(run) == []


def test_a_hundredth_of_the_noise_raises_no_alarm(finished: Finisher, tmp_path: Path) -> None:
    """Below what any honest tolerance can see: the last bit of one weight moves the logits less than rounding does."""
    run = finished("text-classification").copy(tmp_path).run

    def last_bit(values: np.ndarray) -> np.ndarray:
        at = typical(values)
        values[at] = np.nextafter(values[at], np.float32(9))
        return values

    graphs.change(run / FP32, names(run, "MatMul")[0], last_bit)
    tell_anew(run)
    repair_run(run)
    assert breaches(run) == []


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
def test_every_way_to_int8_stores_weights_within_a_rounding_step(task: str, finished: Finisher, tmp_path: Path) -> None:
    run = finished(task).copy(tmp_path).run
    recipe, int8 = api.recipe_of(run), plugins.load("precisions", "int8")
    samples = calibration(recipe, run_dir(run), list(data_of(recipe).train.select(range(8))))
    settings = int8.candidates(run / FP32, recipe.export, samples)
    assert len(settings) >= 2
    for setting in settings:
        int8.convert(run / FP32, run / INT8, setting, samples)
        worst, _, count = rounding(run / FP32, run / INT8)
        assert 0.9 < worst < 1.0, setting  # the nearest integer, as close as half a step allows
        assert count >= 12 - 6 * (task == "image-classification")


@pytest.mark.parametrize("how", ["one weight's sign", "a row that no text holds", "softmax"])
def test_a_fault_of_the_fp16_converter_is_a_breach_although_it_was_judged_with_it(
    how: str, tiny: Tiny, tmp_path: Path
) -> None:
    recipe = tiny.write(
        tmp_path / "r.yaml", "text-classification", tune={"method": "last-layer"}, export={"quantize": "fp16"}
    )
    run, file = api.through(recipe, run=tmp_path / "run", until="verify"), "quantized/model_fp16.onnx"
    assert not breaches(run)

    def turn(values: np.ndarray) -> np.ndarray:
        values[typical(values)] *= -1
        return values

    def blank(values: np.ndarray) -> np.ndarray:
        values[-1] = 0
        return values

    if how == "softmax":
        with graphs.edited(run / file) as model:
            maker = graphs.head(model)
            maker.output[list(maker.output).index("logits")] = "raw"
            model.graph.node.append(helper.make_node("Softmax", ["raw"], ["logits"], axis=-1))
    else:
        graphs.change(run / file, "trunk.embeddings.word_embeddings.weight", turn if "sign" in how else blank)
    judged_anew(run, file)
    repair_run(run)
    assert {one.stage for one in breaches(run)} == {"quantize"}


@pytest.mark.parametrize("file", [FP32, INT8, "train/eval_logits.npy", "quantized/model_int8.npy"])
@pytest.mark.parametrize("how", ["cut", "other bytes", "empty"])
def test_a_file_that_cannot_be_read_is_a_breach_in_one_line(
    file: str, how: str, finished: Finisher, tmp_path: Path
) -> None:
    run = finished("text-classification").copy(tmp_path).run
    content = (run / file).read_bytes()
    (run / file).write_bytes({"cut": content[: len(content) // 2], "other bytes": b"no such thing", "empty": b""}[how])
    with pytest.raises(ParityError) as caught:
        api.verify(run)
    assert any(file in line for line in caught.value.lines)
    assert not [line for line in caught.value.lines if "\n" in line]


def test_a_run_whose_data_has_changed_is_compared_with_nothing(finished: Finisher, tmp_path: Path) -> None:
    run = finished("text-classification").copy(tmp_path).run
    recipe = api.recipe_of(run)
    rows = Path(recipe.data.train).read_text(encoding="utf-8").splitlines(keepends=True)
    other = tmp_path / Path(recipe.data.train).name
    other.write_text("".join([rows[0], *rows[60:]]), encoding="utf-8")
    graphs_text = (run / "recipe.yaml").read_text(encoding="utf-8").replace(str(recipe.data.train), str(other))
    (run / "recipe.yaml").write_text(graphs_text, encoding="utf-8")
    with pytest.raises(RunError, match="has changed since training; put the old rows back, or train again"):
        api.verify(run, ["parity"])
    with pytest.raises(RunError, match="has changed since training"):
        evaluate(run)


def test_a_pooler_inside_an_int8_model_raises_no_alarm(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.write(
        tmp_path / "r.yaml", "text-classification", tune={"method": "last-layer", "pooling": "pooler"},
        export={"quantize": "int8", "max_drop": 100.0},
    )  # fmt: skip
    run = api.through(recipe, run=tmp_path / "run", until="verify")
    assert "Gemm" in onnx_files.operators(onnx.load(run / FP32))
    assert not breaches(run)


def test_a_weight_that_the_quantizer_turns_is_compared_turned(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wide, narrow = (rng.normal(size=shape).astype(np.float32) for shape in ((8, 100), (3, 8)))
    nodes = [
        helper.make_node("Gemm", ["x", "wide"], ["inner"], name="first", transB=1),
        helper.make_node("Gemm", ["inner", "narrow"], ["logits"], name="head", transB=1),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n]) for name, n in (("x", 100), ("logits", 3))
    ]
    stored = [onnx.numpy_helper.from_array(value, name) for value, name in ((wide, "wide"), (narrow, "narrow"))]
    model = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], stored), opset_imports=[helper.make_opsetid("", 20)]
    )
    onnx.save(model, tmp_path / "fp32.onnx")
    int8 = plugins.load("precisions", "int8")
    setting = int8.candidates(tmp_path / "fp32.onnx", int8.Options(), [])[0]
    int8.convert(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", setting, [])
    worst, where, count = rounding(tmp_path / "fp32.onnx", tmp_path / "int8.onnx")
    assert (where, count) == ("wide", 1)
    assert 0.6 < worst <= 1.0


def test_a_breach_is_told_on_the_command_line_with_exit_code_3(
    finished: Finisher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished("text-classification").copy(tmp_path).run
    RUN_FAULTS["a_bias_with_the_other_sign"].inject(run)
    repair_run(run)
    with pytest.raises(SystemExit) as end:
        main(["verify", str(run), "--json"])
    assert end.value.code == 3
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert document["ok"] is False
    lines = [
        line for line in shown.err.splitlines() if line.startswith("error: export: onnx/model.onnx: torch vs onnx")
    ]
    assert len(lines) == 1
    assert lines[0].endswith(f"; run 'tunedeploy diagnose {run}' to find where it begins")


# ---- the same in a bundle, where the trained model is not at hand


def of_run(name: str) -> Callable[[Path], None]:
    """A fault of the fp32 or int8 file of a run, in a bundle: there both lie in `onnx/`."""

    def inject(dist: Path) -> None:
        (dist / "quantized").mkdir()
        shutil.move(dist / "onnx" / "model_int8.onnx", dist / INT8)
        RUN_FAULTS[name].inject(dist)
        shutil.move(dist / INT8, dist / "onnx" / "model_int8.onnx")
        (dist / "quantized").rmdir()

    return inject


def swapped(labels: list[str]) -> list[str]:
    return [labels[1], labels[0], *labels[2:]]


def elsewhere(dist: Path) -> None:
    """The bundle as if built on another machine: int8 is judged by decisions here."""
    graphs.rewrite(dist / "parity" / "tolerances.json", lambda one: one["made_on"].update(instruction_set=["another"]))


def scaled_goldens(dist: Path, times: float) -> None:
    """The golden outputs of int8 as a file with a temperature gives them."""
    path = dist / "parity" / "golden.npz"
    arrays = dict(np.load(path))
    np.savez(path, **{name: one * times if name.endswith("/output/int8") else one for name, one in arrays.items()})


MODEL, MODEL8 = "onnx/model.onnx", "onnx/model_int8.onnx"
IN_BUNDLE: dict[str, tuple[str, str, Callable[[Path], None]]] = {
    **{
        name: ("text-classification", MODEL if RUN_FAULTS[name].stage == "export" else MODEL8, of_run(name))
        for name in (
            "one_weight_of_a_projection_changed_by_one_percent", "a_bias_with_the_other_sign",
            "another_layernorm_epsilon", "gelu_by_tanh", "the_attention_mask_ignored", "the_attention_mask_inverted",
            "position_ids_off_by_one", "the_batch_baked_in", "the_sequence_length_baked_in", "a_nan_weight",
            "dropout_active", "a_dropout_node_in_training_mode", "the_output_renamed",
            "an_int8_scale_doubled_on_one_layer", "an_int8_zero_point_shifted",
            "the_quantized_output_renamed", "a_nan_in_the_quantized_head",
        )
    },
    **{
        name: ("image-classification", MODEL if RUN_FAULTS[name].stage == "export" else MODEL8, of_run(name))
        for name in ("bgr_for_rgb", "the_scale_of_an_activation_doubled", "the_zero_point_of_an_activation_shifted")
    },
    "labels_permuted": (
        "text-classification", "labels.json", lambda dist: graphs.rewrite(dist / "labels.json", swapped)
    ),
    "labels_permuted_in_config": (
        "text-classification", "labels.json",
        lambda dist: graphs.rewrite(dist / "config.json", lambda one: one["id2label"].update({"0": "x", "1": "food"})),
    ),
    "labels_permuted_in_the_manifest": (
        "text-classification", "labels.json",
        lambda dist: graphs.rewrite(dist / "manifest.json", lambda one: one.update(labels=swapped(one["labels"]))),
    ),
    "lower_casing_switched": (
        "text-classification", "parity/golden.npz",
        lambda dist: graphs.rewrite(dist / "tokenizer.json", lambda one: one["normalizer"].update(lowercase=False)),
    ),
    "truncation_from_the_left": (
        "text-classification", "parity/golden.npz",
        lambda dist: graphs.rewrite(dist / "tokenizer.json", lambda one: one["truncation"].update(direction="Left")),
    ),
    "another_maximum_length": (
        "text-classification", "parity/golden.npz",
        lambda dist: graphs.rewrite(dist / "tokenizer.json", lambda one: one["truncation"].update(max_length=32)),
    ),
    "mean_and_std_swapped": (
        "image-classification", "parity/golden.npz",
        lambda dist: graphs.rewrite(
            dist / "manifest.json", lambda one: one["preprocessing"].update(mean=[0.25] * 3, std=[0.3] * 3)
        ),
    ),
    "mean_and_std_swapped_for_other_programs": (
        "image-classification", "manifest.json",
        lambda dist: graphs.rewrite(dist / "preprocessor_config.json", lambda one: one.update(image_mean=[0.25] * 3)),
    ),
    "another_crop": (
        "image-classification", "parity/golden.npz",
        lambda dist: graphs.rewrite(dist / "manifest.json", lambda one: one["preprocessing"].update(resize=36)),
    ),
    "no_antialias": (
        "image-classification", "parity/golden.npz",
        lambda dist: graphs.rewrite(
            dist / "manifest.json", lambda one: one["preprocessing"].update(interpolation="nearest")
        ),
    ),
    "int8_in_place_of_fp32": (
        "text-classification", MODEL, lambda dist: shutil.copyfile(dist / MODEL8, dist / MODEL) and None
    ),
    "no_rule_for_int8": (
        "text-classification", "parity/tolerances.json",
        lambda dist: graphs.rewrite(
            dist / "parity" / "tolerances.json", lambda one: one.update(variants={"fp32": one["variants"]["fp32"]})
        ),
    ),
    "a_temperature_in_int8_on_another_machine": (
        "text-classification", MODEL8, lambda dist: elsewhere(dist) or scaled_logits(dist, 10, MODEL8)
    ),
    "a_temperature_in_int8_and_in_its_goldens": (
        "text-classification", MODEL8,
        lambda dist: elsewhere(dist) or scaled_goldens(dist, 10) or scaled_logits(dist, 10, MODEL8),
    ),
    "fp32_in_place_of_int8": (
        "text-classification", MODEL8, lambda dist: shutil.copyfile(dist / MODEL, dist / MODEL8) and None
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_BUNDLE)
def test_a_fault_in_a_bundle_is_a_breach_of_its_file(name: str, finished: Finisher, tmp_path: Path) -> None:
    task, file, inject = IN_BUNDLE[name]
    dist = finished(task).copy(tmp_path).dist
    inject(dist)
    repair_bundle(dist)
    assert not breaches(dist, ["integrity"])
    with pytest.raises(ParityError) as caught:
        api.verify(dist, SEMANTIC)
    assert caught.value.exit_code == 3
    assert any(line.startswith(f"bundle: {file}: ") for line in caught.value.lines), caught.value.lines
