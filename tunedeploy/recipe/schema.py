"""The recipe as JSON Schema, so that an editor completes it: the keys of the core and of every plug-in there is."""

from typing import Any

from tunedeploy import plugins
from tunedeploy.recipe import plugin_keys as recipe_options
from tunedeploy.recipe.sections import RECORDS, Section

_NAMED = {("tune", "method"): "methods", ("train", "objective"): "objectives", ("export", "target"): "targets"}


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe file. Imports every plug-in that can be imported here."""
    definitions: dict[str, Any] = {}
    sections = {section: _section(section, definitions) for section in RECORDS}
    for (section, key), axis in _NAMED.items():
        _enumerate(sections[section]["properties"][key], axis)
    _quantize(sections["export"]["properties"])
    sections["model"] = {"anyOf": [{"type": "string", "minLength": 1}, sections["model"]]}
    task = {"description": "What is learned.", **_choices("tasks")}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tunedeploy recipe",
        "type": "object",
        "additionalProperties": False,
        "required": ["task", "model", "data"],
        "properties": {"task": task, **sections},
        "$defs": definitions,
    }


def _section(section: str, definitions: dict[str, Any]) -> dict[str, Any]:
    core = _properties(RECORDS[section], definitions)
    added: dict[str, list[dict[str, Any]]] = {}
    for axis, name, record in recipe_options.every(section):
        for key, value in _properties(record, definitions)["properties"].items():
            about = f"{axis[:-1]} {name}: {value.get('description', '')}".rstrip(": ")
            added.setdefault(key, []).append({**value, "description": about})
    return {
        "type": "object",
        "description": (RECORDS[section].__doc__ or "").splitlines()[0],
        "additionalProperties": not _complete(section),
        "required": core.get("required", []),
        "properties": {key: _any(entries) for key, entries in added.items()} | core["properties"],
    }


def _properties(record: type[Section], definitions: dict[str, Any]) -> dict[str, Any]:
    whole = record.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(whole.get("$defs", {}))
    for entry in whole.setdefault("properties", {}).values():
        entry.pop("title", None)  # pydantic's "Batch Size" tells an editor nothing that batch_size does not
    return whole


def _any(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """A key of several plug-ins: any of their types, every description, a default only if they share it."""
    types: list[dict[str, Any]] = []
    for entry in entries:
        bare = {key: value for key, value in entry.items() if key not in ("description", "default")}
        types += [] if bare in types else [bare]
    about = {"description": "; ".join(entry["description"] for entry in entries)}
    default = {"default": entries[0].get("default")} if all(_same_default(entries[0], e) for e in entries) else {}
    return {**about, **default, **(types[0] if len(types) == 1 else {"anyOf": types})}


def _same_default(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return "default" in first and "default" in second and bool(first["default"] == second["default"])


def _complete(section: str) -> bool:
    """Whether every plug-in of the section could be asked for its keys; the keys of the others must be let through."""
    axes = {axis for axis, _ in recipe_options.ADDED[section]}
    return all(recipe_options.loads(axis, name) for axis in axes for name in plugins.names(axis))


def _choices(axis: str) -> dict[str, Any]:
    return {"oneOf": [{"const": name, "description": about} for name, about in plugins.names(axis).items()]}


def _enumerate(entry: dict[str, Any], axis: str) -> None:
    nullable = "anyOf" in entry
    for key in ("type", "minLength", "anyOf"):
        entry.pop(key, None)
    entry["oneOf"] = _choices(axis)["oneOf"] + ([{"type": "null"}] if nullable else [])


def _quantize(properties: dict[str, Any]) -> None:
    one = _choices("precisions")
    text = {"type": "string", "description": "names with commas between", "pattern": ","}
    several = {"type": "array", "items": one, "minItems": 1}
    described = {key: properties["quantize"][key] for key in ("description", "default")}
    properties["quantize"] = {**described, "anyOf": [one, several, text]}
