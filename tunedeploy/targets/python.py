"""Python: onnxruntime from pip, on a server, a desktop or a Raspberry Pi."""

from onnx import ModelProto

from tunedeploy.recipe.read import Section
from tunedeploy.targets._limits import Limits

LIMITS = Limits(opset=23, ir=11, max_bytes=2**31)


class Options(Section):
    """Keys of `export`: none."""


def breaches(model: ModelProto, size_bytes: int) -> list[str]:
    """What this target cannot run in a file, one line each."""
    return LIMITS.breaches(model, size_bytes)
