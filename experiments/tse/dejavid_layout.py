"""`--layout=dejavid`: the on-disk layout of DejaVid's authors, read without torch.

The folder holds three pickled dicts, `id2splits.pkl` (id -> 'train', 'val' or 'test'),
`id2labels.pkl` (id -> integer) and `id2fname.pkl` (id -> file name). The files, in `feats` or
another folder, are of `torch.save`: one 2-D tensor `[T, N_f]`, or (their SSv2) a dict id -> tensor
with several videos. As in their code, the videos are the ids of `id2fname.pkl`, sorted by file name
within a split, and the labels that occur are renumbered 0, 1, ... in sorted order.

Source: https://github.com/darrylho/DejaVid, `datasets.py` and `main_dist.py`.
"""

import reprlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared.csv_index import Inside
from experiments.shared.errors import MissingFileError, UserError, raise_all
from experiments.shared.labels import lonely_classes
from experiments.shared.progress import progress
from experiments.tse.dataset import TseDataset, TseSplit
from experiments.tse.plain_pickle import load_plain_pickle
from experiments.tse.sources import check_tse_header, common_num_features
from experiments.tse.stored import FileSource, TseFile, conversion_note
from experiments.tse.torch_file import StoredTensor, read_tensor, tensor_headers

_SPLITS = ("train", "val", "test")


def load(
    data_dir: Path | str, *, feats_dir: Path | str | None = None, outside_paths: bool = False
) -> TseDataset:
    """Opens a folder in the layout of DejaVid's authors, reading headers, not numbers.

    Evaluated on is the split `val`, as in their code, or `test` where there is no `val`; the note
    says which. It is also what the best epoch is picked on: the data sets of their paper have no
    labels to test on. float64 and bfloat16 tensors are read as float32.

    Args:
        data_dir: folder of the three pickles.
        feats_dir: folder of the tensor files, `data_dir/feats` without it.
        outside_paths: file names in `id2fname.pkl` may lead out of that folder.

    Returns:
        The data set, named as `data_dir`; classes are named by the labels of `id2labels.pkl`.

    Raises:
        MissingFileError: a pickle, the folder, or tensor files are not there.
        UserError: a pickle or tensor file is damaged or names anything but plain data, an id has
            no label, split or tensor, or a tensor is not a TSE; names the file or id, and up to
            five are listed.
    """
    data_dir = Path(data_dir)
    feats_dir = data_dir / "feats" if feats_dir is None else Path(feats_dir)
    if not feats_dir.is_dir():
        raise MissingFileError(f"{feats_dir}: no such folder; feats_dir must hold the .pt files")
    fnames = _read_dict(data_dir / "id2fname.pkl")
    labels = _read_dict(data_dir / "id2labels.pkl")
    splits = _read_dict(data_dir / "id2splits.pkl")
    _check_tables(fnames, labels, splits, data_dir)
    used_labels = sorted({labels[key] for key in fnames})
    number_of = {label: k for k, label in enumerate(used_labels)}
    evaluated = "val" if any(splits[key] == "val" for key in fnames) else "test"
    keys = [key for key in fnames if splits[key] in ("train", evaluated)]
    keys.sort(key=lambda key: fnames[key])
    files = _open_files(keys, fnames, Inside(feats_dir, outside_paths))
    num_features = common_num_features([(file.name, file.num_features) for file in files.values()])

    def split(name: str) -> TseSplit:
        chosen = [key for key in keys if splits[key] == name]
        source = FileSource([files[key] for key in chosen])
        numbers = np.array([number_of[labels[key]] for key in chosen], np.int32)
        return TseSplit(tuple(map(str, chosen)), numbers, source.lengths, source)

    train = split("train")
    note = f"evaluated on the split '{evaluated}' of id2splits.pkl"
    if len(keys) < len(fnames):
        note += f"; {len(fnames) - len(keys)} videos of the split 'test' are not used"
    class_names = tuple(map(str, used_labels))
    facts = [note, conversion_note(list(files.values())), lonely_classes(train.labels, class_names)]
    return TseDataset(
        name=data_dir.resolve().name,
        train=train,
        test=split(evaluated),
        class_names=class_names,
        num_features=num_features,
        note="; ".join(filter(None, facts)),
    )


def _read_dict(path: Path) -> dict[Any, Any]:
    """Reads a pickled dict of plain data."""
    value = load_plain_pickle(path)
    if not isinstance(value, dict) or not value:
        raise UserError(f"{path}: must be a pickled dict with entries, got {type(value).__name__}")
    return value


def _check_tables(
    fnames: Mapping[Any, Any], labels: Mapping[Any, Any], splits: Mapping[Any, Any], data_dir: Path
) -> None:
    """Checks that every id of `id2fname.pkl` is a proper one with a label and a split."""
    errors: list[Exception] = []
    for key, fname in fnames.items():
        if type(key) not in (int, str):
            errors.append(UserError(f"id {key!r}: must be an integer or text"))
        elif not isinstance(fname, str) or not fname:
            errors.append(UserError(f"id {key!r}: id2fname.pkl has {fname!r}, not a file name"))
        elif type(labels.get(key)) is not int:
            found = repr(labels[key]) if key in labels else "no entry"
            errors.append(UserError(f"id {key!r}: id2labels.pkl has {found}, not an integer"))
        elif splits.get(key) not in _SPLITS:
            found = repr(splits[key]) if key in splits else "no entry"
            errors.append(
                UserError(f"id {key!r}: id2splits.pkl has {found}, not {', '.join(_SPLITS)}")
            )
    raise_all(errors, str(data_dir))


def _open_files(keys: list[Any], fnames: Mapping[Any, str], inside: Inside) -> dict[Any, TseFile]:
    """Finds each id's tensor; a file with several videos is opened once."""
    files: dict[Any, TseFile] = {}
    errors: list[Exception] = []
    opened: dict[str, Any] = {}  # file name -> its headers, or None where it cannot be read
    owner: dict[str, Any] = {}  # true place of a file with one tensor -> the id that it is of
    for key in progress(keys, desc="reading headers", unit="videos"):
        fname = fnames[key]
        try:
            path, real = inside.find(fname)
            if fname not in opened:
                opened[fname] = None
                opened[fname] = tensor_headers(path)
            content = opened[fname]
            if content is None:
                continue
            if isinstance(content, StoredTensor) and owner.setdefault(real, key) != key:
                raise UserError(f"id {key!r}: has the file of id {owner[real]!r}, {path}")
            files[key] = _tse_file(key, content, path)
        except UserError as error:
            named = isinstance(error, MissingFileError) or not str(error).startswith("path ")
            errors.append(error if named else UserError(f"id {key!r}: {error}"))
    raise_all(errors, str(inside.root))
    return files


def _tse_file(key: Any, content: StoredTensor | dict[Any, Any], path: Path) -> TseFile:
    """Describes the tensor of one id in an opened file."""
    header = content.get(key) if isinstance(content, dict) else content
    part = repr(key) if isinstance(content, dict) else ""
    name = f"{path}[{part}]" if part else str(path)
    if not isinstance(header, StoredTensor):
        some = reprlib.repr(list(content)[:3])
        raise UserError(f"{path}: a dict without a tensor for id {key!r}; it has {some} ...")
    # What bfloat16 is read as.
    stored = np.dtype(np.float32 if header.dtype == "bfloat16" else header.dtype)
    dtype = check_tse_header(header.shape, stored, name)
    length, num_features = header.shape
    read = partial(read_tensor, path, header)
    return TseFile(name, length, num_features, dtype, read, header.dtype, path, part)
