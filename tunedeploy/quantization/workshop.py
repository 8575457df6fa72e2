"""A folder for quantizers to work in: they write large temporary files beside what they read."""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunedeploy.device.external_data import parts_of_file, size_of_file
from tunedeploy.errors import TunedeployError
from tunedeploy.run.atomic import disk_errors, temporary

ROOM = 4  # times the float32 file: what quantizers write at once


@contextmanager
def workshop(source: Path) -> Iterator[Path]:
    """A copy of a file in a temporary folder: quantizers write large files beside what they read.

    The folder lies in the run, whose disk has more room than a small /tmp, and where the next command cleans up.

    Raises:
        OSError: the disk is full.
    """
    folder, before = temporary(source.parent / "quantizer"), tempfile.tempdir
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    room = shutil.disk_usage(folder).free
    try:
        tempfile.tempdir = str(folder)
        with disk_errors(folder):
            for part in parts_of_file(source)[1:]:
                shutil.copyfile(part, folder / part.name)  # onnx reads no tensors from a file with two names
            yield linked(source, folder / source.name)
    except Exception as error:
        # On a full disk onnx silently writes half a file, which its next step cannot read.
        if isinstance(error, OSError | TunedeployError) or room > ROOM * size_of_file(source):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
    finally:
        tempfile.tempdir = before
        shutil.rmtree(folder, ignore_errors=True)


def linked(source: Path, target: Path) -> Path:
    """A hard link to a file that is only read; a copy where the disk has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target
