"""Text to token ids from the bundle's tokenizer.json, with the tokenizers package and numpy alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from .. import typed
from ..errors import RunError
from ..inside import inside
from ..signature import Value
from . import Array, Features, Inputs, Row

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
LARGEST = 2**31  # of an id
# A tokenizer splits a text before it truncates it: 10 MB take 3 GB and a minute. English has 4 to 5 characters a token,
# so what lies beyond is hardly ever missed; short limits get a page, in case of runs of blanks.
CHARACTERS_A_TOKEN = 64
LEAST_CHARACTERS = 10_000


@dataclass(frozen=True, kw_only=True)
class TextFacts:
    """How texts become ids. `inputs` are the ONNX inputs in order; lengths are in tokens."""

    max_length: int
    pad_id: int
    lone_id: int  # stands for a text that tokenizes to nothing at all, so that no row is empty
    padding_side: str = "right"
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    kind: str = "text"
    # Each text is cut to its first so many code points; None: never (older bundles, tokenizers that keep a text's end).
    max_characters: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_length", "pad_id", "lone_id"):
            if not 0 <= getattr(self, name) < LARGEST:
                raise ValueError(f"{name}: expected 0 to {LARGEST - 1}, got {getattr(self, name)}")
        if self.max_characters is not None and self.max_characters < 1:
            raise ValueError(f"max_characters: expected 1 or more, got {self.max_characters}")
        if self.padding_side not in ("left", "right"):
            raise ValueError(f"padding_side: expected left or right, got {self.padding_side!r}")
        if not self.inputs or not set(self.inputs) <= set(INPUTS):
            raise ValueError(f"inputs: expected some of {', '.join(INPUTS)}, got {', '.join(self.inputs) or 'none'}")


def characters_kept(max_length: int) -> int:
    """How many characters of a text are put to the tokenizer of a model that sees `max_length` tokens."""
    return max(LEAST_CHARACTERS, CHARACTERS_A_TOKEN * max_length)


def texts_read(row: Row, facts: TextFacts) -> tuple[str, ...]:
    """The part of a row's text, or of its two, that is tokenized; the same in training and on every device."""
    pair = row.get("text_pair")
    return tuple(text[: facts.max_characters] for text in (row["text"], *([] if pair is None else [pair])))


def facts_from(raw: Mapping[str, Any]) -> TextFacts:
    """TextFacts read back from its JSON.

    Raises:
        Mismatch: a key is missing, unknown or has another value than it can have.
    """
    return typed.from_json(TextFacts, dict(raw))


def facts_json(facts: TextFacts) -> dict[str, str | int | list[str] | None]:
    """TextFacts as JSON."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(facts).items()}


def collate(
    features: Sequence[Features], facts: TextFacts, size: int | None = None, along: Sequence[str] = ()
) -> Inputs:
    """Pad (or cut) rows of ids to one length.

    Args:
        features: rows with `input_ids` (length,) and, where the model takes it, `token_type_ids` (length,).
        facts: the side and id of padding, and the inputs wanted.
        size: length in tokens; the longest row's when None.
        along: further names of features, padded with 0.

    Returns:
        int64 arrays (batch, length), one for each name in `facts.inputs` and `along`.
    """
    length = size or max(len(row["input_ids"]) for row in features)
    fill = {"input_ids": facts.pad_id}
    names = (*facts.inputs, *along)
    batch = {name: np.full((len(features), length), fill.get(name, 0), dtype=np.int64) for name in names}
    for at, row in enumerate(features):
        ids = row["input_ids"][:length]
        span = slice(0, len(ids)) if facts.padding_side == "right" else slice(length - len(ids), length)
        for name, array in batch.items():
            array[at, span] = 1 if name == "attention_mask" else row[name][:length]
    return batch


def values(inputs: Sequence[str]) -> tuple[Value, ...]:
    """What goes into the graph: ids and their like, int64 (batch, sequence)."""
    return tuple(
        Value(
            name=name, axes=("batch", "sequence"), dtype="int64", role="mask" if name == "attention_mask" else ""
        )
        for name in inputs
    )  # fmt: skip


def sizes(features: Sequence[Features], facts: TextFacts) -> list[int | None]:
    """One token, the shortest, an odd and the longest length of these rows."""
    lengths = sorted(len(row["input_ids"]) for row in features)
    middle = lengths[len(lengths) // 2] | 1
    return [1, lengths[0], min(middle, facts.max_length), lengths[-1]]


class TokenizerFile(TypedDict, total=False):
    """The parts of tokenizer.json that a bundle's facts describe."""

    truncation: dict[str, object] | None
    padding: Any


