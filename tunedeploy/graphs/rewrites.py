"""The ways in which converters write a rounded program: what their operators stand for in float32.

A rewrite looks at one node of a file and says what its output is, or returns None. Whatever does not fit the pattern
exactly (another scale on the way back, a product with another zero point) is left as it is, matches no node of the
float32 file, and is a breach.
"""

import numpy as np
import onnx

from tunedeploy.device.encoders import Array
from tunedeploy.graphs.reading import (
    FLOATS,
    Computed,
    Passed,
    Reading,
    Rewrite,
    Rounding,
    Stored,
    Value,
    attributes,
    integer,
)

BLOCKS = "block_size"  # of DequantizeLinear: scales of blocks, which no converter of ours writes


def dequantized(reading: Reading, node: onnx.NodeProto, result: int) -> Value | Passed | None:
    """DequantizeLinear: of a stored tensor, of rows gathered from one, or back from QuantizeLinear."""
    del result
    if node.op_type != "DequantizeLinear" or node.domain or integer(node, BLOCKS, 0):
        return None
    rounding = rounding_of(reading, node)
    if rounding is None:
        return None
    integers = reading.stored(node.input[0])
    if integers is not None:
        return Stored(name=node.input[0], array=integers, rounding=rounding)
    maker = reading.graph.makers.get(node.input[0])
    if maker is not None and maker.op_type == "Gather" and not maker.domain and rounding.scale.size == 1:
        table = reading.stored(maker.input[0])
        if table is not None:
            rows = Stored(name=maker.input[0], array=table, rounding=rounding)
            return Computed(operator="Gather", attributes=attributes(maker), inputs=(rows, maker.input[1]), node=maker)
    if maker is not None and maker.op_type == "QuantizeLinear" and rounding.scale.size == 1 and not maker.domain:
        quantization = rounding_of(reading, maker)
        if quantization is not None and same(quantization, rounding):
            return Passed(source=maker.input[0], rounding=rounding)
    return None


def rounding_of(reading: Reading, node: onnx.NodeProto) -> Rounding | None:
    """The stored scale and zero point of a QuantizeLinear or DequantizeLinear."""
    scale = reading.stored(node.input[1])
    point = reading.stored(node.input[2]) if len(node.input) > 2 else None
    if scale is None or point is None or not np.all(np.isfinite(scale) & (scale > 0)):
        return None
    return Rounding(kind=point.dtype, scale=scale, zero=point, axis=integer(node, "axis", 1))


def same(first: Rounding, second: Rounding) -> bool:
    """Whether two roundings are equal to the bit."""
    axis = first.axis == second.axis or first.scale.size == 1
    return axis and first.kind == second.kind and np.array_equal(first.scale, second.scale) and np.array_equal(
        first.zero, second.zero
    )  # fmt: skip


def integer_product(reading: Reading, node: onnx.NodeProto, result: int) -> Value | None:
    """A product of integers, scaled back: Mul(Cast(MatMulInteger(x, w)), Mul(scale of x, scale of w))."""
    del result
    if node.op_type != "Mul" or node.domain:
        return None
    for product, scales in (tuple(node.input), tuple(node.input)[::-1]):
        cast, both = reading.maker(product, "Cast"), reading.maker(scales, "Mul")
        if cast is None or both is None or integer(cast, "to", 0) != onnx.TensorProto.FLOAT:
            continue
        integers = reading.maker(cast.input[0], "MatMulInteger")
        if integers is not None and len(integers.input) == 4:
            return scaled_back(reading, integers, tuple(both.input))
    return None


def scaled_back(reading: Reading, product: onnx.NodeProto, scales: tuple[str, ...]) -> Value | None:
    """The float32 product that a MatMulInteger with these two scales stands for."""
    activation, weight, activation_zero, weight_zero = product.input
    measured = reading.maker(activation, "DynamicQuantizeLinear")
    if measured is None or list(measured.output) != [activation, measured.output[1], activation_zero]:
        return None
    own = measured.output[1]
    if own not in scales:
        return None
    scale = reading.stored(scales[1] if scales[0] == own else scales[0])
    integers, zero = reading.stored(weight), reading.stored(weight_zero)
    if scale is None or integers is None or zero is None or not np.all(np.isfinite(scale) & (scale > 0)):
        return None
    rounding = Rounding(kind=zero.dtype, scale=scale, zero=zero, axis=integers.ndim - 1)
    table = Stored(name=weight, array=integers, rounding=rounding)
    rounded = Passed(source=measured.input[0], rounding=Rounding(kind=np.dtype(np.uint8)))
    return Computed(operator="MatMul", attributes={}, inputs=(rounded, table), node=product)


def half(reading: Reading, node: onnx.NodeProto, result: int) -> Value | Passed | None:
    """A Cast between float32 and float16 changes no value but by rounding; one from integers makes a float."""
    del result
    if node.op_type != "Cast" or node.domain or integer(node, "to", 0) not in FLOATS:
        return None
    if reading.kinds.get(node.input[0]) in FLOATS:
        return Passed(source=node.input[0])
    return Computed(operator="Cast", attributes={"to": "float"}, inputs=tuple(node.input), node=node)


def filled(reading: Reading, node: onnx.NodeProto, result: int) -> Value | None:
    """A ConstantOfShape reads the number that it repeats, which is rounded like any stored one."""
    del reading, result
    if (
        node.op_type != "ConstantOfShape"
        or node.domain
        or [attribute.name for attribute in node.attribute] != ["value"]
    ):
        return None
    number = Stored(name=node.output[0], array=onnx.numpy_helper.to_array(node.attribute[0].t))
    return Computed(operator=node.op_type, attributes={}, inputs=(*node.input, number), node=node)


INTEGERS: tuple[Rewrite, ...] = (dequantized, integer_product)
HALVES: tuple[Rewrite, ...] = (half, filled)


def rounded(values: Array, rounding: Rounding) -> Array:
    """Float32 values as a reader gets them behind a rounding, by the definitions of ONNX's operators."""
    limits = np.iinfo(rounding.kind)
    if rounding.dynamic:
        low, high = min(0.0, float(values.min(initial=0))), max(0.0, float(values.max(initial=0)))
        scale = np.asarray((np.float32(high) - np.float32(low)) / np.float32(255))
        if scale == 0:
            return values
        zero = np.clip(np.rint(np.float32(0) - np.float32(low) / scale), 0, 255)
    else:
        table = Stored(name="", array=values, rounding=rounding)
        scale, zero = (part.astype(np.float32) for part in map(np.asarray, table.spread()))
    steps = np.clip(np.rint(values / scale) + zero, limits.min, limits.max)
    return np.asarray((steps - zero) * scale, np.float32)
