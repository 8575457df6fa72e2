"""Which products of an integer file can saturate on a CPU without VNNI; if none can, it is right on every CPU.

onnxruntime multiplies uint8 activations with int8 weights. With VNNI, and on ARM, products are summed in 32 bits.
Without it (AVX2, AVX-512 alone) the instruction at hand, vpmaddubsw, adds two neighbouring products in 16 bits and
saturates. Neighbours are weights 0 and 1, 2 and 3 and so on along the reduction, in the order that a kernel packs: of a
convolution kernel row, kernel column, then input channel. Depthwise convolutions have a kernel of their own, which
widens first, and so have uint8 weights. tests/precisions/test_saturation.py holds this to onnxruntime, bit by bit.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import numpy as np
import onnx

from tunedeploy.device.encoders import Array

# An activation is 255 at most: 255 x 128 = 32,640 fits into 16 bits, 255 x 129 = 32,895 does not.
LARGEST_PAIR = 128
LOWEST, HIGHEST = -(2**15), 2**15 - 1
# The weight's place among the inputs of operators that multiply integers ...
INTEGER = {
    "MatMulInteger": 1, "DynamicQuantizeMatMul": 1, "MatMulIntegerToFloat": 1, "QAttention": 1, "ConvInteger": 1,
    "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3,
}  # fmt: skip
# ... and of those that onnxruntime turns into one of them when a DequantizeLinear stands before each input.
DEQUANTIZED = {"Conv": 1, "MatMul": 1, "Gemm": 1}


# Operators that give numbers of their inputs in another place; onnxruntime moves a DequantizeLinear past them.
MOVING = {
    "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "Concat", "Split", "Pad",
    "Expand", "Tile",
}  # fmt: skip
ANY = np.array([-128, -128, 127, 127], np.int8)  # computed weights may have any values


@dataclass(frozen=True, kw_only=True)
class Product:
    """A node that multiplies activations with int8 weights (channels, reduction), neighbours side by side.

    Where the weights are moved or computed before the product, any two may be neighbours: then they are not `known`,
    and hold the worst pair possible.
    """

    node: onnx.NodeProto
    weights: Array
    known: bool = True


def products(model: onnx.ModelProto) -> Iterator[Product]:
    """The products of a file that run in kernels which may saturate."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    tensors |= {node.output[0]: node.attribute[0].t for node in model.graph.node if is_tensor(node)}
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        place = INTEGER.get(node.op_type, DEQUANTIZED.get(node.op_type))
        if place is None or len(node.input) <= place:
            continue
        sources = list(behind(node.input[place], tensors, makers, floats=node.op_type in DEQUANTIZED))
        if len(sources) == 1 and sources[0][1]:
            weights = sources[0][0]
            if not is_depthwise(node, weights):
                yield Product(node=node, weights=as_packed(node, weights))
        elif sources:
            beside_zeros = [*(weights.reshape(-1) for weights, _ in sources), np.zeros(2, np.int8)]
            every = np.sort(np.concatenate(beside_zeros))
            yield Product(node=node, weights=np.stack([every[:2], every[-2:]]), known=False)


def behind(
    name: str, tensors: Mapping[str, onnx.TensorProto], makers: Mapping[str, onnx.NodeProto], *, floats: bool
) -> Iterator[tuple[Array, bool]]:
    """The int8 numbers behind a value, and whether they stand in the order in which they are stored.

    Args:
        name: what a product reads.
        tensors: what is stored.
        makers: value to the node that makes it.
        floats: whether the value must come from a DequantizeLinear; otherwise it holds no integers.
    """
    if name in tensors:
        if tensors[name].data_type == onnx.TensorProto.INT8 and not floats:
            yield np.asarray(onnx.numpy_helper.to_array(tensors[name])), True
        return
    node = makers.get(name)
    if node is None:
        return
    if node.op_type in MOVING:
        for part in node.input:
            for weights, known in behind(part, tensors, makers, floats=floats):
                yield weights, known and node.op_type == "Identity"
    elif floats and node.op_type == "DequantizeLinear":
        yield from behind(node.input[0], tensors, makers, floats=False)
    elif not floats and not gives_uint8(node, tensors):
        yield ANY, False


