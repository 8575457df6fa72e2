"""What onnxruntime's converters raise, in one line: they refuse graphs with arbitrary exceptions."""

import contextlib
import traceback
from collections.abc import Iterator

from tunedeploy.errors import ModelError


@contextlib.contextmanager
def converter_failures(converter: str, cure: str = "") -> Iterator[None]:
    """Turn an exception of a converter into one line.

    Args:
        converter: what it is called in the line.
        cure: what to do about it, where that is known.

    Raises:
        ModelError: the converter failed. What this package raises, what a disk does and a lack of memory pass.
    """
    try:
        yield
    except Exception as error:
        frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
        owners = [name.partition(".")[0] for name in frames if name.startswith(("onnxruntime.", "tunedeploy."))]
        if owners[-1] != "onnxruntime" or isinstance(error, OSError | MemoryError):
            raise
        reason = " ".join(str(error).split())[:160]
        line = f"onnxruntime's {converter} fails: {type(error).__name__}: {reason}"
        raise ModelError(f"{line}; {cure}" if cure else line) from error
