"""int8: a quarter of the size; dynamic for transformers with their embeddings, calibrated (QDQ) for convolutions."""

import contextlib
import io
import logging
import math
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.onnx_model import ONNXModel

from tunedeploy import onnx_files, saturation
from tunedeploy.activation_rounding import input_rounding_db
from tunedeploy.encoders import Array, Inputs
from tunedeploy.errors import ModelError, RecipeError
from tunedeploy.recipe import Section

FILE = "model_int8.onnx"
INTEGERS = True  # its products are of integers, which kinds of CPU add up unlike
# ConvInteger has no kernel in onnxruntime's default session, so dynamic quantization leaves convolutions alone.
DYNAMIC_OPS = ["MatMul", "Gemm", "Gather", "Attention", "EmbedLayerNormalization"]
# Products whose input has less signal to rounding noise than this stay in float32. On MiniLM rounded weights alone
# leave 34 dB in the logits and 99.8 % of the answers, rounded inputs 21 dB and 98.0 %. Without the three products under
# 22 dB, all behind a GELU, it is 98.8 %, for a fifth more time and 5 MB on 23. Gaussian inputs have about 40 dB.
OUTLIER_DB = (22, 25)


class Options(Section):
    """Keys of `export`."""

    exclude: tuple[str, ...] = ()  # nodes kept in float32, by name


def candidates(source: Path, options: Options, samples: Sequence[Inputs] = ()) -> list[dict[str, Any]]:
    """Ways to quantize this file, in the order in which they are tried.

    Args:
        source: the float32 file.
        options: the recipe's.
        samples: batches of training rows; without them no product is known to round its input roughly.
    """
    model = onnx.load(source)
    exclude = [*excluded(model, options.exclude), *head(model)]
    if mostly_convolution(model):
        return [
            {"name": "static QDQ, per channel, min-max", "method": "MinMax", "exclude": exclude},
            {"name": "static QDQ, per channel, percentile 99.99", "method": "Percentile", "exclude": exclude},
            {"name": "static QDQ, per channel, entropy", "method": "Entropy", "exclude": exclude},
        ]
    everything = {"name": "dynamic, per channel", "per_channel": True, "exclude": exclude}
    ways = [everything | sparing for sparing in without_outliers(model, exclude, input_rounding_db(source, samples))]
    return [*ways, everything, everything | {"name": "dynamic, per tensor", "per_channel": False}]


