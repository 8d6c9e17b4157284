"""A job: one output folder, whose runs are made once, saved, and gone on with after a kill.

`run_job` is the frame that all experiments share. It refuses before it works, and claims a folder
only with the first result: an attempt that fails leaves nothing in the way of the next.
"""

import contextlib
import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from experiments.shared import processes
from experiments.shared.errors import UserError
from experiments.shared.files import read_json, write_json
from experiments.shared.fingerprint import Digests, digest_json, repetition_note
from experiments.shared.folder import LOCK, locked, prepare_folder
from experiments.shared.identity import job_identity, later_settings, refuse_differences
from experiments.shared.metrics_log import MetricsLog
from experiments.shared.options import Options, merge, option, to_text
from experiments.shared.processes import ClusterOptions
from experiments.shared.run import Run, Trained, train

T = TypeVar("T", bound="JobOptions")
D = TypeVar("D")
S = TypeVar("S")

JOB = "The job and its output folder"
OTHER = "Instead of training"

SETTINGS_FILE = "settings.json"
_CHECKPOINTS = "checkpoints"


@dataclasses.dataclass(frozen=True)
class JobOptions(ClusterOptions):
    """The settings that all jobs have; those of an experiment are a subclass.

    Raises:
        UserError: a value that its flag does not allow.
    """

    seeds: tuple[int, ...] = option(
        (0,),
        JOB,
        "One run of every method for each. A job that is resumed with other seeds has both.",
        minimum=0,
        grows=True,
    )
    out_dir: str = option(
        "runs/job", JOB, "Folder where everything is written.", changes_result=False, path=True
    )
    resume: bool = option(
        False,
        JOB,
        "Go on with the job in --out_dir: what is finished there is not repeated, and seeds, "
        "methods, baselines and epochs may be added.",
        changes_result=False,
    )
    keep_checkpoints: int = option(
        2,
        JOB,
        "How many of the newest checkpoints of a run to keep.",
        minimum=1,
        changes_result=False,
    )
    outside_paths: bool = option(
        False,
        JOB,
        "Allow paths in index files that lead out of the data's own folder.",
        changes_result=False,
    )
    traceback: bool = option(
        False, JOB, "Show where in the code an error was found, too.", changes_result=False
    )
    predict: str = option(
        "",
        OTHER,
        "Use the newest checkpoint in --out_dir on this file, folder, or CSV file with a column "
        "path, and end. The settings of the run are read from that folder.",
        changes_result=False,
        path=True,
    )
    predict_method: str = option(
        "",
        OTHER,
        "Which of the trained methods --predict uses; empty: the one that the help of the methods "
        "names first, or the last one trained.",
        changes_result=False,
    )
    predict_seed: int = option(
        -1,
        OTHER,
        "Which of the trained seeds --predict uses; -1: the first.",
        minimum=-1,
        changes_result=False,
    )


