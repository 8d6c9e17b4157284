import json
import math
import signal

import numpy as np
import pytest
from tiny_run import TinyRun, fails, same, sends

from experiments.shared import run as module
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.errors import UserError
from experiments.shared.metrics_log import MetricsLog
from experiments.shared.run import train

IDENTITY = {"--tau": 3, "data content": "abc"}


@pytest.fixture
def job(tmp_path):
    """Trains in one folder, and keeps what was claimed."""

    class Job:
        folder = tmp_path / "checkpoints"
        claims = 0

        def train(self, run, epochs=3, keep=2, identity=IDENTITY, folder=None, later=None):
            def claim():
                self.claims += 1

            return train(
                run,
                (folder or self.folder) / run.name,
                MetricsLog(tmp_path / "metrics.jsonl"),
                epochs=epochs,
                keep=keep,
                identity=identity,
                later=later or {},
                claim=claim,
            )

        def lines(self, event):
            lines = MetricsLog(tmp_path / "metrics.jsonl").lines()
            return [line for line in lines if line["event"] == event]

    return Job()


def test_a_run_is_trained_saved_and_logged(job, capsys):
    trained = job.train(TinyRun(seed=1))
    assert trained.state.count == 3 and trained.state.count.dtype == np.int32
    assert [entry["epoch"] for entry in trained.history] == [1, 2, 3]
    assert trained.last is trained.history[-1] and trained.last["top5"] is None
    assert 0 < trained.seconds == math.fsum(entry["seconds"] for entry in trained.history)
    [session] = trained.sessions
    assert session["epochs"] == [1, 3] and session["devices"] >= 1 and session["jax"]
    lines = job.lines("epoch")
    assert [(line["epoch"], line["method"], line["seed"]) for line in lines] == [
        (1, "full", 1),
        (2, "full", 1),
        (3, "full", 1),
    ]
    assert [line["loss"] for line in lines] == [entry["loss"] for entry in trained.history]
    assert len(job.lines("run_start")) == len(job.lines("run_end")) == 1
    assert capsys.readouterr() == ("", "")  # it was quick


