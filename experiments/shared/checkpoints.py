"""Checkpoints of one run, and the output folder that a job may go on in.

A checkpoint is a pytree of arrays and a record that JSON knows. The arrays are saved under the
names of their places in the tree: a checkpoint says what it holds without the code that wrote it.
"""

import json
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from experiments.shared.options import to_text


class Checkpoints:
    """The newest few checkpoints of one run, each in the folder of its step.

    A checkpoint appears under its number only when it is complete, and an older one is removed only
    after that: a kill at any moment leaves the previous ones as they were.
    """

    def __init__(self, folder: Path | str, *, keep: int = 2) -> None:
        """Opens or makes the folder of a run.

        Args:
            folder: one folder a run.
            keep: how many of the newest to keep.

        Raises:
            OSError: the folder cannot be made or read.
        """
        self.folder = Path(folder).absolute()
        # Orbax warns of settings for clusters and of every restore; none is about one's own data.
        logging.get_absl_logger().setLevel("ERROR")
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, create=True, enable_async_checkpointing=False
        )
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def latest(self) -> int | None:
        """Returns the newest complete step, None where there is none."""
        return self._manager.latest_step()

    def save(self, step: int, tree: Any, record: Mapping[str, Any]) -> None:
        """Saves a checkpoint and returns when it is complete.

        Args:
            step: its number, greater than that of all before.
            tree: a pytree of arrays.
            record: what else belongs to it, of JSON's types.

        Raises:
            OSError: it could not be written; those before it are as they were.
        """
        arrays = {name: np.asarray(leaf) for name, leaf in _named_leaves(tree).items()}
        described = {"record": dict(record), "checksums": _checksums(arrays)}
        content = ocp.args.Composite(
            arrays=ocp.args.StandardSave(arrays), record=ocp.args.JsonSave(described)
        )
        try:
            self._manager.save(step, args=content)
        except Exception as error:  # whatever the storage library raises for a full disk
            raise OSError(
                f"cannot write the checkpoint {self.folder / str(step)}: {_first_line(error)}\n"
                "The checkpoints before it are intact: make room, then go on with --resume."
            ) from error

    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        """Reads a checkpoint back.

        Args:
            step: its number.
            like: a pytree as it was saved; its arrays give the shapes and dtypes to expect.

        Returns:
            (the tree, with NumPy arrays, the record).

        Raises:
            ValueError: it is damaged, or its arrays are not those of `like`.
        """
        arrays, record = self.read(step)
        expected = _named_leaves(like)
        wrong = [f"{name}: missing" for name in sorted(expected.keys() - arrays.keys())]
        wrong += [f"{name}: unknown" for name in sorted(arrays.keys() - expected.keys())]
        for name in sorted(expected.keys() & arrays.keys()):
            here, there = expected[name], arrays[name]
            if (here.shape, here.dtype) != (there.shape, there.dtype):
                wrong.append(
                    f"{name}: {there.dtype}{list(there.shape)}, "
                    f"expected {here.dtype}{list(here.shape)}"
                )
        if wrong:
            raise ValueError(
                f"the checkpoint {self.folder / str(step)} is of another model than this one:\n  "
                + "\n  ".join(wrong)
                + "\nGive the settings and the data it was made with, or another --out_dir."
            )
        leaves = [arrays[name] for name in expected]
        return jax.tree.unflatten(jax.tree.structure(like), leaves), record

    def read(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Reads the arrays of a checkpoint by name, and its record.

        Raises:
            ValueError: it is damaged.
        """
        content = ocp.args.Composite(
            arrays=ocp.args.StandardRestore(), record=ocp.args.JsonRestore()
        )
        try:
            saved = self._manager.restore(step, args=content)
            arrays, described = dict(saved.arrays), saved.record
            if _checksums(arrays) != described["checksums"]:
                raise ValueError("the arrays are not those that were saved")
            return arrays, described["record"]
        except Exception as error:  # whatever the storage library raises for a damaged file
            older = [other for other in self._manager.all_steps() if other < step]
            go_on = f"from step {max(older)}, which is kept" if older else "from the beginning"
            raise ValueError(
                f"the checkpoint {self.folder / str(step)} is damaged: {_first_line(error)}\n"
                f"Delete that folder; --resume then goes on {go_on}."
            ) from error

    def close(self) -> None:
        """Ends the threads of the storage library."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes."""
        self.close()


def prepare_folder(out_dir: Path | str, num_bytes: int) -> None:
    """Makes an output folder, and checks before hours of work that it can be written.

    Args:
        out_dir: the folder.
        num_bytes: room that the job will take.

    Raises:
        OSError: it cannot be made or written, or the disk has less room.
    """
    probe = Path(out_dir) / ".writable"
    try:
        Path(out_dir).mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"--out_dir={out_dir}: cannot be written ({error.strerror}); name another folder"
        ) from error
    free = shutil.disk_usage(out_dir).free
    if free < num_bytes:
        raise OSError(
            f"--out_dir={out_dir}: the checkpoints take {num_bytes / 1e6:,.0f} MB, but the disk "
            f"has {free / 1e6:,.0f} MB free; make room or name another folder"
        )


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file whole or not at all, also under a kill."""
    part = path.with_name(path.name + ".part")
    with open(part, "w") as file:
        file.write(json.dumps(content, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def refuse_differences(saved: Mapping[str, Any], current: Mapping[str, Any], where: str) -> None:
    """Compares what decides a result: the saved values and those of this call.

    Args:
        saved: values by name, as JSON has them.
        current: the same of this call.
        where: what holds the saved ones.

    Raises:
        ValueError: some differ; lists each, as it was and as it is now.
    """
    differing = [
        f"{name}: was {_shown(saved, name)}, now {_shown(current, name)}"
        for name in dict.fromkeys([*saved, *current])
        if saved.get(name) != current.get(name) or (name in saved) != (name in current)
    ]
    if differing:
        raise ValueError(
            f"--resume: {where} was started with other settings:\n  "
            + "\n  ".join(differing)
            + "\nGive the former ones, or start anew in another --out_dir."
        )


def _shown(values: Mapping[str, Any], name: str) -> str:
    return (to_text(values[name]) or "(empty)") if name in values else "(not there)"


def _named_leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree, in its order, by the names of their places in it."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _checksums(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The storage library checks its own indices, not the numbers."""
    return {
        name: zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        for name, array in arrays.items()
    }


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
