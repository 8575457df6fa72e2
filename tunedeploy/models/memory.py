"""Refuse a model that this machine's memory cannot hold, before it takes any."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from torch.nn.modules import module as hooks

from tunedeploy.errors import ModelError

if TYPE_CHECKING:
    from tunedeploy.models.sources import Source

LIMIT = Path("/sys/fs/cgroup/memory.max")  # of the control group that this process is in, as a container sees it
TOO_MANY = 20_000  # tensors of one model; those that fit into memory have a few thousand


def memory() -> int:
    """Bytes of this machine's memory, or of the part that a container may use."""
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(LIMIT.read_text(encoding="ascii")))
    except (OSError, ValueError):  # no such file, or "max"
        return total


@contextlib.contextmanager
def bounded(source: "Source") -> Iterator[None]:
    """Stop the construction of a model that is too large, while its tensors have shapes and no memory yet."""
    size = {"bytes": 0, "tensors": 0}
    limit = memory()

    def count(module: Any, name: str, tensor: Any) -> None:
        del module, name
        if tensor is None or not tensor.is_meta:
            return
        size["bytes"] += 4 * math.prod(tensor.shape)
        size["tensors"] += 1
        # A tied tensor is counted at each of its places, so a model that fits may seem twice as large.
        if size["bytes"] > 2 * limit or size["tensors"] > TOO_MANY:
            large = size["bytes"] > 2 * limit
            what = f"more than {limit / 1e9:.1f} GB of memory" if large else f"over {TOO_MANY:,} tensors"
            raise ModelError(
                f"model {source.name!r}: asks for {what}; name a smaller model, or correct its config.json"
            )

    handles = [
        hooks.register_module_parameter_registration_hook(count),
        hooks.register_module_buffer_registration_hook(count),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
