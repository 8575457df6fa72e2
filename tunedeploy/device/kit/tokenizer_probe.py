"""A probe of a whole tokenizer: texts for every entry and over all of Unicode, and a digest of what they become.

It travels with the bundle's parity kit and needs the tokenizers package alone. The texts come from the tokenizer's own
entries and from fixed code points, never from the running Python's Unicode tables, so that they are the same anywhere.
"""

import hashlib
import json
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

VERSION = 1  # of the texts: another number means that digests cannot be compared
ENTRIES = 4096  # of the vocabulary in one part
WORDS = 16  # in one text: a text has its cost, and a fault is named by its part
LONGEST = 8192  # tokens of a text; a damaged file may name any number
Text = str | tuple[str, str]

# Hexadecimal code points, last ones included, `/` before a step. All were assigned in Unicode 3.2, emoji in 6.0: a
# tokenizers package with newer Unicode tables treats them as before.
CODE_POINTS = {
    "Latin": "21-220 222-233 250-2ad 2b0-2ee 1e00-1e9b 1ea0-1ef9",
    "Greek": (
        "374-375 37a 37e 384-38a 38c 38e-3a1 3a3-3ce 3d0-3f6 1f00-1f15 1f18-1f1d 1f20-1f45 1f48-1f4d 1f50-1f57 1f59 "
        "1f5b 1f5d 1f5f-1f7d 1f80-1fb4 1fb6-1fc4 1fc6-1fd3 1fd6-1fdb 1fdd-1fef 1ff2-1ff4 1ff6-1ffe"
    ),
    "Cyrillic": "400-482 48a-4ce 4d0-4f5 4f8-4f9 500-50f",
    "Armenian and Georgian": "531-556 559-55f 561-587 589-58a 10a0-10c5 10d0-10f8 10fb",
    "Hebrew": "5be-5c3 5d0-5ea 5f0-5f4",
    "Arabic, Syriac and Thaana": "60c 61b 61f 621-63a 640-64a 660-6e9 6f0-6fe 700-70d 710-72c 780-7b1",
    "scripts of India": (
        "905-939 93d 950 958-970 985-98c 98f-990 993-9a8 9aa-9b0 9b2 9b6-9b9 9dc-9dd 9df-9e1 9e6-9fa a05-a0a "
        "a0f-a10 a13-a28 a2a-a30 a32-a33 a35-a36 a38-a39 a59-a5c a5e a66-a74 a85-a8b a8d a8f-a91 a93-aa8 aaa-ab0 "
        "ab2-ab3 ab5-ab9 abd ad0 ae0 ae6-aef b05-b0c b0f-b10 b13-b28 b2a-b30 b32-b33 b36-b39 b3d b5c-b5d b5f-b61 "
        "b66-b70 b83 b85-b8a b8e-b90 b92-b95 b99-b9a b9c b9e-b9f ba3-ba4 ba8-baa bae-bb5 bb7-bb9 be7-bf2 c05-c0c "
        "c0e-c10 c12-c28 c2a-c33 c35-c39 c60-c61 c66-c6f c85-c8c c8e-c90 c92-ca8 caa-cb3 cb5-cb9 cde ce0-ce1 "
        "ce6-cef d05-d0c d0e-d10 d12-d28 d2a-d39 d60-d61 d66-d6f d85-d96 d9a-db1 db3-dbb dbd dc0-dc6 df4"
    ),
    "scripts of South-East Asia": (
        "e01-e33 e3f-e5b e81-e82 e84 e87-e88 e8a e8d e94-e97 e99-e9f ea1-ea3 ea5 ea7 eaa-eab ead-eb3 ebd ec0-ec4 "
        "ec6 ed0-ed9 edc-edd f00-f47 f49-f6a f85-f8b fbe-fcc fcf 1000-1021 1023-1027 1029-102a 1040-1055 1700-170c "
        "170e-1711 1720-1736 1740-1751 1760-176c 176e-1770 1780-17dc 17e0-17e9"
    ),
    "other alphabets": (
        "1200-1206 1208-1246 1248 124a-124d 1250-1256 1258 125a-125d 1260-1286 1288 128a-128d 1290-12ae 12b0 "
        "12b2-12b5 12b8-12be 12c0 12c2-12c5 12c8-12ce 12d0-12d6 12d8-12ee 12f0-130e 1310 1312-1315 1318-131e "
        "1320-1346 1348-135a 1361-137c 13a0-13f4 1401-1676 1681-169c 16a0-16f0 1800-180a 1810-1819 1820-1877 "
        "1880-18a8 a000-a48c a490-a4c6"
    ),
    "kana and bopomofo": "3041-3096 309b-30ff 3105-312c 3131-318e 3190-31b7 31f0-31ff",
    "Hangul": "ac00-d7a3/37",
    "CJK ideographs": "3400-4db5/61 4e00-9fa5/61 20000-2a6d6/997",
    "punctuation and symbols": (
        "2010-2052 2057 2070-2071 2074-208e 20a0-20b1 2190-23ce 2400-2426 2440-244a 2500-2613 2616-2617 2619-267d "
        "2680-2689 2701-2704 2706-2709 270c-2727 2729-274b 274d 274f-2752 2756 2758-275e 2761-2794 2798-27af "
        "27b1-27be 27d0-27eb 27f0-2aff 2e80-2e99 2e9b-2ef3 2f00-2fd5 2ff0-2ffb 3001-303f"
    ),
    "compatibility forms": (
        "2100-213a 213d-214b 2153-2183 2460 115f-11a2 11a8-11f9 3200-321c 3220-3243 3251-327b 327f-32cb 32d0-32fe "
        "3300-3376 337b-33dd 33e0-33fe f900-fa2d fa30-fa6a fb00-fb06 fb13-fb17 fb1d-fb36 fb38-fb3c fb3e fb40-fb41 "
        "fb43-fb44 fb46-fbb1 fbd3-fd3f fd50-fd8f fd92-fdc7 fdf0-fdfc fe30-fe46 fe49-fe52 fe54-fe66 fe68-fe6b "
        "fe70-fe74 fe76-fefc ff01-ffbe ffc2-ffc7 ffca-ffcf ffd2-ffd7 ffda-ffdc ffe0-ffe6 ffe8-ffee fffc-fffd"
    ),
    "planes above the first": (
        "10300-1031e 10320-10323 10330-1034a 10400-10425 10428-1044d 1d000-1d0f5 1d100-1d126 1d12a-1d1dd "
        "1d400-1d454 1d456-1d49c 1d49e-1d49f 1d4a2 1d4a5-1d4a6 1d4a9-1d4ac 1d4ae-1d4b9 1d4bb 1d4bd-1d4c0 "
        "1d4c2-1d4c3 1d4c5-1d505 1d507-1d50a 1d50d-1d514 1d516-1d51c 1d51e-1d539 1d53b-1d53e 1d540-1d544 1d546 "
        "1d54a-1d550 1d552-1d6a3 1d6a8-1d7c9 1d7ce-1d7ff"
    ),
    "combining marks": (
        "300-34f 360-36f 483-486 488-489 591-5a1 5a3-5b9 5bb-5bd 5bf 5c1-5c2 5c4 64b-655 670 6d6-6dc 6de-6e4 "
        "6e7-6e8 6ea-6ed 711 730-74a 7a6-7b0 901-903 93c 93e-94d 951-954 962-963 981-983 9bc 9be-9c4 9c7-9c8 "
        "9cb-9cd 9d7 9e2-9e3 a02 a3c a3e-a42 a47-a48 a4b-a4d a70-a71 a81-a83 abc abe-ac5 ac7-ac9 acb-acd b01-b03 "
        "b3c b3e-b43 b47-b48 b4b-b4d b56-b57 b82 bbe-bc2 bc6-bc8 bca-bcd bd7 c01-c03 c3e-c44 c46-c48 c4a-c4d "
        "c55-c56 c82-c83 cbe-cc4 cc6-cc8 cca-ccd cd5-cd6 d02-d03 d3e-d43 d46-d48 d4a-d4d d57 d82-d83 dca dcf-dd4 "
        "dd6 dd8-ddf df2-df3 e31 e34-e3a e47-e4e eb1 eb4-eb9 ebb-ebc ec8-ecd f18-f19 f35 f37 f39 f3e-f3f f71-f84 "
        "f86-f87 f90-f97 f99-fbc fc6 102c-1032 1036-1039 1056-1059 1712-1714 1732-1734 1752-1753 1772-1773 "
        "17b4-17d3 180b-180d 18a9 20d0-20ea 302a-302f 3099-309a fb1e fe00-fe0f fe20-fe23 1d165-1d169 1d16d-1d172 "
        "1d17b-1d182 1d185-1d18b 1d1aa-1d1ad"
    ),
    "control characters": (
        "0-1f 7f-9f 6dd 70f 180e 200c-200f 202a-202e 2060-2063 206a-206f feff fff9-fffb 1d173-1d17a e000 f8ff ffff "
        "10ffff"
    ),
    "spaces": "20 a0 1680 2000-200b 2028-2029 202f 205f 3000",
    "emoji": (
        "1f110-1f12e 1f1e6-1f1ff 1f300-1f320 1f330-1f335 1f337-1f37c 1f380-1f393 1f3a0-1f3c4 1f3c6-1f3ca "
        "1f3e0-1f3f0 1f400-1f43e 1f440 1f442-1f4f7 1f4f9-1f4fc 1f500-1f53d 1f550-1f567 1f5fb-1f640 1f645-1f64f "
        "1f680-1f6c5"
    ),
}
# What no single code point shows: composed and decomposed forms, casing that depends on the neighbour, joined emoji,
# text from right to left.
SEQUENCES = (
    "e\u0301 A\u030a o\u0302\u0301 o\u0301\u0302 \u0435\u0308 \u0438\u0306 \u03b1\u0301",
    "\u1112\u1161\u11ab \u304b\u3099 \u0915\u094d\u0937 \u0915\u094d\u200d\u0937 \u0e01\u0e33 \u0e01\u0e4d\u0e32",
    "\u00e9t\u00e9 na\u00efve \u00c5ngstr\u00f6m \u212b \u0130stanbul \u0131 Stra\u00dfe \u1e9e \u01c4 \u01c5 \u01c6",
    "\u039f\u0394\u039f\u03a3! \u1f88 \u0391\u0399 \u0419\u041e\u0416 \u0401\u041b\u041a\u0410",
    "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u0645\u064e\u0631\u0652\u062d\u064e\u0628\u064b\u0627 \u0644\u0627",
    "\u202eabc\u202c \u200fabc \u2067abc\u2069 \u0567\u0582 \u0b95\u0bcb \u0f40\u0fb5 \ufb01n \ufb03 \ufdfa",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea 1\ufe0f\u20e3 \u2764\ufe0f",
    "\uff21\uff42\uff13\uff0c\u3000\uff76\uff9e \u30ac \u2460 \u00b2 \u00bd \u2126 \u3392 \u2167",
    "a\u00adb a\u200bb a\u200cb a\u2060b \ufeffab a\u0000b a\u0007b a\ufffdb a\u0085b a\u2028b a\r\nb a\x0b\x0cb",
    "don't can't 'tis it's we'll a-b a--b a\u2014b a_b 3.14 1,000 $5 50% #tag @you a.b.c",
    "e-mail@x.org http://x.org/?a=1&b=2 C++ <b>bold</b> \\n \\u0041 (a) [b] {c} a/b a|b ~a^2 ...!?",
    "", " ", "  a  b  ", "\t\na\r\n", "A", "aA Aa AA aa", "a\u0300" * 40, "\u4e2d\u6587ab\u4e2d", "0123456789" * 3,
)  # fmt: skip


