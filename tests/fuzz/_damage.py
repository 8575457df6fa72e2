"""Random damage to bytes and to values, which several areas of the fuzzers do."""

import datetime
import decimal
from typing import Any

import numpy as np

Rng = np.random.Generator

# What readers trip over: marks of encodings, quotes, ends of lines, endless numbers, nesting, half characters.
TOKENS = (
    b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\r", b"\n", b"\r\n", b'"', b'""', b"'", b"\\", b"\t", b",",
    b";", b"NaN", b"Infinity", b"-", b"1e999", b"9" * 5000, b"null", b"true", b"[" * 3000, b"{", b"}", b"]", b":",
    b"\\ud800", b"\xed\xa0\x80", b"\xc3", b"\x80", b"\x1b[31m", b"\xe2\x80\xa8", b"\x0b", b"\x0c", b"\x85", b"#",
    b"&a ", b"*a", b"!!python/object/apply:os.getcwd []", b"%", b"@", b"---\n", b"...\n", b"<<: ", b"? ", b"- ", b"|\n",
    b"\xf0\x9f\x92\xa9",
)  # fmt: skip
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "cp1252", "utf-7", "utf-8-sig", "latin-1")


def damaged(content: bytes, rng: Rng) -> bytes:
    """The bytes with one to four changes."""
    for _ in range(rng.integers(1, 5)):
        content = _changed(content, rng)
    return content


def _changed(content: bytes, rng: Rng) -> bytes:
    start, stop = sorted(int(at) for at in rng.integers(0, len(content) + 1, 2))
    at = start
    match rng.integers(8):
        case 0:  # bits
            changed = bytearray(content)
            for place in rng.integers(0, max(len(content), 1), rng.integers(1, 9)) if content else ():
                changed[place] ^= 1 << rng.integers(8)
            return bytes(changed)
        case 1:  # any bytes
            return content[:at] + rng.bytes(int(rng.integers(1, 9))) + content[at:]
        case 2:
            return content[:at]
        case 3:
            return content[:start] + content[min(stop, start + 64) :]
        case 4:
            return content[:stop] + content[start:stop] + content[stop:]
        case 5:
            text = content.decode("utf-8", "replace")
            return text.encode(str(rng.choice(ENCODINGS)), "replace")
        case _:
            return content[:at] + TOKENS[rng.integers(len(TOKENS))] + content[at:]


def odd_value(rng: Rng, depth: int = 0) -> Any:
    """A value that a cell or a key hardly ever holds."""
    values: list[Any] = [
        None, True, False, 0, -1, 2**63, 10**400, 0.1, float("nan"), float("inf"), "", " ", "\n", "\0", "\ud800",
        "a" * 70_000, "007", "NaN", "null", "~", "1e5", "\u2028", "a\nb", "../..", "/dev/null", "\x1b[31m", [], {},
        [None], {"": None}, {"path": None, "bytes": None}, {"bytes": b"\x89PNG"}, b"", b"\xff", datetime.date(1, 1, 1),
        decimal.Decimal("1e30"), datetime.datetime(2026, 1, 1), datetime.timedelta(1),
    ]  # fmt: skip
    choice = int(rng.integers(len(values) + 2))
    if choice < len(values) or depth > 2:
        return values[choice % len(values)]
    inner = odd_value(rng, depth + 1)
    return [inner, odd_value(rng, depth + 1)] if choice % 2 else {"a": inner}
