"""Read a recipe: YAML in, frozen records out, with all mistakes at once and the source of every value.

    recipe.yaml ──▶ written ──▶ defaults of the plug-ins it names below it ──▶ one checked record a section ──▶ Recipe
    key=value   ──▶

YAML is read here and nowhere else. What leaves is typed, complete and absolute, and trusted from here on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypedDict, cast

import yaml

from tunedeploy.errors import RecipeError
from tunedeploy.recipe import yaml_places as recipe_yaml
from tunedeploy.recipe.check import Check
from tunedeploy.recipe.schema import schema
from tunedeploy.recipe.sections import (
    RECORDS,
    DataOptions,
    ExportOptions,
    ModelOptions,
    OnDisk,
    Section,
    TrainOptions,
    TuneOptions,
)
from tunedeploy.recipe.written import Written
from tunedeploy.recipe.yaml_places import PlainMapping

__all__ = [
    "DataOptions",
    "ExportOptions",
    "ModelOptions",
    "OnDisk",
    "Recipe",
    "Section",
    "TrainOptions",
    "TuneOptions",
    "read",
    "read_dumped",
    "schema",
]


class _Sections(TypedDict):
    model: ModelOptions
    data: DataOptions
    tune: TuneOptions
    train: TrainOptions
    export: ExportOptions


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A complete recipe. `tune` is also an instance of the method's `Options`, `data` of the task's, and so on."""

    task: str
    model: ModelOptions
    data: DataOptions
    tune: TuneOptions
    train: TrainOptions
    export: ExportOptions
    path: Path  # the recipe's file, absolute
    sources: Mapping[str, str]  # dotted key to "default", "default of lora", "recipe:4" (the line) or "command line"

    def resolved(self) -> PlainMapping:
        """Every value as plain data for JSON or YAML: `{"task": ..., "model": {"name": ...}, ...}`."""
        plain: PlainMapping = {"task": self.task}
        for section, core in RECORDS.items():
            values = getattr(self, section).model_dump(mode="json")
            # The core's keys come first for the reader; a joined record starts with the plug-ins'.
            plain[section] = {key: values[key] for key in dict.fromkeys((*core.model_fields, *values))}
        return plain

    def dump(self) -> str:
        """The complete recipe as YAML, each value with its source in a comment; `read` of it gives the same values."""
        plain = self.resolved()
        lines = [f"task: {_on_one_line(self.task)}  # {self.sources['task']}"]
        for section in RECORDS:
            lines.append(f"{section}:")
            for key, value in plain[section].items():
                lines.append(f"  {key}: {_on_one_line(value)}  # {self.sources[f'{section}.{key}']}")
        return "\n".join(lines) + "\n"


def read_dumped(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read what `Recipe.dump` wrote; each value keeps the source that its comment gives.

    Raises:
        RecipeError: as `read`.
    """
    recipe = read(path, overrides)
    lines = path.read_text(encoding="utf-8").splitlines()

    def first(source: str) -> str:
        _, is_line, number = source.rpartition("recipe:")
        return lines[int(number) - 1].rpartition("  # ")[2] if is_line else source

    return replace(recipe, sources=MappingProxyType({key: first(source) for key, source in recipe.sources.items()}))


def read(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and the `key=value` overrides, which win.

    Relative paths are resolved against the recipe's folder, those of overrides against the working directory.

    Raises:
        RecipeError: one line for every mistake, in the file's order, the command line's last.
    """
    written = Written()
    document = recipe_yaml.load(path)
    written.take_file(document)
    for override in overrides:
        written.take_override(override)
    if not isinstance(document.content, dict):
        _stop_at(written, path)  # what an unreadable file lacks is no news
    check = Check(written, path.absolute().parent)
    records = {section: check.record(section) for section in RECORDS}
    _stop_at(written, path)
    complete = {section: record for section, record in records.items() if record is not None}
    return Recipe(
        task=check.values["task"].value,
        **cast(_Sections, complete),
        path=path.absolute(),
        sources=MappingProxyType(check.sources(complete)),
    )


def _stop_at(written: Written, path: Path) -> None:
    if written.mistakes:
        raise RecipeError([mistake.line(str(path)) for mistake in sorted(set(written.mistakes))])


def _on_one_line(value: Any) -> str:
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    dumped = yaml.safe_dump([value], default_flow_style=True, default_style=style, allow_unicode=True, width=10**9)
    return dumped.strip()[1:-1]
