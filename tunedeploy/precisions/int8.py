"""int8: a quarter of the size and up; dynamic for transformers and embeddings, calibrated (QDQ) for convolutions."""

import contextlib
import io
import logging
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

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

from tunedeploy.device.encoders import Inputs
from tunedeploy.device.external_data import parts_of_file
from tunedeploy.errors import RecipeError
from tunedeploy.graphs import files as onnx_files
from tunedeploy.graphs import rewrites
from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.graphs.reading import Reading
from tunedeploy.quantization import saturation
from tunedeploy.quantization.activation_rounding import input_rounding_db
from tunedeploy.quantization.converters import converter_failures
from tunedeploy.recipe.read import Section
from tunedeploy.run.results import Setting

FILE = "model_int8.onnx"
REWRITES = rewrites.INTEGERS  # what its operators compute in float32
INTEGERS = True  # its products are of integers, which kinds of CPU sum differently
# ConvInteger has no kernel in onnxruntime's default session, so dynamic quantization leaves convolutions alone.
DYNAMIC_OPS = ["MatMul", "Gemm", "Gather", "Attention", "EmbedLayerNormalization"]
# Products whose input has less signal to rounding noise than this stay in float32. On MiniLM rounded weights alone
# leave 34 dB in the logits and 99.8 % of the answers, rounded inputs 21 dB and 98.0 %. Without the three products under
# 22 dB, all behind a GELU, it is 98.8 %, for a fifth more time and 5 MB on 23. Gaussian inputs have about 40 dB.
OUTLIER_DB = (22, 25)
SMALL_HEAD = 0.05  # of all weights


class Options(Section):
    """Keys of `export`."""

    exclude: tuple[str, ...] = ()  # nodes kept in float32, by name


def candidates(source: Path, options: Options, samples: Sequence[Inputs] = ()) -> list[Setting]:
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
    ways = without_outliers(model, exclude, input_rounding_db(source, samples))
    everything: Setting = {"name": "dynamic, per channel", "per_channel": True, "exclude": exclude}
    return [*ways, everything, {"name": "dynamic, per tensor", "per_channel": False, "exclude": exclude}]


def without_outliers(model: onnx.ModelProto, exclude: Sequence[str], decibels: Mapping[str, float]) -> list[Setting]:
    """Settings that also keep in float32 the products whose input would be rounded roughly; none where none would."""
    ways: list[Setting] = []
    for limit in OUTLIER_DB:
        rough = split_names(model, [name for name, value in decibels.items() if value < limit])
        spared = [*exclude, *(name for name in rough if name not in exclude)]
        if spared != (ways[-1]["exclude"] if ways else list(exclude)):
            words = f"dynamic, per channel, inputs under {limit} dB in float32"
            ways.append({"name": words, "per_channel": True, "exclude": spared})
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
        cure = "'tunedeploy diagnose' names them"
        raise RecipeError(f"export.exclude: the exported file has no node {min(unknown)!r}; {cure}")
    return split_names(model, names)


def split_names(model: onnx.ModelProto, names: Sequence[str]) -> list[str]:
    """Names of nodes, with those of the products into which the quantizer splits a Gemm, besides a sum."""
    gemms = {node.name for node in model.graph.node if node.op_type == "Gemm"}
    return [part for name in names for part in ([name, f"{name}_MatMul"] if name in gemms else [name])]


def mostly_convolution(model: onnx.ModelProto) -> bool:
    """Whether more weights stand in convolutions than in matrix products and embeddings."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    share = {"Conv": 0, "other": 0}
    for node in model.graph.node:
        kind = "Conv" if node.op_type == "Conv" else "other"
        share[kind] += sum(sizes.get(name, 0) for name in node.input if node.op_type in {"Conv", *DYNAMIC_OPS})
    return share["Conv"] > share["other"]


def head(model: onnx.ModelProto) -> list[str]:
    """The product that makes the logits; it stays in float32 while it has little of the weights.

    It decides everything: a head trained on standardised features weighs quiet features heavily, and one scale for all
    features rounds just those away (41 points on MiniLM, measured). A head over a vocabulary is trained with its trunk,
    and without it the file would not get smaller.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers.get(model.graph.output[0].name)
    while node is not None and node.op_type not in ("Gemm", "MatMul"):
        node = next((makers[name] for name in node.input if name in makers), None)
    if node is None:
        return []
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    share = sum(sizes.get(name, 0) for name in node.input) / max(sum(sizes.values()), 1)
    return split_names(model, [node.name]) if share < SMALL_HEAD else []


