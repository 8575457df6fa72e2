"""What rounding to float16 explains, of the values that a node is fed and of its output."""

import math
from collections.abc import Mapping

import numpy as np
import onnx

from tunedeploy.device import agreement
from tunedeploy.device.encoders import Array
from tunedeploy.graphs.onnx_graph import Graph

LARGEST = float(np.finfo(np.float16).max)
MASK = 6e4  # attention masks become float16's lowest value; they say what is left out, and are no signal
STEP = 2.0**-11  # the largest relative error of rounding to float16
CONVOLUTIONS = ("Conv", "ConvTranspose")
PRODUCTS = ("MatMul", "Gemm", *CONVOLUTIONS)


def rounded_to_half(value: Array) -> Array:
    """The nearest values that float16 holds, as float32; what is too large becomes float16's largest."""
    if value.dtype != np.float32:
        return value
    return np.asarray(np.clip(value, -LARGEST, LARGEST).astype(np.float16).astype(np.float32))


def limit_of_half(source: Graph, node: onnx.NodeProto, values: Mapping[str, Array], value: Array) -> float:
    """How far a value may differ from its reference, besides two steps of its own rounding.

    CPUs with float16 kernels also round each partial sum of a product; such errors grow with the root of their number.
    """
    signal = value[np.abs(value) < MASK]
    spread = max(agreement.output_range(signal), float(np.abs(signal).max(initial=0)))
    return spread * (agreement.CAP + STEP * (2 + math.sqrt(terms(source, node, values)) / 2))


def terms(source: Graph, node: onnx.NodeProto, values: Mapping[str, Array]) -> int:
    """How many products are summed in each number that a node gives; 0 where it is not a product."""
    if node.op_type not in PRODUCTS:
        return 0
    convolution = node.op_type in CONVOLUTIONS
    name = node.input[1 if convolution else 0]
    shape = list(values[name].shape if name in values else source.stored[name].dims)
    return math.prod(shape[1:]) if convolution else shape[-1]


def apart_beyond_half(reference: Array, own: Array) -> float:
    """The largest difference beyond two steps of float16; numbers too large for it count as its largest."""
    if reference.shape != own.shape:
        return math.inf
    first, second = (np.clip(np.atleast_1d(array).astype(np.float32), -LARGEST, LARGEST) for array in (reference, own))
    if np.isnan(first).any() or np.isnan(second).any():
        return math.inf
    with np.errstate(over="ignore"):  # the largest number has no next one
        steps = np.minimum(np.spacing(np.abs(first).astype(np.float16)).astype(np.float32), np.float32(32))
    steps = np.where(np.isfinite(steps), steps, np.float32(32))
    return float(np.maximum(np.abs(first - second) - 2 * steps, 0).max(initial=0))
