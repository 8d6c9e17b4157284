"""`--layout=dejavid`: the on-disk layout of DejaVid's authors, read without torch.

The folder holds three pickled dicts, `id2splits.pkl` (id -> 'train', 'val' or 'test'),
`id2labels.pkl` (id -> integer) and `id2fname.pkl` (id -> file name). The files, in `feats` or
another folder, are of `torch.save`: one 2-D tensor `[T, N_f]`, or (their SSv2) a dict id -> tensor
with several videos. As in their code, the videos are the ids of `id2fname.pkl`, sorted by file name
within a split, and the labels that occur are renumbered 0, 1, ... in sorted order.

Source: https://github.com/darrylho/DejaVid, `datasets.py` and `main_dist.py`.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared.progress import progress
from experiments.tse.dataset import TseDataset, TseSplit
from experiments.tse.plain_pickle import load_plain_pickle
from experiments.tse.sources import (
    FileSource,
    TseFile,
    check_tse_header,
    common_num_features,
    raise_all,
)
from experiments.tse.torch_file import StoredTensor, read_tensor, tensor_headers

_SPLITS = ("train", "val", "test")


def load(data_dir: Path | str, *, feats_dir: Path | str | None = None) -> TseDataset:
    """Opens a folder in the layout of DejaVid's authors, reading headers, not numbers.

    Evaluated on is the split `val`, as in their code, or `test` where there is no `val`; the note
    says which. float64 and bfloat16 tensors are read as float32.

    Args:
        data_dir: folder of the three pickles.
        feats_dir: folder of the tensor files, `data_dir/feats` without it.

    Returns:
        The data set, named as `data_dir`; classes are named by the labels of `id2labels.pkl`.

    Raises:
        FileNotFoundError: a pickle, the folder, or tensor files are not there.
        ValueError: a pickle or tensor file is damaged or names anything but plain data, an id has
            no label, split or tensor, or a tensor is not a TSE; names the file or id, and up to
            five are listed.
    """
    data_dir = Path(data_dir)
    feats_dir = data_dir / "feats" if feats_dir is None else Path(feats_dir)
    if not feats_dir.is_dir():
        raise FileNotFoundError(f"{feats_dir}: no such folder; feats_dir must hold the .pt files")
    fnames = _read_dict(data_dir / "id2fname.pkl")
    labels = _read_dict(data_dir / "id2labels.pkl")
    splits = _read_dict(data_dir / "id2splits.pkl")
    _check_tables(fnames, labels, splits, data_dir)
    used_labels = sorted({labels[key] for key in fnames})
    number_of = {label: k for k, label in enumerate(used_labels)}
    evaluated = "val" if any(splits[key] == "val" for key in fnames) else "test"
    keys = [key for key in fnames if splits[key] in ("train", evaluated)]
    keys.sort(key=lambda key: fnames[key])
    files = _open_files(keys, fnames, feats_dir)
    num_features = common_num_features([(file.name, file.num_features) for file in files.values()])

    def split(name: str) -> TseSplit:
        chosen = [key for key in keys if splits[key] == name]
        source = FileSource([files[key] for key in chosen])
        numbers = np.array([number_of[labels[key]] for key in chosen], np.int32)
        return TseSplit(tuple(map(str, chosen)), numbers, source.lengths, source)

    note = f"evaluated on the split '{evaluated}' of id2splits.pkl"
    if len(keys) < len(fnames):
        note += f"; {len(fnames) - len(keys)} videos of the split 'test' are not used"
    return TseDataset(
        name=data_dir.resolve().name,
        train=split("train"),
        test=split(evaluated),
        class_names=tuple(map(str, used_labels)),
        num_features=num_features,
        note=note,
    )


def _read_dict(path: Path) -> dict[Any, Any]:
    """Reads a pickled dict of plain data."""
    value = load_plain_pickle(path)
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{path}: must be a pickled dict with entries, got {type(value).__name__}")
    return value


def _check_tables(
    fnames: Mapping[Any, Any], labels: Mapping[Any, Any], splits: Mapping[Any, Any], data_dir: Path
) -> None:
    """Checks that every id of `id2fname.pkl` is a proper one with a label and a split."""
    errors: list[Exception] = []
    for key, fname in fnames.items():
        if type(key) not in (int, str):
            errors.append(ValueError(f"id {key!r}: must be an integer or text"))
        elif not isinstance(fname, str) or not fname:
            errors.append(ValueError(f"id {key!r}: id2fname.pkl has {fname!r}, not a file name"))
        elif type(labels.get(key)) is not int:
            found = repr(labels[key]) if key in labels else "no entry"
            errors.append(ValueError(f"id {key!r}: id2labels.pkl has {found}, not an integer"))
        elif splits.get(key) not in _SPLITS:
            found = repr(splits[key]) if key in splits else "no entry"
            errors.append(
                ValueError(f"id {key!r}: id2splits.pkl has {found}, not {', '.join(_SPLITS)}")
            )
    raise_all(errors, str(data_dir))


def _open_files(keys: list[Any], fnames: Mapping[Any, str], feats_dir: Path) -> dict[Any, TseFile]:
    """Finds each id's tensor; a file with several videos is opened once."""
    files: dict[Any, TseFile] = {}
    errors: list[Exception] = []
    opened: dict[str, Any] = {}  # file name -> its headers, or None where it cannot be read
    for key in progress(keys, desc="reading headers"):
        path = feats_dir / fnames[key]
        if fnames[key] not in opened:
            try:
                opened[fnames[key]] = tensor_headers(path)
            except (ValueError, OSError) as error:
                errors.append(error)
                opened[fnames[key]] = None
        content = opened[fnames[key]]
        if content is None:
            continue
        try:
            files[key] = _tse_file(key, content, path)
        except ValueError as error:
            errors.append(error)
    raise_all(errors, str(feats_dir))
    return files


def _tse_file(key: Any, content: StoredTensor | dict[Any, Any], path: Path) -> TseFile:
    """Describes the tensor of one id in an opened file."""
    header = content.get(key) if isinstance(content, dict) else content
    name = f"{path}[{key!r}]" if isinstance(content, dict) else str(path)
    if not isinstance(header, StoredTensor):
        some = ", ".join(map(repr, list(content)[:3]))
        raise ValueError(f"{path}: a dict without a tensor for id {key!r}; it has {some} ...")
    to_float32 = header.dtype in ("float64", "bfloat16")
    dtype = np.dtype(np.float32 if to_float32 else header.dtype)
    check_tse_header(header.shape, dtype, name)
    read = partial(_read_as, path, header, dtype)
    return TseFile(name, header.shape[0], header.shape[1], dtype, read)


def _read_as(path: Path, header: StoredTensor, dtype: np.dtype) -> np.ndarray:
    """Reads a tensor and converts it."""
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, which is refused
        return read_tensor(path, header).astype(dtype, copy=False)