def test_a_run_that_is_finished_is_read_and_nothing_else(job):
    first = job.train(TinyRun())
    again, claims = TinyRun(), job.claims
    read = job.train(again)
    assert again.trained == [] and same(first, read) and read.sessions == first.sessions
    assert read.seconds == first.seconds
    assert job.claims == claims and len(job.lines("run_end")) == 1


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_run_killed_in_any_epoch_ends_as_one_that_was_not(job, tmp_path, epoch, keep):
    whole = job.train(TinyRun(), epochs=4, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        job.train(TinyRun(hooks={epoch: fails(KeyboardInterrupt)}), epochs=4, keep=keep)
    rest = TinyRun()
    resumed = job.train(rest, epochs=4, keep=keep)
    assert rest.trained == [*range(epoch, 5)] and same(whole, resumed)
    assert [s["epochs"] for s in resumed.sessions] == ([[1, epoch - 1]] if epoch > 1 else []) + [
        [epoch, 4]
    ]


@pytest.mark.parametrize("moment", ["before the save", "after the save", "in the log"])
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_run_killed_around_a_save_ends_as_one_that_was_not(
    job, tmp_path, monkeypatch, moment, epoch
):
    class Killed(BaseException):
        pass

    whole = job.train(TinyRun(), folder=tmp_path / "whole")
    real_save, real_write = Checkpoints.save, MetricsLog.write

    def save(self, step, *rest):
        if step == epoch and moment == "before the save":
            raise Killed
        real_save(self, step, *rest)
        if step == epoch and moment == "after the save":
            raise Killed

    def write(self, event, **values):
        if moment == "in the log" and values.get("epoch") == epoch:
            with open(self.path, "a") as file:
                file.write('{"event": "epo')
            raise Killed
        real_write(self, event, **values)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        patch.setattr(MetricsLog, "write", write)
        with pytest.raises(Killed):
            job.train(TinyRun())
    assert same(whole, job.train(TinyRun()))


def test_more_epochs_are_the_same_as_from_the_beginning(job, tmp_path):
    whole = job.train(TinyRun(), epochs=5, folder=tmp_path / "whole")
    job.train(TinyRun(), epochs=2)
    more = TinyRun()
    grown = job.train(more, epochs=5)
    assert more.trained == [3, 4, 5] and same(whole, grown)
    assert [session["epochs"] for session in grown.sessions] == [[1, 2], [3, 5]]


def test_fewer_epochs_are_refused(job):
    job.train(TinyRun(), epochs=3)
    with pytest.raises(UserError, match="--epochs=2: full-seed0 has 3 already"):
        job.train(TinyRun(), epochs=2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["loss", "list", "state"])
@pytest.mark.parametrize("epoch", [1, 2])
def test_what_is_not_finite_is_not_saved(job, bad, where, epoch):
    def spoil(state, entry):
        if where == "loss":
            entry["loss"] = bad
        elif where == "list":
            entry["by_class"][1] = bad
        else:
            state.weights["w"][1, 2] = bad

    with pytest.raises(UserError) as error:
        job.train(TinyRun(hooks={epoch: spoil}))
    name = {"loss": "loss", "list": "by_class", "state": "weights.w"}[where]
    assert str(error.value).startswith(
        f"full-seed0: after epoch {epoch} these are not finite: {name}."
    )
    assert "smaller --learning_rate" in str(error.value) and "another --out_dir" in str(error.value)
    with Checkpoints(job.folder / "full-seed0") as checkpoints:
        assert checkpoints.steps() == [*range(1, epoch)]
    assert len(job.lines("epoch")) == job.claims == epoch - 1


def test_what_no_longer_fits_json_is_a_bug_and_not_saved(job):
    def spoil(state, entry):
        entry["loss"] = np.float32(1)

    with pytest.raises(TypeError):
        job.train(TinyRun(hooks={1: spoil}))
    assert job.train(TinyRun()).state.count == 3


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"--tau": 4}, "--tau: was 3, now 4"),
        ({"data content": "xyz"}, "data content: was abc, now xyz"),
        ({"--new": 1}, r"--new: was \(not there\), now 1"),
    ],
)
@pytest.mark.parametrize("epochs", [3, 4])
def test_other_settings_and_other_data_are_refused(job, changed, told, epochs):
    first = job.train(TinyRun())
    with pytest.raises(UserError, match=f"(?s)full-seed0/3 was made with other .*{told}"):
        job.train(TinyRun(), epochs=epochs, identity=IDENTITY | changed)
    assert same(first, job.train(TinyRun()))


def test_a_checkpoint_may_lack_settings_that_came_later(job):
    """They were what their default is; another value is refused, and so is no identity at all."""
    first, later = job.train(TinyRun()), {"--buckets": 0}
    assert same(first, job.train(TinyRun(), identity=IDENTITY | later, later=later))
    with pytest.raises(UserError, match="--buckets: was 0, now 16"):
        job.train(TinyRun(), identity=IDENTITY | {"--buckets": 16}, later=later)
    with Checkpoints(job.folder / "full-seed0") as checkpoints:
        checkpoints.save(9, {"w": np.zeros(2)}, {"identity": {}, "history": []})
    with pytest.raises(UserError, match=r"--buckets: was .not there., now 0"):
        job.train(TinyRun(), identity=IDENTITY | later, later=later)


def test_another_model_and_another_version_are_refused(job):
    job.train(TinyRun())
    with Checkpoints(job.folder / "full-seed0") as checkpoints:
        checkpoints.save(9, {"w": np.zeros(2)}, {"identity": IDENTITY, "history": []})
    with pytest.raises(UserError, match=r"(?s)9 is of another model.*weights.w: missing"):
        job.train(TinyRun())
    with Checkpoints(job.folder / "full-seed0") as checkpoints:
        checkpoints.save(10, {"w": np.zeros(2)}, {"fingerprint": "x"})
    with pytest.raises(UserError, match=r"(?s)10 was made with other.*--tau: was .not there."):
        job.train(TinyRun())


