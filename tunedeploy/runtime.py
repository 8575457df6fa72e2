"""Run an ONNX file with onnxruntime and numpy alone, in the session an app would open."""

import math
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from tunedeploy.encoders import Array, Encoder, Features, Inputs, Row
from tunedeploy.errors import RunError

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
BATCH = 32  # rows; the int8 scale of a batch is shared, so the size is part of what was measured


class Session:
    """An onnxruntime session with default options on the CPU.

    Args:
        path: the .onnx file.
        threads: for one operator; the machine's when None.

    Raises:
        RunError: onnxruntime cannot load the file.
    """

    def __init__(self, path: Path, *, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # onnxruntime's exceptions share no base class but Exception.
            if type(error).__module__.partition(".")[0] != "onnxruntime":
                raise
            raise RunError(
                f"{path}: onnxruntime {onnxruntime.__version__} cannot load it: {str(error)[:200]}"
            ) from error
        self.inputs = [one.name for one in self.session.get_inputs()]
        self.output = self.session.get_outputs()[0].name
        self.metadata: dict[str, str] = dict(self.session.get_modelmeta().custom_metadata_map)

    def __call__(self, inputs: Inputs) -> Array:
        """Outputs of one batch, (batch, labels)."""
        out: list[Any] = self.session.run([self.output], {name: inputs[name] for name in self.inputs})
        return np.asarray(out[0])


def logits_of(
    session: Session, encoder: Encoder, rows: Sequence[Row], progress: Callable[[int], Any] | None = None
) -> Array:
    """Outputs for raw rows, (rows, labels), in their order; rows of like length share a batch.

    Args:
        session: the file.
        encoder: its preprocessing.
        rows: raw rows.
        progress: called with the rows done.
    """
    block = BATCH * 32  # images of a whole data set would not fit into memory
    parts: list[Array] = []
    for start in range(0, len(rows), block):
        features = encoder.encode([rows[at] for at in range(start, min(start + block, len(rows)))])
        parts.append(logits_of_features(session, encoder, features))
        if progress is not None:
            progress(start + len(features))
    return np.concatenate(parts)


def logits_of_features(session: Callable[[Inputs], Array], encoder: Encoder, features: Sequence[Features]) -> Array:
    """Outputs (rows, labels) for encoded rows, in their order."""
    order = np.argsort([row_size(row) for row in features], kind="stable")
    whole: Any = None
    for number in range(math.ceil(len(features) / BATCH)):
        indices = order[number * BATCH : (number + 1) * BATCH]
        batch = session(encoder.collate([features[at] for at in indices]))
        if whole is None:
            whole = np.empty((len(features), *batch.shape[1:]), batch.dtype)
        whole[indices] = batch
    return np.asarray(whole)


def row_size(row: Features) -> int:
    """Length of a row's first array."""
    return len(next(iter(row.values())))


def instruction_set() -> list[str]:
    """The machine and the vector extensions that decide which integer kernel runs."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return [platform.machine(), platform.processor()]
    flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "").split()
    return [platform.machine(), *(flag for flag in FLAGS if flag in flags)]
