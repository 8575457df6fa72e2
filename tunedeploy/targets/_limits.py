"""What a place can run: the newest opset and IR it reads, the largest file, operators it lacks."""

from dataclasses import dataclass

from onnx import ModelProto


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a target; sizes in bytes."""

    opset: int
    ir: int
    max_bytes: int
    banned: frozenset[str] = frozenset()

    def breaches(self, model: ModelProto, size_bytes: int) -> list[str]:
        """What in a file is over a limit, one line each."""
        opset = max(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        banned = sorted({node.op_type for node in model.graph.node} & self.banned)
        lines = []
        if opset > self.opset:
            lines.append(f"opset {opset} is newer than the target reads ({self.opset}); set export.opset={self.opset}")
        if model.ir_version > self.ir:
            lines.append(f"IR version {model.ir_version} is newer than the target reads ({self.ir})")
        if size_bytes > self.max_bytes:
            lines.append(
                f"{size_bytes / 1e6:.0f} MB is over the target's {self.max_bytes / 1e6:.0f} MB; quantize to int8"
            )
        return [*lines, *(f"operator {name} has no kernel on the target" for name in banned)]
