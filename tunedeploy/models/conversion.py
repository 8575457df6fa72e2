"""Convert a torch model to ONNX by torch's dynamo exporter, which is kept quiet."""

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import onnx
import torch
from torch import nn

from tunedeploy.device.encoders import Array, Row
from tunedeploy.device.signature import Graph
from tunedeploy.errors import ModelError
from tunedeploy.models.classifier import Assembly
from tunedeploy.models.loading import first_line
from tunedeploy.models.torch_inputs import arguments, tensors

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe


def onnx_of(recipe: "Recipe", merged: Assembly, rows: Sequence[Row], log: io.StringIO) -> dict[str, onnx.ModelProto]:
    """Each graph of a model with these rows as its example, by torch's dynamo exporter; what that prints goes to `log`.

    Raises:
        ModelError: one cannot be converted.
    """
    examples, modules = merged.examples(rows), merged.modules()
    graphs = merged.parts.program.graphs
    return {
        graph.name: converted(graph, modules[graph.name], examples[graph.name], recipe.export.opset, log)
        for graph in graphs
    }


def converted(
    graph: Graph, module: nn.Module, example: dict[str, Array], opset: int, log: io.StringIO
) -> onnx.ModelProto:
    """One graph; see `onnx_of`."""
    axes = graph.dynamic_axes()
    try:
        with quietly(log):
            program = torch.onnx.export(
                module, (), kwargs=arguments(graph, tensors(example)), dynamo=True, verbose=False,
                input_names=list(axes), output_names=[value.name for value in graph.outputs],
                dynamic_shapes=arguments(graph, axes), opset_version=opset,
            )  # fmt: skip
    except Exception as error:
        # The exporter wraps whatever went wrong in its own error; anything else is a bug and keeps its trace.
        if not type(error).__module__.startswith("torch."):
            raise
        cause = error.__cause__ or error  # its own first line says only in which of three steps it failed
        line = f"{type(cause).__name__}: {first_line(cause)}"
        raise ModelError(f"torch.onnx cannot convert this model: {line}") from error
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    if any(" + " in str(axis) for value in graph.outputs for axis in value.axes):
        name_axes(model, graph)
    return model


def name_axes(model: onnx.ModelProto, graph: Graph) -> None:
    """Give the free axes of a file's inputs and outputs the graph's own names.

    The exporter names what it derives by how it is derived: of a cache, what was cached plus all that was not.
    """
    values = {value.name: value for value in (*graph.inputs, *graph.outputs)}
    for info in (*model.graph.input, *model.graph.output):
        for axis, dim in zip(values[info.name].axes, info.type.tensor_type.shape.dim, strict=True):
            if isinstance(axis, str):
                dim.dim_param = axis


@contextlib.contextmanager
def quietly(log: io.StringIO) -> Any:
    """Collect what a chatty library prints, warns and logs."""
    handler = logging.StreamHandler(log)
    names = ("torch.onnx", "torch", "onnxscript", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.propagate, list(logger.handlers)) for logger in loggers]
    with (
        warnings.catch_warnings(record=True) as caught,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        warnings.simplefilter("always")
        try:
            for logger in loggers:
                logger.propagate, logger.handlers = False, [handler]
            yield
        finally:
            for logger, (propagate, handlers) in zip(loggers, before, strict=True):
                logger.propagate, logger.handlers = propagate, handlers
            log.write("".join(f"{warning.category.__name__}: {warning.message}\n" for warning in caught))
