"""The results of a run as markdown: on what machine, with what, the table, and who did what how."""

import dataclasses
import datetime
import json
import pathlib
import platform
import subprocess
from collections.abc import Iterator, Sequence

import jax
import jaxlib
import numpy as np

import tempalign
from tempalign.kernels.bench import limits
from tempalign.kernels.bench.contenders import Peer, threads
from tempalign.kernels.bench.timing import Entry
from tempalign.kernels.cpu import native

Rows = Sequence[tuple[str, Sequence[Entry]]]

HEADER = (
    "workload",
    "who",
    "dtype",
    "median ms",
    "quartiles ms",
    "first s",
    "temp MiB",
    "differs",
    "ratio",
    "of the limit",
)
_WORDS = 3  # columns of words, which stand at the left


def page(command: str, about: dict[str, str], rows: Rows) -> str:
    """A whole report.

    Args:
        command: that was run.
        about: what `machine` found.
        rows: names of workloads, and what `timing.measure` returned.

    Returns:
        Markdown.
    """
    known = "\n".join(f"{name}: {value}" for name, value in about.items())
    parts = [f"Command: `{command}`", f"```\n{known}\n```", table(rows)]
    left_out, how = notes(rows), methods(rows)
    if left_out:
        parts.append("Not timed:\n\n" + "\n".join(f"- {line}" for line in left_out))
    if how:
        parts.append("What is called:\n\n" + "\n".join(f"- {line}" for line in how))
    return "\n\n".join(parts) + "\n"


def as_json(about: dict[str, str], rows: Rows) -> str:
    """Every figure of a report, for programs."""
    plain = {name: [dataclasses.asdict(entry) for entry in entries] for name, entries in rows}
    return json.dumps({"about": about, "workloads": plain}, indent=1, allow_nan=False) + "\n"


def table(rows: Rows) -> str:
    """The figures as a table of markdown whose columns stand under each other."""
    lines: list[Sequence[str]] = [HEADER]
    for workload, entries in rows:
        for index, entry in enumerate(entries):
            lines.append(("" if index else workload, entry.name, *_cells(entry)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for line in lines:
        cells = list(zip(line, widths, strict=True))
        words = [cell.ljust(width) for cell, width in cells[:_WORDS]]
        figures = [cell.rjust(width) for cell, width in cells[_WORDS:]]
        text.append(f"| {' | '.join(words + figures)} |")
    rules = ["-" * width for width in widths[:_WORDS]]
    rules += ["-" * (width - 1) + ":" for width in widths[_WORDS:]]
    text.insert(1, f"| {' | '.join(rules)} |")
    return "\n".join(text)


def notes(rows: Rows) -> list[str]:
    """Why some were not timed."""
    return [
        f"{workload}, {entry.name}: {entry.note}"
        for workload, entries in rows
        for entry in entries
        if entry.note
    ]


def methods(rows: Rows) -> list[str]:
    """What is called of each, in the order of the table."""
    found: dict[str, list[str]] = {}
    for _, entries in rows:
        for entry in entries:
            calls = found.setdefault(entry.name, [])
            if entry.how is not None and entry.how not in calls:
                calls.append(entry.how)
    return [f"{name}: {'; '.join(calls)}" for name, calls in found.items() if calls]


def _cells(entry: Entry) -> Iterator[str]:
    """Dtype and figures, in the order of the header."""
    quartiles = entry.quartile_seconds
    differences = entry.differences
    yield entry.dtype or "-"
    yield entry.state if entry.median_seconds is None else _milliseconds(entry.median_seconds)
    yield "-" if quartiles is None else " .. ".join(map(_milliseconds, quartiles))
    yield "-" if entry.first_seconds is None else f"{entry.first_seconds:.2f}"
    yield "-" if entry.temp_bytes is None else f"{entry.temp_bytes / 2**20:.1f}"
    if differences is None:
        yield "-"
    else:
        known = [value for value in differences if value is not None]
        yield f"{max(known):.0e}" if len(known) == len(differences) else "nan"
    yield "-" if entry.ratio is None else f"{entry.ratio:.3g}"
    yield "-" if entry.of_limit is None else f"{100 * entry.of_limit:.0f} % {entry.bound or ''}"


def _milliseconds(seconds: float) -> str:
    """Two digits behind the point, and more of what is short."""
    return f"{1e3 * seconds:.{2 if seconds >= 1e-3 else 4}f}"


def machine(peers: Sequence[Peer], missing: dict[str, str]) -> dict[str, str]:
    """What was measured, with what and on what, in words."""
    found = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "tempalign": f"{tempalign.__version__}, {_commit()}",
        "cpu": f"{_cpu()}, {limits.cores()} cores usable",
        "device": ", ".join(f"{d.platform} {d.device_kind}" for d in jax.devices()),
        "native code": native.missing() or f"there, level {limits.level()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "jax": f"{jax.__version__}, jaxlib {jaxlib.__version__}, numpy {np.__version__}",
    }
    if jax.default_backend() == "cpu":
        found.update(limits.about())
    found.update({peer.name: peer.version for peer in peers})
    found.update(missing)
    return found | threads()


def _cpu() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or "unknown"


def _commit() -> str:
    """The checkout's commit, if this is one."""
    here = pathlib.Path(__file__).resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # An installed copy may lie inside somebody else's repository.
        git("ls-files", "--error-unmatch", here.name)
        changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        return f"commit {git('rev-parse', '--short', 'HEAD')}{changed}"
    except (OSError, subprocess.CalledProcessError):
        return "not a checkout"