def test_training_goes_on_from_an_older_checkpoint(job, tmp_path, capsys):
    whole = job.train(TinyRun(), epochs=4)
    record = job.folder / "full-seed0" / "4" / "record" / "metadata"
    record.write_text(record.read_text().replace("loss", "lost", 1))
    rest = TinyRun()
    assert same(whole, job.train(rest, epochs=4)) and rest.trained == [4]
    assert "4 is damaged" in capsys.readouterr().err
    names = sorted(path.name for path in job.folder.iterdir())
    assert names == ["full-seed0", "full-seed0-damaged-4"]
    assert '"lost"' in (job.folder / names[1] / "record" / "metadata").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_an_epoch_keeps_those_before(job, number):
    former = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            job.train(TinyRun(hooks={3: sends(number)}))
    finally:
        signal.signal(number, former)
    rest = TinyRun()
    job.train(rest)
    assert rest.trained == [3]


def test_a_signal_in_a_save_loses_neither_checkpoint_nor_line(job, monkeypatch):
    real = Checkpoints.save

    def save(self, step, *rest):
        signal.raise_signal(signal.SIGINT)
        real(self, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        patch.setattr(module, "_shown", lambda entry: pytest.fail("the signal came too late"))
        with pytest.raises(KeyboardInterrupt):
            job.train(TinyRun())
    assert [line["epoch"] for line in job.lines("epoch")] == [1]
    rest = TinyRun()
    job.train(rest)
    assert rest.trained == [2, 3]


def test_a_slow_run_leaves_a_line(job, monkeypatch, capsys):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", -1.0)
    job.train(TinyRun())
    out, told = capsys.readouterr()
    assert out.startswith("full-seed0: epoch 3/3, loss ") and out.count("\n") == 1 and told == ""


def test_the_display_counts_every_step_once(job, monkeypatch):
    counted = []

    class Bar:
        def update(self, steps):
            counted.append(steps)

        def set_postfix_str(self, *_, **__):
            pass

        def close(self):
            counted.append("closed")

    def progress(total, **_):
        assert total == 6
        return Bar()

    monkeypatch.setattr(module, "progress", progress)
    job.train(TinyRun())
    assert sum(counted[:-1]) == 6 and counted[-1] == "closed"
    with pytest.raises(RuntimeError):
        job.train(TinyRun(seed=1, hooks={1: fails(RuntimeError)}))
    assert counted[-1] == "closed"


def test_the_record_says_all_that_a_report_needs(job):
    trained = job.train(TinyRun())
    with Checkpoints(job.folder / "full-seed0") as checkpoints:
        step, _, record = checkpoints.newest()
    assert step == 3 and record["identity"] == IDENTITY
    assert record["history"] == trained.history == json.loads(json.dumps(trained.history))
    assert record["sessions"] == trained.sessions


@pytest.mark.parametrize("epochs", [2, 3])
def test_a_line_that_a_kill_left_out_is_written_at_the_resume(job, tmp_path, epochs):
    job.train(TinyRun(), epochs=2)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    [at] = [n for n, line in enumerate(lines) if json.loads(line).get("epoch") == 2]
    path.write_text("".join(lines[:at]))
    job.train(TinyRun(), epochs=epochs)
    again = [line for line in job.lines("epoch") if line["epoch"] == 2]
    assert len(again) == 1 and again[0]["seconds"] == json.loads(lines[at])["seconds"]
    job.train(TinyRun(), epochs=epochs)
    assert [line["epoch"] for line in job.lines("epoch")] == [*range(1, epochs + 1)]
