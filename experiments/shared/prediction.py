"""`--predict`: the newest checkpoint of a run, what to use it on, and where the answers go."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from experiments.shared.checkpoints import Arrays, Checkpoints
from experiments.shared.csv_index import Inside, read_rows
from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.files import unused, write_csv
from experiments.shared.job import SETTINGS_FILE, JobOptions, read_job
from experiments.shared.tables import Table

T = TypeVar("T", bound=JobOptions)

_SHOWN = 5  # classes of one input, or inputs on the screen


@dataclass(frozen=True)
class OpenRun(Generic[T]):
    """A trained run, to predict with.

    Attributes:
        settings: of the job that trained it.
        data: what identified its data; its "class_names" by label.
        method: what was trained.
        seed: with which seed.
        step: the epoch of the checkpoint.
        arrays: of the state, by the names of their places in it.
        folder: the output folder of the job.
    """

    settings: T
    data: dict[str, Any]
    method: str
    seed: int
    step: int
    arrays: Arrays
    folder: Path

    @property
    def about(self) -> str:
        """Says which it is."""
        return f"by {self.method} seed {self.seed}, epoch {self.step}"

    def refuse_unnamed(self, what: str, needed: Sequence[str]) -> None:
        """Raises where files or code that the run was made with are not named once more.

        A run folder may come from anyone: what it says is neither run nor opened.

        Args:
            what: of the run is made of them.
            needed: the flags that the command line lacks.

        Raises:
            UserError: there are some.
        """
        if needed:
            raise UserError(
                f"--out_dir={self.folder}: its {what} is made of a file or code that a run folder "
                f"cannot ask for; where you trust it, add {' '.join(needed)} to the command line"
            )


def open_run(
    request: T,
    *,
    methods: Callable[[T], Sequence[str]],
    run_name: Callable[[T, str, int], str],
    prefer: Sequence[str] = (),
) -> OpenRun[T]:
    """Opens the run that `request.predict_method` and `predict_seed` name in `request.out_dir`.

    Args:
        request: the settings of this call.
        methods: returns the methods that a job trains.
        run_name: returns the name of a run of a job: (settings, method, seed).
        prefer: which method to take where none is named; else the last one trained.

    Raises:
        MissingFileError: there is no job, no such run, or no checkpoint of it yet.
        UserError: the checkpoint is damaged.
    """
    folder = Path(request.out_dir)
    job = read_job(folder, type(request))
    if job is None:
        raise MissingFileError(
            f"--out_dir={folder}: holds no settings.json, so nothing was trained there"
        )
    settings = type(request).from_json(job["settings"])
    trained = [
        (method, seed)
        for seed in settings.seeds
        for method in methods(settings)
        if any((_checkpoints(folder, run_name(settings, method, seed))).glob("[0-9]*"))
    ]
    if not trained:
        raise MissingFileError(f"--out_dir={folder}: nothing was trained in that job yet")
    seed = trained[0][1] if request.predict_seed < 0 else request.predict_seed
    of_seed = [method for method, other in trained if other == seed]
    chosen = [name for name in prefer if name in of_seed]
    method = request.predict_method or next(iter([*chosen, *of_seed[-1:]]), "")
    if (method, seed) not in trained:
        runs = ", ".join(f"{name} seed {other}" for name, other in trained)
        raise MissingFileError(
            f"--predict_method={method} --predict_seed={seed}: no such run in {folder}; trained "
            f"were {runs}"
        )
    where = _checkpoints(folder, run_name(settings, method, seed))
    with Checkpoints(where, keep=settings.keep_checkpoints) as checkpoints:
        found = checkpoints.newest()
    if found is None:
        raise MissingFileError(f"{where}: holds no complete checkpoint yet")
    step, arrays, _ = found
    data = _Saved(job["data"], f"{folder / SETTINGS_FILE}: of its data it does not say")
    names = data.get("class_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{folder / SETTINGS_FILE}: its class_names are not names")
    arrays = _Saved(arrays, f"the checkpoint {where / str(step)} is of another model: it has no")
    return OpenRun(settings, data, method, seed, step, arrays, folder)


class _Saved(dict[str, Any]):
    """What was read of a run folder: that something is not there is no fault of ours."""

    def __init__(self, values: Mapping[str, Any], lacks: str) -> None:
        super().__init__(values)
        self._lacks = lacks

    def __missing__(self, name: str) -> Any:
        raise UserError(f"{self._lacks} {name}")


def _checkpoints(folder: Path, name: str) -> Path:
    return folder / "checkpoints" / name


def predict_inputs(
    request: JobOptions, suffixes: Sequence[str], *, folders: bool = False
) -> list[tuple[str, Path]]:
    """Returns what `--predict` names: (id, file) of one file or of many.

    Args:
        request: `predict` is a file, a folder (all its files, its subfolders' too), or a CSV file
            with the column path, relative to it, and optionally id. Those paths, and links in a
            folder, lead out of it only with `outside_paths`.
        suffixes: of the files to take from a folder, such as ".npy".
        folders: whether a row of the CSV file may name a folder.

    Raises:
        MissingFileError: it is not there, or a folder without such files.
        UserError: a CSV file that cannot be used, or a link that leads out of the folder; lists
            what is wrong.
    """
    path = Path(request.predict)
    if path.is_dir():
        files = Inside(path, request.outside_paths).found(suffixes)
        if not files:
            raise MissingFileError(f"--predict={path}: holds no file {' or '.join(suffixes)}")
        return [(file.relative_to(path).as_posix(), file) for file in files]
    if not path.is_file():
        raise MissingFileError(f"--predict={path}: no such file")
    if path.suffix.lower() != ".csv":
        return [(str(path), path)]
    rows = read_rows(
        path,
        required=("path",),
        optional=("id",),
        splits=False,
        files="path",
        must_exist=not folders,
        outside_paths=request.outside_paths,
    )
    return [(row["id"] or row["path"], row.path) for row in rows if row.path]


def write_scores(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
    """Writes a CSV file beside those that are there, and returns its path."""
    path = unused(path)
    write_csv(path, columns, rows)
    return path


def say_classes(
    run: OpenRun,
    ids: Sequence[str],
    probabilities: np.ndarray,
    about: str = "",
    distances: np.ndarray | None = None,
) -> str:
    """Returns what to print of a classification; of several inputs the rest is in a file.

    Args:
        run: what classified them.
        ids: of the inputs.
        probabilities: ``[N, C]``.
        about: what is known of the one input, such as its length.
        distances: ``[N, C]`` to the classes, shown beside the probabilities; None where the run
            has none.

    Raises:
        UserError: the file cannot be written.
    """
    names = run.data["class_names"]
    if probabilities.shape[1:] != (len(names),):
        raise UserError(
            f"{run.folder}: the run has {probabilities.shape[1]} classes, its settings.json names "
            f"{len(names)}"
        )
    if len(ids) == 1:
        best = np.argsort(-probabilities[0], kind="stable")[:_SHOWN]
        table = Table(
            ("class", "probability", *([] if distances is None else ["distance"])),
            tuple(
                (
                    names[label],
                    f"{probabilities[0, label]:.4f}",
                    *([] if distances is None else [f"{distances[0, label]:.4f}"]),
                )
                for label in best
            ),
        )
        return f"{ids[0]}: {about}{run.about}\n\n{table.to_text()}"
    best = np.argmax(probabilities, axis=1)
    apart = np.zeros((len(ids), 0)) if distances is None else distances
    rows = [
        (name, names[label], f"{one[label]:.6f}", *(f"{x:.6f}" for x in (*one, *others)))
        for name, label, one, others in zip(ids, best, probabilities, apart, strict=True)
    ]
    columns = ["id", "class", "probability", *names]
    if distances is not None:
        columns += [f"distance {name}" for name in names]
    path = write_scores(run.folder / "predicted.csv", columns, rows)
    shown = Table(("id", "class", "probability"), tuple(row[:3] for row in rows[:_SHOWN]))
    more = f"\n... and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return f"{len(rows)} inputs, {run.about}; all are in {path}\n\n{shown.to_text()}{more}"
