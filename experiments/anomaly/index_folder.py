"""`--layout=index`: a folder with `index.csv` and one `.npy` file of features for each video.

`index.csv` has a header line and the columns `id`, `path` (relative to the folder), `split`
(`train` or `test`), `labels` and, where it is needed, `frames`. Each file is a float16 or float32
array `[R, F]`: a row a frame or, with `--protocol=snippet`, a row a snippet. `labels` is one of

- the path of a `.npy` with 0 or 1 for every frame,
- intervals of anomalous frames, `start-end` with `end` not counted, such as `120-240;300-330`,
- `normal` (or nothing) and `all`: no frame is anomalous, every frame is. `all` is what labels of
  whole videos come to; it is meant for the training split.

Where labels are no file, a video of snippets has `frames` frames, or all snippets are full.
"""

import csv
import re
from pathlib import Path

import numpy as np

from experiments.anomaly.dataset import AnomalyDataset, Event, Video, check_video
from experiments.shared.progress import progress
from experiments.tse.dataset import duplicates
from experiments.tse.index_folder import read_npy
from experiments.tse.sources import raise_all

_COLUMNS = ("id", "path", "split", "labels")
_INTERVAL = re.compile(r"\s*([0-9]+)\s*-\s*([0-9]+)\s*")


def load(data_dir: Path | str, *, frames_per_row: int) -> AnomalyDataset:
    """Reads a folder with `index.csv`.

    Args:
        data_dir: the folder.
        frames_per_row: frames that one row of features stands for.

    Returns:
        The data set, in memory, named as the folder; videos are in the order of the index.

    Raises:
        FileNotFoundError: no folder, no `index.csv`, or rows whose file is not there.
        ValueError: anything else that is wrong; each message names the line, video or file, and up
            to five are listed.
    """
    folder = Path(data_dir)
    index = folder / "index.csv"
    if not index.is_file():
        raise FileNotFoundError(f"{index}: no such file; --data_dir must hold an index.csv")
    rows = _read_index(index)
    videos: dict[str, list[Video]] = {"train": [], "test": []}
    errors: list[Exception] = []
    for row in progress(rows, desc="reading features"):
        try:
            videos[row["split"]].append(_read_video(folder, row, frames_per_row))
        except (ValueError, OSError) as error:
            errors.append(error)
    raise_all(errors, str(index))
    whole = sum(row["labels"] == "all" for row in rows if row["split"] == "train")
    note = f"features of {folder.resolve().name}, given by the user"
    if whole:
        note += (
            f". {whole} training videos are labelled as a whole: every frame of theirs counts as "
            "anomalous"
        )
    return AnomalyDataset(
        folder.resolve().name,
        tuple(videos["train"]),
        tuple(videos["test"]),
        frames_per_row,
        note,
    )


def _read_index(index: Path) -> list[dict[str, str]]:
    try:
        with index.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = reader.fieldnames or []
            missing = [name for name in _COLUMNS if name not in columns]
            if missing:
                raise ValueError(
                    f"{index}: no column {', '.join(missing)}; the first line must name "
                    f"{','.join(_COLUMNS)}, got {','.join(columns) or 'nothing'}"
                )
            lines = [(reader.line_num, line) for line in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{index}: not a UTF-8 CSV file: {error}") from error
    if not lines:
        raise ValueError(f"{index}: has no rows")
    rows: list[dict[str, str]] = []
    errors: list[Exception] = []
    for number, line in lines:
        if None in line:
            errors.append(ValueError(f"line {number}: more values than columns; quote the commas"))
            continue
        row = {name: (line.get(name) or "").strip() for name in (*_COLUMNS, "frames")}
        empty = [name for name in ("id", "path", "split") if not row[name]]
        if empty:
            errors.append(ValueError(f"line {number} (id '{row['id']}'): no {', '.join(empty)}"))
        elif row["split"] not in ("train", "test"):
            errors.append(
                ValueError(
                    f"line {number} (id '{row['id']}'): unknown split '{row['split']}'; use train "
                    "or test"
                )
            )
        rows.append(row)
    raise_all(errors + duplicates([row["id"] for row in rows if row["id"]]), str(index))
    return rows


def _read_video(folder: Path, row: dict[str, str], frames_per_row: int) -> Video:
    features = read_npy(folder / row["path"])
    labels, events = _read_labels(folder, row, len(features), frames_per_row)
    video = Video(row["id"], features, labels, events)
    check_video(video, frames_per_row)
    return Video(row["id"], features, labels.astype(np.uint8), events)


def _read_labels(
    folder: Path, row: dict[str, str], num_rows: int, frames_per_row: int
) -> tuple[np.ndarray, tuple[Event, ...]]:
    name, text = row["id"], row["labels"]
    if text.endswith(".npy"):
        path = folder / text
        if not path.is_file():
            raise FileNotFoundError(f"video '{name}': no labels {path}")
        try:
            return np.load(path, allow_pickle=False), ()
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"video '{name}': {path}: not a .npy file: {error}") from error
    if not re.fullmatch("[0-9]*", row["frames"]):
        raise ValueError(f"video '{name}': frames must be a whole number, got '{row['frames']}'")
    num_frames = int(row["frames"] or num_rows * frames_per_row)
    labels = np.zeros(num_frames, np.uint8)
    if text == "all":
        text = f"0-{num_frames}"
    events = []
    for part in text.split(";") if text not in ("", "normal") else []:
        match = _INTERVAL.fullmatch(part)
        start, end = (int(number) for number in match.groups()) if match else (0, 0)
        if not 0 <= start < end <= num_frames:
            raise ValueError(
                f"video '{name}': labels '{part.strip()}' are no interval of its {num_frames} "
                "frames; write start-end;start-end with end not counted, all, normal, or the path "
                "of a .npy"
            )
        labels[start:end] = 1
        events.append(Event("anomaly", start, end))
    return labels, tuple(events)
