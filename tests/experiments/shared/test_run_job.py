import dataclasses
import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_run import TinyRun, fails, same, sends

from experiments.shared import command
from experiments.shared.errors import UserError
from experiments.shared.fingerprint import digest_array
from experiments.shared.job import JobOptions, prepare_folder, read_job, run_job
from experiments.shared.options import option, parse


@dataclasses.dataclass(frozen=True)
class Settings(JobOptions):
    methods: tuple[str, ...] = option(("full",), "Training", "What to train.", grows=True)
    epochs: int = option(2, "Training", "How long.", minimum=1, grows=True)
    tau: int = option(3, "Training", "How many frames.")


class Job:
    """A job on a few numbers, that counts what it does."""

    def __init__(self, out_dir, data=(1.0, 2.0), hooks=None):
        self.out_dir, self.data, self.hooks = out_dir, np.array(data), hooks
        self.done, self.runs = [], []

    def __call__(self, *flags):
        return self.run(parse(Settings, ["job", f"--out_dir={self.out_dir}", *flags]))

    def run(self, settings):
        return run_job(
            settings,
            load=self.load,
            identify=lambda data, settings, digests: {
                "class_names": ["a", "b"],
                "content": digest_array(data),
            },
            num_bytes=lambda data, settings: 1000,
            work=self.work,
        )

    def load(self, settings):
        self.done.append("load")
        if not np.isfinite(self.data).all():
            raise UserError("index.csv, line 2: not a number")
        return self.data

    def work(self, data, settings, workspace):
        self.done.append("work")
        for seed in settings.seeds:
            for method in settings.methods:
                run = TinyRun(method, seed, self.hooks)
                self.runs.append(workspace.train(run, epochs=settings.epochs))
                self.done += [f"{run.name} {epoch}" for epoch in run.trained]
        for name in ("mean", "dtw"):
            workspace.once("baseline", name, lambda name=name: self.baseline(name))
        return f"epochs {settings.epochs}"

    def baseline(self, name):
        self.done.append(name)
        return {"accuracy": self.data.sum(), "by_class": (1, 2)}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "job"


