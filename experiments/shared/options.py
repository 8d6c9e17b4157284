"""A frozen dataclass as a set of command-line flags: each field is declared once, with `option`.

From that one declaration follow the absl flag, its lines in `--help`, the check of a value and the
message of a wrong one. The type of a field is the type of its default: bool, int, float, str, or a
tuple of one of them (a comma-separated list on the command line, each item once).
"""

import dataclasses
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Self

from absl import flags

_NOUNS = {int: "whole number", float: "number", str: "text"}


def option(
    default: Any,
    group: str,
    help_text: str,
    *,
    choices: Sequence[str] | None = None,
    minimum: float | None = None,
    above: float | None = None,
    changes_result: bool = True,
) -> Any:
    """Declares one field of a settings dataclass.

    Args:
        default: the default value; its type is the field's type. A tuple must not be empty.
        group: heading under which `--help` lists it.
        help_text: what it means, in a sentence or two.
        choices: the values allowed, for text.
        minimum: the smallest value allowed.
        above: what the value must be greater than.
        changes_result: whether another value could change what the job computes.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "group": group,
            "help": help_text,
            "choices": choices,
            "minimum": minimum,
            "above": above,
            "changes_result": changes_result,
        },
    )


@dataclasses.dataclass(frozen=True)
class Options:
    """Base of all settings; every field of theirs is declared with `option`.

    Raises:
        ValueError: a value that its flag does not allow.
    """

    def __post_init__(self) -> None:
        """Checks every value by itself; those that must go together, a subclass."""
        check(self)

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as JSON has them (tuples become lists)."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Returns the settings that `to_json` wrote.

        Raises:
            ValueError: unknown or forbidden values, such as those of another version.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not names >= values.keys():
            raise ValueError(f"unknown settings: {', '.join(sorted(values.keys() - names))}")
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**fields)

    @classmethod
    def result_names(cls) -> tuple[str, ...]:
        """Returns the settings that decide the result: a job is resumed with the same ones."""
        fields = dataclasses.fields(cls)
        return tuple(field.name for field in fields if field.metadata["changes_result"])


def check(settings: Any) -> None:
    """Checks every field of a settings dataclass by itself.

    Raises:
        ValueError: a value that is not allowed; the message names the flag and what is.
    """
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if not _is_allowed(field, value):
            raise ValueError(f"--{field.name}={to_text(value)}: allowed: {_allowed(field)}")


def parse(settings_class: type, argv: Sequence[str]) -> Any:
    """Reads a command line.

    Args:
        settings_class: the dataclass whose fields are the flags.
        argv: the command line, program first; `--flagfile=FILE` reads flags from a file.

    Returns:
        An instance of `settings_class`.

    Raises:
        ValueError: an unknown flag, a value that is not allowed, an argument that is no flag, or
            what the class itself raises.
    """
    values = flags.FlagValues()
    fields = dataclasses.fields(settings_class)
    for field in fields:
        parser, help_text = _Parser(field), field.metadata["help"]
        if isinstance(field.default, bool):
            flag = flags.BooleanFlag(field.name, field.default, help_text)
            flag.parser = parser
            flags.DEFINE_flag(flag, flag_values=values)
        else:
            flags.DEFINE(
                parser,
                field.name,
                field.default,
                help_text,
                flag_values=values,
                serializer=_Serializer(),
            )
    try:
        _, *rest = values(list(argv))
    except flags.Error as error:
        raise ValueError(str(error)) from error
    if rest:
        raise ValueError(f"'{rest[0]}' is not a flag; flags are written --name=value")
    return settings_class(**{field.name: values[field.name].value for field in fields})


def help_text(settings_class: type) -> str:
    """Returns the list of flags in their groups, each with its default and what it may be."""
    lines: list[str] = []
    group = None
    for field in dataclasses.fields(settings_class):
        if field.metadata["group"] != group:
            group = field.metadata["group"]
            lines += ["", f"{group}:"]
        text = field.metadata["help"]
        if isinstance(field.default, bool):
            lines.append(f"  --[no]{field.name}  (default: {to_text(field.default)})")
        else:
            lines.append(f"  --{field.name}={to_text(field.default)}")
            if _allowed(field) != "a text":
                text += f" Allowed: {_allowed(field)}."
        lines.append(textwrap.fill(text, 96, initial_indent=" " * 8, subsequent_indent=" " * 8))
    lines += ["", "  --flagfile=FILE", "        Read flags from a file, one a line."]
    return "\n".join(lines[1:])


def to_text(value: Any) -> str:
    """Returns a value as the command line would have it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return ",".join(map(to_text, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class _Parser(flags.ArgumentParser):
    """Reads and checks one flag, and says what is allowed where it cannot."""

    def __init__(self, field: dataclasses.Field) -> None:
        super().__init__()
        self._field = field
        self.syntactic_help = f"allowed: {_allowed(field)}"

    def parse(self, argument: Any) -> Any:
        """Returns the value that `argument`, a text or already a value, stands for."""
        try:
            value = _from_text(self._field, argument) if isinstance(argument, str) else argument
        except ValueError:
            value = None
        if not _is_allowed(self._field, value):
            raise ValueError(self.syntactic_help)
        return value


class _Serializer(flags.ArgumentSerializer):
    """Writes the value of a flag for absl."""

    def serialize(self, value: Any) -> str:
        return to_text(value)


def _item_type(field: dataclasses.Field) -> type:
    return type(field.default[0] if isinstance(field.default, tuple) else field.default)


def _from_text(field: dataclasses.Field, text: str) -> Any:
    kind = _item_type(field)
    if isinstance(field.default, tuple):
        return tuple(kind(part.strip()) for part in text.split(",") if part.strip())
    if kind is bool:
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    return kind(text)


def _is_allowed(field: dataclasses.Field, value: Any) -> bool:
    if not isinstance(field.default, tuple):
        return _is_allowed_item(field, value)
    if not isinstance(value, tuple) or len(set(value)) != len(value):
        return False
    return all(_is_allowed_item(field, item) for item in value)


def _is_allowed_item(field: dataclasses.Field, value: Any) -> bool:
    kind = _item_type(field)
    if not (type(value) is kind or (kind is float and type(value) is int)):
        return False
    if isinstance(value, float) and not math.isfinite(value):
        return False
    choices, minimum, above = (field.metadata[key] for key in ("choices", "minimum", "above"))
    return (
        (choices is None or value in choices)
        and (minimum is None or value >= minimum)
        and (above is None or value > above)
    )


def _allowed(field: dataclasses.Field) -> str:
    """Returns in words what a field may be."""
    is_list, kind = isinstance(field.default, tuple), _item_type(field)
    if field.metadata["choices"]:
        words = ", ".join(choice or "(empty)" for choice in field.metadata["choices"])
    elif kind is bool:
        words = "true or false"
    else:
        words = f"{_NOUNS[kind]}s" if is_list else f"a {_NOUNS[kind]}"
    for key, sign in (("minimum", ">="), ("above", ">")):
        if field.metadata[key] is not None:
            words += f" {sign} {field.metadata[key]:g}"
    return f"a comma-separated list of {words}, each once" if is_list else words
