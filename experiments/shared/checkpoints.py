"""Checkpoints of one run: pytrees of arrays, each with a record that JSON knows.

The arrays are saved under the names of their places in the tree: a checkpoint says what it holds
without the code that wrote it.
"""

import json
import logging
import os
import re
import shutil
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging as absl_logging

from experiments.shared import processes
from experiments.shared.errors import UserError
from experiments.shared.files import FULL, unused
from experiments.shared.interrupts import held

Arrays = dict[str, np.ndarray]


class DamagedError(UserError):
    """A checkpoint whose numbers are not those that were saved."""


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
            UserError: the folder cannot be made or read.
        """
        self.folder = Path(folder).absolute()
        # Orbax warns of settings for clusters and of every restore; errors it raises as well.
        for logger in (absl_logging.get_absl_logger(), logging.getLogger("asyncio")):
            logger.setLevel("CRITICAL")
        sys.unraisablehook = _unraisable
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            create=False,
            enable_async_checkpointing=False,
            # Of several processes one has checkpoints, and must not wait for the others in them.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=0, active_processes={0} if processes.count() > 1 else None
            ),
        )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be opened ({_first_line(error)})") from error

    def steps(self) -> list[int]:
        """Returns the complete steps, the newest first."""
        return sorted(self._manager.all_steps(), reverse=True)

    def save(self, step: int, tree: Any, record: Mapping[str, Any]) -> None:
        """Saves a checkpoint and returns when it is complete; Ctrl-C and SIGTERM wait for that.

        Args:
            step: its number, greater than that of all before.
            tree: a pytree of arrays.
            record: what else belongs to it, of JSON's types.

        Raises:
            UserError: it could not be written; those before it are as they were.
        """
        arrays = {name: np.asarray(leaf) for name, leaf in named_leaves(tree).items()}
        described = {
            "record": dict(record),
            "record_checksum": _record_checksum(record),
            "checksums": _checksums(arrays),
        }
        content = ocp.args.Composite(
            arrays=ocp.args.StandardSave(arrays), record=ocp.args.JsonSave(described)
        )
        where = self.folder / str(step)
        with held():
            try:
                saved = self._manager.save(step, args=content)
            except Exception as error:  # whatever the storage library raises for a full disk
                self._remove_unfinished()
                full = any(map(_is_full, _causes(error)))
                way = "make room" if full else "see that the folder can be written"
                raise UserError(
                    f"cannot write the checkpoint {where}: {_first_line(error)}\n"
                    f"The checkpoints before it are intact: {way}, then go on with --resume."
                ) from error
        if not saved:
            raise UserError(
                f"the checkpoint {where} was not written: the folder holds a later one, perhaps of "
                "another job that runs there; name another --out_dir"
            )

    def newest(self) -> tuple[int, Arrays, dict[str, Any]] | None:
        """Reads the newest checkpoint that is intact.

        One that is damaged is named on the screen and passed over; nothing is deleted.

        Returns:
            (its step, its arrays by name, its record), None where there is no checkpoint.

        Raises:
            UserError: none is intact, or the disk could not be read.
        """
        damaged: list[str] = []
        for step in self.steps():
            try:
                arrays, record = self.read(step)
            except DamagedError as error:
                damaged.append(str(error))
                continue
            for line in damaged:
                print(line, file=sys.stderr)
            if damaged:
                print(f"Step {step} is taken, which is intact.", file=sys.stderr)
            return step, arrays, record
        if damaged:
            lines = "\n".join(damaged)
            raise UserError(
                f"{lines}\nNone is intact: move {self.folder} away, and --resume makes this run "
                "from its beginning; or start anew in another --out_dir."
            )
        return None

    def read(self, step: int) -> tuple[Arrays, dict[str, Any]]:
        """Reads the arrays of a checkpoint by name, and its record.

        Raises:
            DamagedError: what it holds is not what was saved.
            UserError: the disk could not be read: it may be intact.
        """
        content = ocp.args.Composite(
            arrays=ocp.args.StandardRestore(), record=ocp.args.JsonRestore()
        )
        where = self.folder / str(step)
        try:
            try:
                saved = self._manager.restore(step, args=content)
            except Exception:
                _read_files(where)  # raises where the disk is to blame, and not what it holds
                raise
            arrays, described = dict(saved.arrays), saved.record
            record, checksums = described["record"], described["checksums"]
            record_checksum = described["record_checksum"]
        except MemoryError:
            raise
        except KeyError as error:
            raise DamagedError(
                f"the checkpoint {where} is damaged, or was written by another version: no {error}"
            ) from error
        except Exception as error:  # whatever the storage library raises for a damaged file
            passing = [one for one in _causes(error) if isinstance(one, OSError)]
            if passing and not isinstance(passing[0], FileNotFoundError):
                raise UserError(
                    f"the checkpoint {where} cannot be read now ({_first_line(passing[0])}); it "
                    "may be intact: see to the disk, then try again"
                ) from error
            raise DamagedError(
                f"the checkpoint {where} is damaged: {_first_line(error)}"
            ) from error
        if (_checksums(arrays), _record_checksum(record)) != (checksums, record_checksum):
            raise DamagedError(
                f"the checkpoint {where} is damaged: it does not hold what was saved"
            )
        return arrays, record

    def set_aside(self, after: int) -> None:
        """Clears the way for the next checkpoint; only the one process at work here may call it.

        The (damaged) checkpoints after a step are moved, so that they are kept, and what a kill
        left unfinished is removed.

        Raises:
            UserError: that cannot be done.
        """
        self._remove_unfinished()
        for step in self.steps():
            if step > after:
                aside = unused(self.folder.with_name(f"{self.folder.name}-damaged-{step}"))
                try:
                    (self.folder / str(step)).rename(aside)
                except OSError as error:
                    raise UserError(
                        f"{self.folder / str(step)}: is damaged and cannot be moved away "
                        f"({error.strerror}); move it yourself"
                    ) from error
        self._manager.reload()

    def _remove_unfinished(self) -> None:
        for part in self.folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(part, ignore_errors=True)

    def close(self) -> None:
        """Ends the threads of the storage library."""
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes."""
        self.close()