class Probe(TypedDict):
    """What a tokenizer makes of the texts: how many there are, and a digest of each part by its name."""

    pairs: bool
    texts: int
    sha256: dict[str, str]


def probe(tokenizer_of: Callable[[], Any], *, pairs: bool) -> Probe:
    """Digests of what a tokenizer makes of the probe's texts, one for each part.

    Args:
        tokenizer_of: gives a tokenizers.Tokenizer of its own at each call, as an app opens it.
        pairs: whether pairs of texts are probed too.
    """
    uncut, cut = tokenizer_of(), tokenizer_of()
    uncut.no_truncation()
    for tokenizer in (uncut, cut):
        tokenizer.no_padding()
    digests, count = {}, 0
    for name, facts, texts in parts(uncut):
        digests[name], count = digest(uncut, facts, texts), count + len(texts)
    for name, texts in cut_texts(cut.truncation, pairs=pairs):
        digests[name], count = digest(cut, cut.truncation, texts), count + len(texts)
    return {"pairs": pairs, "texts": count, "sha256": digests}


def digest(tokenizer: Any, facts: Any, texts: Sequence[Text]) -> str:
    """SHA-256 of texts with the ids and type ids that they become."""
    encoded = tokenizer.encode_batch(list(texts))
    rows = [[text, encoding.ids, encoding.type_ids] for text, encoding in zip(texts, encoded, strict=True)]
    return hashlib.sha256(json.dumps([facts, rows], sort_keys=True).encode()).hexdigest()


