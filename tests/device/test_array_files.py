"""A file of arrays is refused by its headers, before its memory is taken."""

import io
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tunedeploy.device.array_files import RATIO, UNCOMPRESSED, declared_bytes, read_array
from tunedeploy.errors import RunError


def header(shape: tuple[int, ...]) -> bytes:
    """The start of a .npy file of float32 that claims a shape."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": "<f4"})
    return stream.getvalue()


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


def test_an_archive_that_unpacks_to_gigabytes_is_refused_before_they_are_taken(tmp_path: Path) -> None:
    zeros = bytes(160 << 20)
    path = archive(tmp_path / "golden.npz", a=header((40 << 20,)) + zeros)
    assert path.stat().st_size * RATIO < UNCOMPRESSED
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RunError, match=r"golden.npz: cannot be read: its headers speak of 167,772,160 bytes"):
        read_array(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB


def test_members_count_together(tmp_path: Path) -> None:
    part = header((UNCOMPRESSED // 8 + 1,))  # half of what is allowed
    path = archive(tmp_path / "golden.npz", a=part, b=part)
    assert declared_bytes(path) > UNCOMPRESSED
    with pytest.raises(RunError, match="headers speak of"):
        read_array(path)


@pytest.mark.parametrize("shape", [(2**40,), (2**62, 2**62), (1000,)], ids=["a terabyte", "overflow", "a bit more"])
def test_an_array_that_claims_more_than_its_file_holds_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "logits.npy"
    path.write_bytes(header(shape) + bytes(400))
    with pytest.raises(RunError, match="headers speak of"):
        read_array(path)


def test_arrays_as_they_are_written_are_read(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "a.npy", values)
    np.savez_compressed(tmp_path / "a.npz", one=values, zeros=np.zeros((1000, 1000)))
    assert np.array_equal(read_array(tmp_path / "a.npy"), values)
    assert set(read_array(tmp_path / "a.npz")) == {"one", "zeros"}