def convert(source: Path, target: Path, setting: Setting, samples: Sequence[Inputs]) -> None:
    """Write `target` by one of the candidates; `samples` are batches of training rows for calibration.

    Raises:
        ModelError: the quantizer cannot do it.
    """
    with tempfile.TemporaryDirectory() as folder, quietly(), converter_failures("quantizer"):
        output = Path(folder) / "model.onnx"
        if "method" in setting:
            static(source, output, setting, samples)
        else:
            dynamic(source, output, setting)
        model = onnx.load(output)
    onnx_files.clean(model)
    onnx_files.write(model, target)


def dynamic(source: Path, target: Path, setting: Setting) -> None:
    """Weights in int8, activations scaled at run time by one number a tensor."""
    model = ONNXModel(onnx.load(source))
    model.replace_gemm_with_matmul()  # the quantizer's own first step, taken before the ranges are computed
    quantize_dynamic(
        model.model, target, op_types_to_quantize=DYNAMIC_OPS, per_channel=setting["per_channel"],
        weight_type=QuantType.QInt8, nodes_to_exclude=setting["exclude"],
        extra_options={
            "MatMulConstBOnly": True,  # attention scores have no weights to gain from
            "TensorQuantOverrides": saturation.safe_ranges(model.model, per_channel=setting["per_channel"]),
        },
        use_external_data_format=len(parts_of_file(source)) > 1,
    )  # fmt: skip


def static(source: Path, target: Path, setting: Setting, samples: Sequence[Inputs]) -> None:
    """Weights in int8 a channel, activations in uint8 by scales measured on real rows."""
    quantize_static(
        source, target, Batches(samples), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        calibrate_method=getattr(CalibrationMethod, setting["method"]),
        nodes_to_exclude=[*setting["exclude"], *group_norms(source), *clips_off_zero(source)],
        extra_options={
            "CalibPercentile": 99.99,
            "TensorQuantOverrides": saturation.safe_ranges(onnx.load(source), per_channel=True),
        },
        use_external_data_format=len(parts_of_file(source)) > 1,
    )  # fmt: skip


def group_norms(source: Path) -> list[str]:
    """The InstanceNormalization nodes of a file, which stay in float32.

    GroupNorm is exported as such nodes with one bias of zeros between them. The quantizer makes a copy of a shared bias
    for each node and numbers it, and `val_12` copied as `val_124` is another tensor already (PoolFormer).
    """
    graph = onnx.load(source, load_external_data=False).graph
    return [node.name for node in graph.node if node.op_type == "InstanceNormalization"]


def clips_off_zero(source: Path) -> list[str]:
    """The Clip nodes of a file whose bounds leave zero out, which stay.

    The quantizer drops every Clip between two rounded values, and no range of integers is without zero: values between
    zero and such a bound would pass unclipped.
    """
    graph = Graph(source)
    reading = Reading(graph)
    bounds = {
        node.name: [reading.stored(name) for name in node.input[1:]]
        for node in graph.model.graph.node if node.op_type == "Clip"
    }  # fmt: skip
    return [
        name for name, (low, high) in ((name, [*stored, None, None][:2]) for name, stored in bounds.items())
        if (low is not None and float(low.max()) > 0) or (high is not None and float(high.min()) < 0)
    ]  # fmt: skip


class Batches(CalibrationDataReader):  # type: ignore[misc]
    """One batch at a time, so that calibration holds one in memory."""

    def __init__(self, samples: Sequence[Inputs]) -> None:
        shapes = {tuple(array.shape for array in batch.values()) for batch in samples}
        self.rest: Iterator[Inputs] = iter(samples if len(shapes) == 1 else single_rows(samples))

    def get_next(self) -> Inputs | None:
        """The next batch, or None at the end."""
        return next(self.rest, None)


def single_rows(samples: Sequence[Inputs]) -> Iterator[Inputs]:
    """Batches row by row: percentile and entropy stack what they see, and a last batch may be shorter."""
    for batch in samples:
        for at in range(len(next(iter(batch.values())))):
            yield {name: array[at : at + 1] for name, array in batch.items()}


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