def parts(tokenizer: Any) -> Iterator[tuple[str, Any, list[Text]]]:
    """Name, facts and texts of each part in which nothing is cut."""
    entries = sorted((at, word) for word, at in tokenizer.get_vocab(with_added_tokens=True).items())
    by_number: dict[int, list[tuple[int, str]]] = {}
    for at, word in entries:
        by_number.setdefault(at // ENTRIES, []).append((at, word))
    for number, some in by_number.items():
        name = f"vocabulary entries {number * ENTRIES} to {(number + 1) * ENTRIES - 1}"
        yield name, some, list(joined([as_text(word) for _, word in some]))
    yield "added tokens", *added(tokenizer.get_added_tokens_decoder())
    for name, ranges in CODE_POINTS.items():
        yield name, None, list(around(code_points(ranges)))
    yield "sequences", None, list(SEQUENCES)
    lengths = [*range(1, 131), *(hundred + offset for hundred in range(200, 1100, 100) for offset in (-1, 0, 1))]
    lengths += [2**power + offset for power in range(11, 13) for offset in (-1, 0, 1)]
    yield "long words", None, [letter * length for length in lengths for letter in ("a", "\u00e9")]


def added(tokens: Mapping[int, Any]) -> tuple[Any, list[Text]]:
    """Added tokens with their flags, and texts that hold them: alone, in a word, among spaces, in another case."""
    flags = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    facts = [[at, *(getattr(token, flag) for flag in flags)] for at, token in sorted(tokens.items())]
    lower = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
    upper = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
    texts: list[Text] = []
    for _, content, *_ in facts:
        texts += [content, f"a{content}b", f"a  {content}  b", content.translate(lower), content.translate(upper)]
    return facts, texts


def around(points: Iterable[int]) -> Iterator[str]:
    """Texts with each code point inside a word, where it may vanish or part it, and as a word of its own."""
    return joined([f"a{chr(point)}b {chr(point)}" for point in points])


def joined(words: Sequence[str]) -> Iterator[str]:
    """Texts of some words each."""
    for at in range(0, len(words), WORDS):
        yield " ".join(words[at : at + WORDS])


def code_points(ranges: str) -> Iterator[int]:
    """The code points of an entry of CODE_POINTS."""
    for span in ranges.split():
        ends, _, step = span.partition("/")
        first, _, last = ends.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1, int(step or 1))


