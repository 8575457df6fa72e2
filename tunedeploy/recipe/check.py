"""Check what was written: find the plug-ins it names, fill in their defaults, check every section."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunedeploy import plugins
from tunedeploy.errors import UserError
from tunedeploy.recipe import paths as recipe_paths
from tunedeploy.recipe import plugin_keys as recipe_options
from tunedeploy.recipe import wording as recipe_mistakes
from tunedeploy.recipe.sections import RECORDS, Section
from tunedeploy.recipe.written import TOP, Value, Written
from tunedeploy.recipe.yaml_places import Route

_AXES = {  # keys whose value names plug-ins
    "task": "tasks",
    "tune.method": "methods",
    "train.objective": "objectives",
    "export.quantize": "precisions",
    "export.target": "targets",
}
_NO_VALUE = Value(None, "default")

NEW_MODEL = "new://"  # how the name of a model with random weights begins


class Check:
    """One recipe under examination: mistakes are added to `written.mistakes`, none is raised."""

    def __init__(self, written: Written, folder: Path) -> None:
        self.written = written
        self.folder = folder  # what relative paths of the file are relative to
        self.chosen: dict[str, tuple[str, ...]] = {}
        self.open: set[str] = set()  # axes with a name that is not known: keys of theirs cannot be judged
        self.values = {key: value for key, value in self._choose().items() if not self._left_over(key, value)}

    def _choose(self) -> dict[str, Value]:
        """The written values over the defaults of the plug-ins they name; fills `chosen` on the way."""
        written = self.written.values
        self._name("task", written)
        task = self._first("tasks")
        of_task = _defaults("tasks", task, f"default of {task}")
        self._name("tune.method", of_task | written)
        method = self._first("methods")
        of_method = _defaults("methods", method, f"default of {method}")
        of_both = _defaults("tasks", task, f"default of {task} with {method}", method=method)
        model = written.get("model.name")
        if model is not None and str(model.value).startswith(NEW_MODEL):
            source = f"default of {task} with {method}, new model"
            of_both |= _defaults("tasks", task, source, method=method, member="NEW_MODEL_DEFAULTS")
        values = of_method | of_task | of_both | written
        for key in ("train.objective", "export.quantize", "export.target"):
            self._name(key, values)
        return values

    def _left_over(self, key: str, value: Value) -> bool:
        """Whether it is a default of a plug-in that the command line replaced; a run's recipe spells defaults out."""
        section, _, leaf = key.partition(".")
        written = self.written.values
        replaced = {axis for name, axis in _AXES.items() if name in written and written[name].typed}
        if value.typed or not replaced or not leaf or section not in RECORDS:
            return False
        if leaf in recipe_options.record(section, self.chosen).model_fields:
            return False
        return any(
            axis in replaced and leaf in added.model_fields
            and json.dumps(added.model_fields[leaf].default) == json.dumps(value.value)
            for axis, _, added in recipe_options.every(section)
        )  # fmt: skip

    def _first(self, axis: str) -> str | None:
        return next(iter(self.chosen[axis]), None)

    def _name(self, key: str, values: Mapping[str, Value]) -> None:
        """Note which plug-ins a key names, and which of those names are unknown."""
        axis, (section, _, leaf) = _AXES[key], key.partition(".")
        if key == "task" and key not in values:
            self.written.wrong(TOP, f"task is missing; add 'task: NAME'; known: {', '.join(plugins.names(axis))}")
            self.chosen[axis] = ()
            self.open.add(axis)
            return
        given = values.get(key) or replace(_NO_VALUE, value=RECORDS[section].model_fields[leaf].default)
        if given.typed and isinstance(given.value, bool | int | float):
            given = given.as_text()
        known: list[str] = []
        for index, name in enumerate(_listed(given.value, key)):
            problem = _problem(key, axis, name)
            if problem is None:
                known.append(name)
            elif isinstance(name, str) or key == "task":  # the other keys' types are judged with their section
                self.written.wrong(given.inside.get((index,), given.spot or TOP), problem)
            if problem is not None:
                self.open.add(axis)
        self.chosen[axis] = tuple(dict.fromkeys(known))

    def record(self, section: str) -> Section | None:
        """The checked record of a section; None if it has mistakes."""
        model = recipe_options.record(section, self.chosen)
        given = {key.partition(".")[2]: value for key, value in self.values.items() if key.startswith(f"{section}.")}
        details = _details(model, given)
        as_text = [leaf for leaf in given if any(_lost_its_quotes(detail, leaf, given[leaf]) for detail in details)]
        if as_text:
            given |= {leaf: given[leaf].as_text() for leaf in as_text}
            details = _details(model, given)
        for route, group in groupby(details, key=lambda detail: _value_route(detail["loc"], given)):
            self._explain(section, route, list(group))
        paths = self._on_disk(section, model, given)
        if details or section in self.written.broken:
            return None
        return model.model_validate_json(_json(given | paths))

    def _explain(self, section: str, route: Route, details: list[Any]) -> None:
        leaf = str(route[0]) if route else ""
        value = self.values.get(f"{section}.{leaf}")
        head = self.written.heads.get(section, TOP)
        if value is None and details[0]["type"] == "missing":
            if section not in self.written.broken:
                whole_section = section not in self.written.heads
                self.written.wrong(head, recipe_mistakes.missing(section, leaf, whole_section=whole_section))
        elif value is not None and len(route) == 1 and details[0]["type"] == "extra_forbidden":
            self._unknown(section, leaf, value)
        else:
            key = ".".join([section, *(part for part in route if isinstance(part, str))])
            spot = value.inside.get(route[1:], value.spot) if value else head
            assert spot is not None, f"{value and value.source} breaks {key}: {details[0]['msg']}"
            self.written.wrong(spot, recipe_mistakes.wrong(key, details, spot))

    def _unknown(self, section: str, leaf: str, value: Value) -> None:
        known = list(recipe_options.record(section, self.chosen).model_fields)
        if self.open.intersection(axis for axis, _ in recipe_options.ADDED[section]):
            if section in recipe_options.homes(leaf):
                return  # the plug-in that was meant may well have it
            known += [key for _, _, added in recipe_options.every(section) for key in added.model_fields]
        assert value.key_spot is not None, f"{value.source} sets the unknown key {section}.{leaf}"
        start = f"{section}.{leaf}: " if value.typed else ""
        self.written.wrong(value.key_spot, start + recipe_mistakes.unknown_key(section, leaf, known))

    def _on_disk(self, section: str, model: type[Section], given: Mapping[str, Value]) -> dict[str, Value]:
        """The values that name something on disk, made absolute."""
        absolute = {}
        for leaf, mark in recipe_paths.marks(model).items():
            value = given.get(leaf)
            if value is None or not isinstance(value.value, str):
                continue
            try:
                path = recipe_paths.resolved(value.value, mark, Path.cwd() if value.typed else self.folder)
                absolute[leaf] = replace(value, value=path)
            except FileNotFoundError as error:
                base = "the working directory" if value.typed else "the recipe"
                problem = f"{section}.{leaf}: no such file {error}; paths are relative to {base}"
                self.written.wrong(value.spot or TOP, problem)
        return absolute

    def sources(self, records: Mapping[str, Section]) -> dict[str, str]:
        """Where each value of the complete recipe came from, by dotted key."""
        origins = {"task": self.values["task"].source}
        for section, record in records.items():
            for leaf in type(record).model_fields:
                owner = recipe_options.owner(section, leaf, self.chosen)
                default = f"default of {owner}" if owner else "default"
                origins[f"{section}.{leaf}"] = self.values.get(f"{section}.{leaf}", Value(None, default)).source
        return origins


