"""What tokenizer_config.json says of a tokenizer against tokenizer.json itself: other programs read both."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunedeploy.device.files import read_json
from tunedeploy.run.atomic import write_json

SPECIAL = ("bos_token", "cls_token", "eos_token", "sep_token", "unk_token", "pad_token", "mask_token")
FLAGS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


def contradictions(config: Mapping[str, Any], tokenizer: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Keys that contradict the tokenizer; one that is missing or null contradicts nothing.

    Args:
        config: tokenizer_config.json.
        tokenizer: tokenizer.json.
        facts: of the preprocessing, see encoders.text.TextFacts.
    """
    wrong = [
        *flags_differ(config, list(steps(tokenizer.get("normalizer")))),
        *special_differ(config, tokenizer, facts),
    ]
    direction = (tokenizer.get("truncation") or {}).get("direction")
    pairs = {
        "truncation_side": (config.get("truncation_side"), direction and direction.lower()),
        "padding_side": (config.get("padding_side"), facts.get("padding_side", "right")),
        "model_max_length": (config.get("model_max_length"), facts["max_length"]),
    }
    wrong += [key for key, (stated, true) in pairs.items() if stated is not None and stated != true]
    names = config.get("model_input_names")
    if isinstance(names, list) and any(name not in names for name in facts.get("inputs", ())):
        wrong.append("model_input_names")
    return wrong


def settle(folder: Path, facts: Mapping[str, Any]) -> None:
    """Correct what a bundle's configuration states about its tokenizer.

    Checkpoints carry settings of another tokenizer, or of another way to pad: what contradicts the tokenizer is removed
    from `tokenizer_config.json`, and `config.json` gets the id that this model was padded with.
    """
    if not (folder / "tokenizer.json").is_file() or "pad_id" not in facts:
        return
    config = read_json(folder / "config.json")
    if config.get("pad_token_id", facts["pad_id"]) != facts["pad_id"]:
        write_json(folder / "config.json", config | {"pad_token_id": facts["pad_id"]})
    stated = read_json(folder / "tokenizer_config.json")
    wrong = contradictions(stated, read_json(folder / "tokenizer.json"), facts)
    if wrong:
        write_json(folder / "tokenizer_config.json", {key: value for key, value in stated.items() if key not in wrong})


def steps(normalizer: Any) -> Iterator[Mapping[str, Any]]:
    """The steps of a normalizer, nested ones included."""
    if not isinstance(normalizer, Mapping):
        return
    yield normalizer
    for step in listed(normalizer, "normalizers"):
        yield from steps(step)


def flags_differ(config: Mapping[str, Any], normalizer: list[Mapping[str, Any]]) -> list[str]:
    """Flags of casing, accents and Chinese characters; a BERT normalizer has all three, any other at most a step."""
    bert = next((step for step in normalizer if step.get("type") == "BertNormalizer"), None)
    true: dict[str, bool | None] = {} if bert is None else {key: bert.get(name) for key, name in FLAGS.items()}
    if bert is None or any(step.get("type") == "Lowercase" for step in normalizer):
        true["do_lower_case"] = any(step.get("type") == "Lowercase" for step in normalizer)
    return [key for key, value in true.items() if isinstance(config.get(key), bool) and config[key] != value]


def special_differ(config: Mapping[str, Any], tokenizer: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """Special tokens that the tokenizer does not have, or has in another place."""
    ids = entries(tokenizer)
    stated = {key: text for key in SPECIAL if (text := text_of(config.get(key))) is not None}
    wrong = [key for key, text in stated.items() if text not in ids]
    wrong += ["pad_token"] * (ids.get(stated.get("pad_token", ""), facts["pad_id"]) != facts["pad_id"])
    first = next((key for key in ("bos_token", "cls_token", "eos_token") if key in stated), None)
    if first is not None:  # stands for a text without any token
        wrong += [first] * (ids.get(stated[first], facts["lone_id"]) != facts["lone_id"])
    unknown = (tokenizer.get("model") or {}).get("unk_token")
    wrong += ["unk_token"] * (isinstance(unknown, str) and stated.get("unk_token", unknown) != unknown)
    used = set(template(tokenizer.get("post_processor")))
    if len(used) > 1 and {"cls_token", "sep_token"} <= set(stated):
        wrong += [key for key in ("cls_token", "sep_token") if stated[key] not in used]
    return list(dict.fromkeys(wrong))


def entries(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """Every entry of a tokenizer.json, with its id."""
    words = (tokenizer.get("model") or {}).get("vocab")
    if isinstance(words, list):  # of a Unigram model: piece and score, in order
        words = {piece[0]: at for at, piece in enumerate(words)}
    return {**(words or {}), **{token["content"]: token["id"] for token in tokenizer.get("added_tokens") or ()}}


def text_of(token: Any) -> str | None:
    """A special token's text, which may be in a record with its flags."""
    if isinstance(token, Mapping):
        token = token.get("content")
    return token if isinstance(token, str) else None


def template(processor: Any) -> Iterator[str]:
    """Special tokens that a post-processor puts around a text."""
    if not isinstance(processor, Mapping):
        return
    for pair in (processor.get("cls"), processor.get("sep")):
        if isinstance(pair, list) and pair and isinstance(pair[0], str):
            yield pair[0]
    for piece in listed(processor, "single"):
        token = piece.get("SpecialToken") if isinstance(piece, Mapping) else None
        if isinstance(token, Mapping) and isinstance(token.get("id"), str):
            yield token["id"]
    for step in listed(processor, "processors"):
        yield from template(step)


def listed(part: Mapping[str, Any], key: str) -> list[Any]:
    """A list of a tokenizer.json; empty for any other value, which the tokenizers package ignores."""
    value = part.get(key)
    return value if isinstance(value, list) else []