def cut_texts(truncation: Mapping[str, Any] | None, *, pairs: bool) -> Iterator[tuple[str, list[Text]]]:
    """Texts around the length at which the tokenizer cuts, and pairs of them."""
    limit = min(int((truncation or {}).get("max_length", 512)), LONGEST)
    words = [*string.ascii_lowercase, *string.digits]
    long = [words[at % len(words)] for at in range(limit + 40)]
    yield "cutting", [" ".join(long[: limit + more]) for more in (-4, -3, -2, -1, 0, 1, 2, 5, 40)]
    if pairs:
        half, full = " ".join(long[: limit // 2]), " ".join(long)
        sides = ["", "a", half, full, *SEQUENCES]
        pair = [("a", side) for side in sides] + [(side, "b") for side in sides]
        yield "pairs", [*pair, (half, half), (half, full), (full, half), (full, full)]


def as_text(entry: str) -> str:
    """An entry as it stands in a text, without the marks of its model: of a piece, of a space, of bytes."""
    plain = entry.removeprefix("##").removesuffix("</w>").replace("\u2581", " ")
    try:
        text = bytes(BYTES[sign] for sign in plain).decode()
    except (KeyError, UnicodeDecodeError):
        return plain
    return plain if any(letter < " " for letter in text) else text  # a letter of its own, not the sign of a byte


def _bytes() -> dict[str, int]:
    """The sign that byte-level models write for each byte: itself where it prints, else one from U+0100 on."""
    prints = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in prints]
    return {chr(byte): byte for byte in prints} | {chr(0x100 + at): byte for at, byte in enumerate(others)}


BYTES = _bytes()
