"""Faults that few answers show, and healthy files that look unlike what the tools write.

P1 is a quantized file that was wrong from its conversion on, P2 sizes and tokens that nobody tried, P3 stored tables
under other names.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, helper, numpy_helper

from tests.faults import graphs
from tests.faults.judging import FP32, INT8, SEMANTIC, judge_anew
from tests.faults.mutations import Subject, condition
from tests.finished import Finished, build, calibration, repair_run, tell_anew
from tests.tiny import Tiny
from tunedeploy import api, plugins
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device import agreement
from tunedeploy.device.array_files import read_array
from tunedeploy.device.comparison import Comparison
from tunedeploy.device.files import read_json
from tunedeploy.errors import BudgetError, ParityError
from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.proof.judge import CALIBRATION_ROWS
from tunedeploy.run.atomic import write_json
from tunedeploy.run.exported import encoder_of
from tunedeploy.run.folder import STAGE_FOLDER
from tunedeploy.stages import quantize

Array = np.ndarray
Finisher = Callable[[str], Finished]
TEXTS, IMAGES, TRANSFORMER_IMAGES = "text-classification", "image-classification", "images by a transformer"
SHOWS = 1e-6  # of the output's range: two runs of one file never differ by so much


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A change of a run's files; `renamed` gives every node and value of the quantized file another name besides."""

    family: str
    task: str
    stage: str
    renamed: bool
    inject: Callable[[Path], None]


FAULTS: dict[str, Fault] = {}
HEALTHY: dict[str, tuple[str, Callable[[Path], None]]] = {}
Inject = Callable[[Path], None]


def fault(
    family: str, task: str = TEXTS, *, stage: str = "quantize", renamed: bool = False
) -> Callable[[Inject], Inject]:
    """Enter a function into the table, under its name."""

    def enter(inject: Inject) -> Inject:
        name = inject.__name__.strip("_")
        assert name not in FAULTS
        FAULTS[name] = Fault(family=family, task=task, stage=stage, renamed=renamed, inject=inject)
        return inject

    return enter


def healthy(task: str) -> Callable[[Inject], Inject]:
    """Enter a change that leaves a run what it was."""

    def enter(inject: Inject) -> Inject:
        HEALTHY[f"{inject.__name__}, {task.partition('-')[0]}"] = (task, inject)
        return inject

    return enter


# ---- where things are in a graph, whatever they are called


def maker(model: onnx.ModelProto, value: str) -> NodeProto:
    """The node that makes a value."""
    return next(node for node in model.graph.node if value in node.output)


def readers(model: onnx.ModelProto, value: str) -> list[tuple[NodeProto, int]]:
    """The nodes that read a value, and at which input."""
    return [(node, at) for node in model.graph.node for at, name in enumerate(node.input) if name == value]


def rewire(model: onnx.ModelProto, old: str, new: str) -> None:
    """All that read one value read another."""
    found = readers(model, old)
    assert found, f"nothing reads {old}"
    for node, at in found:
        node.input[at] = new


def behind(model: onnx.ModelProto, node: NodeProto, *operators: str) -> NodeProto:
    """The node at the end of a chain of operators behind another."""
    for operator in operators:
        node = next(one for one, _ in readers(model, node.output[0]) if one.op_type == operator)
    return node


def products(model: onnx.ModelProto) -> list[NodeProto]:
    """Integer products: query, key, value, output, up and down of each layer."""
    found = graphs.nodes(model, "MatMulInteger")
    assert len(found) == 12
    return found


def residual(model: onnx.ModelProto, at: int) -> NodeProto:
    """The sum before a layer norm."""
    return maker(model, graphs.nodes(model, "LayerNormalization")[at].input[0])


def scaling(model: onnx.ModelProto) -> NodeProto:
    """The product of attention scores and their scale in the first layer."""
    masked = maker(model, graphs.nodes(model, "Softmax")[0].input[0])
    return maker(model, masked.input[0])


def convolutions(model: onnx.ModelProto) -> list[NodeProto]:
    """Convolutions, the widest kernel first, the shortcut of one pixel last."""
    kernels = [(node, list(attribute(node, "kernel_shape"))) for node in graphs.nodes(model, "Conv")]
    return [node for node, shape in kernels if shape != [1, 1]] + [node for node, shape in kernels if shape == [1, 1]]


