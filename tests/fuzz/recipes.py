"""Recipes: their text damaged, and values of every kind under every key."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.fuzz import ended
from tests.fuzz._damage import Rng, damaged, odd_value
from tests.tiny import Tiny
from tunedeploy.recipe import schema as recipe_schema

TRIALS = 100


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Healthy recipes of each task, and every key that the schema knows."""

    recipes: list[dict[str, Any]]
    keys: list[tuple[str, str]]
    overrides: list[str]


def prepare(tiny: Tiny, folder: Path) -> Subject:
    """Recipes whose every path is absolute, so that a trial's folder makes no difference."""
    folder.mkdir(parents=True)
    recipes = []
    for task in ("text-classification", "image-classification"):
        path = tiny.write(folder / f"{task}.yaml", task, tune={"method": "full"}, export={"quantize": "int8"})
        recipes.append(yaml.safe_load(path.read_text(encoding="utf-8")))
    keys = [(section, key) for section, keys in known_keys().items() for key in keys]
    assert len(keys) > 20
    return Subject(recipes=recipes, keys=keys, overrides=[f"{section}.{key}" for section, key in keys])


def known_keys() -> dict[str, list[str]]:
    """Section to its keys, by the schema."""
    schema = recipe_schema.schema()
    return {
        name: sorted(section.get("properties", {}))
        for name, section in schema["properties"].items()
        if isinstance(section, dict)
    }


def trial(subject: Subject, rng: Rng, folder: Path) -> str:
    """Damage a recipe or override one of its keys, and plan it."""
    folder.mkdir(parents=True)
    content = copy.deepcopy(subject.recipes[rng.integers(len(subject.recipes))])
    overrides: list[str] = []
    damage = rng.random()
    if damage < 0.6:
        for _ in range(rng.integers(1, 3)):
            restructure(content, subject.keys, rng)
    text = yaml.safe_dump(yamlable(content), allow_unicode=bool(rng.integers(2))).encode("utf-8", "surrogatepass")
    if damage > 0.4:
        text = damaged(text, rng)
    if rng.random() < 0.2:
        value = odd_value(rng)
        shown = value if isinstance(value, str) else json.dumps(value, default=repr)
        overrides = [f"{rng.choice(subject.overrides)}={shown}".replace("\0", "")]
    path = folder / "recipe.yaml"
    path.write_bytes(text)
    return ended(["plan", str(path), *overrides])


def restructure(content: dict[str, Any], keys: list[tuple[str, str]], rng: Rng) -> None:
    """One change: a key set to anything, removed, misspelt, moved to another section, or a section replaced."""
    section, key = keys[rng.integers(len(keys))]
    match rng.integers(6):
        case 0 | 1:
            inside = content.setdefault(section, {})
            if isinstance(inside, dict):
                inside[key] = odd_value(rng)
        case 2:
            content[section] = odd_value(rng)
        case 3:
            content.pop(str(rng.choice(list(content) or ["task"])), None)
        case 4:
            content[str(rng.choice(["", "tsk", key, "<<", "model.name", "~"]))] = odd_value(rng)
        case _:
            content[str(rng.choice(["task", "model"]))] = odd_value(rng)


def yamlable(value: Any) -> Any:
    """The value as far as YAML can write it plainly."""
    if isinstance(value, dict):
        return {str(key): yamlable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [yamlable(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)
