"""Checks of a bundle's graph that need the onnx package, which a device does not have."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunedeploy.device.comparison import Comparison, Ledger
from tunedeploy.errors import RunError


def evaluation_kept(ledger: Ledger, path: Path) -> list[Comparison]:
    """As `nodes_in_evaluation`, for a file; onnxruntime ignores such nodes. A device without onnx cannot look.

    Raises:
        RunError: it is not an ONNX file.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        return [ledger.informational("graph-not-read", 0)]
    try:
        model = onnx.load(path, load_external_data=False)
        return [nodes_in_evaluation(ledger, model)]
    except Exception as error:
        # protobuf's own error, or a name that is not UTF-8; protobuf itself is not a dependency of ours.
        if type(error).__name__ != "DecodeError" and not isinstance(error, ValueError):
            raise
        raise RunError(f"{path}: is not an ONNX file: {error}") from error


def nodes_in_evaluation(ledger: Ledger, model: Any) -> Comparison:
    """Nodes of an ONNX model that compute as in training."""
    from tunedeploy.graphs.files import training_nodes  # a device has no onnx

    training = training_nodes(model)
    return ledger.at_most("training-nodes", len(training), 0, where=", ".join(training[:3]))


def cpus_kept(ledger: Ledger, path: Path, variant: Mapping[str, Any]) -> list[Comparison]:
    """Products that can saturate in a file recorded as proved; a device without onnx cannot look.

    Raises:
        RunError: the record of CPUs is malformed.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        return []
    del onnx
    from tunedeploy.proof.cpus import products_kept

    return products_kept(ledger, path, variant)
