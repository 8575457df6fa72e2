"""What the user wrote, in the file and on the command line: a flat table of dotted keys with source and place."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tunedeploy.recipe import wording as recipe_mistakes
from tunedeploy.recipe import yaml_places as recipe_yaml
from tunedeploy.recipe.sections import RECORDS
from tunedeploy.recipe.yaml_places import COMMAND_LINE, Document, Mistake, Route, Spot

TOP = Spot(1, 1)
_TYPED = Spot(COMMAND_LINE)


@dataclass(frozen=True)
class Value:
    """A value with its source and place; a default of a plug-in has no place."""

    value: Any
    source: str  # "recipe:4", "command line", "default of lora"
    spot: Spot | None = None
    key_spot: Spot | None = None
    inside: Mapping[Route, Spot] = field(default_factory=dict)  # places of a list's elements

    @property
    def typed(self) -> bool:
        """Whether it came from the command line."""
        return self.spot is not None and self.spot.line == COMMAND_LINE

    def as_text(self) -> "Value":
        """The same with the characters as written for its value."""
        return replace(self, value=self.spot.raw) if self.spot else self


@dataclass
class Written:
    """Values by dotted key, and what was wrong with how they were written."""

    values: dict[str, Value] = field(default_factory=dict)
    heads: dict[str, Spot] = field(default_factory=dict)  # where each section's key stands
    broken: set[str] = field(default_factory=set)  # sections whose keys could not be read
    mistakes: list[Mistake] = field(default_factory=list)

    def wrong(self, spot: Spot, text: str) -> None:
        """Note a mistake."""
        self.mistakes.append(Mistake(spot, text))

    def take_file(self, document: Document) -> None:
        """Take the values of a recipe file."""
        self.mistakes += document.mistakes
        if not isinstance(document.content, dict):
            if not document.mistakes:
                spot = Spot(0) if document.content is None else TOP
                self.wrong(spot, recipe_mistakes.not_a_recipe(document.content))
            return
        for name, content in document.content.items():
            self.heads[name] = document.keys[(name,)]
            self._take_top(name, content, document)

    def _take_top(self, name: str, content: Any, document: Document) -> None:
        if name == "task":
            self._take("task", document, ("task",), content)
        elif name == "model" and isinstance(content, str | bool | int | float):
            self._take("model.name", document, ("model",), content)
        elif name not in RECORDS:
            self.wrong(self.heads[name], recipe_mistakes.unknown_top(name, content))
        elif not isinstance(content, dict):
            self.broken.add(name)
            spot = self.heads[name] if content is None else document.values[(name,)]
            self.wrong(spot, recipe_mistakes.not_a_section(name, content))
        else:
            for key, value in content.items():
                self._take(f"{name}.{key}", document, (name, key), value)

    def take_override(self, override: str) -> None:
        """Take one `key=value` of the command line; the last one for a key wins."""
        key, equals, raw = (part.strip() for part in override.partition("="))
        if not equals or not key:
            self.wrong(_TYPED, f"{override!r} is not an override; write KEY=VALUE, such as train.epochs=5")
            return
        document = recipe_yaml.typed(raw, key)
        problem = f"{key}: no value; write '{key}=null' for none" if not raw else _not_a_key(key, document.content)
        if problem:
            self.wrong(_TYPED, problem)
        elif document.mistakes:
            self.mistakes += document.mistakes
        else:
            self._take("model.name" if key == "model" else key, document, (), document.content)

    def _take(self, key: str, document: Document, route: Route, value: Any) -> None:
        spot = document.values[route]
        source = "command line" if spot.line == COMMAND_LINE else f"recipe:{spot.line}"
        inside = {at[len(route) :]: where for at, where in document.values.items() if at[: len(route)] == route}
        self.values[key] = Value(value, source, spot, document.keys.get(route, spot), inside)


def _not_a_key(key: str, content: Any) -> str | None:
    section, _, leaf = key.partition(".")
    if key in ("task", "model") or (section in RECORDS and leaf):
        return None  # whether the section has such a key is seen when its plug-ins are known
    if section in RECORDS:
        return f"{key} is a section; write '{section}.KEY=VALUE'"
    return f"{key}: {recipe_mistakes.unknown_top(key, content, typed=True)}"
