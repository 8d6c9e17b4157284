"""What makes a job the same job: the settings that decide its result, and the data."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from experiments.shared.errors import UserError
from experiments.shared.options import Options, to_text


def job_identity(settings: Options, data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what must be equal for a result to be used again, of JSON's types.

    Args:
        settings: of the job; those that cannot change a result, and those by which a job grows
            (another seed, another method), are left out.
        data: what identifies the data.
    """
    values = settings.to_json()
    kept = {f"--{name}": values[name] for name in settings.result_names()}
    return kept | {f"data {name}": json.loads(json.dumps(value)) for name, value in data.items()}


def later_settings(settings: Options) -> dict[str, Any]:
    """Returns what settings were before there was a flag for them: their defaults.

    A checkpoint of an earlier version does not name those that came later.
    """
    names = settings.result_names()
    defaults = {f.name: f.default for f in dataclasses.fields(settings) if f.name in names}
    return {f"--{name}": json.loads(json.dumps(value)) for name, value in defaults.items()}


def refuse_differences(
    saved: Mapping[str, Any], current: Mapping[str, Any], where: str, flag: str = "--resume"
) -> None:
    """Compares two identities.

    Args:
        saved: as it was written.
        current: that of this call.
        where: what holds the saved one.
        flag: begins the message: what asked to go on there.

    Raises:
        UserError: they differ; lists each value, as it was and as it is now.
    """
    differing = [
        f"{name}: was {_shown(saved, name)}, now {_shown(current, name)}"
        for name in dict.fromkeys([*saved, *current])
        if saved.get(name) != current.get(name) or (name in saved) != (name in current)
    ]
    if differing:
        raise UserError(
            f"{flag}: {where} was made with other settings or other data:\n  "
            + "\n  ".join(differing)
            + "\nGive the former ones, or start anew in another --out_dir."
        )


def _shown(values: Mapping[str, Any], name: str) -> str:
    return (to_text(values[name]) or "(empty)") if name in values else "(not there)"
