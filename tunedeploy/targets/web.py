"""Web: onnxruntime-web or transformers.js in a browser, on WebAssembly."""

from onnx import ModelProto

from tunedeploy.recipe.read import Section
from tunedeploy.targets._limits import Limits

# A tab has 4 GB of WebAssembly memory, and holds the weights twice while the session is created.
LIMITS = Limits(opset=21, ir=10, max_bytes=10**9, banned=frozenset({"ConvInteger"}))


class Options(Section):
    """Keys of `export`: none."""


def breaches(model: ModelProto, size_bytes: int) -> list[str]:
    """What this target cannot run in a file, one line each."""
    return LIMITS.breaches(model, size_bytes)
