"""Which keys a section has: the core's own and those of the plug-ins the recipe names."""

from collections.abc import Iterator, Mapping
from functools import cache

from pydantic import create_model

from tunedeploy import plugins
from tunedeploy.errors import UserError
from tunedeploy.recipe.sections import RECORDS, Section

Chosen = Mapping[str, tuple[str, ...]]  # axis to the names of its plug-ins, such as {"methods": ("lora",)}

ADDED: dict[str, tuple[tuple[str, str], ...]] = {
    "model": (),
    "data": (("tasks", "Options"),),
    "tune": (("methods", "Options"), ("tasks", "TuneOptions")),
    "train": (("objectives", "Options"),),
    "export": (("precisions", "Options"), ("targets", "Options")),
}
"""Section to the (axis, attribute) pairs whose records join it."""


def record(section: str, chosen: Chosen) -> type[Section]:
    """The record of a section: the core's joined with those of the chosen plug-ins; one class for each choice."""
    return _joined(section, tuple(added for _, _, added in _added(section, chosen)))


def owner(section: str, key: str, chosen: Chosen) -> str | None:
    """Name of the chosen plug-in that brings a key; None if the key is the core's own."""
    if key in RECORDS[section].model_fields:
        return None
    return next((name for _, name, added in _added(section, chosen) if key in added.model_fields), None)


def homes(key: str) -> dict[str, tuple[str, ...]]:
    """Every section that can have a key, with the plug-ins that bring it ("method lora"); () for the core's."""
    sections: dict[str, tuple[str, ...]] = {}
    for section, core in RECORDS.items():
        bringers = tuple(f"{axis[:-1]} {name}" for axis, name, added in every(section) if key in added.model_fields)
        if key in core.model_fields:
            sections[section] = ()
        elif bringers:
            sections[section] = bringers
    return sections


def every(section: str) -> Iterator[tuple[str, str, type[Section]]]:
    """Axis, name and record of every plug-in that adds to a section; those that need a missing package are skipped."""
    axes = {axis for axis, _ in ADDED[section]}
    return _added(section, {axis: tuple(name for name in plugins.names(axis) if loads(axis, name)) for axis in axes})


def loads(axis: str, name: str) -> bool:
    """Whether a plug-in can be imported here."""
    try:
        plugins.load(axis, name)
    except UserError:
        return False
    return True


def _added(section: str, chosen: Chosen) -> Iterator[tuple[str, str, type[Section]]]:
    for axis, attribute in ADDED[section]:
        for name in chosen.get(axis, ()):
            added = getattr(plugins.load(axis, name), attribute)
            if added is not None:
                yield axis, name, added


@cache
def _joined(section: str, added: tuple[type[Section], ...]) -> type[Section]:
    bases = tuple(dict.fromkeys((RECORDS[section], *added)))
    # A record that another one extends comes along with it; naming both has no method resolution order.
    bases = tuple(base for base in bases if not any(other is not base and issubclass(other, base) for other in bases))
    return bases[0] if len(bases) == 1 else create_model(RECORDS[section].__name__, __base__=bases)
