"""What saturates on a CPU without VNNI is known bit by bit, and a file's weights prove that nothing does."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tunedeploy.device.encoders import Array
from tunedeploy.device.runtime import NO_SATURATION
from tunedeploy.device.signature import Run
from tunedeploy.graphs import files as onnx_files
from tunedeploy.quantization import saturation
from tunedeploy.quantization.cpu_kinds import EXACT, SATURATING, native, on_each_kind, sessions_on
from tunedeploy.quantization.saturating_file import saturating

SATURATES = native() == SATURATING
HERE = "saturates" if SATURATES else "is exact"


def model_of(nodes: list[onnx.NodeProto], given: int, taken: int, **stored: Any) -> onnx.ModelProto:
    """A graph from `x` to `logits`."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()]
    inputs, outputs = (helper.make_tensor_value_info(*one, None) for one in (("x", given), ("logits", taken)))
    graph = helper.make_graph(nodes, "g", [inputs], [outputs], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def run(model: onnx.ModelProto, x: Array, *, exact: bool = False) -> Array:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if exact:
        options.add_session_config_entry(NO_SATURATION, "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def loud(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Weights of which most are as large as they can be, so that many pairs saturate."""
    quiet, full = rng.integers(-128, 128, shape), rng.choice([-128, -127, 126, 127], shape)
    return np.where(rng.random(shape) < 0.6, full, quiet).astype(np.int8)


def bright(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.where(rng.random(shape) < 0.6, 255, rng.integers(0, 256, shape)).astype(np.uint8)


def product(weights: Array) -> onnx.ModelProto:
    node = helper.make_node("MatMulInteger", ["x", "weights"], ["logits"], "product")
    return model_of([node], TensorProto.UINT8, TensorProto.INT32, weights=weights)


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (1, 384, 384), (3, 5, 7), (7, 63, 17), (40, 384, 200), (9, 1000, 33), (5, 3, 1), (1, 1027, 16)]
)
def test_a_product_is_onnxruntime_s_bit_by_bit(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    rows, depth, channels = shape
    x, weights = bright(rng, (rows, depth)), loud(rng, (depth, channels))
    in_16, in_32 = saturation.summed_in_16_bits(x, weights.T), x.astype(np.int32) @ weights.astype(np.int32)
    assert not np.array_equal(in_16, in_32) or depth < 4
    assert np.array_equal(run(product(weights), x), in_16 if SATURATES else in_32)
    assert np.array_equal(run(product(weights), x, exact=True), in_32)
    unsigned = (weights.astype(np.int16) + 128).astype(np.uint8)
    assert np.array_equal(run(product(unsigned), x), x.astype(np.int32) @ unsigned.astype(np.int32))


def convolution(weights: Array, groups: int, step: float) -> onnx.ModelProto:
    """A QLinearConv whose output keeps every bit that a power of two as its step leaves."""
    names = ["x", "one", "three", "weights", "ones", "zeros", "step", "middle"]
    side, channels = weights.shape[-1], len(weights)
    node = helper.make_node(
        "QLinearConv", names, ["logits"], "conv", kernel_shape=[side, side], group=groups, pads=[1, 1, 1, 1]
    )
    return model_of(
        [node], TensorProto.UINT8, TensorProto.UINT8, one=np.float32(1), three=np.uint8(3), weights=weights,
        ones=np.ones(channels, np.float32), zeros=np.zeros(channels, np.int8), step=np.float32(step),
        middle=np.uint8(128),
    )  # fmt: skip


def patches(x: Array, side: int, groups: int) -> list[Array]:
    """Of each group: rows of (kernel row, kernel column, channel), as kernels read them."""
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=3)
    windows = np.lib.stride_tricks.sliding_window_view(wide, (side, side), axis=(2, 3))
    rows = windows.transpose(0, 2, 3, 4, 5, 1)
    parts = np.split(rows, groups, axis=-1)
    return [part.reshape(-1, side * side * part.shape[-1]) for part in parts]


@pytest.mark.parametrize(
    ("inputs", "outputs", "side", "groups"),
    [
        (32, 64, 1, 1), (5, 16, 1, 1), (12, 8, 1, 1), (32, 64, 3, 1), (3, 32, 3, 1), (6, 16, 3, 1), (8, 24, 2, 1),
        (24, 24, 3, 4), (32, 32, 3, 2), (16, 32, 3, 16), (32, 32, 3, 32), (20, 20, 5, 20), (7, 7, 3, 7),
    ],
)  # fmt: skip
def test_a_convolution_is_onnxruntime_s_bit_by_bit(inputs: int, outputs: int, side: int, groups: int) -> None:
    rng = np.random.default_rng(0)
    x, weights = bright(rng, (2, inputs, 6, 6)), loud(rng, (outputs, inputs // groups, side, side))
    depthwise = groups == inputs == outputs
    sums = {saturation.summed_in_16_bits: [], exact_sum: []}  # type: ignore[var-annotated]
    for rows, part in zip(patches(x, side, groups), np.split(weights, groups), strict=True):
        packed = np.moveaxis(part, 1, -1).reshape(len(part), -1)
        for add, made in sums.items():
            made.append(add(rows, packed) - 3 * packed.astype(np.int32).sum(1))
    in_16, in_32 = (np.concatenate(made, axis=1) for made in sums.values())
    assert not np.array_equal(in_16, in_32)
    step = 2.0 ** np.ceil(np.log2(np.abs(in_32).max() / 127))
    for exact in (False, True):
        got = run(convolution(weights, groups, step), x, exact=exact)
        expected = in_16 if SATURATES and not exact and not depthwise else in_32
        expected = np.clip(np.rint(expected / step) + 128, 0, 255)
        assert np.array_equal(got.transpose(0, 2, 3, 1).reshape(-1, outputs), expected), f"{HERE}, exact {exact}"


def exact_sum(rows: Array, weights: Array) -> Array:
    return np.asarray(rows.astype(np.int32) @ weights.astype(np.int32).T)


@pytest.mark.parametrize(
    ("channel", "safe"),
    [
        ([127, 1, 127, 1], True), ([127, 2, 0, 0], False), ([0, 127, 127, 0], True), ([127, -127, 0, 0], True),
        ([-127, -2, 0, 0], False), ([64, 64, 64, 64], True), ([0, 0, 65, 64], False), ([-128, 0, -128], True),
    ],
)  # fmt: skip
def test_the_proof_is_the_pairs_of_each_channel(channel: list[int], safe: bool) -> None:
    weights = np.array([channel, [0] * len(channel)], np.int8).T
    assert saturation.can_saturate(product(weights)) == ([] if safe else ["product"])
    for sign in (1, -1):  # the worst activations: all on where the weights have one sign
        x = np.where(np.array([channel]) * sign > 0, 255, 0).astype(np.uint8)
        same = np.array_equal(saturation.summed_in_16_bits(x, weights.T), exact_sum(x, weights.T))
        assert same or not safe
        if (np.array(channel) * sign >= 0).all():
            assert same is safe


def as_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with every stored tensor in a Constant node."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    nodes = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer]
    del other.graph.initializer[:]
    del other.graph.node[:]
    other.graph.node.extend([*nodes, *model.graph.node])
    return other


def test_a_weight_in_a_constant_node_is_proved_and_written_out_like_a_stored_one() -> None:
    rng = np.random.default_rng(0)
    x, weights = bright(rng, (4, 12)), loud(rng, (12, 6))
    stored, constant = product(weights), as_constants(product(weights))
    assert saturation.can_saturate(constant) == saturation.can_saturate(stored) == ["product"]
    assert saturation.can_saturate(as_constants(product(np.full((4, 2), 64, np.int8)))) == []
    other = saturating(constant)
    assert other is not None
    assert np.array_equal(run(other, x, exact=True), saturation.summed_in_16_bits(x, weights.T))
    assert np.array_equal(run(constant, x), run(stored, x))
    nodes = [
        helper.make_node("DequantizeLinear", ["weights", "scale", "zero"], ["float_weights"], axis=0),
        helper.make_node("Conv", ["x", "float_weights"], ["logits"], "conv"),
    ]
    full = np.full((4, 4, 1, 1), 127, np.int8)
    ones, zeros = np.ones(4, np.float32), np.zeros(4, np.int8)
    dequantized = model_of(nodes, TensorProto.FLOAT, TensorProto.FLOAT, weights=full, scale=ones, zero=zeros)
    assert saturation.can_saturate(as_constants(dequantized)) == ["conv"]


def test_the_proof_reads_dequantized_weights_and_leaves_depthwise_and_unsigned_ones_alone() -> None:
    def dequantized(weights: Array, **attributes: Any) -> onnx.ModelProto:
        nodes = [
            helper.make_node("DequantizeLinear", ["weights", "scale", "zero"], ["float_weights"], axis=0),
            helper.make_node("Conv", ["x", "float_weights"], ["logits"], "conv", **attributes),
        ]
        ones = np.ones(len(weights), np.float32)
        zeros = np.zeros(len(weights), weights.dtype)
        return model_of(nodes, TensorProto.FLOAT, TensorProto.FLOAT, weights=weights, scale=ones, zero=zeros)

    full = np.full((4, 4, 1, 1), 127, np.int8)
    assert saturation.can_saturate(dequantized(full)) == ["conv"]
    assert saturation.can_saturate(dequantized(full.astype(np.uint8))) == []
    assert saturation.can_saturate(dequantized(np.full((4, 1, 3, 3), 127, np.int8), group=4)) == []
    assert saturation.can_saturate(dequantized(np.full((8, 1, 3, 3), 127, np.int8), group=4)) == ["conv"]
    # Neighbours are channels at one place of the kernel, not places of one channel.
    apart = np.zeros((1, 2, 1, 2), np.int8)
    apart[0, 0] = 127
    assert saturation.can_saturate(dequantized(apart)) == []
    assert saturation.can_saturate(dequantized(apart.transpose(0, 3, 2, 1))) == ["conv"]


def test_a_range_that_is_safe_leaves_no_pair_and_more_steps_than_seven_bits() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(384, 200)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "weights"], ["logits"], "product")
    model = model_of([node], TensorProto.FLOAT, TensorProto.FLOAT, weights=weights)
    ranges = np.array([one["rmax"] for one in saturation.safe_ranges(model, per_channel=True)["weights"]])
    stored = np.rint(weights / ranges * 127).astype(np.int8)
    assert saturation.pair_sums(stored.T).max() in (127, 128)
    assert np.abs(stored).max(0).mean() > 90
    (whole,) = saturation.safe_ranges(model, per_channel=False)["weights"]
    assert whole["rmax"] == ranges.max()


def test_a_file_with_its_saturation_written_out_gives_what_the_other_cpu_gives(tmp_path: Path) -> None:
    """Two products in turn, scaled at run time: exact arithmetic on the one file is saturation on the other."""
    rng = np.random.default_rng(0)
    first, second = loud(rng, (31, 48)), loud(rng, (48, 5))
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["a", "a_scale", "a_zero"]),
        helper.make_node("MatMulInteger", ["a", "first", "a_zero"], ["b_sum"], "first_product"),
        helper.make_node("Cast", ["b_sum"], ["b_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["b_float", "small"], ["b"]),
        helper.make_node("DynamicQuantizeLinear", ["b"], ["c", "c_scale", "c_zero"]),
        helper.make_node("MatMulInteger", ["c", "second", "c_zero"], ["d_sum"], "second_product"),
        helper.make_node("Cast", ["d_sum"], ["logits"], to=TensorProto.FLOAT),
    ]
    model = model_of(nodes, TensorProto.FLOAT, TensorProto.FLOAT, first=first, second=second, small=np.float32(1e-3))
    x = np.abs(rng.normal(size=(6, 31))).astype(np.float32)
    other = saturating(model)
    assert other is not None
    exact, written_out = run(model, x, exact=True), run(other, x, exact=True)
    assert not np.array_equal(exact, written_out)
    if SATURATES:
        assert np.array_equal(run(model, x), written_out)
    onnx_files.write(model, tmp_path / "m.onnx")
    for kind, expected in ((SATURATING, written_out), (EXACT, exact)):
        sessions = sessions_on({"model": tmp_path / "m.onnx"}, kind)
        assert sessions is not None
        assert np.array_equal(*sessions("model", {"x": x}).values(), expected)


def test_a_convolution_that_saturates_cannot_be_written_out() -> None:
    assert saturating(convolution(np.full((16, 16, 1, 1), 127, np.int8), 1, 256.0)) is None


def test_each_kind_of_cpu_is_measured_proved_or_simulated(tmp_path: Path) -> None:
    def measure(run: Run) -> dict[str, int]:
        return {"drop": int(next(iter(run("model", {"x": np.full((1, 2), 255, np.uint8)}).values()))[0, 0])}

    path = tmp_path / "m.onnx"
    files = {"model": path}
    other = EXACT if SATURATES else SATURATING
    onnx_files.write(product(np.array([[127], [1]], np.int8)), path)
    assert on_each_kind(files, {"drop": 1}, measure) == {
        native(): {"by": "measured", "drop": 1}, other: {"by": "proved", "drop": 1},
    }  # fmt: skip
    onnx_files.write(product(np.array([[127], [127]], np.int8)), path)
    figures = on_each_kind(files, {"drop": 1}, measure)
    assert figures[other] == {"by": "simulated", "drop": 64770 if other == EXACT else 32767}


# ---- weights that are no stored tensors of their product


def product_behind(*nodes: onnx.NodeProto, weights: Array, kind: str = "MatMulInteger") -> onnx.ModelProto:
    """A product of `x` with `w`, which these nodes make of the stored `s`; zero and scale are stored too."""
    reads = ["x", "w"]
    stored = {"s": weights, "scale": np.float32(0.1), "zero": np.int8(0), "turn": np.array([2, 2])}
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()]
    graph = helper.make_graph([*nodes, helper.make_node(kind, reads, ["y"], "product")], "g", [], [], tensors)
    return helper.make_model(graph)


