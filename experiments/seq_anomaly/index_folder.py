"""`--layout=index`: a folder with `index.csv` and one `.npy` file of features for each video.

`index.csv` has a header line and the columns `id`, `path` (relative to the folder), `split`
(`train` or `test`; `val` is evaluated on where there is no `test`, and otherwise left out),
`labels` and, where it is needed, `frames`. Each file is an array `[R, F]` of floating point, read
as float32 where it is wider: a row a frame or, with `--protocol=snippet`, a row a snippet. `labels`
is one of

- the path of a `.npy` with 0 or 1 for every frame,
- intervals of anomalous frames, `start-end` with `end` not counted, such as `120-240;300-330`,
- `normal` (or nothing) and `all`: no frame is anomalous, every frame is. `all` is what labels of
  whole videos come to; it is meant for the training split.

Where labels are no file, a video of snippets has `frames` frames, or all snippets are full.
"""

import re
from pathlib import Path

import numpy as np

from experiments.seq_anomaly.dataset import AnomalyDataset, Event, Video, check_video
from experiments.shared.csv_index import Inside, Row, evaluated_split, read_rows
from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.progress import progress
from experiments.tse.npy_file import read_array, read_npy

_INTERVAL = re.compile(r"\s*([0-9]+)\s*-\s*([0-9]+)\s*")


def load(
    data_dir: Path | str, *, frames_per_row: int, outside_paths: bool = False
) -> AnomalyDataset:
    """Reads a folder with `index.csv`.

    Args:
        data_dir: the folder.
        frames_per_row: frames that one row of features stands for.
        outside_paths: paths in the index may lead out of the folder.

    Returns:
        The data set, in memory, named as the folder; videos are in the order of the index.

    Raises:
        MissingFileError: no folder, no `index.csv`, or rows whose file is not there.
        UserError: anything else that is wrong; each message names the line, video or file, and up
            to five are listed.
    """
    folder = Path(data_dir)
    index = folder / "index.csv"
    if not index.is_file():
        raise MissingFileError(f"{index}: no such file; --data_dir must hold an index.csv")
    rows = read_rows(
        index,
        required=("id", "path", "split"),
        may_be_empty=("labels",),
        optional=("frames",),
        unique="id",
        files="path",
        outside_paths=outside_paths,
    )
    tested = evaluated_split(row["split"] for row in rows)
    inside = Inside(folder, outside_paths)
    videos: dict[str, list[Video]] = {"train": [], tested: []}
    errors: list[Exception] = []
    for row in progress(rows, desc="reading features", unit="videos"):
        if row["split"] not in videos:
            continue
        try:
            videos[row["split"]].append(_read_video(inside, row, frames_per_row))
        except UserError as error:
            errors.append(error)
    raise_all(errors, str(index))
    whole = sum(row["labels"] == "all" for row in rows if row["split"] == "train")
    note = f"features of {folder.resolve().name}, given by the user"
    if tested != "test":
        note += (
            f". Evaluated on the rows of index.csv with split '{tested}'; there are none of test"
        )
    left_out = sum(row["split"] not in videos for row in rows)
    if left_out:
        note += f". {left_out} videos of the split 'val' are not used"
    if whole:
        note += (
            f". {whole} training videos are labelled as a whole: every frame of theirs counts as "
            "anomalous"
        )
    return AnomalyDataset(
        folder.resolve().name,
        tuple(videos["train"]),
        tuple(videos[tested]),
        frames_per_row,
        note,
    )


def _read_video(inside: Inside, row: Row, frames_per_row: int) -> Video:
    features = read_npy(inside.root / row["path"])
    labels, events = _read_labels(inside, row, len(features), frames_per_row)
    check_video(Video(row["id"], features, labels, events), frames_per_row)
    return Video(row["id"], features, labels.astype(np.uint8), events)


def _read_labels(
    inside: Inside, row: Row, num_rows: int, frames_per_row: int
) -> tuple[np.ndarray, tuple[Event, ...]]:
    name, text = row["id"], row["labels"]
    if text.endswith(".npy"):
        try:
            path, _ = inside.find(text)
            return read_array(path), ()
        except MissingFileError as error:
            raise MissingFileError(f"video '{name}': no labels {path}") from error
        except UserError as error:
            raise UserError(f"video '{name}': labels: {error}") from error
    if not re.fullmatch("[0-9]{0,12}", row["frames"]):
        raise UserError(f"video '{name}': frames must be a whole number, got '{row['frames']}'")
    num_frames = int(row["frames"] or num_rows * frames_per_row)
    if -(-num_frames // frames_per_row) != num_rows:
        raise UserError(
            f"video '{name}': frames is {num_frames}, but there are features of {num_rows} rows of "
            f"{frames_per_row}"
        )
    labels = np.zeros(num_frames, np.uint8)
    if text == "all":
        text = f"0-{num_frames}"
    events = []
    for part in text.split(";") if text not in ("", "normal") else []:
        match = _INTERVAL.fullmatch(part)
        start, end = (int(number) for number in match.groups()) if match else (0, 0)
        if not 0 <= start < end <= num_frames:
            raise UserError(
                f"video '{name}': labels '{part.strip()}' are no interval of its {num_frames} "
                "frames; write start-end;start-end with end not counted, all, normal, or the path "
                "of a .npy"
            )
        labels[start:end] = 1
        events.append(Event("anomaly", start, end))
    return labels, tuple(events)
