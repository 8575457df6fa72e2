"""Whether text that was read as Windows-1252 looks Western, and bytes that are not UTF-8 were meant to be.

Any bytes without five unused ones can be read as Windows-1252. What gives another encoding away are words that no
Western language has: `ka¿dy` is Polish, `güneþ` Turkish, `ôèëüì` Russian. Icelandic has þ and ð too, but beside á, é,
í, ó, ú and æ and hardly ever þ at a word's end, while Turkish has it there, and both beside ç and ü.
"""

import re
from re import IGNORECASE

RARE = 0.05  # share of odd words among those beyond ASCII, up to which they are taken for slips of the keyboard
THORNS = 0.1  # as much of þ and ð: a list of places in German may hold a few Icelandic ones
WORD = 30  # characters shown to each side of what gives an encoding away

_LETTER = r"À-ÖØ-öø-ÿŠŽšžŒœŸƒ"
_BEYOND_ASCII = re.compile(rf"[{_LETTER}]\w*")  # from the first such letter to the word's end
_LONG_RUN = re.compile(rf"[{_LETTER}]{{5,}}")  # Icelandic has four in a row at most: óþýð
_ALL_BEYOND_ASCII = re.compile(rf"\b[{_LETTER}]{{2,}}\b")
# Between letters: signs that Polish and Romanian letters become, and ¿ where no question mark follows. ² is not among
# them: W/m²K.
_SIGN = re.compile(r"(?<=[^\W\d_])(?:[¹³¼½¾¶±ºª¥£¢¤¬¯¸]|¿(?![^\n]{0,200}\?))(?=[^\W\d_])")
_THORN, _LAST_THORN = re.compile("[þð]", IGNORECASE), re.compile(r"(?<=\w)þ\b", IGNORECASE)
_ICELANDIC, _NOT_ICELANDIC = re.compile("[áéíóúæ]", IGNORECASE), re.compile("[çüãîâêëñûõàèìò]", IGNORECASE)

_SEQUENCE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
# A letter and then quotes, dashes or dots, which end many words ("groß…", "Spaß»"), may be such a sequence by chance.
# Not behind Â, Ã and â, with which the letters and signs of Western texts begin in UTF-8.
_CLOSING = rb"[\x82\x84\x85\x91-\x94\x96\x97\x99\xa0\xab\xae\xbb]"
_BY_CHANCE = re.compile(rb"[\xc4-\xdf]%b|[\xe0\xe1\xe3-\xef]%b{2}" % (_CLOSING, _CLOSING))


def utf_8_characters(data: bytes) -> int:
    """How many characters of these bytes are UTF-8 beyond ASCII, and hardly by chance."""
    return sum(not _BY_CHANCE.fullmatch(sequence.group()) for sequence in _SEQUENCE.finditer(data))


def misread_word(text: str) -> str | None:
    """A word of text read as Windows-1252 that shows it was written in another encoding; None where none does."""
    count = sum(1 for _ in _BEYOND_ASCII.finditer(text))
    at = _sign(text, count)
    if at is None:
        at = _other_alphabet(text, count)
    if at is None:
        at = _not_icelandic(text, count)
    return None if at is None else _word_at(text, at)


def _sign(text: str, count: int) -> int | None:
    """Where a sign is inside a word, if that is so in more than a few of `count` words."""
    places = [sign.start() for sign in _SIGN.finditer(text)]
    return places[0] if len(places) > RARE * count else None


def _other_alphabet(text: str, count: int) -> int | None:
    """Where a word has no ASCII letter or many others in a row: Cyrillic, Greek, Hebrew."""
    runs = [run for run in _LONG_RUN.finditer(text) if len(set(run.group().casefold())) > 2]  # "Äääääh" is a sigh
    if len(runs) > RARE * count:
        return runs[0].start()
    words = [word.start() for word in _ALL_BEYOND_ASCII.finditer(text)]
    return words[0] if len(words) * 2 > count else None


def _not_icelandic(text: str, count: int) -> int | None:
    """Where þ or ð is, in text that is neither Icelandic nor another language with a few Icelandic names."""
    thorns = [thorn.start() for thorn in _THORN.finditer(text)]
    if len(thorns) <= THORNS * count:
        return None
    last = len(_LAST_THORN.findall(text))
    others, own = len(_NOT_ICELANDIC.findall(text)), len(_ICELANDIC.findall(text))
    return thorns[0] if last * 4 > len(thorns) or others > own else None


def _word_at(text: str, at: int) -> str:
    before, after = text[max(at - WORD, 0) : at], text[at : at + WORD]
    start, end = re.search(r"\w*$", before), re.match(r".\w*", after, re.DOTALL)
    return (start.group() if start else "") + (end.group() if end else "")
