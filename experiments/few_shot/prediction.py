"""`--predict`: new sequences, classified by a few labelled ones with a trained encoder."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from experiments.few_shot.data import to_segments
from experiments.few_shot.models import make_model
from experiments.few_shot.settings import Settings
from experiments.few_shot.training import run_name
from experiments.shared.checkpoints import fill
from experiments.shared.csv_index import read_rows
from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.labels import number_labels
from experiments.shared.prediction import OpenRun, open_run, predict_inputs, say_classes
from experiments.shared.progress import progress
from experiments.shared.scaling import Scaling
from experiments.tse.npy_file import read_npy
from tempalign.heads import FewShotHead


def predict(request: Settings) -> str:
    """Classifies what `request.predict` names with a run in `request.out_dir`.

    Args:
        request: also names the labelled sequences, and which run.

    Returns:
        What to print: the most probable classes of one sequence; of several, the most probable one
        of the first few, and the file with all.

    Raises:
        UserError: the files, or the run, are not there or not usable; a sequence has not the
            features that the run was trained on.
    """
    run = open_run(request, methods=_methods, run_name=run_name, prefer=("tam",))
    reader = _Reader(run)
    files, labels = read_support(request.predict_support, request.outside_paths)
    class_names, numbers = number_labels(labels)
    support = np.stack([reader(file) for file in progress(files, desc="support", unit="file")])
    counts = np.bincount(numbers)
    ids, logits = [], []
    inputs = predict_inputs(request, (".npy",))
    for name, file in progress(inputs, desc="predicting", unit="file"):
        query = reader(file)[None]
        found = np.zeros(len(class_names), np.float32)
        for shots in np.unique(counts):  # classes of as many sequences are compared together
            chosen = np.flatnonzero(counts == shots)
            of_class = np.stack([support[numbers == k] for k in chosen])
            found[chosen] = _logits(reader.model, query, of_class)[0]
        ids.append(name)
        logits.append(found)
    shots = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    about = f"one of {len(class_names)} classes of {shots} labelled sequences, "
    run = dataclasses.replace(run, data={"class_names": list(class_names)})
    return say_classes(run, ids, np.asarray(jax.nn.softmax(np.stack(logits))), about)


def read_support(path: Path | str, outside_paths: bool) -> tuple[list[Path], list[str]]:
    """Finds labelled sequences.

    Args:
        path: a folder with a folder of .npy files (or of folders with such) for each class, or a
            CSV file with the columns path (relative to it) and label.
        outside_paths: paths of the CSV file may lead out of its folder.

    Returns:
        (files, the label of each): at least two classes.

    Raises:
        MissingFileError: it is not there.
        UserError: anything else that is wrong with it.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() == ".npy")
        labels = [file.relative_to(path).parts[0] for file in files]
        loose = [file for file in files if file.parent == path]
        if loose:
            raise UserError(
                f"--predict_support={path}: {loose[0].name} is in no class folder; give each class "
                "a folder, whose name is the label"
            )
    elif path.is_file():
        rows = read_rows(
            path, required=("path", "label"), splits=False, files="path",
            outside_paths=outside_paths,
        )  # fmt: skip
        files = [path.parent / row["path"] for row in rows]
        labels = [row["label"] for row in rows]
    else:
        raise MissingFileError(f"--predict_support={path}: no such file or folder")
    if len(set(labels)) < 2:
        raise UserError(
            f"--predict_support={path}: holds labelled .npy files of {len(set(labels))} classes; "
            "two or more are needed to tell apart"
        )
    return files, labels


class _Reader:
    """Reads sequences and makes them what the run was trained on.

    Attributes:
        model: the head that was trained, with its best parameters.
    """

    def __init__(self, run: OpenRun[Settings]) -> None:
        self._settings = run.settings
        self._scaling = Scaling(run.arrays["scaling.mean"], run.arrays["scaling.std"])
        model = make_model(run.settings, run.method, len(self._scaling.mean), seed=0)
        graphdef, params = nnx.split(model, nnx.Param)
        best = fill(nnx.to_pure_dict(params), run.arrays, str(run.folder), below="best.")
        self.model: FewShotHead = nnx.merge(graphdef, jax.tree.map(jnp.asarray, best))

    def __call__(self, file: Path) -> np.ndarray:
        """Returns the segments float32 [num_segments, F] of a file."""
        settings, x = self._settings, read_npy(file)
        if x.shape[1] != len(self._scaling.mean):
            raise UserError(
                f"{file}: has {x.shape[1]} features a frame, but the run was trained on "
                f"{len(self._scaling.mean)}"
            )
        x = to_segments(x, settings.num_segments, settings.sampling, settings.center)
        return self._scaling.apply(x)


@nnx.jit
def _logits(model: FewShotHead, query: ArrayLike, support: ArrayLike) -> jax.Array:
    """Logits [Q, way] of queries [Q, T, F] by supports [way, shot, T, F]."""
    return model(query, support)


def _methods(settings: Settings) -> Sequence[str]:
    if not settings.trained:
        raise UserError(
            f"--out_dir={settings.out_dir}: the job has --encoder=none, so nothing was trained "
            "there; --predict needs a trained encoder"
        )
    return settings.train_through
