"""int8: a quarter of the size; dynamic for transformers with their embeddings, calibrated (QDQ) for convolutions."""

import contextlib
import io
import logging
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from tunedeploy import onnx_files
from tunedeploy.encoders import Inputs
from tunedeploy.errors import RecipeError
from tunedeploy.graphs.rewrites import INTEGERS
from tunedeploy.recipe import Section

FILE = "model_int8.onnx"
REWRITES = INTEGERS  # what its operators stand for in float32
# ConvInteger has no kernel in onnxruntime's default session, so dynamic quantization leaves convolutions alone.
DYNAMIC_OPS = ["MatMul", "Gemm", "Gather", "Attention", "EmbedLayerNormalization"]


class Options(Section):
    """Keys of `export`."""

    exclude: tuple[str, ...] = ()  # nodes kept in float32, by name


def candidates(source: Path, options: Options) -> list[dict[str, Any]]:
    """Ways to quantize this file, from cheap to careful; the first within the budget is taken."""
    model = onnx.load(source)
    unknown = set(options.exclude) - {node.name for node in model.graph.node}
    if unknown:
        there = "'tunedeploy diagnose' names them"
        raise RecipeError(f"export.exclude: the exported file has no node {min(unknown)!r}; {there}")
    exclude = [*options.exclude, *head(model)]
    if mostly_convolution(model):
        return [
            {"name": "static QDQ, per channel, min-max", "method": "MinMax", "exclude": exclude},
            {"name": "static QDQ, per channel, percentile 99.99", "method": "Percentile", "exclude": exclude},
            {"name": "static QDQ, per channel, entropy", "method": "Entropy", "exclude": exclude},
        ]
    return [
        {"name": "dynamic, per tensor", "per_channel": False, "exclude": exclude},
        {"name": "dynamic, per channel", "per_channel": True, "exclude": exclude},
    ]


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
    # The quantizer splits Gemm into a product and a sum first, and names the product so.
    return [] if node is None else [node.name, f"{node.name}_MatMul"]


def convert(source: Path, target: Path, setting: dict[str, Any], samples: Sequence[Inputs]) -> None:
    """Write `target` by one of the candidates; `samples` are batches of training rows for calibration."""
    with tempfile.TemporaryDirectory() as folder, quietly():
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
    quantize_dynamic(
        source, target, op_types_to_quantize=DYNAMIC_OPS, per_channel=setting["per_channel"],
        weight_type=QuantType.QInt8, nodes_to_exclude=setting["exclude"],
        extra_options={"MatMulConstBOnly": True},  # attention scores have no weights to gain from
    )  # fmt: skip


def static(source: Path, target: Path, setting: dict[str, Any], samples: Sequence[Inputs]) -> None:
    """Weights in int8 a channel, activations in uint8 by scales measured on real rows."""
    quantize_static(
        source, target, Batches(samples), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        calibrate_method=getattr(CalibrationMethod, setting["method"]),
        nodes_to_exclude=[*setting["exclude"], *group_norms(source)],
        extra_options={"CalibPercentile": 99.99},
    )  # fmt: skip


def group_norms(source: Path) -> list[str]:
    """The InstanceNormalization nodes of a file, which stay in float32.

    GroupNorm is exported as such nodes with one bias of zeros between them. The quantizer makes a copy of a shared bias
    for each node and numbers it, and `val_12` copied as `val_124` is another tensor already (PoolFormer).
    """
    graph = onnx.load(source, load_external_data=False).graph
    return [node.name for node in graph.node if node.op_type == "InstanceNormalization"]


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
