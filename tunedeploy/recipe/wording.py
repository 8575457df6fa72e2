"""Words a recipe's mistakes: what a key must be, what it is, and what to write instead."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tunedeploy.recipe import plugin_keys as recipe_options
from tunedeploy.recipe.aliases import ALIASES, SECTION_ALIASES
from tunedeploy.recipe.sections import RECORDS
from tunedeploy.recipe.yaml_places import Spot

Detail = Mapping[str, Any]  # one entry of pydantic's ValidationError.errors()

_EXAMPLES = {"model": "NAME", "data": "{train: reviews.csv}", "tune": "{method: lora}"}
_EXAMPLES |= {"train": "{epochs: 3}", "export": "{quantize: int8}"}
_SHORTEST = {"model": "name", "data": "train", "tune": "method", "export": "quantize"}  # what a lone value must mean

_LONGEST = 60  # characters of a value that a message repeats

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
    "string_too_short": "non-empty text",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "none_required": "empty",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "string_pattern_mismatch": "text of the form {pattern}",
}


def close(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant."""
    plain = {name.replace("_", "-").lower(): name for name in known}
    near = difflib.get_close_matches(word.replace("_", "-").lower(), plain, n=1, cutoff=0.6)
    return plain[near[0]] if near else None


def instead(word: str, known: Sequence[str]) -> str:
    """The cure for an unknown word: the closest known one, or all of them."""
    near = close(word, known)
    return f"did you mean {near!r}?" if near else f"known: {', '.join(known) or 'none'}"


def not_a_recipe(content: Any) -> str:
    """Wording for a file whose top is not keys and values."""
    if content is None:
        return "empty; a recipe needs task, model and data.train"
    return f"a recipe is keys and values such as 'task: text-classification', not {shown(content)}"


def not_a_section(section: str, content: Any) -> str:
    """Wording for a section that is empty, a lone value or a list."""
    example = f"write '{section}: {_EXAMPLES[section]}'"
    if content is None:
        required = any(info.is_required() for info in RECORDS[section].model_fields.values())
        return f"{section} is empty; {example}" + ("" if required else " or delete the line")
    if section in _SHORTEST and isinstance(content, str) and content.isprintable():
        example = f"write '{section}: {{{_SHORTEST[section]}: {content}}}'"
    return f"{section} must be keys and values, not {shown(content)}; {example}"


def missing(section: str, key: str, *, whole_section: bool) -> str:
    """Wording for a required key, or its whole section, that is missing."""
    if not whole_section:
        return f"{section}.{key} is missing; add '{key}: ...' to {section}"
    example = _EXAMPLES[section] if key in RECORDS[section].model_fields else f"{{{key}: ...}}"
    return f"{section} is missing; add '{section}: {example}'"


def unknown_top(key: str, value: Any, *, typed: bool = False) -> str:
    """Wording for a key at the top of the recipe, or typed as `key=value`, that is neither `task` nor a section."""
    start = f"unknown key {key!r}"
    if isinstance(value, dict):
        section = SECTION_ALIASES.get(key) or close(key, RECORDS)
        return f"{start}; did you mean {section!r}?" if section else f"{start}; known: task, {', '.join(RECORDS)}"
    home, _, leaf = key.partition(".")
    if home not in RECORDS or not leaf:
        home, leaf = _home(key)
    if (home, leaf) == ("model", "name"):
        return f"{start}; write 'model{'=' if typed else ': '}{shown(value).strip(chr(39))}'"
    if home:
        short = "..." if isinstance(value, list | None) else shown(value).strip("'")
        return f"{start}; write '{home}.{leaf}={short}'" if typed else f"{start}; write '{home}: {{{leaf}: {short}}}'"
    return f"{start}; {instead(key, ('task', *RECORDS))}"


def _home(key: str) -> tuple[str, str]:
    """Section and name of a key found outside its section, by its own name or another tool's; empty for neither."""
    homes = recipe_options.homes(key)
    if homes:
        return next(iter(homes)), key
    home, _, leaf = ALIASES.get(key, "").partition(".")
    return home, leaf