def _defaults(
    axis: str, name: str | None, source: str, *, method: str | None = None, member: str = "METHOD_DEFAULTS"
) -> dict[str, Value]:
    if name is None:
        return {}
    plugin = plugins.load(axis, name)
    given = getattr(plugin, member).get(method, {}) if method else plugin.DEFAULTS
    return {key: Value(value, source) for key, value in given.items()}


def _listed(value: Any, key: str) -> list[Any]:
    """The names in a value; only `export.quantize` may hold several."""
    if key == "export.quantize" and isinstance(value, str):
        return [name.strip() for name in value.split(",")]
    if key == "export.quantize" and isinstance(value, list | tuple):
        return list(value)
    return [] if value is None and key != "task" else [value]


def _problem(key: str, axis: str, name: Any) -> str | None:
    if not isinstance(name, str):
        return f"{key}: must be text, not {recipe_mistakes.shown(name)}"
    known = list(plugins.names(axis))
    if name not in known:
        task = task_of(name) if axis == "tasks" and not recipe_mistakes.close(name, known) else None
        cure = f"did you mean {task!r}?" if task else recipe_mistakes.instead(name, known)
        return f"{key}: no {axis[:-1]} {name!r}; {cure}"
    try:
        plugins.load(axis, name)
    except UserError as error:
        return f"{key}: {error}"
    return None


def task_of(synonym: str) -> str | None:
    """The task that a hub, another tool or common usage calls by this name."""
    wanted = re.sub(r"[\s_]+", "-", synonym.strip()).casefold()
    for name in plugins.names("tasks"):
        try:
            if wanted in plugins.load("tasks", name).SYNONYMS:
                return name
        except UserError:  # a plug-in of another package that does not load is no answer
            continue
    return None


def _json(given: Mapping[str, Value]) -> str:
    return json.dumps({leaf: value.value for leaf, value in given.items()})


def _details(model: type[Section], given: Mapping[str, Value]) -> list[Any]:
    """Pydantic's complaints about the values, read as JSON: a list may fill a tuple, nothing else converts."""
    try:
        model.model_validate_json(_json(given))
    except ValidationError as error:
        return list(error.errors(include_url=False))
    return []


def _lost_its_quotes(detail: Any, leaf: str, value: Value) -> bool:
    """Whether it is text that the shell took the quotes off: `data.label="5"` arrives as the number 5."""
    wanted = detail["type"] in ("string_type", "tuple_type") and detail["loc"][:1] == (leaf,)
    return wanted and value.typed and isinstance(value.value, bool | int | float)


def _value_route(where: Route, given: Mapping[str, Value]) -> Route:
    """Pydantic's location without the branch names that a union appends."""
    value = given.get(str(where[0])) if where else None
    if value is None:
        return where
    length = max((n for n in range(1, len(where) + 1) if where[1:n] in value.inside), default=1)
    return where[:length]