def attribute(node: NodeProto, name: str) -> Any:
    """An attribute's value."""
    return helper.get_attribute_value(next(one for one in node.attribute if one.name == name))


def rounding_of(model: onnx.ModelProto, node: NodeProto) -> tuple[NodeProto, NodeProto]:
    """The QuantizeLinear and the DequantizeLinear behind a node."""
    first = behind(model, node, "QuantizeLinear")
    return first, behind(model, first, "DequantizeLinear")


def stored_behind(model: onnx.ModelProto, node: NodeProto, at: int) -> list[str]:
    """Integers, scale and zero point behind an input of a convolution."""
    return list(maker(model, node.input[at]).input)


def parts(model: onnx.ModelProto, product: NodeProto) -> list[str]:
    """Integers, scale and zero point of an integer product's weights."""
    scales = behind(model, product, "Cast", "Mul").input[1]
    stored = {one.name for one in model.graph.initializer}
    scale = next(name for name in maker(model, scales).input if name in stored)
    return [product.input[1], scale, product.input[3]]


def swap_contents(run: Path, first: Sequence[str], second: Sequence[str]) -> None:
    """Exchange what is stored under two lists of names."""
    with graphs.edited(run / INT8) as model:
        for one, other in zip(first, second, strict=True):
            values = [numpy_helper.to_array(graphs.stored(model, name)).copy() for name in (one, other)]
            assert values[0].shape == values[1].shape
            for name, value in zip((one, other), reversed(values), strict=True):
                graphs.stored(model, name).CopyFrom(numpy_helper.from_array(value, name))


def spread_of(run: Path, value: str) -> tuple[float, float]:
    """Standard deviation and largest size of a value on real rows."""
    recipe = api.recipe_of(run)
    encoder = encoder_of(recipe, Finished(recipe=run, run=run).rundir)
    rows = quantize.sample(data_of(recipe).train, 8)
    got = Graph(run / INT8).run(encoder.collate(encoder.encode(rows)), [value])[value]
    return float(got.std()), float(np.abs(got).max())


def with_names_of_their_own(path: Path) -> None:
    """Give every node and every value but inputs and outputs another name."""
    with graphs.edited(path) as model:
        kept = {one.name for one in [*model.graph.input, *model.graph.output]}
        values = [one.name for one in model.graph.initializer]
        values += [name for node in model.graph.node for name in node.output if name not in kept]
        new = {name: f"v{at}" for at, name in enumerate(dict.fromkeys(values))} | {"": ""}
        for one in model.graph.initializer:
            one.name = new[one.name]
        for at, node in enumerate(model.graph.node):
            node.name = f"n{at}"
            for names in (node.input, node.output):
                names[:] = [new.get(name, name) for name in names]


def requantized(run: Path, source: Path, setting: dict[str, Any]) -> None:
    """Convert a float32 file as the quantize stage does, in place of the run's own quantized file."""
    recipe = api.recipe_of(run)
    rows = quantize.sample(data_of(recipe).train, CALIBRATION_ROWS)
    samples = calibration(recipe, Finished(recipe=run, run=run).rundir, rows)
    plugins.load("precisions", "int8").convert(source, run / INT8, setting, samples)
    quantize.label(run / INT8, "int8", setting, run / FP32)


def setting_of(run: Path) -> dict[str, Any]:
    """How the run's file was quantized."""
    return dict(read_json(run / STAGE_FOLDER / "quantize.json")["result"]["variants"]["int8"]["setting"])


# ---- P1: texts, dynamic int8


