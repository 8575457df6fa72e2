"""float32: the exported file as it is; always shipped, since every other precision is judged against it."""

from tunedeploy.recipe.read import Section

FILE = "model.onnx"


class Options(Section):
    """Keys of `export`: none."""


def candidates(source: object, options: Options) -> list[dict[str, object]]:
    """Nothing to convert."""
    del source, options
    return []