def fill(like: Any, arrays: Arrays, where: str, *, below: str = "") -> Any:
    """Returns the tree that was saved, or a part of it.

    Args:
        like: a pytree of the same structure, whose arrays give the shapes and dtypes to expect.
        arrays: as `Checkpoints.read` returns them.
        where: what holds them, for the message.
        below: where in the saved tree the part is, such as "state.params."; "" for all of it.

    Raises:
        UserError: they are of another tree.
    """
    arrays = {
        name.removeprefix(below): array for name, array in arrays.items() if name.startswith(below)
    }
    expected = named_leaves(like)
    wrong = [f"{name}: missing" for name in sorted(expected.keys() - arrays.keys())]
    wrong += [f"{name}: unknown" for name in sorted(arrays.keys() - expected.keys())]
    for name in sorted(expected.keys() & arrays.keys()):
        here, there = expected[name], arrays[name]
        if (here.shape, here.dtype) != (there.shape, there.dtype):
            wrong.append(
                f"{name}: {there.dtype}{list(there.shape)}, expected {here.dtype}{list(here.shape)}"
            )
    if wrong:
        raise UserError(
            f"the checkpoint {where} is of another model than this one:\n  "
            + "\n  ".join(wrong)
            + "\nGive the settings and the data it was made with, or another --out_dir."
        )
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected])


def named_leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree, in its order, by the names of their places in it."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def _checksums(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The storage library checks its own indices, not the numbers."""
    return {
        name: zlib.crc32(
            np.ascontiguousarray(array).reshape(-1).view(np.uint8).data,
            zlib.crc32(f"{array.dtype} {array.shape}".encode()),
        )
        for name, array in arrays.items()
    }


def _record_checksum(record: Mapping[str, Any]) -> int:
    """Raises TypeError, a bug, for what is not of JSON's types."""
    return zlib.crc32(json.dumps(record, sort_keys=True).encode())


def _read_files(folder: Path) -> None:
    """Reads every file below a folder, for the OSError that this may raise."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                while file.read(1 << 24):
                    pass


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_full(error: BaseException) -> bool:
    """Returns whether a disk is full; of that some threads of the library leave only a text."""
    number = error.errno if isinstance(error, OSError) else None
    return number in FULL or any(os.strerror(one) in str(error) for one in FULL)


def _first_line(error: BaseException) -> str:
    """Returns what an error says, without the middle of a long line and the library's settings."""
    lines = re.split(r" \[\w+='", str(error).strip())[0].splitlines()
    if not lines:
        return type(error).__name__
    line = lines[0] if len(lines[0]) <= 200 else f"{lines[0][:60]} ... {lines[0][-120:]}"
    return f"{type(error).__name__}: {line}"


def _unraisable(unraisable: Any) -> None:
    """Silences the threads that had other arrays in hand when one could not be read or written."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)
