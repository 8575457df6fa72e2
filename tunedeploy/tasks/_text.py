"""What every task on texts shares: keys of `tune`, rows that break exports, and what must be said of a tokenizer."""

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
    """Parts of `tokenizer.json` that are not those of training: rows show only the words that they hold."""
    there = read_json(folder / "tokenizer.json")
    wanted = json.loads(trained.tokenizer.backend_tokenizer.to_str())
    parts = sorted((there.keys() | wanted.keys()) - {"truncation", "padding"})
    return [f"tokenizer.json: {key}" for key in parts if there.get(key) != wanted.get(key)]


def edge_rows(sample: Row) -> list[Row]:
    """Rows that break careless exports: empty, one sign, overlong, other scripts, odd case and blanks."""
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
        return [{"text": one} for one in texts]
    long = "word " * 2000
    pairs = [*((one, "b") for one in texts), ("b", long), ("", long), (long, long)]
    return [{"text": first, "text_pair": second} for first, second in pairs]
