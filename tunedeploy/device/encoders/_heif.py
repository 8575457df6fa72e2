"""HEIC, in which many telephones store photos: Pillow reads it where the package pillow-heif is installed."""

from functools import cache

BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}  # of ISO/IEC 23008-12
CURE = "a HEIC photo, which Pillow reads with another package: 'pip install pillow-heif', or save it as JPEG"


def is_heif(data: bytes) -> bool:
    """Whether a file begins as HEIC files do."""
    return data[4:8] == b"ftyp" and data[8:12] in BRANDS


@cache
def register() -> bool:
    """Let Pillow read HEIC from here on; False where the package is not installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True
