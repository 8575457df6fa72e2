"""What all tasks on texts share: keys of `tune`, rows that break exports, and checks of the tokenizer."""

import json
from pathlib import Path
from typing import Any, Literal

from tunedeploy.device.encoders import Row
from tunedeploy.device.files import read_json
from tunedeploy.recipe.read import Section

BARE_INPUT = "text"  # the column that `predict INPUT` fills


class TuneOptions(Section):
    """Keys of `tune`: how token states become one vector."""

    # The checkpoint's own (1_Pooling); mean where it has none, since an untrained CLS says nothing.
    pooling: Literal["auto", "mean", "cls", "max", "last", "pooler"] = "auto"


def rewritten(folder: Path, trained: Any) -> list[str]:
    """Parts of `tokenizer.json` that differ from training's; rows would show only the words that they hold."""
    stored = read_json(folder / "tokenizer.json")
    wanted = json.loads(trained.tokenizer.backend_tokenizer.to_str())
    parts = sorted((stored.keys() | wanted.keys()) - {"truncation", "padding"})
    return [f"tokenizer.json: {key}" for key in parts if stored.get(key) != wanted.get(key)]


def edge_rows(sample: Row) -> list[Row]:
    """Rows that break careless exports: empty, one character, overlong, other scripts, mixed case and blanks."""
    texts = [
        "",
        "a",
        "A" * 3000,
        "word " * 2000,
        "ÄÖÜ naïve ĳ İstanbul",
        "日本語のテキスト 🙂",
        "  \t blanks \n",
        "MiXeD CaSe",
    ]
    if sample.get("text_pair") is None:
        return [{"text": text} for text in texts]
    long = "word " * 2000
    pairs = [*((text, "b") for text in texts), ("b", long), ("", long), (long, long)]
    return [{"text": first, "text_pair": second} for first, second in pairs]