@fault("P1")
def q_and_k_swapped(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        first, second = (behind(model, products(model)[at], "Cast", "Mul", "Add", "Reshape") for at in (0, 1))
        first.input[0], second.input[0] = second.input[0], first.input[0]


@fault("P1", renamed=True)
def k_and_v_swapped_in_a_renamed_file(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        first, second = (behind(model, products(model)[at], "Cast", "Mul", "Add", "Reshape") for at in (7, 8))
        first.input[0], second.input[0] = second.input[0], first.input[0]


@fault("P1")
def a_residual_of_another_layer(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        norms = graphs.nodes(model, "LayerNormalization")
        total = residual(model, 3)
        at = list(total.input).index(norms[2].output[0])
        total.input[at] = norms[1].output[0]


@fault("P1", renamed=True)
def a_layer_norm_skipped(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        norm = graphs.nodes(model, "LayerNormalization")[1]
        rewire(model, norm.output[0], norm.input[0])


@fault("P1")
def the_attention_scale_changed(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        name = scaling(model).input[1]
    graphs.change(run / INT8, name, lambda value: value * 1.1)


@fault("P1", renamed=True)
def the_mask_value_changed(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        name = graphs.nodes(model, "Where")[0].input[2]
    graphs.change(run / INT8, name, lambda value: np.full_like(value, -5))


@fault("P1")
def the_mask_ignored_in_one_layer(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        masked = maker(model, graphs.nodes(model, "Softmax")[1].input[0])
        rewire(model, masked.output[0], masked.input[0])


@fault("P1")
def the_softmax_over_the_other_axis(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        graphs.set_attribute(graphs.nodes(model, "Softmax")[1], "axis", -2)


@fault("P1", renamed=True)
def another_layernorm_epsilon_in_one_layer(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        graphs.set_attribute(graphs.nodes(model, "LayerNormalization")[2], "epsilon", 1e-3)


@fault("P1")
def gelu_by_tanh_in_the_quantized_file(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        for node in graphs.nodes(model, "Gelu"):
            graphs.set_attribute(node, "approximate", "tanh")


@fault("P1")
def the_token_type_left_out(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        tables = [node for node in graphs.nodes(model, "Gather") if node.input[1] == "token_type_ids"]
        total = behind(model, tables[0], "DequantizeLinear", "Add")
        other = next(name for name in total.input if maker(model, name).input[0] != tables[0].output[0])
        rewire(model, total.output[0], other)


@fault("P1")
def positions_off_by_one(run: Path) -> None:
    graphs.change(run / INT8, "trunk.embeddings.position_ids", lambda ids: np.minimum(ids + 1, ids.size - 1))


def scaled(factor: float) -> Callable[[onnx.ModelProto, str, str], list[NodeProto]]:
    """Nodes that scale a value."""

    def make(model: onnx.ModelProto, read: str, write: str) -> list[NodeProto]:
        return [helper.make_node("Mul", [read, graphs.constant(model, "a_factor", np.float32(factor))], [write])]

    return make


def clipped(limit: float) -> Callable[[onnx.ModelProto, str, str], list[NodeProto]]:
    """Nodes that cut a value."""

    def make(model: onnx.ModelProto, read: str, write: str) -> list[NodeProto]:
        bounds = [graphs.constant(model, name, np.float32(value)) for name, value in (("low", -limit), ("high", limit))]
        return [helper.make_node("Clip", [read, *bounds], [write])]

    return make


def rounded(step: float) -> Callable[[onnx.ModelProto, str, str], list[NodeProto]]:
    """Nodes that round a value to a step."""

    def make(model: onnx.ModelProto, read: str, write: str) -> list[NodeProto]:
        size = graphs.constant(model, "a_step", np.float32(step))
        return [
            helper.make_node("Div", [read, size], ["in_steps"]),
            helper.make_node("Round", ["in_steps"], ["whole_steps"]),
            helper.make_node("Mul", ["whole_steps", size], [write]),
        ]

    return make


def put(run: Path, value: str, make: Callable[[onnx.ModelProto, str, str], list[NodeProto]], file: str = INT8) -> None:
    """Put nodes behind a value."""
    with graphs.edited(run / file) as model:
        if any(one.name == value for one in model.graph.output):
            graphs.head(model).output[list(graphs.head(model).output).index(value)] = "raw"
            model.graph.node.extend(make(model, "raw", value))
            return
        graphs.between(model, value, lambda read, write: make(model, read, write))


def output(run: Path, operator: str, at: int) -> str:
    """The value that a node makes."""
    return str(graphs.nodes(onnx.load(run / INT8), operator)[at].output[0])


@fault("P1")
def a_value_scaled(run: Path) -> None:
    put(run, output(run, "Gelu", 1), scaled(1.05))


@fault("P1", renamed=True)
def the_attention_scaled_in_a_renamed_file(run: Path) -> None:
    put(run, output(run, "Softmax", 0), scaled(1.05))


@fault("P1")
def a_value_clipped_at_3_sigma(run: Path) -> None:
    value = output(run, "Gelu", 1)
    put(run, value, clipped(3 * spread_of(run, value)[0]))


@fault("P1", renamed=True)
def a_value_rounded_to_4_bits(run: Path) -> None:
    value = output(run, "LayerNormalization", 1)
    put(run, value, rounded(spread_of(run, value)[1] / 7.5))


@fault("P1")
def a_block_of_another_run(run: Path) -> None:
    """Both were quantized alike, from weights that differ in the second layer."""
    other = shutil.copyfile(run / FP32, run / "other.onnx")
    for name in graphs.weight_names(onnx.load(run / FP32), "MatMul")[6:12]:
        graphs.change(other, name, lambda values: values + 0.02 * np.random.default_rng(0).normal(size=values.shape))
    requantized(run, other, setting_of(run))
    other.unlink()


def float_file(run: Path) -> None:
    """The float32 file under the quantized one's name, with its metadata."""
    facts = list(onnx.load(run / INT8).metadata_props)
    shutil.copyfile(run / FP32, run / INT8)
    with graphs.edited(run / INT8) as model:
        del model.metadata_props[:]
        model.metadata_props.extend(facts)


@fault("P1")
def a_float_file_renamed(run: Path) -> None:
    float_file(run)


def another_activation_scale(run: Path, factor: float) -> None:
    """The integers are rounded anew by the other scale, so that products fit it."""
    with graphs.edited(run / INT8) as model:
        node = graphs.nodes(model, "DynamicQuantizeLinear")[1]
        value, (integers, scale, point) = node.input[0], node.output
        node.output[0], node.output[1] = "left_integers", "left_scale"
        place = list(model.graph.node).index(node)
        times = graphs.constant(model, "a_factor", np.float32(factor))
        for added in (
            helper.make_node("QuantizeLinear", [value, scale, point], [integers]),
            helper.make_node("Mul", ["left_scale", times], [scale]),
        ):
            model.graph.node.insert(place + 1, added)


@fault("P1")
def an_activation_scale_doubled_and_rounded_by(run: Path) -> None:
    another_activation_scale(run, 2)


@fault("P1", renamed=True)
def an_activation_scale_halved_and_rounded_by(run: Path) -> None:
    another_activation_scale(run, 0.5)


@fault("P1")
def scales_of_channels_rolled(run: Path) -> None:
    int8 = plugins.load("precisions", "int8")
    by_channel = [one for one in int8.candidates(run / FP32, api.recipe_of(run).export) if one.get("per_channel")]
    requantized(run, run / FP32, by_channel[0])
    model = onnx.load(run / INT8)
    graphs.change(run / INT8, parts(model, products(model)[4])[1], lambda scales: np.roll(scales, 1))


@fault("P1")
def two_weights_swapped(run: Path) -> None:
    """Those of query and output, with their scales and zero points."""
    model = onnx.load(run / INT8)
    swap_contents(run, parts(model, products(model)[6]), parts(model, products(model)[9]))


@fault("P1", renamed=True)
def weights_turned(run: Path) -> None:
    graphs.change(run / INT8, products(onnx.load(run / INT8))[3].input[1], np.transpose)


# ---- P1: images, static QDQ


@fault("P1", IMAGES)
def pads_moved(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        graphs.set_attribute(convolutions(model)[1], "pads", [0, 0, 2, 2])


@fault("P1", IMAGES)
def a_convolution_scaled(run: Path) -> None:
    put(run, convolutions(onnx.load(run / INT8))[2].output[0], scaled(1.05))


@fault("P1", IMAGES)
def a_convolution_clipped_at_3_sigma(run: Path) -> None:
    value = convolutions(onnx.load(run / INT8))[2].output[0]
    put(run, value, clipped(3 * spread_of(run, value)[0]))


@fault("P1", IMAGES, renamed=True)
def a_convolution_rounded_to_4_bits(run: Path) -> None:
    value = convolutions(onnx.load(run / INT8))[1].output[0]
    put(run, value, rounded(spread_of(run, value)[1] / 7.5))


def another_static_scale(run: Path, factor: float) -> None:
    """Of the activation between two convolutions; the bias of the second is rounded anew by it."""
    model = onnx.load(run / INT8)
    first, second = convolutions(model)[1:3]
    graphs.change(run / INT8, rounding_of(model, first)[0].input[1], lambda scale: scale * factor)
    integers, scale, _ = stored_behind(model, second, 2)
    graphs.change(run / INT8, scale, lambda scales: scales * factor)
    graphs.change(run / INT8, integers, lambda values: np.rint(values / factor))


@fault("P1", IMAGES)
def a_static_scale_doubled_and_rounded_by(run: Path) -> None:
    another_static_scale(run, 2)


@fault("P1", IMAGES, renamed=True)
def a_static_scale_halved_and_rounded_by(run: Path) -> None:
    another_static_scale(run, 0.5)


@fault("P1", IMAGES)
def a_static_scale_a_hundredth_larger(run: Path) -> None:
    another_static_scale(run, 1.01)


@fault("P1", IMAGES, renamed=True)
def a_static_scale_a_thousandth_smaller(run: Path) -> None:
    another_static_scale(run, 0.999)


@fault("P1", IMAGES)
def scales_of_a_convolutions_channels_rolled(run: Path) -> None:
    model = onnx.load(run / INT8)
    graphs.change(run / INT8, stored_behind(model, convolutions(model)[3], 1)[1], lambda scales: np.roll(scales, 1))


@fault("P1", IMAGES, renamed=True)
def a_bias_in_another_order(run: Path) -> None:
    model = onnx.load(run / INT8)
    graphs.change(run / INT8, stored_behind(model, convolutions(model)[2], 2)[0], lambda bias: np.roll(bias, 1))


@fault("P1", IMAGES)
def a_relu_dropped(run: Path) -> None:
    """The quantizer folds Relu into a zero point of 0, so it is lost with another one."""
    model = onnx.load(run / INT8)
    first, second = convolutions(model)[1:3]
    _, scale, point = rounding_of(model, first)[0].input
    graphs.change(run / INT8, scale, lambda value: value * 2)
    graphs.change(run / INT8, point, lambda value: np.full_like(value, 128))
    integers, bias_scale, _ = stored_behind(model, second, 2)
    graphs.change(run / INT8, bias_scale, lambda scales: scales * 2)
    graphs.change(run / INT8, integers, lambda values: np.rint(values / 2))


@fault("P1", IMAGES)
def a_rounding_with_the_scale_of_another(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        first, second = convolutions(model)[3:5]
        for node in rounding_of(model, first):
            node.input[1], node.input[2] = rounding_of(model, second)[0].input[1:3]


@fault("P1", IMAGES, renamed=True)
def two_convolutions_swapped(run: Path) -> None:
    model = onnx.load(run / INT8)
    first, second = convolutions(model)[1:3]
    swap_contents(run, stored_behind(model, first, 1), stored_behind(model, second, 1))


@fault("P1", IMAGES)
def a_kernel_turned(run: Path) -> None:
    model = onnx.load(run / INT8)
    name = stored_behind(model, convolutions(model)[4], 1)[0]
    graphs.change(run / INT8, name, lambda values: values.transpose(0, 1, 3, 2))


@fault("P1", IMAGES)
def a_convolution_of_another_run(run: Path) -> None:
    other = shutil.copyfile(run / FP32, run / "other.onnx")
    name = graphs.weight_names(onnx.load(run / FP32), "Conv")[4]
    graphs.change(other, name, lambda values: values + 0.02 * np.random.default_rng(0).normal(size=values.shape))
    requantized(run, other, setting_of(run))
    other.unlink()


@fault("P1", IMAGES)
def a_float_file_of_images_renamed(run: Path) -> None:
    float_file(run)


@fault("P1", IMAGES, renamed=True)
def the_residual_of_another_block(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        total = graphs.nodes(model, "Add")[0]
        pooled = rounding_of(model, graphs.nodes(model, "MaxPool")[0])[1].output[0]
        total.input[list(total.input).index(pooled)] = rounding_of(model, convolutions(model)[1])[1].output[0]


@fault("P1", IMAGES)
def the_shortcut_left_out(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        total = graphs.nodes(model, "Add")[1]
        shortcut = rounding_of(model, convolutions(model)[-1])[1].output[0]
        at = list(total.input).index(shortcut)
        total.input[at] = total.input[1 - at]


@fault("P1", IMAGES)
def the_average_of_a_window_for_its_maximum(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        node = graphs.nodes(model, "MaxPool")[0]
        node.op_type = "AveragePool"
        kept = [one for one in node.attribute if one.name not in ("storage_order", "dilations")]
        del node.attribute[:]
        node.attribute.extend(kept)


# ---- P1: images by a transformer, dynamic int8


@fault("P1", TRANSFORMER_IMAGES)
def q_and_v_swapped_in_a_vision_transformer(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        first, second = (behind(model, products(model)[at], "Cast", "Mul", "Add", "Reshape") for at in (0, 2))
        first.input[0], second.input[0] = second.input[0], first.input[0]


@fault("P1", TRANSFORMER_IMAGES, renamed=True)
def a_layer_norm_of_a_vision_transformer_skipped(run: Path) -> None:
    with graphs.edited(run / INT8) as model:
        norm = graphs.nodes(model, "LayerNormalization")[2]
        rewire(model, norm.output[0], norm.input[0])


# ---- P2: sizes and tokens that nobody tried


def where(run: Path, value: str, met: tuple[str, int], *, exactly: bool = True, file: str = FP32) -> None:
    """Scale a value by 1.5 where a size or a token is met."""
    what, size = met

    def make(model: onnx.ModelProto, read: str, write: str) -> list[NodeProto]:
        subject = Subject(model=model, values={}, rng=np.random.default_rng(0))
        per_token = what == "token" and value != "logits"
        flags = list(condition(subject, what, size, exactly=exactly, per_token=per_token))
        half, one = (graphs.constant(model, f"c{number}", np.float32(number)) for number in (0.5, 1))
        return [
            *flags,
            helper.make_node("Mul", ["flag_of_mutation", half], ["more"]),
            helper.make_node("Add", ["more", one], ["factor"]),
            helper.make_node("Mul", [read, "factor"], [write]),
        ]

    put(run, value, make, file)


RARE = 80  # a piece of the vocabulary, as ##m is, that no row of the data holds


def embedding(run: Path) -> str:
    """What the table of words gives, in the float32 file."""
    model = onnx.load(run / FP32)
    return str(next(node.output[0] for node in graphs.nodes(model, "Gather") if node.input[1] == "input_ids"))


@fault("P2", stage="export")
def another_answer_in_batches_over_32(run: Path) -> None:
    where(run, "logits", ("batch", 33), exactly=False)


@fault("P2", stage="export")
def another_answer_in_batches_of_4(run: Path) -> None:
    where(run, "logits", ("batch", 4))


@fault("P2", stage="export")
def another_answer_at_a_length_of_32(run: Path) -> None:
    where(run, "logits", ("length", 32))


@fault("P2", stage="export")
def another_embedding_at_a_length_of_33(run: Path) -> None:
    where(run, embedding(run), ("length", 33))


@fault("P2", stage="export")
def a_rare_token_embedded_otherwise(run: Path) -> None:
    where(run, embedding(run), ("token", RARE))


@fault("P2", stage="export")
def a_rare_token_that_changes_the_answer(run: Path) -> None:
    where(run, "logits", ("token", RARE))


@fault("P2", IMAGES, stage="export")
def another_answer_in_batches_of_images_over_32(run: Path) -> None:
    where(run, "logits", ("batch", 33), exactly=False)


@fault("P2", IMAGES, stage="export")
def another_answer_in_batches_of_4_images(run: Path) -> None:
    where(run, "logits", ("batch", 4))


@fault("P2")
def another_quantized_answer_in_batches_over_32(run: Path) -> None:
    where(run, "logits", ("batch", 33), exactly=False, file=INT8)


@fault("P2")
def a_rare_token_that_changes_the_quantized_answer(run: Path) -> None:
    where(run, "logits", ("token", RARE), file=INT8)


@fault("P2", IMAGES)
def another_quantized_answer_in_batches_of_4_images(run: Path) -> None:
    where(run, "logits", ("batch", 4), file=INT8)


# ---- P3: stored tables under other names


def rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """Call a stored tensor something else, and read it so."""
    graphs.stored(model, old).name = new
    rewire(model, old, new)


def tables(model: onnx.ModelProto) -> list[str]:
    """Names of the tables that rows are gathered from, of words first."""
    found = sorted(graphs.nodes(model, "Gather"), key=lambda node: node.input[1] != "input_ids")
    return [node.input[0] for node in found]


def blank_last_row(values: Array) -> Array:
    values[-1] = 0
    return values


@fault("P3", stage="export")
def a_row_of_a_renamed_table_zeroed(run: Path) -> None:
    name = tables(onnx.load(run / FP32))[0]
    graphs.change(run / FP32, name, blank_last_row)
    with graphs.edited(run / FP32) as model:
        rename(model, name, "a_table")


@fault("P3", stage="export")
def a_row_zeroed_in_tables_under_each_others_names(run: Path) -> None:
    graphs.change(run / FP32, tables(onnx.load(run / FP32))[0], blank_last_row)
    names_of_two_tables_exchanged(run)


@fault("P3", stage="export")
def a_table_stored_twice_and_the_other_one_read(run: Path) -> None:
    """The one with its own name is right, and nothing reads it."""
    with graphs.edited(run / FP32) as model:
        name = tables(model)[0]
        values = blank_last_row(numpy_helper.to_array(graphs.stored(model, name)).copy())
        rewire(model, name, graphs.constant(model, "a_table", values))


@fault("P3")
def a_row_of_a_renamed_integer_table_zeroed(run: Path) -> None:
    name = tables(onnx.load(run / INT8))[0]
    graphs.change(run / INT8, name, blank_last_row)
    with graphs.edited(run / INT8) as model:
        rename(model, name, "a_table")


def names_of_two_tables_exchanged(run: Path) -> None:
    with graphs.edited(run / FP32) as model:
        first, second = tables(model)[:2]
        rename(model, first, "between")
        rename(model, second, first)
        rename(model, "between", second)


# ---- healthy files


@healthy(TEXTS)
@healthy(IMAGES)
def everything_renamed_in_the_quantized_file(run: Path) -> None:
    with_names_of_their_own(run / INT8)


@healthy(TEXTS)
@healthy(IMAGES)
def everything_renamed_in_both_files(run: Path) -> None:
    with_names_of_their_own(run / FP32)
    with_names_of_their_own(run / INT8)


@healthy(TEXTS)
def two_tables_under_each_others_names(run: Path) -> None:
    names_of_two_tables_exchanged(run)


@healthy(TEXTS)
@healthy(IMAGES)
def stored_tensors_in_another_order(run: Path) -> None:
    for file in (FP32, INT8):
        with graphs.edited(run / file) as model:
            turned = list(model.graph.initializer)[::-1]
            del model.graph.initializer[:]
            model.graph.initializer.extend(turned)


@healthy(TEXTS)
@healthy(IMAGES)
def constant_nodes_for_stored_tensors(run: Path) -> None:
    for file in (FP32, INT8):
        with graphs.edited(run / file) as model:
            for tensor in model.graph.initializer:
                node = helper.make_node("Constant", [], [tensor.name], name=f"{tensor.name}_constant", value=tensor)
                model.graph.node.insert(0, node)
            del model.graph.initializer[:]


@healthy(TEXTS)
@healthy(IMAGES)
def the_last_product_split_by_hand(run: Path) -> None:
    """Gemm as a product and a sum, with its weights stored turned."""
    with graphs.edited(run / FP32) as model:
        node = graphs.nodes(model, "Gemm")[-1]
        read, weight, bias = node.input
        turned = np.ascontiguousarray(numpy_helper.to_array(graphs.stored(model, weight)).T)
        graphs.stored(model, weight).CopyFrom(numpy_helper.from_array(turned, weight))
        place = list(model.graph.node).index(node)
        model.graph.node.remove(node)
        model.graph.node.insert(place, helper.make_node("Add", ["product", bias], ["logits"], name="sum"))
        model.graph.node.insert(place, helper.make_node("MatMul", [read, weight], ["product"], name="product"))


# ---- the claims


def breaches(run: Path, checks: Sequence[str] = SEMANTIC) -> list[Comparison]:
    """What verify finds with the hashes ignored."""
    return [one for one in api.comparisons_of(run, checks) if not one.ok]


@pytest.fixture(scope="session")
def subjects(finished: Finisher, tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Finisher:
    """The finished runs of tests/finished.py, and one of images by a vision transformer."""

    @cache
    def subject(task: str) -> Finished:
        if task != TRANSFORMER_IMAGES:
            return finished(task)
        return build(tiny, tmp_path_factory.mktemp("transformer"), IMAGES, model=str(tiny["vit"]))

    return subject


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_few_answers_show_is_a_breach_of_its_stage(name: str, subjects: Finisher, tmp_path: Path) -> None:
    one = FAULTS[name]
    run = subjects(one.task).copy(tmp_path).run
    before = read_array((run / INT8).with_suffix(".npy"))
    one.inject(run)
    if one.renamed:
        with_names_of_their_own(run / INT8)
    if one.stage == "quantize":
        judge_anew(run)
    if one.family == "P1":
        after = read_array((run / INT8).with_suffix(".npy"))
        moved = agreement.largest_difference(before, after)[0]
        assert moved > SHOWS * agreement.output_range(before), "nothing was changed"
    repair_run(run)
    assert not breaches(run, ["integrity"])  # the hashes say that all is well
    with pytest.raises(ParityError) as caught:
        api.verify(run, SEMANTIC)
    assert one.stage in {line.partition(":")[0] for line in caught.value.lines}, caught.value.lines


def test_there_are_faults_of_every_family() -> None:
    families = [one.family for one in FAULTS.values()]
    assert families.count("P1") >= 27
    assert families.count("P2") >= 4
    assert families.count("P3") >= 2
    assert sum(one.renamed for one in FAULTS.values()) >= 10


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_file_that_looks_otherwise_raises_no_alarm(name: str, subjects: Finisher, tmp_path: Path) -> None:
    task, inject = HEALTHY[name]
    run = subjects(task).copy(tmp_path).run
    inject(run)
    tell_anew(run)
    judge_anew(run)
    repair_run(run)
    assert breaches(run) == []


@pytest.mark.parametrize("task", [TEXTS, IMAGES, TRANSFORMER_IMAGES])
def test_every_way_to_int8_that_holds_the_budget_raises_no_alarm(
    task: str, subjects: Finisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = subjects(task).copy(tmp_path)
    recipe, int8 = api.recipe_of(run.run), plugins.load("precisions", "int8")
    samples = calibration(recipe, run.rundir, list(data_of(recipe).train.select(range(64))))
    settings = int8.candidates(run.run / FP32, recipe.export, samples)
    held = 0
    for setting in settings:
        monkeypatch.setattr(int8, "candidates", lambda source, options, samples, setting=setting: [setting])
        try:
            result = quantize.run(recipe, run.rundir)
        except BudgetError:
            continue
        path = run.run / STAGE_FOLDER / "quantize.json"
        write_json(path, read_json(path) | {"result": result})
        tell_anew(run.run)
        repair_run(run.run)
        assert breaches(run.run) == [], setting["name"]
        held += 1
    assert held >= 2


@pytest.mark.parametrize("task", [TEXTS, IMAGES, TRANSFORMER_IMAGES])
def test_nodes_left_in_float32_raise_no_alarm(task: str, subjects: Finisher, tmp_path: Path) -> None:
    run = subjects(task).copy(tmp_path).run
    kind = "Conv" if task == IMAGES else "MatMul"
    model = onnx.load(run / FP32)
    weights = graphs.weight_names(model, kind)
    names = [node.name for node in graphs.nodes(model, kind) if node.input[1] in weights]
    api.export(run, {"exclude": f"[{names[1]}, {names[-1]}]"})
    assert breaches(run) == []
