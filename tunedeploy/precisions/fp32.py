"""float32: the exported file as it is; always shipped, since every other precision is judged against it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tunedeploy.contracts.precision import Setting
from tunedeploy.device.encoders import Inputs
from tunedeploy.recipe.read import Section

FILE = "model.onnx"


class Options(Section):
    """Keys of `export`: none."""


def candidates(source: Path, options: Options, samples: Sequence[Inputs] = ()) -> list[Setting]:
    """Nothing to convert."""
    del source, options, samples
    return []


def convert(source: Path, target: Path, setting: Setting, samples: Sequence[Inputs]) -> None:
    """The file as it is."""
    del setting, samples
    shutil.copyfile(source, target)
