"""Wikigold as the user's own reader would give it: sentences with their document, words and tags."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sentence:
    document: int
    words: list[str]
    tags: list[str]


def sentences(assets: Path) -> list[Sentence]:
    """Every sentence, in order; -DOCSTART- lines part documents."""
    found: list[Sentence] = []
    document, words, tags = 0, [], []
    text = (assets / "data" / "wikigold" / "wikigold.conll.txt").read_text(encoding="utf-8")
    for line in [*text.split("\n"), ""]:
        if line.strip():
            word, tag = line.split(" ")
            if word == "-DOCSTART-":
                document += 1
            else:
                words.append(word)
                tags.append(tag)
        elif words:
            found.append(Sentence(document, words, tags))
            words, tags = [], []
    assert len(found) == 1696
    return found
