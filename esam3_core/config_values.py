# SPDX-License-Identifier: Apache-2.0
"""Configurations from and to plain values, as YAML has them."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

ConfigT = TypeVar("ConfigT")


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain nested dicts, for YAML."""
    return dataclasses.asdict(config)


def from_dict(cls: type[ConfigT], values: dict[str, Any]) -> ConfigT:
    """Build a config from nested dicts; unknown names are errors, missing ones take their default.

    Raises:
        ValueError: for a name the config does not have; the message lists those it has. For a value of another kind,
            for one that lies out of its range, and for a name without a default that is missing.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{cls.__name__} is made of names and values, not of {values!r}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(str(name) for name in set(values) - set(fields))
    if unknown:
        raise ValueError(f"{cls.__name__} has no {', '.join(unknown)}; it has {', '.join(fields)}")
    lacking = [name for name, field in fields.items() if name not in values and not _has_default(field)]
    if lacking:
        raise ValueError(f"{cls.__name__} lacks {', '.join(lacking)}, which has no default: add it")
    hints = get_type_hints(cls)
    built = {name: _build(name, hints[name], value) for name, value in values.items()}
    return cls(**built)


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _build(name: str, hint: Any, value: Any) -> Any:
    """A value of a YAML file as the type a field is declared with."""
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else _section(name, hint, value)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{name} is {value!r}: it must be a list, such as [] or [{value!r}]")
        return tuple(_build(name, get_args(hint)[0], item) for item in value)
    if hint is bool and not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}: it must be true or false")
    if hint is str and not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}: it must be text, in quotes where it could be a number")
    if hint in (int, float) and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise ValueError(f"{name} is {value!r}: it must be a number, such as 256 or 4.0e-4")
    if hint is int and isinstance(value, float):
        if not value.is_integer():
            raise ValueError(f"{name} is {value!r}: it must be a whole number")
        return int(value)
    return value


def _section(name: str, hint: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {value!r}: it must be a section, with names and values of its own")
    try:
        return from_dict(hint, value)
    except ValueError as error:
        raise ValueError(f"in {name}, {error}") from error
