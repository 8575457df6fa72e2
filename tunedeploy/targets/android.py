"""Android: onnxruntime-android in an app."""

from onnx import ModelProto

from tunedeploy.recipe.read import Section
from tunedeploy.targets._limits import Limits

# Play's install-time limit is 200 MB for all of an app's assets.
LIMITS = Limits(opset=21, ir=10, max_bytes=200 * 10**6, banned=frozenset({"ConvInteger"}))


class Options(Section):
    """Keys of `export`: none."""


def breaches(model: ModelProto, size_bytes: int) -> list[str]:
    """What this target cannot run in a file, one line each."""
    return LIMITS.breaches(model, size_bytes)
