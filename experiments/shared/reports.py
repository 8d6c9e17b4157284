"""The report of a job: what was found, the table, how to read it, the pictures, the facts."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared import processes
from experiments.shared.files import write_json, write_text
from experiments.shared.options import Options, to_text
from experiments.shared.pictures import Drawing, Drawn, draw
from experiments.shared.run import Trained, surroundings
from experiments.shared.tables import Table, seconds

_NOT_MACHINE = ("run", "epochs", "seconds")  # the rest of a session says where it ran
_NO_PICTURES = Drawn((), (), ())


@dataclass(frozen=True)
class Report:
    """What a job has to say.

    Attributes:
        title: of the report.
        verdict: what was found, in a few sentences made from the numbers.
        tables: by heading; the first is shown without one.
        settings: of the job.
        notes: how to read the tables, one point each.
        about_data: what must be known about the data; empty for nothing.
        facts: by name; where and with which versions the runs were trained is added from
            `sessions`, and where the report was written.
        numbers: everything behind the report that is not in its tables, for report.json. Cells of
            tables that know their numbers are there in full precision without that.
        drawings: pictures to draw when the rest is on disk, see `experiments.shared.pictures.draw`.
        sessions: of all runs, see `sessions_of`.
    """

    title: str
    verdict: str
    tables: Mapping[str, Table]
    settings: Options
    notes: Sequence[str] = ()
    about_data: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)
    drawings: Sequence[tuple[str, Drawing]] = ()
    sessions: Sequence[Mapping[str, Any]] = ()

    def write(self, folder: Path) -> str:
        """Writes report.json and report.md, then the pictures, then the reports with them.

        Whatever happens to a picture, the results are on disk by then. Of several processes the
        first one does this.

        Returns:
            The report in plain text, for a terminal.

        Raises:
            UserError: the folder cannot be written to. Reports of an earlier job are then unharmed.
        """
        if not processes.is_first():
            return ""
        facts = {**self.facts, **_trained_on(self.sessions), **_written_on()}
        drawn = _NO_PICTURES
        self._write(folder, facts, drawn)
        if self.drawings:
            drawn = draw(folder, self.drawings)
            self._write(folder, facts, drawn)
        return self._text(drawn)

    def _write(self, folder: Path, facts: Mapping[str, str], drawn: Drawn) -> None:
        write_json(folder / "report.json", _plain(self._numbers(facts, drawn)))
        write_text(folder / "report.md", self._markdown(facts, drawn))

    def _numbers(self, facts: Mapping[str, str], drawn: Drawn) -> dict[str, Any]:
        return {
            "title": self.title,
            "verdict": self.verdict,
            "tables": {heading: table.to_json() for heading, table in self.tables.items()},
            **self.numbers,
            "notes": self._all_notes(drawn),
            "about_data": self.about_data,
            "facts": facts,
            "sessions": self.sessions,
            "pictures": [vars(picture) for picture in drawn.pictures],
            "pictures_failed": drawn.failed,
            "settings": self.settings.to_json(),
        }

    def _all_notes(self, drawn: Drawn) -> list[str]:
        return [*self.notes, *drawn.notes, *(_sentence(text) + "." for text in drawn.failed)]

    def _markdown(self, facts: Mapping[str, str], drawn: Drawn) -> str:
        lines = [f"# {self.title}", "", self.verdict, ""]
        for index, (heading, table) in enumerate(self.tables.items()):
            lines += [f"## {heading}", ""] * bool(index) + [table.to_markdown(), ""]
        lines += [f"- {text}" for text in self._all_notes(drawn)]
        if self.about_data:
            lines += ["", f"About the data: {_sentence(self.about_data)}"]
        if drawn.pictures:
            lines += ["", "## Pictures"]
        for picture in drawn.pictures:
            lines += ["", f"![{picture.title}]({picture.file})", "", picture.caption]
        lines += ["", "## Facts", ""]
        lines += [f"- {name}: {value}" for name, value in facts.items()]
        lines += ["", "Settings (`report.json` has every number behind this report):", "", "```"]
        lines += [f"--{name}={to_text(value)}" for name, value in self.settings.to_json().items()]
        return "\n".join([*lines, "```", ""])

    def _text(self, drawn: Drawn) -> str:
        lines = [self.title, "=" * len(self.title), ""]
        for index, (heading, table) in enumerate(self.tables.items()):
            lines += [heading, ""] * bool(index) + [table.to_text(), ""]
        lines += [self.verdict, "", *(f"* {text}" for text in self._all_notes(drawn))]
        if self.about_data:
            lines += ["", f"About the data: {_sentence(self.about_data)}"]
        return "\n".join(lines)


def sessions_of(runs: Iterable[Trained]) -> list[dict[str, Any]]:
    """Returns the sessions of all runs, each with the name of its run."""
    return [{"run": run.name, **session} for run in runs for session in run.sessions]


def _trained_on(sessions: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """One fact for each machine and set of versions that trained something."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for session in sessions:
        where = {key: value for key, value in session.items() if key not in _NOT_MACHINE}
        groups.setdefault(_machine(where), []).append(session)
    facts = {}
    for number, (machine, group) in enumerate(groups.items(), 1):
        name = "Trained on" if len(groups) == 1 else f"Trained on ({number} of {len(groups)})"
        first_and_last = [session["epochs"] for session in group]
        epochs = sum(last - first + 1 for first, last in first_and_last)
        took = math.fsum(session["seconds"] for session in group)
        runs = {session["run"] for session in group if "run" in session}
        of_runs = f"{_count(len(runs), 'run')}, " if runs else ""
        facts[name] = f"{machine}: {of_runs}{_count(epochs, 'epoch')}, {seconds(took)} s"
    return facts


def _written_on() -> dict[str, str]:
    return {"Report written on": _machine(surroundings())}


def _machine(session: Mapping[str, Any]) -> str:
    """The machine and the versions of a session, in a line."""
    versions = ", ".join(
        f"{name} {session.get(name, '?')}" for name in ("tempalign", "jax", "flax", "numpy")
    )
    several = f" in {session['processes']} processes" if "processes" in session else ""
    return (
        f"{session.get('devices', '?')} x {session.get('device', '?')}{several}, "
        f"{session.get('cores', '?')} CPU cores, {session.get('platform', '?')}; {versions}, "
        f"Python {session.get('python', '?')}"
    )


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _plain(value: Any) -> Any:
    """NumPy as Python's types; NaN and infinity, which JSON does not have, as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