class TextEncoder:
    """Encode raw texts by a tokenizer.json that holds its own truncation.

    Args:
        path: the tokenizer.json.
        facts: lengths, padding and inputs.

    Raises:
        RunError: the file is missing or broken.
    """

    key = "text"
    tolerance = 0  # ids are equal or wrong
    small = True

    def __init__(self, path: Path, facts: TextFacts) -> None:
        self.tokenizer = open_tokenizer(path)
        self.tokenizer.no_padding()
        self._facts = facts

    @property
    def facts(self) -> Mapping[str, Any]:
        """The TextFacts as JSON."""
        return facts_json(self._facts)

    def encode(self, rows: Sequence[Row]) -> list[Features]:
        """Rows with `text` and perhaps `text_pair` to ids, cut at the maximum length."""
        texts = [read if len(read) > 1 else read[0] for read in (texts_read(row, self._facts) for row in rows)]
        return [as_features(row.ids, row.type_ids, self._facts) for row in encoded(self.tokenizer, texts)]

    def collate(self, features: Sequence[Features], size: int | None = None) -> Inputs:
        """See the function `collate`."""
        return collate(features, self._facts, size)

    def sizes(self, features: Sequence[Features]) -> list[int | None]:
        """See the function `sizes`."""
        return sizes(features, self._facts)

    def values(self) -> tuple[Value, ...]:
        """See the function `values`."""
        return values(self._facts.inputs)

    def contradictions(self, folder: Path) -> list[str]:
        """See the function `contradictions`."""
        return contradictions(folder, self.facts)

    def portable(self, row: Row, at: int, folder: Path) -> dict[str, str | list[str]]:
        """A raw row as JSON; what JSON cannot hold is a file in `folder`, named after the number of the row, `at`."""
        del at, folder
        return {name: row[name] for name in ("text", "text_pair") if row.get(name) is not None}


def encoded(tokenizer: Any, inputs: Sequence[Any], *, is_pretokenized: bool = False) -> list[Any]:
    """The tokenizers package's encodings of texts, of pairs, or of lists of words.

    Raises:
        RunError: the tokenizer refuses one.
    """
    try:
        encodings: list[Any] = tokenizer.encode_batch(inputs, is_pretokenized=is_pretokenized)
    except Exception as error:
        if type(error) is not Exception:  # the package has none of its own
            raise
        raise RunError(f"tokenizer.json: cannot encode: {error}") from error
    return encodings


def open_tokenizer(path: Path) -> Any:
    """A tokenizers.Tokenizer.

    Raises:
        RunError: the file is missing or broken.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        # The package has no exceptions of its own: whatever is wrong, it raises Exception itself.
        if type(error) is not Exception:
            raise
        raise RunError(f"{path}: is not a tokenizer that the tokenizers package can read: {error}") from error


def opened(folder: Path, facts: Mapping[str, Any]) -> TextEncoder:
    """The encoder of a bundle, from its tokenizer.json."""
    return TextEncoder(inside(folder, "tokenizer.json"), facts_from(facts))


def contradictions(folder: Path, facts: Mapping[str, Any]) -> list[str]:
    """Parts of the tokenizer's files, read by other programs to encode, that contradict the facts."""
    tokenizer = typed.read(inside(folder, "tokenizer.json"), TokenizerFile)
    config = typed.read(inside(folder, "tokenizer_config.json"), typed.OBJECT)
    differences = {
        "truncation": (tokenizer.get("truncation") or {}).get("max_length") != facts["max_length"],
        "padding": bool(tokenizer.get("padding")),
        "model_max_length": config.get("model_max_length", facts["max_length"]) != facts["max_length"],
    }
    return [key for key, differs in differences.items() if differs]


def as_features(ids: Sequence[int], type_ids: Sequence[int] | None, facts: TextFacts) -> dict[str, Array]:
    """Ids (length,) as features; a text without any token becomes `lone_id`."""
    row = {"input_ids": np.asarray(ids or [facts.lone_id], dtype=np.int64)}
    if "token_type_ids" in facts.inputs:
        row["token_type_ids"] = np.asarray(
            type_ids if ids and type_ids else [0] * len(row["input_ids"]), dtype=np.int64
        )
    return row
