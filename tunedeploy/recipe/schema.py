"""The recipe as JSON Schema, so that an editor can complete it: the keys of the core and of every installed plug-in."""

from pydantic.json_schema import JsonSchemaValue

from tunedeploy import plugins
from tunedeploy.recipe import plugin_keys as recipe_options
from tunedeploy.recipe.sections import RECORDS, Section

_NAMED = {("tune", "method"): "methods", ("train", "objective"): "objectives", ("export", "target"): "targets"}


def schema() -> JsonSchemaValue:
    """JSON Schema (draft 2020-12) of a recipe file. Imports every plug-in that can be imported here."""
    definitions: JsonSchemaValue = {}
    sections = {section: _section(section, definitions) for section in RECORDS}
    for (section, key), axis in _NAMED.items():
        _enumerate(sections[section]["properties"][key], axis)
    _quantize(sections["export"]["properties"])
    sections["model"] = {"anyOf": [{"type": "string", "minLength": 1}, sections["model"]]}
    task = {"description": "The task to learn.", **_choices("tasks")}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tunedeploy recipe",
        "type": "object",
        "additionalProperties": False,
        "required": ["task", "model", "data"],
        "properties": {"task": task, **sections},
        "$defs": definitions,
    }


def _section(section: str, definitions: JsonSchemaValue) -> JsonSchemaValue:
    core = _properties(RECORDS[section], definitions)
    added: dict[str, list[JsonSchemaValue]] = {}
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


def _properties(record: type[Section], definitions: JsonSchemaValue) -> JsonSchemaValue:
    generated = record.model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(generated.get("$defs", {}))
    for entry in generated.setdefault("properties", {}).values():
        entry.pop("title", None)  # pydantic's "Batch Size" tells an editor nothing that batch_size does not
    return generated


def _any(entries: list[JsonSchemaValue]) -> JsonSchemaValue:
    """A key of several plug-ins: any of their types, every description, a default only if they share it."""
    types: list[JsonSchemaValue] = []
    for entry in entries:
        bare = {key: value for key, value in entry.items() if key not in ("description", "default")}
        types += [] if bare in types else [bare]
    about = {"description": "; ".join(entry["description"] for entry in entries)}
    default = {"default": entries[0].get("default")} if all(_same_default(entries[0], e) for e in entries) else {}
    return {**about, **default, **(types[0] if len(types) == 1 else {"anyOf": types})}


def _same_default(first: JsonSchemaValue, second: JsonSchemaValue) -> bool:
    return "default" in first and "default" in second and bool(first["default"] == second["default"])


def _complete(section: str) -> bool:
    """Whether every plug-in of the section could be loaded; keys of the others are unknown and must be accepted."""
    axes = {axis for axis, _ in recipe_options.ADDED[section]}
    return all(recipe_options.loads(axis, name) for axis in axes for name in plugins.names(axis))


def _choices(axis: str) -> JsonSchemaValue:
    return {"oneOf": [{"const": name, "description": about} for name, about in plugins.names(axis).items()]}


def _enumerate(entry: JsonSchemaValue, axis: str) -> None:
    nullable = "anyOf" in entry
    for key in ("type", "minLength", "anyOf"):
        entry.pop(key, None)
    entry["oneOf"] = _choices(axis)["oneOf"] + ([{"type": "null"}] if nullable else [])


def _quantize(properties: JsonSchemaValue) -> None:
    choice = _choices("precisions")
    text = {"type": "string", "description": "names separated by commas", "pattern": ","}
    several = {"type": "array", "items": choice, "minItems": 1}
    described = {key: properties["quantize"][key] for key in ("description", "default")}
    properties["quantize"] = {**described, "anyOf": [choice, several, text]}
