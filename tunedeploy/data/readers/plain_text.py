"""Read a file of text: UTF-8, or else Windows-1252 with a note, where it can hardly be anything else."""

from pathlib import Path

from tunedeploy.data.readers.western import misread_word, utf_8_characters
from tunedeploy.errors import DataError

SAVE_AS_UTF8 = "save it as UTF-8"
BEYOND_ASCII = bytes(range(128, 256))
CHANCE = 0.05  # UTF-8 characters for each byte that is none, up to which another encoding may have made them by chance
MUCH = 0.3  # share of bytes beyond ASCII: Western texts have a tenth at most, those of other scripts most of theirs


def read_text(path: Path, name: str) -> tuple[str, list[str]]:
    """The file's text and notes on what was repaired in it.

    Raises:
        DataError: empty, cannot be read, UTF-16 or an encoding that cannot be told; the line has the byte, the row and
            the cure.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})") from error
    if not data.strip(b"\xef\xbb\xbf\r\n\t "):
        raise DataError(f"{name}: the file is empty")
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise DataError(f"{name}:1: UTF-16 text (byte 0 is 0x{data[0]:02x}); {SAVE_AS_UTF8}: {_iconv('utf-16', name)}")
    zero = data.find(b"\0")
    if zero >= 0:
        raise DataError(f"{name}:{_line(data, zero)}: byte {zero} is zero: not UTF-8 text; {SAVE_AS_UTF8}")
    notes = [f"{name}: byte order mark removed"] if data.startswith(b"\xef\xbb\xbf") else []
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start + (3 if notes else 0)  # the decoder counts from behind the mark
        text = _windows_text(data, at, name)
        place = f"{name}:{_line(data, at)}: not UTF-8 (byte {at} is 0x{data[at]:02x})"
        character = data[at : at + 1].decode("cp1252")
        notes.append(
            f"{place}, so read as Windows-1252, in which that is {character!r}; if that is wrong, {SAVE_AS_UTF8}"
        )
    if "\r" in text.replace("\r\n", ""):
        notes.append(f"{name}: line ends or cells with a lone '\\r' read as line breaks")
    return text, notes


def _windows_text(data: bytes, at: int, name: str) -> str:
    """Text that is not UTF-8 as Windows-1252.

    Raises:
        DataError: it is UTF-8 with damaged bytes, much of it is beyond ASCII, Windows-1252 has no such byte, or would
            make words of it that no Western language has.
    """
    place = f"{name}:{_line(data, at)}: byte {at} (0x{data[at]:02x}) is not UTF-8"
    repaired = data.decode("utf-8", "replace")
    beyond = len(repaired) - len(repaired.encode("ascii", "ignore"))
    damaged, of_utf_8 = repaired.count("\ufffd"), utf_8_characters(data)
    share = 1 - len(data.translate(None, delete=BEYOND_ASCII)) / len(data)
    is_utf_8 = data.startswith(b"\xef\xbb\xbf") or beyond > 2 * damaged
    mixed = f"{place}, though other characters are; mend that row and {SAVE_AS_UTF8}"
    if is_utf_8 or (share <= MUCH and of_utf_8 > CHANCE * damaged):
        raise DataError(mixed)
    try:
        text = data.decode("cp1252") if share <= MUCH else None
    except UnicodeDecodeError:
        text = None
    cure = f"{SAVE_AS_UTF8}: {_iconv('ENCODING', name)}"
    if text is None:
        raise DataError(f"{place}, nor can it be Windows-1252; {cure}")
    word = misread_word(text)
    if word is not None:
        raise DataError(f"{place}, and Windows-1252 would make a word {word!r} of it; {cure}")
    if of_utf_8:
        raise DataError(mixed)
    return text


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1


def _iconv(encoding: str, name: str) -> str:
    return f"iconv -f {encoding} -t utf-8 {name} > fixed-{name}"