class Workspace:
    """The output folder of a job that is at work.

    Attributes:
        folder: the folder.
        log: its metrics.jsonl.
        identity: what decides every result in it, see `experiments.shared.identity`.
        note: what a reader of the report must know about samples in two splits; empty for nothing.
    """

    def __init__(self, settings: JobOptions, data: Mapping[str, Any]) -> None:
        """Opens the folder, which is this process's alone."""
        self.folder = Path(settings.out_dir)
        self.identity = job_identity(settings, data)
        self.note = repetition_note(data)
        self.log = MetricsLog(self.folder / "metrics.jsonl")
        self._settings, self._data = settings, data
        self._claimed = False

    def claim(self) -> None:
        """Writes settings.json: from the first result on, the folder is this job's."""
        if not self._claimed:
            job = {"settings": self._settings.to_json(), "data": dict(self._data)}
            write_json(self.folder / SETTINGS_FILE, job)
            self._claimed = True

    def train(self, run: Run[S], *, epochs: int) -> Trained[S]:
        """Trains a run, or reads it where it is finished; see `experiments.shared.run.train`."""
        return train(
            run,
            self.folder / _CHECKPOINTS / run.name,
            self.log,
            epochs=epochs,
            keep=self._settings.keep_checkpoints,
            identity=self.identity,
            later=later_settings(self._settings),
            claim=self.claim,
        )

    def once(
        self, event: str, name: str, compute: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Returns a result that is computed once a job, and logged when it is there.

        Of several processes the first one computes it, on devices of its own; the others wait.

        Args:
            event: of the line in the log.
            name: of the result.
            compute: returns it, of JSON's types.

        Returns:
            The result, with its wall-clock "seconds".
        """
        return processes.on_first(lambda: self._once(event, name, compute))

    def _once(
        self, event: str, name: str, compute: Callable[[], Mapping[str, Any]]
    ) -> dict[str, Any]:
        key = digest_json(self.identity)
        for line in reversed(self.log.lines()):
            if (line["event"], line.get("name"), line.get("identity")) == (event, name, key):
                return {
                    part: value
                    for part, value in line.items()
                    if part not in ("event", "time", "name", "identity")
                }
        began = time.monotonic()
        result = dict(compute())
        result = {"seconds": time.monotonic() - began, **result}
        result = json.loads(json.dumps(result))  # the same to the caller, now and when it is read
        self.claim()
        self.log.write(event, name=name, identity=key, **result)
        return result


def run_job(
    settings: T,
    *,
    load: Callable[[T], D],
    identify: Callable[[D, T, Digests], Mapping[str, Any]],
    num_bytes: Callable[[D, T], int],
    work: Callable[[D, T, Workspace], str],
) -> str:
    """Runs a job, or goes on with it.

    Args:
        settings: of this call.
        load: reads and checks the data. It gets the settings of the job, which with --resume are
            those of this call and those that it had before.
        identify: returns what identifies the data, of JSON's types, "class_names" among it.
        num_bytes: about how much room the job takes on the disk.
        work: trains and reports; returns what to print.

    Returns:
        What `work` returned.

    Raises:
        UserError: the folder is taken, cannot be written, is worked in by another process, or holds
            a job with other settings or other data.
    """
    processes.initialize(settings)
    parts = _Parts(load, identify, num_bytes, work)
    if processes.is_first():
        text = _run(settings, parts)
    else:
        # What it makes besides results is as good as nothing: process 0 has made the same.
        with (
            tempfile.TemporaryDirectory(prefix="tempalign-") as scratch,
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            contextlib.redirect_stdout(nowhere),
        ):
            _run(dataclasses.replace(settings, out_dir=scratch), parts)
        text = ""
    processes.meet()
    return text


class _Parts(NamedTuple):
    """What a job is made of, see `run_job`."""

    load: Callable[[Any], Any]
    identify: Callable[[Any, Any, Digests], Mapping[str, Any]]
    num_bytes: Callable[[Any, Any], int]
    work: Callable[[Any, Any, Workspace], str]


def _run(settings: JobOptions, parts: _Parts) -> str:
    """What each process does of a job; the folder of the settings is its own."""
    folder = Path(settings.out_dir)

    def saved_job() -> dict[str, Any] | None:
        saved = read_job(folder, type(settings))
        _refuse_taken(settings, saved)
        return saved

    saved = processes.on_first(saved_job)
    if saved is not None:
        settings = _grown(settings, saved)
    processes.on_first(lambda: _refuse_early(folder))
    data = processes.in_each(lambda: parts.load(settings))
    digests = Digests(folder / "digests.json")
    described = processes.on_first(lambda: dict(parts.identify(data, settings, digests)))
    with contextlib.ExitStack() as held:

        def enter() -> None:
            prepare_folder(folder, parts.num_bytes(data, settings))
            held.enter_context(locked(folder))
            if read_job(folder, type(settings)) != saved:
                raise UserError(
                    f"--out_dir={folder}: another job has begun there; name another folder"
                )
            if saved is not None:
                now = job_identity(settings, described)
                refuse_differences(job_identity(settings, saved["data"]), now, str(folder))
            digests.save()

        processes.on_first(enter)
        return parts.work(data, settings, Workspace(settings, described))


def read_job(out_dir: Path | str, settings_class: type[Options]) -> dict[str, Any] | None:
    """Returns settings.json of an output folder: settings and data; None where there is none.

    Raises:
        UserError: the file is damaged.
    """
    path = Path(out_dir) / SETTINGS_FILE
    if not path.is_file():
        return None
    job = read_json(path)
    try:
        settings_class.from_json(job["settings"])
        dict(job["data"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the settings of a job ({error})") from error
    return job


def _refuse_early(folder: Path) -> None:
    """Raises before the data is read what can be known then; makes nothing."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UserError(
            f"--out_dir={folder}: cannot be written, because of {there}; name another folder"
        )
    if (folder / LOCK).exists():
        with locked(folder):
            pass


def _refuse_taken(settings: JobOptions, saved: Mapping[str, Any] | None) -> None:
    """Raises where a job is in the folder that is not gone on with."""
    if settings.resume:
        return
    folder = Path(settings.out_dir)
    if saved is not None:
        raise UserError(
            f"--out_dir={folder}: already holds a job, which is not overwritten; go on with it by "
            "--resume, or name another folder"
        )
    if any((folder / _CHECKPOINTS).glob("*/*")):
        raise UserError(
            f"--out_dir={folder}: holds checkpoints; go on with them by --resume, or name "
            "another folder"
        )


def _grown(settings: T, saved: Mapping[str, Any]) -> T:
    """Returns the settings of a job that is resumed, which may have grown."""
    folder = Path(settings.out_dir)
    former = type(settings).from_json(saved["settings"])
    merged = merge(former, settings, str(folder))
    for field in dataclasses.fields(merged):
        was, now = getattr(former, field.name), getattr(merged, field.name)
        if field.metadata["grows"] and was != now:
            print(f"{folder} grows: --{field.name} was {to_text(was)}, now {to_text(now)}")
    return merged
