"""Run an ONNX file with onnxruntime and numpy alone, in the session an app would open."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .encoders import Array
from .errors import RunError
from .signature import Arrays

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
# onnxruntime's own switch: on x86 without VNNI it turns int8 weights into uint8 ones, whose kernels do not saturate.
NO_SATURATION = "session.x64quantprecision"


class Session:
    """An onnxruntime session with default options on the CPU.

    Args:
        path: the .onnx file.
        threads: for one operator; the machine's when None.
        fused: whether onnxruntime may rewrite the graph, as it does by default.
        exact: whether integer products never saturate, as on a CPU with VNNI; slower on one without.

    Raises:
        RunError: onnxruntime cannot load the file.
    """

    def __init__(self, path: Path, *, threads: int | None = None, fused: bool = True, exact: bool = False) -> None:
        self.path = path
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised; logging them too would show them twice
        if threads is not None:
            options.intra_op_num_threads = threads
        if not fused:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if exact:
            options.add_session_config_entry(NO_SATURATION, "1")
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            _raise_unless_its_own(error)
            raise RunError(
                f"{path}: onnxruntime {onnxruntime.__version__} cannot load it: {_on_one_line(error)}"
            ) from error
        try:
            self.inputs = [value.name for value in self.session.get_inputs()]
            self.outputs = [value.name for value in self.session.get_outputs()]
            self.metadata: dict[str, str] = dict(self.session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError as error:
            raise RunError(f"{path}: holds a name that is not UTF-8") from error

    def __call__(self, inputs: Arrays) -> dict[str, Array]:
        """Outputs of one batch, by name.

        Raises:
            RunError: onnxruntime refuses the batch, its shape for one.
        """
        lacking = [name for name in self.inputs if name not in inputs]
        if lacking:
            raise RunError(f"{self.path}: missing input {lacking[0]!r}; got {', '.join(inputs)}")
        try:
            values: list[Any] = self.session.run(self.outputs, {name: inputs[name] for name in self.inputs})
        except Exception as error:
            _raise_unless_its_own(error)
            shapes = ", ".join(f"{name} {value.shape}" for name, value in inputs.items())
            raise RunError(f"{self.path}: onnxruntime refuses {shapes}: {_on_one_line(error)}") from error
        outputs = dict(zip(self.outputs, values, strict=True))
        for name, value in outputs.items():
            if not isinstance(value, np.ndarray):
                raise RunError(f"{self.path}: gives a {type(value).__name__} for {name!r}")
        return outputs


def _on_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _raise_unless_its_own(error: Exception) -> None:
    """Raise the error unless it is onnxruntime's: its exceptions share no base class but Exception.

    One whose message quotes a name of the file that is not UTF-8 arrives as a UnicodeDecodeError.
    """
    if type(error).__module__.partition(".")[0] != "onnxruntime" and not isinstance(error, UnicodeDecodeError):
        raise error


class Sessions:
    """The sessions of a variant, one a graph: what runs its files.

    Args:
        paths: graph to file, the graph that makes the outputs last.
        threads, fused, exact: see Session.

    Raises:
        RunError: onnxruntime cannot load a file.
    """

    def __init__(
        self, paths: Mapping[str, Path], *, threads: int | None = None, fused: bool = True, exact: bool = False
    ) -> None:
        self.of_graph = {
            graph: Session(path, threads=threads, fused=fused, exact=exact) for graph, path in paths.items()
        }

    def __call__(self, graph: str, inputs: Arrays) -> dict[str, Array]:
        """The outputs of one call of a graph; so this is a Run.

        Raises:
            RunError: onnxruntime refuses the batch, its shape for one.
        """
        return self.of_graph[graph](inputs)

    @property
    def last(self) -> Session:
        """The one that makes the outputs."""
        return list(self.of_graph.values())[-1]


def instruction_set() -> list[str]:
    """The machine and the vector extensions that decide which integer kernel runs."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return [platform.machine(), platform.processor()]
    flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "").split()
    return [platform.machine(), *(flag for flag in FLAGS if flag in flags)]