def without_outliers(
    model: onnx.ModelProto, exclude: Sequence[str], decibels: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Settings that also keep in float32 the products whose input would be rounded roughly; none where none would."""
    ways: list[dict[str, Any]] = []
    for limit in OUTLIER_DB:
        rough = split_names(model, [name for name, value in decibels.items() if value < limit])
        spared = [*exclude, *(name for name in rough if name not in exclude)]
        if spared != (ways[-1]["exclude"] if ways else list(exclude)):
            ways.append({"name": f"dynamic, per channel, inputs under {limit} dB in float32", "exclude": spared})
    return ways


def excluded(model: onnx.ModelProto, names: Sequence[str]) -> list[str]:
    """The nodes that the recipe keeps in float32, as the quantizer names them.

    Raises:
        RecipeError: the file has no such node.
    """
    known = {node.name for node in model.graph.node}
    known |= {f"{node.name}_MatMul" for node in model.graph.node if node.op_type == "Gemm"}
    unknown = set(names) - known
    if unknown:
        there = "'tunedeploy diagnose' names them"
        raise RecipeError(f"export.exclude: the exported file has no node {min(unknown)!r}; {there}")
    return split_names(model, names)


def split_names(model: onnx.ModelProto, names: Sequence[str]) -> list[str]:
    """Names of nodes, with those of the products that the quantizer splits a Gemm into, besides a sum."""
    gemms = {node.name for node in model.graph.node if node.op_type == "Gemm"}
    return [two for name in names for two in ([name, f"{name}_MatMul"] if name in gemms else [name])]


def mostly_convolution(model: onnx.ModelProto) -> bool:
    """Whether more weights stand in convolutions than in matrix products and embeddings."""
    sizes = {one.name: math.prod(one.dims) for one in model.graph.initializer}
    share = {"Conv": 0, "other": 0}
    for node in model.graph.node:
        kind = "Conv" if node.op_type == "Conv" else "other"
        share[kind] += sum(sizes.get(name, 0) for name in node.input if node.op_type in {"Conv", *DYNAMIC_OPS})
    return share["Conv"] > share["other"]


def head(model: onnx.ModelProto) -> list[str]:
    """The product that makes the logits; it stays in float32.

    It holds under a hundredth of the weights and decides everything: a head trained on standardised features weighs
    quiet features heavily, and one scale for all features rounds just those away (41 points on MiniLM, measured).
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(model.graph.output[0].name)
    while node is not None and node.op_type not in ("Gemm", "MatMul"):
        node = next((makers[name] for name in node.input if name in makers), None)
    return [] if node is None else split_names(model, [node.name])


def convert(source: Path, target: Path, setting: dict[str, Any], samples: Sequence[Inputs]) -> None:
    """Write `target` by one of the candidates; `samples` are batches of training rows for calibration.

    Raises:
        ModelError: the quantizer cannot do it.
    """
    with tempfile.TemporaryDirectory() as folder, quietly(), quantizer_failures():
        made = Path(folder) / "model.onnx"
        if "method" in setting:
            static(source, made, setting, samples)
        else:
            dynamic(source, made, setting)
        model = onnx.load(made)
    onnx_files.clean(model)
    onnx_files.write(model, target)


def dynamic(source: Path, target: Path, setting: dict[str, Any]) -> None:
    """Weights in int8, activations scaled at run time by one number a tensor."""
    model = ONNXModel(onnx.load(source))
    model.replace_gemm_with_matmul()  # the quantizer's own first step, taken before the ranges are told
    quantize_dynamic(
        model.model, target, op_types_to_quantize=DYNAMIC_OPS, per_channel=setting["per_channel"],
        weight_type=QuantType.QInt8, nodes_to_exclude=setting["exclude"],
        extra_options={
            "MatMulConstBOnly": True,  # attention scores have no weights to gain from
            "TensorQuantOverrides": saturation.safe_ranges(model.model, per_channel=setting["per_channel"]),
        },
    )  # fmt: skip


def static(source: Path, target: Path, setting: dict[str, Any], samples: Sequence[Inputs]) -> None:
    """Weights in int8 a channel, activations in uint8 by scales measured on real rows."""
    quantize_static(
        source, target, Batches(samples), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        calibrate_method=getattr(CalibrationMethod, setting["method"]), nodes_to_exclude=setting["exclude"],
        extra_options={
            "CalibPercentile": 99.99,
            "TensorQuantOverrides": saturation.safe_ranges(onnx.load(source), per_channel=True),
        },
    )  # fmt: skip


class Batches(CalibrationDataReader):  # type: ignore[misc]
    """One batch at a time, so that calibration holds one in memory."""

    def __init__(self, samples: Sequence[Inputs]) -> None:
        self.rest: Iterator[Inputs] = iter(samples)

    def get_next(self) -> Inputs | None:
        """The next batch, or None at the end."""
        return next(self.rest, None)


def rounding(source: Path, target: Path) -> tuple[float, str, int]:
    """How far the integers of a file are from the float32 weights they stand for.

    An integer is within half a step of its weight, one more half where a zero point was rounded too.

    Returns:
        The largest |weight - (integer - zero point) x scale| / scale, the weight it is of, and how many were compared.
    """
    base, model = onnx_files.read(source), onnx_files.read(target)
    floats = {one.name: one for one in base.graph.initializer}
    turned = turned_weights(base, model)
    stored = {one.name: one for one in model.graph.initializer}
    axes = {node.input[0]: axis_of(node) for node in model.graph.node if node.op_type == "DequantizeLinear"}
    worst, where, count = 0.0, "", 0
    for name in (one.removesuffix("_quantized") for one in stored if one.endswith("_quantized")):
        # A bias is an integer too, at the scale of its products; its own name stands before the scale's.
        scale = stored.get(f"{name}_quantized_scale", stored.get(f"{name}_scale"))
        point = stored.get(f"{name}_quantized_zero_point", stored.get(f"{name}_zero_point"))
        if name not in floats or scale is None or point is None:
            continue
        count += 1
        exact = as_stored(floats[name], turned).astype(np.float64)
        error = in_steps(exact, [stored[f"{name}_quantized"], scale, point], axes.get(f"{name}_quantized", -1))
        if not error <= worst:  # NaN is the worst
            worst, where = error, name
    for name in sorted(floats.keys() & stored.keys()):
        if stored[name].data_type != onnx.TensorProto.FLOAT:
            continue
        if not np.array_equal(as_stored(floats[name], turned), onnx.numpy_helper.to_array(stored[name])):
            worst, where = math.inf, name
    return worst, where, count


def as_stored(weight: onnx.TensorProto, turned: set[str]) -> Array:
    """A float32 weight the way round that the quantized file has it."""
    exact = np.asarray(onnx.numpy_helper.to_array(weight))
    return exact.T if weight.name in turned else exact


def turned_weights(source: onnx.ModelProto, target: onnx.ModelProto) -> set[str]:
    """Weights that are stored the other way round: of a Gemm with transB that the quantizer made a MatMul."""
    left = {node.name for node in target.graph.node if node.op_type == "Gemm"}
    gemms = [node for node in source.graph.node if node.op_type == "Gemm" and node.name not in left]
    return {node.input[1] for node in gemms if any(one.name == "transB" and one.i for one in node.attribute)}


def axis_of(node: onnx.NodeProto) -> int:
    """The axis along which a DequantizeLinear has its scales."""
    return next((int(one.i) for one in node.attribute if one.name == "axis"), 1)


def in_steps(exact: Array, stored: Sequence[onnx.TensorProto], axis: int) -> float:
    """The largest error of integers with scale and zero point, in steps of the scale; infinite in another shape."""
    integers, scale, point = (onnx.numpy_helper.to_array(one).astype(np.float64) for one in stored)
    if exact.shape != integers.shape:
        return math.inf
    if scale.size > 1:
        shape = [1] * exact.ndim
        shape[axis] = -1
        scale, point = scale.reshape(shape), point.reshape(shape)
    return float(np.abs(exact / scale - (integers - point)).max(initial=0.0))


@contextlib.contextmanager
def quantizer_failures() -> Iterator[None]:
    """Turn what the quantizer raises into one line: it refuses graphs by whatever exception comes first.

    Raises:
        ModelError: the quantizer failed. What this package raises, what a disk does and a lack of memory pass.
    """
    try:
        yield
    except Exception as error:
        frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
        owners = [name.partition(".")[0] for name in frames if name.startswith(("onnxruntime.", "tunedeploy."))]
        if owners[-1] != "onnxruntime" or isinstance(error, OSError | MemoryError):
            raise
        reason = next(iter(str(error).splitlines()), "")[:160]
        raise ModelError(f"onnxruntime's quantizer fails: {type(error).__name__}: {reason}") from error


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep the quantizer's advice off the terminal."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
