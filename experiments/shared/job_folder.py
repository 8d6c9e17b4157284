"""The output folder of a job: one job a folder, which only the same job may go on in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.shared.checkpoints import prepare_folder, refuse_differences, write_json
from experiments.shared.options import Options

_FILE = "settings.json"


def open_job(
    out_dir: Path | str,
    settings: Options,
    data: Mapping[str, Any],
    *,
    resume: bool,
    num_bytes: int = 0,
) -> Path:
    """Makes the folder of a job, or goes on in it, and writes its settings.json.

    Args:
        out_dir: the folder.
        settings: of this call.
        data: what identifies the data, of JSON's types.
        resume: whether a job that is there may be gone on with.
        num_bytes: room that the job's checkpoints will take.

    Returns:
        The folder.

    Raises:
        ValueError: there is a job and `resume` is not set, or it has other settings or other data.
        OSError: the folder cannot be written, or the disk has less room.
    """
    folder = Path(out_dir)
    prepare_folder(folder, num_bytes)
    job = {"settings": settings.to_json(), "data": json.loads(json.dumps(dict(data)))}
    saved = read_job(folder, type(settings))
    if saved is not None:
        if not resume:
            raise ValueError(
                f"--out_dir={folder}: already holds a job, which is not overwritten; go on with "
                "it by --resume, or name another folder"
            )
        names = settings.result_names()
        refuse_differences(_decisive(saved, names), _decisive(job, names), str(folder))
    write_json(folder / _FILE, job)
    return folder


def read_job(out_dir: Path | str, settings_class: type[Options]) -> dict[str, Any] | None:
    """Returns settings.json of an output folder: settings and data; None where there is none.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(out_dir) / _FILE
    if not path.is_file():
        return None
    try:
        job = json.loads(path.read_text())
        settings_class.from_json(job["settings"])
        dict(job["data"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the settings of a job ({error!r})") from error
    return job


def _decisive(job: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """What must be equal for a job to be the same one."""
    kept = {f"--{name}": job["settings"].get(name) for name in names}
    return kept | {f"data {name}": value for name, value in job["data"].items()}
