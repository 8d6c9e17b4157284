"""The job: data, baselines, a run for each variant and seed, the report. Or what is asked instead.

Errors that the caller can mend (a wrong flag, a damaged file, a full disk) are ValueError or
OSError wherever they are found; `main` turns them into one message and exit code 2.
"""

import hashlib
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from experiments.dejavid.baselines import run_baselines
from experiments.dejavid.prediction import predict_file, read_job, run_folder
from experiments.dejavid.report import write_report
from experiments.dejavid.results import BaselineResult
from experiments.dejavid.settings import RESULT_SETTINGS, Settings
from experiments.dejavid.throughput import measure_throughput
from experiments.dejavid.training import num_bytes, train_run
from experiments.shared import options
from experiments.shared.checkpoints import prepare_folder, refuse_differences, write_json
from experiments.shared.metrics_log import MetricsLog
from experiments.tse import dejavid_layout, index_folder, spoken_digits
from experiments.tse.dataset import TseDataset, check_finite

_HELP = ("--help", "-help", "-h", "--helpshort", "--helpfull")


def main(description: str, argv: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line of an experiment and exits: 0, 2 after an error, 130 after Ctrl-C.

    Args:
        description: what `--help` prints above the flags.
        argv: the command line, program first; that of the process without it.
    """
    argv = list(sys.argv if argv is None else argv)
    if any(argument in _HELP for argument in argv[1:]):
        print(description.strip(), options.help_text(Settings), sep="\n\n")
        sys.exit(0)
    settings = None
    try:
        settings = options.parse(Settings, argv)
        print(run(settings))
    except (ValueError, OSError) as error:
        if settings and settings.traceback:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; what was saved is kept, go on with --resume", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def run(settings: Settings) -> str:
    """Does what the settings ask for.

    Returns:
        What to print at the end: the report, the prediction or the throughput.

    Raises:
        ValueError: settings, data or checkpoints that cannot be used; the message names which.
        OSError: a file is missing, or cannot be written.
    """
    if settings.predict:
        return predict_file(settings)
    if settings.synthetic:
        return measure_throughput(settings)

    dataset = load_dataset(settings)
    out_dir = Path(settings.out_dir)
    prepare_folder(out_dir, num_bytes(dataset, settings))
    job = {"settings": settings.to_json(), "data": _describe(dataset)}
    check_same_job(out_dir, job, resume=settings.resume)
    if settings.check_data:
        for name, split in (("training", dataset.train), ("test", dataset.test)):
            check_finite(split, desc=f"checking the {name} split")
    write_json(out_dir / "settings.json", job)
    with MetricsLog(out_dir / "metrics.jsonl") as log:
        baselines = _baselines(dataset, settings, log)
        runs = [
            train_run(dataset, settings, variant, seed, run_folder(out_dir, variant, seed), log)
            for seed in settings.seeds
            for variant in settings.variants
        ]
    return write_report(out_dir, dataset, settings, baselines, runs)


def load_dataset(settings: Settings) -> TseDataset:
    """Opens the data set that the settings name.

    Raises:
        ValueError: it is not usable, see the layouts.
        FileNotFoundError: it is not there.
    """
    if settings.layout == "index":
        return index_folder.load(settings.data_dir)
    if settings.layout == "dejavid":
        return dejavid_layout.load(settings.data_dir, feats_dir=settings.feats_dir or None)
    return spoken_digits.load(split_seed=settings.split_seed)


def check_same_job(out_dir: Path, job: dict[str, Any], *, resume: bool) -> None:
    """Checks that an output folder holds no job yet, or the same one, to be resumed.

    Raises:
        ValueError: there is one and `resume` is not set, or it has other settings or other data.
    """
    saved = read_job(out_dir)
    if saved is None:
        return
    if not resume:
        raise ValueError(
            f"--out_dir={out_dir}: already holds a job, which is not overwritten; go on with it "
            "by --resume, or name another folder"
        )
    refuse_differences(_decisive(saved), _decisive(job), str(out_dir))


def _decisive(job: dict[str, Any]) -> dict[str, Any]:
    """What must be equal for a job to be the same one."""
    kept = {f"--{name}": job["settings"].get(name) for name in RESULT_SETTINGS}
    return kept | {f"data {name}": value for name, value in job["data"].items()}


def _describe(dataset: TseDataset) -> dict[str, Any]:
    """What identifies the data; not where it lies, nor its numbers."""
    digest = hashlib.sha256()
    for split in (dataset.train, dataset.test):
        digest.update("\0".join(split.ids).encode())
        digest.update(split.labels.tobytes() + split.lengths.tobytes())
    return {
        "num_features": dataset.num_features,
        "num_train": len(dataset.train),
        "num_test": len(dataset.test),
        "class_names": list(dataset.class_names),
        "ids_labels_lengths": digest.hexdigest()[:16],
    }


def _baselines(dataset: TseDataset, settings: Settings, log: MetricsLog) -> list[BaselineResult]:
    """The baselines: those in the log, if they were finished before, else computed now."""
    lines = log.lines()
    if any(line["event"] == "baselines_end" for line in lines):
        names = ("name", "num_parameters", "seconds", "top1", "top5")
        return [
            BaselineResult(**{name: line[name] for name in names})
            for line in lines
            if line["event"] == "baseline"
        ]
    results = run_baselines(dataset, settings)
    for result in results:
        log.write("baseline", **asdict(result))
    log.write("baselines_end")
    return results