def baselines(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [(line["name"], line["accuracy"]) for line in lines if line["event"] == "baseline"]


def content(folder):
    """Every file of a folder with its bytes, but for the lock."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_a_job_is_done_and_read_again(folder):
    job = Job(folder)
    assert job() == "epochs 2"
    assert job.done == ["load", "work", "full-seed0 1", "full-seed0 2", "mean", "dtw"]
    saved = read_job(folder, Settings)
    assert saved["settings"]["out_dir"] == str(folder) and saved["data"]["class_names"] == [
        "a",
        "b",
    ]
    before = content(folder)
    again = Job(folder)
    assert again("--resume") == "epochs 2" and again.done == ["load", "work"]
    assert same(job.runs[0], again.runs[0]) and content(folder) == before


def test_a_taken_folder_is_refused_before_the_data_is_loaded(folder):
    Job(folder)()
    job = Job(folder)
    with pytest.raises(UserError, match=f"--out_dir={folder}: already holds a job.*--resume"):
        job()
    with pytest.raises(UserError, match="(?s)other settings:\n  --tau: was 3, now 4"):
        job("--resume", "--tau=4")
    (folder / "settings.json").unlink()
    with pytest.raises(UserError, match="holds checkpoints; go on with them by --resume"):
        job()
    assert job.done == []


def test_a_folder_that_cannot_be_written_is_refused_before_the_data_is_loaded(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        job = Job(folder)
        with pytest.raises(UserError, match=f"--out_dir={folder}: cannot be written"):
            job()
        assert job.done == []


def test_bad_data_claims_nothing_and_makes_nothing(folder):
    with pytest.raises(UserError, match="line 2"):
        Job(folder, data=(np.nan,))()
    assert not folder.exists()
    assert Job(folder)() == "epochs 2"


@pytest.mark.parametrize("error", [UserError, RuntimeError, KeyboardInterrupt])
def test_a_start_that_fails_in_its_first_epoch_claims_nothing(folder, error):
    with pytest.raises(error):
        Job(folder, hooks={1: fails(error)})()
    assert read_job(folder, Settings) is None
    assert Job(folder)("--tau=5") == "epochs 2"
    assert read_job(folder, Settings)["settings"]["tau"] == 5


def test_numbers_that_are_not_finite_can_be_mended_as_the_message_says(folder, tmp_path):
    def spoil(state, entry):
        entry["loss"] = float("nan")

    for epoch in (1, 2):
        with pytest.raises(UserError, match="another --out_dir"):
            Job(folder / str(epoch), hooks={epoch: spoil})()
    assert Job(tmp_path / "other")("--tau=5") == "epochs 2"
    assert Job(folder / "1")("--tau=5") == "epochs 2"  # where nothing was saved, here as well


def test_from_the_first_epoch_on_the_folder_is_taken(folder):
    with pytest.raises(RuntimeError):
        Job(folder, hooks={2: fails(RuntimeError)})()
    with pytest.raises(UserError, match="already holds a job"):
        Job(folder)()
    job = Job(folder)
    job("--resume")
    assert job.done[:3] == ["load", "work", "full-seed0 2"]


@pytest.mark.parametrize("without", ["", "settings.json", "metrics.jsonl"])
def test_changed_data_is_refused(folder, without):
    Job(folder)()
    if without:
        (folder / without).unlink()
    changed = Job(folder, data=(-1.0, -2.0))
    with pytest.raises(UserError, match="(?s)other settings or other data.*data content: was"):
        changed("--resume")
    assert changed.runs == [] and baselines_or_none(folder) != [("mean", -3.0)]


def baselines_or_none(folder):
    return baselines(folder) if (folder / "metrics.jsonl").exists() else []


def test_other_settings_are_refused_where_settings_json_was_deleted(folder):
    Job(folder)()
    (folder / "settings.json").unlink()
    with pytest.raises(UserError, match="(?s)full-seed0/2 was made with.*--tau: was 3, now 4"):
        Job(folder)("--resume", "--tau=4")
    with pytest.raises(UserError, match="--epochs=1: full-seed0 has 2 already"):
        Job(folder)("--resume", "--epochs=1")
    assert Job(folder)("--resume") == "epochs 2"


def test_a_job_grows(folder, tmp_path, capsys):
    Job(folder)()
    more = Job(folder)
    more("--resume", "--seeds=1", "--methods=centroids")
    names = ["full-seed0", "centroids-seed0", "full-seed1", "centroids-seed1"]
    assert [run.name for run in more.runs] == names
    assert "full-seed0 1" not in more.done and "centroids-seed1 2" in more.done
    assert "mean" not in more.done
    assert f"{folder} grows: --seeds was 0, now 0,1" in capsys.readouterr().out
    longer = Job(folder)
    assert longer("--resume", "--epochs=3") == "epochs 3"
    assert longer.done == ["load", "work", *(f"{name} 3" for name in names)]
    at_once = Job(tmp_path / "at_once")
    at_once("--seeds=0,1", "--methods=full,centroids", "--epochs=3")
    assert all(map(same, longer.runs, at_once.runs))
    kept = Job(folder)  # what was added is the job's from now on
    kept("--resume", "--epochs=3")
    assert kept.done == ["load", "work"] and len(kept.runs) == 4


def test_fewer_epochs_are_refused_before_the_data_is_loaded(folder):
    Job(folder)("--epochs=3")
    job = Job(folder)
    with pytest.raises(UserError, match="--epochs: was 3, now 2"):
        job("--resume", "--epochs=2")
    assert job.done == []


def test_a_baseline_is_computed_once_for_an_identity(folder, monkeypatch):
    class Killed(BaseException):
        pass

    job = Job(folder)
    with monkeypatch.context() as patch:
        real = Job.baseline

        def baseline(self, name):
            if name == "dtw":
                raise Killed
            return real(self, name)

        patch.setattr(Job, "baseline", baseline)
        with pytest.raises(Killed):
            job()
    assert baselines(folder) == [("mean", 3.0)]
    for _ in range(2):
        Job(folder)("--resume")
    assert baselines(folder) == [("mean", 3.0), ("dtw", 3.0)]
    for name in ("settings.json", "checkpoints"):  # what is left is the log of another job
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    Job(folder, data=(5.0,))()
    Job(folder, data=(5.0,))("--resume")
    assert baselines(folder)[2:] == [("mean", 5.0), ("dtw", 5.0)]


def test_a_baseline_is_the_same_when_it_is_read(folder):
    found = []

    class Twice(Job):
        def work(self, data, settings, workspace):
            found.append(workspace.once("baseline", "mean", lambda: self.baseline("mean")))
            return ""

    Twice(folder)()
    Twice(folder)("--resume")
    assert found[0] == found[1] and found[0]["by_class"] == [1, 2] and found[0]["seconds"] >= 0


HOLDER = """
import sys, time
from pathlib import Path
from experiments.shared.job import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_another_process_works_in(folder):
    Job(folder)()
    before = content(folder)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "held\n"
        job = Job(folder)
        with pytest.raises(UserError, match=f"process {other.pid} is at work there; wait"):
            job("--resume")
        assert job.done == [] and content(folder) == before
        other.kill()
        other.wait()
        assert job("--resume") == "epochs 2"  # the system lets go of it


def test_a_job_that_begins_meanwhile_is_noticed(folder):
    class Slow(Job):
        def load(self, settings):
            Job(folder)("--tau=5")
            return super().load(settings)

    with pytest.raises(UserError, match="another job has begun there"):
        Slow(folder)()
    assert read_job(folder, Settings)["settings"]["tau"] == 5


def test_a_disk_without_locks_is_no_hindrance(folder, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert Job(folder)() == "epochs 2" and Job(folder)("--resume") == "epochs 2"


def test_a_checkpoint_that_cannot_be_read_now_changes_nothing(folder, monkeypatch):
    Job(folder)()
    before = content(folder)

    def restore(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    job = Job(folder)
    with monkeypatch.context() as patch:
        patch.setattr("orbax.checkpoint.CheckpointManager.restore", restore)
        with pytest.raises(UserError, match="cannot be read now .*may be intact"):
            job("--resume", "--epochs=3")
    assert content(folder) == before
    assert Job(folder)("--resume", "--epochs=3") == "epochs 3"


@pytest.mark.parametrize(
    "text", ["", "[]", '{"settings": {}}', '{"settings": {"x": 1}, "data": {}}']
)
def test_damaged_settings_are_named(folder, text):
    Job(folder)()
    (folder / "settings.json").write_text(text)
    with pytest.raises(UserError, match="settings.json: not "):
        Job(folder)("--resume")


def test_a_full_disk_is_noticed_before_the_work(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=2_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    prepare_folder(tmp_path, 1_000_000)
    with pytest.raises(UserError, match="takes 5 MB, but the disk has 2 MB free"):
        prepare_folder(tmp_path, 5_000_000)
    prepare_folder(tmp_path / "a" / "b", 0)
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_out_dir_is_a_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Job("~/x")() == "epochs 2"
    assert (tmp_path / "x" / "settings.json").is_file()
    with pytest.raises(UserError, match="--out_dir=: allowed: a text that is not empty"):
        Job("")()
    assert Settings().predict == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_job_with_its_own_code(folder, number, code, capfd):
    def main(job, *flags):
        with pytest.raises(SystemExit) as exit_:
            command.main(None, Settings, job.run, ["job", f"--out_dir={folder}", *flags])
        return exit_.value.code

    former = signal.getsignal(signal.SIGTERM)
    try:
        assert main(Job(folder, hooks={2: sends(number)}), "--epochs=3") == code
        out, told = capfd.readouterr()
        assert out == "" and told.count("\n") == 1 and "same command and --resume" in told
        job = Job(folder)
        assert main(job, "--epochs=3", "--resume") == 0
        assert job.done[2:4] == ["full-seed0 2", "full-seed0 3"]
    finally:
        signal.signal(signal.SIGTERM, former)