def unknown_key(section: str, key: str, known: Sequence[str]) -> str:
    """Wording for a key that its section does not have: where it belongs, or what it is called here."""
    start = f"unknown key {key!r} in {section}"
    homes = recipe_options.homes(key)
    if section in homes:
        return f"{start}; only {' or '.join(homes[section])} has it"
    if homes:
        return f"{start}; it belongs in {next(iter(homes))}"
    if key not in ALIASES:
        return f"{start}; {instead(key, known)}"
    home, _, leaf = ALIASES[key].partition(".")
    if home != section:
        return f"{start}; here it is called {leaf!r} and belongs in {home}"
    bringers = () if leaf in known else recipe_options.homes(leaf).get(section, ())
    return f"{start}; here it is called {leaf!r}" + (f", and only {' or '.join(bringers)} has it" if bringers else "")


def wrong(key: str, details: Sequence[Detail], spot: Spot) -> str:
    """Wording for a value its key does not accept; several details are the branches of one union."""
    first = details[0]
    if first["type"] in ("value_error", "assertion_error"):
        return f"{key}: {first['ctx']['error']}"
    if first["type"] == "extra_forbidden":  # inside a value of a plug-in's own making
        container, _, leaf = key.rpartition(".")
        return f"unknown key {leaf!r} in {container}"
    if first["type"] == "missing":
        lacking = first["loc"][-1]
        return f"{key}: " + (f"element {lacking + 1}" if isinstance(lacking, int) else repr(lacking)) + " is missing"
    wanted = " or ".join(dict.fromkeys(_wanted(detail) for detail in details))
    actual = first.get("ctx", {}).get("actual_length", shown(first["input"]))
    return f"{key}: must be {wanted}, not {actual}{_cure(key, first, spot)}"


def shown(value: Any) -> str:
    """A value as a message shows it, shortened to fit the line."""
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _wanted(detail: Detail) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind in _WANTED:
        integers = {name: int(at) for name, at in context.items() if isinstance(at, float) and at.is_integer()}
        return _WANTED[kind].format(**{**context, **integers})  # "at least 1", not "at least 1.0"
    text = str(detail["msg"]).removeprefix("Input should be ")
    return text[:1].lower() + text[1:]


def _cure(key: str, detail: Detail, spot: Spot) -> str:
    kind, value = detail["type"], detail["input"]
    if value is None:
        return "; give it a value or delete the line"
    if kind == "literal_error":
        near = close(str(value), re.findall(r"'([^']*)'", detail["ctx"]["expected"]))
        return f"; did you mean {near!r}?" if near else ""
    if kind == "string_type" and isinstance(value, bool | int | float):
        return _text_cure(key.rpartition(".")[2], value, spot)
    if kind in ("int_type", "float_type") and isinstance(value, str | float):
        return _number_cure(kind, value, spot)
    return ""


def _text_cure(leaf: str, value: bool | int | float, spot: Spot) -> str:
    raw = spot.raw or str(value)
    surprising = isinstance(value, bool) and raw.lower() not in ("true", "false")
    reason = f"YAML reads {raw} as {shown(value)}, so " if surprising else ""
    return f"; {reason}quote it: '{leaf}: \"{raw}\"'"


def _number_cure(kind: str, value: str | float, spot: Spot) -> str:
    try:
        number = float(value)
    except ValueError:
        return ""
    if not math.isfinite(number) or (kind == "int_type" and not number.is_integer()):
        return ""
    if spot.quoted:
        return "; remove the quotes"
    if kind == "int_type":
        return f"; write {int(number)}"
    return f"; YAML reads {value} as text, write {_yaml_float(str(value))}"


def _yaml_float(text: str) -> str:
    """`1e-4` as `1.0e-4`: without the point and the sign, YAML 1.1 reads it as text."""
    mantissa, _, exponent = text.lower().partition("e")
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{mantissa}e{exponent}" if exponent.startswith(("+", "-")) else f"{mantissa}e+{exponent}"
