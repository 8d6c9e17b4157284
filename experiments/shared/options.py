"""A frozen dataclass as a set of command-line flags: each field is declared once, with `option`.

From that one declaration follow the absl flag, its lines in `--help`, the check of a value and the
message of a wrong one. A field is a bool, int, float or str, or a tuple of one of them (a list with
commas on the command line, each item once). What a flag was called in former versions still works,
on command lines, in flagfiles and in saved settings: see `Options.FORMER`.
"""

import dataclasses
import json
import math
import os
import re
import sys
import textwrap
import typing
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

from absl import flags

from experiments.shared.errors import UserError

S = TypeVar("S", bound="Options")

_NOUNS = {int: "whole number", float: "number", str: "text"}
_FLAG = re.compile(r"--?([^-=][^=]*)(?:=(.*))?", re.DOTALL)


def option(
    default: Any,
    group: str,
    help_text: str,
    *,
    choices: Sequence[str] | None = None,
    minimum: float | None = None,
    above: float | None = None,
    changes_result: bool = True,
    grows: bool = False,
    path: bool = False,
) -> Any:
    """Declares one field of a settings dataclass.

    Args:
        default: the default value.
        group: heading under which `--help` lists it.
        help_text: what it means, in a sentence or two.
        choices: the values allowed, for text.
        minimum: the smallest value allowed.
        above: what the value must be greater than.
        changes_result: whether another value could change what the job computes.
        grows: whether a job that is resumed may have more of it (lists and numbers), see `merge`.
        path: whether it is a file or folder: a `~` at its beginning is the home folder, and it may
            be empty only if the default is.
    """
    if grows and type(default) not in (tuple, int, float):
        raise TypeError(f"grows: only lists and numbers can, not {default!r}")
    metadata = {
        "group": group,
        "help": help_text,
        "choices": choices,
        "minimum": minimum,
        "above": above,
        "changes_result": changes_result,
        "grows": grows,
        "path": path,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Options:
    """Base of all settings; every field of theirs is declared with `option`.

    Attributes:
        FORMER: former spellings of flags by present ones. `"--window": "--tau"` renames a flag,
            `"--center=sequence": "--center=mean"` a value; of a former switch (`--center`,
            `--nocenter`) each form may become a flag with a value.

    Raises:
        UserError: a value that its flag does not allow.
    """

    FORMER: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        """Checks every value by itself; those that must go together, a subclass."""
        check(self)

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as JSON has them (tuples become lists)."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Returns the settings that `to_json` wrote, in this version or one before it.

        Raises:
            UserError: unknown settings, such as those of another version; values that are not
                allowed, or of another type.
        """
        if not isinstance(values, Mapping):
            raise UserError("the settings must be a JSON object")
        known = {field.name: field for field in dataclasses.fields(cls)}
        found: dict[str, Any] = {}
        unknown = []
        for former_name, value in values.items():
            former_text = to_text(value)
            name, text = _present(_former(cls), former_name, former_text)
            if name not in known:
                unknown.append(former_name)
            elif text != former_text:
                found[name] = _Parser(known[name]).parse(text)
            else:
                found[name] = tuple(value) if isinstance(value, list) else value
        if unknown:
            raise UserError(f"unknown settings: {', '.join(sorted(unknown))} (of another version?)")
        return cls(**found)

    @classmethod
    def result_names(cls) -> tuple[str, ...]:
        """Returns the settings that decide every result of a job: it is resumed with the same ones.

        Those by which a job grows only say which results there are.
        """
        return tuple(
            field.name
            for field in dataclasses.fields(cls)
            if field.metadata["changes_result"] and not field.metadata["grows"]
        )


def check(settings: Options) -> None:
    """Checks every field of a settings dataclass by itself.

    Raises:
        UserError: a value that is not allowed; the message names the flag and what is.
    """
    for field in dataclasses.fields(settings):
        parser, value = _Parser(field), getattr(settings, field.name)
        if not parser.allows(value):
            is_wrong_text = isinstance(value, str) and parser.kind is not str
            shown = repr(value) if is_wrong_text else to_text(value)
            raise UserError(f"--{field.name}={shown}: allowed: {parser.syntactic_help}")


def parse(settings_class: type[S], argv: Sequence[str]) -> S:
    """Reads a command line.

    Args:
        settings_class: the dataclass whose fields are the flags.
        argv: the command line, program first; `--flagfile=FILE` reads flags from a file. Former
            spellings are read too, and a line on stderr says what to write.

    Returns:
        An instance of `settings_class`.

    Raises:
        UserError: an unknown flag, a value that is not allowed, an argument that is no flag, a
            flagfile that cannot be read, or what the class itself raises.
    """
    values, fields = flags.FlagValues(), dataclasses.fields(settings_class)
    for field in fields:
        values[field.name] = flags.Flag(
            parser=_Parser(field),
            serializer=None,
            name=field.name,
            default=field.default,
            help_string=field.metadata["help"],
            boolean=field.type is bool,
        )
    try:
        arguments = values.read_flags_from_files(argv[1:])
        _, *rest = values([argv[0], *_in_present_words(settings_class, values, arguments)])
    except flags.Error as error:
        raise UserError(str(error).removeprefix("flag ").removeprefix("ERROR:: ")) from error
    except RecursionError as error:  # of absl, which looks for flags of similar names
        longest = max(argv[1:], key=len)
        named = longest if len(longest) <= 50 else f"{longest[:50]}..."
        raise UserError(f"{named}: no flag has so long a name") from error
    except ValueError as error:  # its bytes are no UTF-8, or name a file that can be none
        named = " ".join(part for part in argv[1:] if "flagfile" in part)
        raise UserError(f"{named}: not a text file ({error})") from error
    if rest:
        raise UserError(f"'{rest[0]}' is not a flag; flags are written --name=value")
    return settings_class(**{field.name: values[field.name].value for field in fields})


def merge(saved: S, given: S, where: str = "the job") -> S:
    """Returns the settings with which a job is resumed.

    What cannot change the result is as given. An option that may grow has the former items, then
    those that are new, or is the larger number. All others must be as they were.

    Args:
        saved: with which the job was begun, or resumed before.
        given: those of this command line.
        where: what the message calls the job, such as its folder.

    Raises:
        UserError: some differ; lists each, as it was and as it is now.
    """
    merged: dict[str, Any] = {}
    differing = []
    for field in dataclasses.fields(given):
        was, now = getattr(saved, field.name), getattr(given, field.name)
        grows = field.metadata["grows"]
        if grows and isinstance(now, tuple):
            merged[field.name] = tuple(dict.fromkeys((*was, *now)))
        elif field.metadata["changes_result"] and (now < was if grows else now != was):
            words = [to_text(value) or "(empty)" for value in (was, now)]
            only = " (it may only grow)" if grows else ""
            differing.append(f"--{field.name}: was {words[0]}, now {words[1]}{only}")
    if differing:
        raise UserError(
            f"--resume: {where} was started with other settings:\n  "
            + "\n  ".join(differing)
            + "\nGive the former ones, or start anew in another --out_dir."
        )
    return dataclasses.replace(given, **merged)


def help_text(settings_class: type[Options]) -> str:
    """Returns the list of flags in their groups, each with its default and what it may be.

    What a class declares itself comes before what it has from its bases.
    """

    def distance(field: dataclasses.Field) -> int:
        classes = enumerate(settings_class.__mro__)
        return max(n for n, base in classes if field.name in getattr(base, "__annotations__", ()))

    groups: dict[str, list[str]] = {}
    for field in sorted(dataclasses.fields(settings_class), key=distance):
        parser, text, default = _Parser(field), field.metadata["help"], to_text(field.default)
        if field.type is bool:
            flag = f"  --[no]{field.name}  (default: {default})"
        else:
            flag = f"  --{field.name}={default}"
            if parser.kind is not str or field.metadata["choices"]:
                text += f" Allowed: {parser.syntactic_help}."
        text = textwrap.fill(text, 96, initial_indent=" " * 8, subsequent_indent=" " * 8)
        groups.setdefault(field.metadata["group"], []).append(f"{flag}\n{text}")
    groups["Flags from a file, and more help"] = [
        "  --flagfile=FILE\n        Read flags from a file, one a line.",
        "  --helpfull\n        List the flags of the library absl too.",
    ]
    return "\n\n".join("\n".join([f"{group}:", *texts]) for group, texts in groups.items())


def to_text(value: Any) -> str:
    """Returns a value as the command line would have it; read again, it is the same value."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return ",".join(map(to_text, value))
    if isinstance(value, float):
        short = f"{value:.6g}"
        return short if float(short) == value else repr(float(value))
    return str(value)


class _Parser(flags.ArgumentParser):
    """Reads and checks one flag by absl's parser of its type; says what is allowed.

    Attributes:
        kind: the type of the value, or of the items of a list.
        syntactic_help: what is allowed, in words.
    """

    def __init__(self, field: dataclasses.Field) -> None:
        super().__init__()
        self._field, limits = field, field.metadata
        self._is_list = typing.get_origin(field.type) is tuple
        self._must_be_named = limits["path"] and field.default != ""
        kind: Any = typing.get_args(field.type)[0] if self._is_list else field.type
        self.kind: type = kind
        parsers: dict[type, flags.ArgumentParser] = {
            bool: flags.BooleanParser(),
            int: flags.IntegerParser(limits["minimum"]),
            float: flags.FloatParser(limits["minimum"]),
            str: flags.ArgumentParser(),
        }
        self._item = parsers[kind]
        if limits["choices"]:
            self._item = flags.EnumParser(limits["choices"])
            words = ", ".join(choice or "(empty)" for choice in limits["choices"])
        elif kind is bool:
            words = "true or false"
        else:
            words = f"{_NOUNS[kind]}s" if self._is_list else f"a {_NOUNS[kind]}"
            words += " that is not empty" * self._must_be_named
        for key, sign in (("minimum", ">="), ("above", ">")):
            words += f" {sign} {limits[key]:g}" if limits[key] is not None else ""
        self.syntactic_help = (
            f"a comma-separated list of {words}, each once" if self._is_list else words
        )

    def parse(self, argument: Any) -> Any:
        """Returns the value of a text; of what is a value already (a default), itself."""
        try:
            value = self._read(argument) if isinstance(argument, str) else argument
        except ValueError:
            value = None
        if not self.allows(value):
            raise ValueError(f"allowed: {self.syntactic_help}")
        return value

    def allows(self, value: Any) -> bool:
        """Returns whether a value is of the right type and within its limits."""
        items = value if self._is_list else (value,)
        if not isinstance(items, tuple) or not all(map(self._allows_item, items)):
            return False
        return len(set(items)) == len(items)

    def _read(self, text: str) -> Any:
        if self._is_list:
            return tuple(self._item.parse(part.strip()) for part in text.split(",") if part.strip())
        return self._item.parse(os.path.expanduser(text) if self._field.metadata["path"] else text)

    def _allows_item(self, item: Any) -> bool:
        if type(item) not in ((int, float) if self.kind is float else (self.kind,)):
            return False
        try:
            self._item.parse(item)  # limits and choices
        except (ValueError, OverflowError):
            return False
        above = self._field.metadata["above"]
        if isinstance(item, str) and "\0" in item:  # no file can be called so
            return False
        is_number = self.kind is not float or math.isfinite(item)
        is_named = item != "" or not self._must_be_named
        return is_number and is_named and (above is None or item > above)


def _former(settings_class: type[Options]) -> dict[str, str]:
    return {old.lstrip("-"): new.lstrip("-") for old, new in settings_class.FORMER.items()}


def _present(former: Mapping[str, str], name: str, value: str | None) -> tuple[str, str | None]:
    """Returns name and value of a flag as they are now; a value of None is `--name` alone."""
    if name in former and "=" not in former[name]:
        return former[name], value
    whole = {None: name, "true": name, "false": f"no{name}"}.get(value, f"{name}={value}")
    if whole in former:
        name, _, value = former[whole].partition("=")
    return name, value


def _in_present_words(
    settings_class: type[Options], values: flags.FlagValues, arguments: Sequence[str]
) -> list[str]:
    """Returns arguments without former spellings, and says on stderr what to write for them."""
    former, rest = _former(settings_class), list(arguments)
    found, notes = [], []
    while rest and rest[0] != "--":
        argument = rest.pop(0)
        match = _FLAG.fullmatch(argument)
        if match is None:
            found.append(argument)
            continue
        name, value = match.groups()
        known = [word for word in (name, former.get(name, "")) if word in values]
        needs_value = any(not values[word].boolean for word in known)
        if value is None and needs_value and rest and not rest[0].startswith("-"):
            value = rest.pop(0)
        spellings = [
            f"--{word}" if text is None else f"--{word}={text}"
            for word, text in ((name, value), _present(former, name, value))
        ]
        found.append(spellings[1])
        if spellings[0] != spellings[1]:
            notes.append("{} is now written {}".format(*spellings))
    if notes:
        print("note:", "; ".join(notes), file=sys.stderr)
    return [*found, *rest]
