"""The report of a job: what was found, the table, how to read it, the pictures, the facts."""

import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flax
import jax
import numpy as np

import tempalign
from experiments.shared.checkpoints import write_json
from experiments.shared.options import Options, to_text
from experiments.shared.tables import Table


@dataclass(frozen=True)
class Picture:
    """A picture in the output folder.

    Attributes:
        file: its name there.
        title: what it shows, in a few words.
        caption: how to read it.
    """

    file: str
    title: str
    caption: str


@dataclass(frozen=True)
class Report:
    """What a job has to say.

    Attributes:
        title: of the report.
        verdict: what was found, in a few sentences made from the numbers.
        tables: by heading; the first is shown without one.
        notes: how to read the tables, one point each.
        about_data: what must be known about the data; empty for nothing.
        facts: by name; the versions and the machine are added.
        settings: of the job.
        numbers: everything behind the report, for report.json.
        pictures: in the order to show them.
    """

    title: str
    verdict: str
    tables: Mapping[str, Table]
    settings: Options
    notes: Sequence[str] = ()
    about_data: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()

    def write(self, folder: Path) -> str:
        """Writes report.json and report.md.

        Returns:
            The report in plain text, for a terminal.

        Raises:
            OSError: the folder cannot be written to. Reports of an earlier job are then unharmed.
        """
        facts = {**self.facts, **_surroundings()}
        numbers = {
            "verdict": self.verdict,
            **self.numbers,
            "facts": facts,
            "settings": self.settings.to_json(),
        }
        write_json(folder / "report.json", _plain(numbers))
        _write(folder / "report.md", self._markdown(facts))
        return self._text()

    def _markdown(self, facts: Mapping[str, str]) -> str:
        lines = [f"# {self.title}", "", self.verdict, ""]
        for index, (heading, table) in enumerate(self.tables.items()):
            lines += [f"## {heading}", ""] * bool(index) + [table.to_markdown(), ""]
        lines += [f"- {text}" for text in self.notes]
        if self.about_data:
            lines += ["", f"About the data: {_sentence(self.about_data)}"]
        if self.pictures:
            lines += ["", "## Pictures"]
        for picture in self.pictures:
            lines += ["", f"![{picture.title}]({picture.file})", "", picture.caption]
        lines += ["", "## Facts", ""]
        lines += [f"- {name}: {value}" for name, value in facts.items()]
        lines += ["", "Settings (`report.json` has every number behind this report):", "", "```"]
        lines += [f"--{name}={to_text(value)}" for name, value in self.settings.to_json().items()]
        return "\n".join([*lines, "```", ""])

    def _text(self) -> str:
        lines = [self.title, "=" * len(self.title), ""]
        for index, (heading, table) in enumerate(self.tables.items()):
            lines += [heading, ""] * bool(index) + [table.to_text(), ""]
        lines += [self.verdict, "", *(f"* {text}" for text in self.notes)]
        if self.about_data:
            lines += ["", f"About the data: {_sentence(self.about_data)}"]
        return "\n".join(lines)


def percent(values: Sequence[float | None]) -> str:
    """Returns mean and, of several values, sample standard deviation, in percent; "-" for none."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    text = f"{100 * statistics.fmean(known):.2f}"
    return f"{text} ± {100 * statistics.stdev(known):.2f}" if len(known) > 1 else text


def seconds(value: float) -> str:
    """Returns a duration as tables show it."""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _surroundings() -> dict[str, str]:
    devices = jax.devices()
    return {
        "Versions": (
            f"tempalign {tempalign.__version__}, jax {jax.__version__}, flax {flax.__version__}, "
            f"numpy {np.__version__}, Python {platform.python_version()}"
        ),
        "Machine": (
            f"{os.cpu_count()} CPU cores, {platform.platform()}; jax ran on {len(devices)} x "
            f"{devices[0].device_kind}"
        ),
    }


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _plain(value: Any) -> Any:
    """NumPy scalars as Python's; NaN and infinity, which JSON does not have, as null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write(path: Path, text: str) -> None:
    """Writes a whole file or nothing: a full disk must not cost the report of an earlier job."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
