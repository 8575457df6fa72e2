"""What a file in `targets/` has to have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tunedeploy.contracts import Plugin

if TYPE_CHECKING:
    from onnx import ModelProto


class Target(Plugin, Protocol):
    """Where the bundle runs. Its `Options` are keys of `export`."""

    def breaches(self, model: ModelProto, size_bytes: int) -> list[str]:
        """Parts of a file that cannot run there, one line each with its cure; 0 bytes where size does not count yet."""
        ...