def gives_uint8(node: onnx.NodeProto, tensors: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a rounding node gives uint8, which saturates in no kernel."""
    unsigned = onnx.TensorProto.UINT8
    if node.op_type == "QuantizeLinear":
        if len(node.input) > 2 and node.input[2]:
            return node.input[2] in tensors and tensors[node.input[2]].data_type == unsigned
        return attribute(node, "output_dtype", unsigned) in (0, unsigned)
    return node.op_type == "DynamicQuantizeLinear" or (node.op_type == "Cast" and attribute(node, "to", 0) == unsigned)


def is_tensor(node: onnx.NodeProto) -> bool:
    """Whether a node is a Constant that holds a tensor."""
    return node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].name == "value"


def is_depthwise(node: onnx.NodeProto, weights: Array) -> bool:
    """Whether a convolution has one filter for each input channel, and only one."""
    return "Conv" in node.op_type and weights.shape[1] == 1 and attribute(node, "group", 1) == weights.shape[0] > 1


def as_packed(node: onnx.NodeProto, weights: Array) -> Array:
    """The weights of a product as (channels, reduction), in the order in which kernels add them up."""
    if "Conv" in node.op_type:
        return np.moveaxis(weights, 1, -1).reshape(len(weights), -1)
    if weights.ndim < 2:
        return weights.reshape(1, -1)
    if attribute(node, "transB", 0):
        return weights
    return np.moveaxis(weights, -2, -1).reshape(-1, weights.shape[-2])


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """An attribute of a node, or its default."""
    return next((onnx.helper.get_attribute_value(proto) for proto in node.attribute if proto.name == name), default)


def neighbours(values: Array) -> tuple[Array, Array]:
    """Of (..., reduction): the first and the second of each pair, (..., pairs); the last may stand beside a zero."""
    even = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, values.shape[-1] % 2)])
    return even[..., 0::2], even[..., 1::2]


def pair_sums(weights: Array) -> Array:
    """Of (channels, reduction): the magnitude that a pair adds up to at worst, (channels, pairs).

    An activation can be zero, so that a weight of the other sign takes nothing away.
    """
    wide = weights.astype(np.int16) if weights.dtype == np.int8 else weights
    first, second = neighbours(wide)
    upward = np.maximum(first, 0) + np.maximum(second, 0)
    downward = np.maximum(-first, 0) + np.maximum(-second, 0)
    return np.asarray(np.maximum(upward, downward))


def at_risk(weights: Array) -> Array:
    """Of (channels, reduction): the pairs that some activations take out of 16 bits, (channels, pairs)."""
    return np.asarray(pair_sums(weights) > LARGEST_PAIR)


def can_saturate(model: onnx.ModelProto) -> list[str]:
    """Nodes with a pair of products that may leave 16 bits."""
    return [product.node.name for product in products(model) if at_risk(product.weights).any()]


def summed_in_16_bits(activations: Array, weights: Array) -> Array:
    """(rows, reduction) uint8 times (channels, reduction) int8, pairs saturating, (rows, channels)."""
    left, right = neighbours(activations.astype(np.int32)[:, None]), neighbours(weights.astype(np.int32)[None])
    pairs = left[0] * right[0] + left[1] * right[1]
    return np.asarray(pairs.clip(LOWEST, HIGHEST).sum(-1, dtype=np.int32))


class Range(TypedDict):
    """What the quantizer takes for the range of a tensor, or of the next channel along an axis."""

    axis: NotRequired[int]
    rmin: np.float32
    rmax: np.float32


def safe_ranges(model: onnx.ModelProto, *, per_channel: bool) -> dict[str, list[Range]]:
    """For onnxruntime's quantizer: the range of each weight, or of its channels, in which no product can saturate.

    It is wider than the weights' own by what their largest pairs need. On MiniLM and EfficientNet-Lite0 a channel keeps
    99 of 127 steps in the mean, where the quantizer's own remedy, `reduce_range`, leaves 64 to all.
    """
    stored = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in stored.keys() & set(node.input):
            readers.setdefault(name, []).append(node)
    ranges: dict[str, list[Range]] = {}
    for name, nodes in readers.items():
        weights = np.asarray(onnx.numpy_helper.to_array(stored[name]))
        # What an embedding reads too has one scale, and so has a vector.
        if weights.ndim < 2 or any(reader.op_type not in DEQUANTIZED or reader.input[1] != name for reader in nodes):
            continue
        axis = channel_axis(nodes[0], weights)
        safe = np.max([safe_range(reader, weights, axis) for reader in nodes], axis=0)
        channels: list[Range] = [{"axis": axis, "rmin": -bound, "rmax": bound} for bound in safe.astype(np.float32)]
        ranges[name] = channels if per_channel else [{"rmin": -safe.max(), "rmax": safe.max()}]
    return ranges


def channel_axis(node: onnx.NodeProto, weights: Array) -> int:
    """The axis of a product's weights that has its output channels."""
    return 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else weights.ndim - 1


def safe_range(node: onnx.NodeProto, weights: Array, axis: int) -> Array:
    """For each channel along `axis`: what 127 must stand for at least, so that no pair of products can leave 16 bits.

    Two weights that add up to 127 steps may be rounded up to 128, and that still fits.
    """
    packed = as_packed(node, weights)
    worst = np.abs(packed) if is_depthwise(node, weights) else pair_sums(packed)
    return np.asarray(worst.max(axis=1, initial=0).reshape(-1, weights.shape[axis]).max(axis=0))