LARGE, LITTLE = np.full((2, 2), 100, np.int8), np.full((2, 2), 50, np.int8)
DEQUANTIZE = helper.make_node("DequantizeLinear", ["s", "scale", "zero"], ["d"])
HIDDEN = {
    "identity": ([helper.make_node("Identity", ["s"], ["w"])], "MatMulInteger"),
    "reshaped": ([helper.make_node("Reshape", ["s", "turn"], ["w"])], "MatMulInteger"),
    "transposed floats": ([DEQUANTIZE, helper.make_node("Transpose", ["d"], ["w"])], "MatMul"),
    "transposed integers": (
        [
            helper.make_node("Transpose", ["s"], ["t"]),
            helper.make_node("DequantizeLinear", ["t", "scale", "zero"], ["w"]),
        ],
        "MatMul",
    ),
}


@pytest.mark.parametrize("way", HIDDEN)
def test_weights_behind_another_node_are_counted(way: str) -> None:
    nodes, kind = HIDDEN[way]
    assert saturation.can_saturate(product_behind(*nodes, weights=LARGE, kind=kind)) == ["product"]
    assert saturation.can_saturate(product_behind(*nodes, weights=LITTLE, kind=kind)) == []


def test_weights_that_are_computed_may_be_any_unless_they_are_uint8() -> None:
    for zero, expected in ((np.int8(0), ["product"]), (np.uint8(0), [])):
        model = product_behind(helper.make_node("QuantizeLinear", ["f", "scale", "zero"], ["w"]), weights=LITTLE)
        next(one for one in model.graph.initializer if one.name == "zero").CopyFrom(
            numpy_helper.from_array(np.asarray(zero), "zero")
        )
        assert saturation.can_saturate(model) == expected
    measured = helper.make_node("DynamicQuantizeLinear", ["f"], ["w", "p", "q"])
    assert saturation.can_saturate(product_behind(measured, weights=LITTLE)) == []
