"""Conversion of nested mappings (YAML files) to dataclasses, with messages that name the wrong setting."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from iup_pose_ros.errors import ConfigurationError
from iup_pose_ros.validation import did_you_mean

T = TypeVar("T")


def from_mapping(cls: type[T], settings: Mapping[str, Any], where: str = "") -> T:
    """Create a dataclass from settings by name.

    Omitted settings keep their defaults; nested mappings become dataclasses. A mapping of named dataclasses
    (such as the regimes) may change single settings of the default ones.

    Args:
        cls: dataclass to create.
        settings: values by name.
        where: prefix of names in messages.

    Raises:
        ConfigurationError: a name is unknown (the message names the nearest), or a value has the wrong type.
    """
    hints = typing.get_type_hints(cls)
    entries = {entry.name: entry for entry in fields(cls)}  # type: ignore[arg-type]
    values = {}
    for name, value in settings.items():
        if name not in entries:
            known = [f"{where}{known}" for known in entries]
            hint = did_you_mean(f"{where}{name}", known)
            raise ConfigurationError(f"unknown setting {where}{name}; {hint}")
        factory: Any = entries[name].default_factory
        default = factory() if callable(factory) else entries[name].default
        values[name] = _converted(hints[name], value, f"{where}{name}", default)
    return cls(**values)


def _converted(hint: Any, value: Any, where: str, default: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (hint,) = [argument for argument in arguments if argument is not type(None)]
        return _converted(hint, value, where, default)
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ConfigurationError(f"setting {where} is {value!r}; a list is required")
        hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(value) != len(hints):
            raise ConfigurationError(f"setting {where} is {value!r}; {len(hints)} values are required")
        return tuple(_converted(hint, item, where, None) for hint, item in zip(hints, value, strict=True))
    if isinstance(hint, type) and is_dataclass(hint):
        return from_mapping(hint, _mapping(value, where), f"{where}.")
    if origin is Mapping:
        return _converted_names(arguments[1], _mapping(value, where), where, default)
    if hint is Path and isinstance(value, (str, Path)):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigurationError(f"setting {where} is {value!r}; a value of type {hint.__name__} is required")
    return value


def _converted_names(hint: Any, value: Mapping[str, Any], where: str, default: Any) -> dict[str, Any]:
    """Convert named dataclasses; those in the default keep settings that are not changed."""
    known = dict(default) if isinstance(default, Mapping) else {}
    for name, settings in value.items():
        base = (
            {entry.name: getattr(known[name], entry.name) for entry in fields(hint)} if name in known else {}
        )
        known[name] = from_mapping(
            hint, {**base, **_mapping(settings, f"{where}.{name}")}, f"{where}.{name}."
        )
    return known


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"setting {where} is {value!r}; a mapping is required")
    return value
