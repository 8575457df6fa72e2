"""float16: half the size, for devices that compute in it; on a CPU it saves space and no time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

from tunedeploy.device.encoders import Inputs
from tunedeploy.device.external_data import parts_of_file
from tunedeploy.errors import BudgetError
from tunedeploy.graphs import files as onnx_files
from tunedeploy.graphs.rewrites import HALVES
from tunedeploy.quantization.converters import converter_failures
from tunedeploy.recipe.read import Section
from tunedeploy.run.results import Setting

FILE = "model_fp16.onnx"
LARGEST = float(np.finfo(np.float16).max)
REWRITES = HALVES  # what its operators compute in float32


class Options(Section):
    """Keys of `export`: none."""


def candidates(source: Path, options: Options, samples: Sequence[Inputs] = ()) -> list[Setting]:
    """One way: inputs and outputs stay float32, so that an app need not change."""
    del source, options, samples
    return [{"name": "fp16"}]


def convert(source: Path, target: Path, setting: Setting, samples: Sequence[Inputs]) -> None:
    """Write `target`, weights and arithmetic in float16.

    Raises:
        BudgetError: a weight does not fit into float16.
        ModelError: the converter cannot do it.
    """
    del setting, samples
    model = onnx.load(source)
    for weight in model.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT:
            largest = float(np.abs(onnx.numpy_helper.to_array(weight)).max(initial=0.0))
            if largest > LARGEST and largest < float(np.finfo(np.float32).max) / 2:
                raise BudgetError(
                    f"quantize: {weight.name} holds {largest:.3g}, float16 ends at {LARGEST:.0f}; use int8 or fp32"
                )
    with converter_failures("float16 converter", "use int8 or fp32"):
        # A path where the model is too large to be handed to ONNX's shape inference in memory.
        whole: Any = str(source) if len(parts_of_file(source)) > 1 else model
        half = convert_float_to_float16(whole, keep_io_types=True, disable_shape_infer=False)
        # The converter puts the casts of inputs last, and such a file is not valid ONNX.
        ONNXModel(half).topological_sort()
    onnx_files.clean(half)
    onnx_files.write(half, target)
