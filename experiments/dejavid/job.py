"""The job: data, a run for each method and seed, baselines, the report."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from experiments.dejavid.baselines import NAMES, check_logit_blocks, run_baseline
from experiments.dejavid.prediction import predict
from experiments.dejavid.report import write_report
from experiments.dejavid.results import BaselineResult, RunResult
from experiments.dejavid.settings import Settings
from experiments.dejavid.throughput import measure_throughput
from experiments.dejavid.training import DejaVidRun, num_bytes
from experiments.extract_tse.manifest import keep_manifest
from experiments.shared import command, devices
from experiments.shared.fingerprint import Digests, dataset_identity
from experiments.shared.job import SETTINGS_FILE, Workspace, run_job
from experiments.shared.remembered import Remembered
from experiments.tse import dejavid_layout, index_folder, spoken_digits, ts_folder
from experiments.tse.dataset import TseDataset, check_finite

_KNOWN = "files.json"  # headers of the data's files, and which were found sound
_FLAGS = Path(__file__).resolve().parents[1] / "flags"


def main(description: str | None, paper: str, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line of a DejaVid experiment, see `experiments.shared.command.main`.

    Args:
        description: what `--help` prints first.
        paper: the data set whose settings in the paper hold where no flagfile is named: "k400",
            "ssv2" or "hmdb51".
        argv: see `experiments.shared.command.main`.
    """
    command.main(description, Settings, run, argv, defaults=_FLAGS / f"{paper}.txt")


def run(settings: Settings) -> str:
    """Does what the settings ask for.

    Returns:
        What to print at the end: the report, the prediction or the throughput.

    Raises:
        UserError: settings, data or checkpoints that cannot be used; the message names which.
    """
    if settings.predict:
        return predict(settings)
    if settings.synthetic:
        return measure_throughput(settings)
    return run_job(settings, load=_load, identify=_identify, num_bytes=num_bytes, work=_work)


def load_dataset(settings: Settings, known: Remembered | None = None) -> TseDataset:
    """Opens the data set that the settings name.

    Args:
        settings: of the job.
        known: what need not be read again, see `TseDataset.remember`.

    Raises:
        UserError: it is not there or not usable, see the layouts.
    """
    if settings.layout == "index":
        return index_folder.load(
            settings.data_dir, outside_paths=settings.outside_paths, known=known
        )
    if settings.layout == "dejavid":
        return dejavid_layout.load(
            settings.data_dir,
            feats_dir=settings.feats_dir or None,
            outside_paths=settings.outside_paths,
        )
    if settings.layout == "ts":
        return ts_folder.load(settings.data_dir)
    return spoken_digits.load(split_seed=settings.split_seed)


def _load(settings: Settings) -> TseDataset:
    devices.mesh_of(settings.class_shards)  # an error is better early
    dataset = load_dataset(settings, Remembered(Path(settings.out_dir) / _KNOWN))
    check_logit_blocks(dataset, settings)
    if settings.check_data:
        for name, split in dataset.splits.items():
            check_finite(split, desc=f"checking the {name} split")
    return dataset


def _identify(dataset: TseDataset, settings: Settings, digests: Digests) -> Mapping[str, Any]:
    del settings
    return dataset_identity(dataset.contents(digests), dataset.class_names)


def _work(dataset: TseDataset, settings: Settings, workspace: Workspace) -> str:
    known = Remembered(workspace.folder / _KNOWN)
    dataset.remember(known)
    known.save()
    if settings.layout == "index":
        is_new = not (workspace.folder / SETTINGS_FILE).is_file()
        keep_manifest(settings.data_dir, workspace.folder, is_new=is_new)
    runs = []
    for seed in settings.seeds:
        for method in settings.methods:
            trained = workspace.train(
                DejaVidRun(dataset, settings, method, seed), epochs=settings.epochs
            )
            params = trained.state.state.params
            count = sum(params[name].size for name in settings.learned(method))
            runs.append(RunResult(method, seed, count, trained))
    baselines = []
    for key, name in NAMES.items():
        if key in settings.baselines:
            compute = functools.partial(run_baseline, key, dataset, settings)
            baselines.append(BaselineResult(name, **workspace.once("baseline", name, compute)))
    return write_report(workspace, dataset, settings, baselines, runs)
