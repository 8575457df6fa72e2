"""What a plug-in has to have: one `Protocol` for each axis, satisfied by a module.

A member without a value is required. One with a value, or a function under `@optional`, may be left out: `plugins.load`
then gives the module the value defined here, and only here. Types of other rooms are imported for the type checker
alone, so that this room loads nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import FunctionType, MappingProxyType, MethodType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from tunedeploy.recipe.sections import Section

Function = TypeVar("Function", bound=Callable[..., Any])
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Plugin(Protocol):
    """What a plug-in of any axis has."""

    __name__: str
    __doc__: str | None  # its first line is shown by `tunedeploy list`

    # Keys that it adds to its section of the recipe, each with a default.
    Options: type[Section] | None = None
    # Dotted recipe key to value, where the plug-in knows better than the core: {"train.lr": 5e-5}.
    DEFAULTS: Mapping[str, Any] = NOTHING


def optional(function: Function) -> Function:
    """Mark a function of a contract that a plug-in may leave out; its body is the default."""
    function.__dict__["optional"] = True
    return function


def required(contract: type) -> list[str]:
    """Names of the members that every plug-in of an axis must have, sorted."""
    return sorted(name for name, value in _members(contract).items() if value is _REQUIRED)


def defaults(contract: type) -> dict[str, object]:
    """The optional members, each with its default."""
    return {name: value for name, value in _members(contract).items() if value is not _REQUIRED}


def functions(contract: type) -> dict[str, inspect.Signature]:
    """Every function of a contract, by name, with its signature as callers see it."""
    signatures = {}
    for base in _protocols(contract):
        for name, value in vars(base).items():
            if isinstance(value, FunctionType) and not name.startswith("_"):
                own = inspect.signature(value)
                signatures[name] = own.replace(parameters=list(own.parameters.values())[1:])
    return signatures


def lacks(contract: type, module: object) -> list[str]:
    """Required members that a module lacks."""
    return [name for name in required(contract) if not hasattr(module, name)]


def complete(contract: type, module: object) -> None:
    """Give a module the defaults of the members that it leaves out."""
    for name, value in defaults(contract).items():
        if not hasattr(module, name):
            setattr(module, name, MethodType(value, module) if isinstance(value, FunctionType) else value)


_REQUIRED = object()


def _protocols(contract: type) -> list[type]:
    return [base for base in reversed(contract.__mro__) if base.__dict__.get("_is_protocol") and base is not Protocol]


def _members(contract: type) -> dict[str, object]:
    members: dict[str, object] = {}
    for base in _protocols(contract):
        own = vars(base)
        declared = [*inspect.get_annotations(base), *(name for name in own if isinstance(own[name], FunctionType))]
        for name in declared:
            if not name.startswith("_"):
                value = own.get(name, _REQUIRED)
                stands = not isinstance(value, FunctionType) or hasattr(value, "optional")
                members[name] = value if stands else _REQUIRED
    return members
