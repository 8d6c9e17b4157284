"""The job: shots, segments, list, features, folds, classifiers, report.

Every stage leaves files, and does not make again what is there: the same command goes on.
"""

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np

from experiments.arrow_of_time import tam
from experiments.arrow_of_time.folds import FOLDERS, Item, folds_of, read_items, write_index
from experiments.arrow_of_time.report import write_report
from experiments.arrow_of_time.results import Method, mirrored, read_predictions, right_or_wrong
from experiments.arrow_of_time.segments import Segment, find_shots, plan, write_segments
from experiments.arrow_of_time.settings import Settings
from experiments.dejavid import job as dejavid
from experiments.dejavid.baselines import NAMES, ORDER_BLIND, run_baseline
from experiments.dejavid.initial import statistics
from experiments.dejavid.pictures import head_name
from experiments.dejavid.settings import Settings as DejaVidSettings
from experiments.extract_tse import job as extract_tse
from experiments.extract_tse.settings import Settings as ExtractSettings
from experiments.make_list import job as make_list
from experiments.make_list.settings import INDEX
from experiments.make_list.settings import Settings as ListSettings
from experiments.shared import command
from experiments.shared.files import read_json, write_json
from experiments.shared.fingerprint import Digests
from experiments.shared.folder import locked, prepare_folder
from experiments.shared.identity import job_identity, refuse_differences
from experiments.shared.job import SETTINGS_FILE
from experiments.shared.options import Options, parse, to_text

T = TypeVar("T", bound=Options)

SEGMENTS, FEATURES, RUN = "segments", "tse", "run"
_CENTROIDS = NAMES["dba_centroid"]  # of every seed, where a job of experiments.k400 has one
_BYTES = 200_000_000


def main(description: str | None, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line."""
    command.main(description, Settings, run, argv, go_on="the same command")


def run(settings: Settings) -> str:
    """Goes from the shots to the report; returns the report, to print.

    Raises:
        UserError: anything that the user can mend.
    """
    out = Path(settings.out_dir)
    shots = find_shots(settings.shots_folder)
    segments = plan(shots, settings)
    folds = folds_of(segments, settings.folds)
    prepare_folder(out, _BYTES)
    with locked(out):
        _claim(out, settings, shots)
        items = _features(out, settings, segments)
        methods = _classified(out, settings, folds, items)
        return write_report(out, settings, items, folds, methods, mirrored(items))


def _claim(out: Path, settings: Settings, shots: dict[str, list[Path]]) -> None:
    """Writes what the folder is of; refuses one that is of something else."""
    digests = Digests(out / "digests.json")
    paths = {f"{name}/{path.name}": path for name, of in shots.items() for path in of}
    found = digests.of_files(list(paths.values()), desc="reading shots")
    identity = job_identity(settings, {"shots": dict(zip(paths, found, strict=True))})
    file = out / SETTINGS_FILE
    if file.is_file():
        refuse_differences(read_json(file), identity, str(out), "--out_dir")
    digests.save()
    write_json(file, identity)


def _features(out: Path, settings: Settings, segments: Sequence[Segment]) -> list[Item]:
    """Cuts segments, lists them and extracts their features."""
    write_segments(segments, out / SEGMENTS)
    listing = _parsed(ListSettings, "make_list", videos=out / SEGMENTS, overwrite=True)
    _say(make_list.run(listing).partition("\n")[0])
    extraction = _parsed(
        ExtractSettings,
        "extract_tse",
        videos=out / SEGMENTS / INDEX,
        out_dir=out / FEATURES,
        encoder=settings.encoder,
        size=settings.size,
        window=settings.window,
        stride=settings.stride,
        workers=settings.workers,
    )
    _say(extract_tse.run(extraction))
    return read_items(out / FEATURES, segments)


def _classified(
    out: Path, settings: Settings, folds: Sequence[Sequence[str]], items: Sequence[Item]
) -> list[Method]:
    """Trains and tests on every fold; returns the answers of all of them, by method."""
    answers: dict[str, dict[str, str]] = {}
    of_dejavid = None
    for number, tested in enumerate(folds, 1):
        folder = out / FOLDERS / str(number)
        write_index(tested, items, folder)
        of_dejavid = _parsed(
            DejaVidSettings,
            "k400",
            flagfile=settings.dejavid_flags,
            data_dir=folder,
            out_dir=folder / RUN,
            resume=True,
        )
        dejavid.run(of_dejavid)
        _say(f"fold {number} of {len(folds)} is done: tested on {', '.join(tested)}")
        found = read_predictions(folder / RUN / "predictions.csv")
        dataset = dejavid.load_dataset(of_dejavid)
        guesses = tam.classify(dataset, statistics(dataset, of_dejavid), settings.gamma)
        names = np.array(dataset.class_names)
        for seed in of_dejavid.seeds:
            first = dataclasses.replace(of_dejavid, seeds=(seed,))
            centroids = run_baseline("dba_centroid", dataset, first)["predictions"]
            guesses[f"{_CENTROIDS}-seed{seed}"] = np.array(centroids)
        for rule, guess in guesses.items():
            found[rule] = dict(zip(dataset.test.ids, names[guess].tolist(), strict=True))
        for name, of_fold in found.items():
            answers.setdefault(name, {}).update(of_fold)
    assert of_dejavid is not None
    groups = {NAMES[key]: [NAMES[key]] for key in NAMES if key in of_dejavid.baselines}
    groups |= {rule: [rule] for rule in tam.RULES}
    seeded = {_CENTROIDS: _CENTROIDS, **{head_name(one): one for one in of_dejavid.methods}}
    for name, run_name in seeded.items():
        groups[name] = [f"{run_name}-seed{seed}" for seed in of_dejavid.seeds]
    return [
        Method(
            name,
            np.stack([right_or_wrong(items, answers[of]) for of in runs]),
            name in ORDER_BLIND,
        )
        for name, runs in groups.items()
    ]


def _parsed(settings_class: type[T], module: str, **flags: object) -> T:
    """Returns the settings of another script as its command line has them, which is shown."""
    arguments = [f"--{name}={to_text(_text(value))}" for name, value in flags.items()]
    _say(f"$ python -m experiments.{module} {' '.join(arguments)}")
    return parse(settings_class, [module, *arguments])


def _text(value: object) -> object:
    return os.fspath(value) if isinstance(value, Path) else value


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
