"""Convert a torch model to ONNX by torch's dynamo exporter, which is kept quiet."""

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import onnx
import torch

from tunedeploy.device.encoders import Row
from tunedeploy.errors import ModelError
from tunedeploy.models.classifier import Assembly
from tunedeploy.models.loading import first_line
from tunedeploy.models.torch_inputs import tensors

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe


def program_of(recipe: "Recipe", merged: Assembly, rows: Sequence[Row], said: io.StringIO) -> onnx.ModelProto:
    """A model with these rows as its example, by torch's dynamo exporter; what that says goes to `said`.

    Raises:
        ModelError: it cannot be converted.
    """
    graph, axes = merged.graph, merged.graph.dynamic_axes()
    example = tensors(graph.select(merged.encoder.collate(merged.encoder.encode(rows))))
    try:
        with quietly(said):
            program = torch.onnx.export(
                merged.model, (), kwargs={name: example[name] for name in axes}, dynamo=True, verbose=False,
                input_names=list(axes), output_names=[value.name for value in graph.outputs], dynamic_shapes=axes,
                opset_version=recipe.export.opset,
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
    return model


@contextlib.contextmanager
def quietly(said: io.StringIO) -> Any:
    """Collect what a chatty library prints, warns and logs."""
    handler = logging.StreamHandler(said)
    names = ("torch.onnx", "torch", "onnxscript", "onnx_ir")
    loggers = [logging.getLogger(name) for name in names]
    before = [(one.propagate, list(one.handlers)) for one in loggers]
    with (
        warnings.catch_warnings(record=True) as caught,
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        warnings.simplefilter("always")
        try:
            for one in loggers:
                one.propagate, one.handlers = False, [handler]
            yield
        finally:
            for one, (propagate, handlers) in zip(loggers, before, strict=True):
                one.propagate, one.handlers = propagate, handlers
            said.write("".join(f"{one.category.__name__}: {one.message}\n" for one in caught))
