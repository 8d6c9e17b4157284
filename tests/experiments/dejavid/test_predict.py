"""`--predict`: a file, a folder, a CSV file, and what torch saved."""

import csv
import shutil
from functools import partial
from pathlib import Path

import command_line
import numpy as np
import pytest
import tiny_tse
from tiny_tse import flags

from experiments.dejavid import job, prediction

TORCH_FILES = Path(__file__).parents[1] / "tse" / "fixtures"
NUM_FEATURES = 3  # of the tensors there


@pytest.fixture(scope="module")
def out_dir(tmp_path_factory):
    """A job on data as wide as the tensors; two methods with seed 3."""
    folder = tmp_path_factory.mktemp("predict")
    data = tiny_tse.narrow(NUM_FEATURES)
    tiny_tse.write(folder / "data", data, names=("rise", "fall", "hump"))
    arguments = flags(
        folder / "data", folder / "out", "--seeds=3", "--standardize",
        "--methods=full,frozen_weights",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exit_:
        patch.setattr("experiments.dejavid.pictures.drawings", lambda *_: [])
        job.main("", "k400", ["job", *arguments])
    assert exit_.value.code == 0
    return folder / "out"


def call(capsys, out_dir, *arguments):
    main = partial(job.main, "", "k400")
    return command_line.call(capsys, main, f"--out_dir={out_dir}", *arguments)


def new(label, seed=7):
    return tiny_tse.sequence(np.random.default_rng([seed, label]), label)[:, :NUM_FEATURES]


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_file(out_dir, tmp_path, capsys):
    for label, name in enumerate(tiny_tse.CLASS_NAMES):
        np.save(tmp_path / "new.npy", new(label))
        code, out, err = call(capsys, out_dir, f"--predict={tmp_path / 'new.npy'}")
        assert (code, err) == (0, "")
        assert "by full seed 3, epoch 3" in out.splitlines()[0]  # full, though not the last one
        rows = [line.split() for line in out.splitlines()[4:]]
        assert rows[0][0] == name
        probabilities = [float(row[-1]) for row in rows]
        assert sum(probabilities) == pytest.approx(1, abs=1e-3)
        assert probabilities == sorted(probabilities, reverse=True)
    assert not list(out_dir.glob("predicted*"))
    _, out, _ = call(
        capsys, out_dir, f"--predict={tmp_path / 'new.npy'}", "--predict_variant=frozen_weights"
    )
    assert "by frozen_weights seed 3" in out


def test_a_folder_and_a_table_score_every_sequence_by_its_id(out_dir, tmp_path, capsys):
    (tmp_path / "in" / "sub").mkdir(parents=True)
    names = ("a.npy", "sub/a.npy", "sub/b.npy")  # two of one name
    for label, name in enumerate(names):
        np.save(tmp_path / "in" / name, new(label))
    (tmp_path / "in" / "notes.txt").write_text("not a sequence")
    code, out, err = call(capsys, out_dir, f"--predict={tmp_path / 'in'}")
    assert (code, err) == (0, "") and str(out_dir / "predicted.csv") in out
    rows = rows_of(out_dir / "predicted.csv")
    found = {row["id"]: row["class"] for row in rows}
    assert found == dict(zip(names, tiny_tse.CLASS_NAMES, strict=True))
    for row in rows:
        assert sum(float(row[name]) for name in tiny_tse.CLASS_NAMES) == pytest.approx(1, abs=1e-5)

    (tmp_path / "in" / "some.csv").write_text("path,id\nsub/b.npy,last\na.npy,first\n")
    code, out, _ = call(capsys, out_dir, f"--predict={tmp_path / 'in' / 'some.csv'}")
    assert code == 0 and str(out_dir / "predicted-2.csv") in out  # the first one is kept
    found = [(row["id"], row["class"]) for row in rows_of(out_dir / "predicted-2.csv")]
    assert found == [("last", "hump"), ("first", "rise")]


def test_tensors_of_torch(out_dir, tmp_path, capsys):
    """A file of one tensor, and a dict of them, beside each other and as NumPy has them."""
    one = TORCH_FILES / "contiguous.pt"
    code, out, err = call(capsys, out_dir, f"--predict={one}")
    assert (code, err) == (0, "") and "contiguous.pt: 5 steps, by full" in out
    for name in (one, TORCH_FILES / "ordered_dict.pt", TORCH_FILES / "bfloat16.pt"):
        shutil.copy(name, tmp_path)
    ((_, same),) = prediction._sequences(one).items()
    np.save(tmp_path / "same.npy", same)
    code, out, _ = call(capsys, out_dir, f"--predict={tmp_path}")
    assert code == 0
    path = next(line for line in out.splitlines() if "all are in" in line).split("all are in ")[1]
    rows = {row["id"]: row for row in rows_of(path)}
    assert list(rows) == [
        "bfloat16.pt", "contiguous.pt", "ordered_dict.pt[a]", "ordered_dict.pt[b]", "same.npy"
    ]  # fmt: skip
    answers = [{**rows[name], "id": ""} for name in list(rows)[:3] + ["same.npy"]]
    assert all(answer == answers[0] for answer in answers)


def test_what_cannot_be_classified_is_named(out_dir, tmp_path, capsys, monkeypatch):
    for content, message in (
        (np.zeros(3, np.float32), "must be [frames, features]"),
        (np.zeros((5, 4), np.float32), "has 4 features a step, but the run was trained on 3"),
        (np.full((5, 3), np.nan, np.float32), "NaN"),
        (np.zeros((0, 3), np.float32), "at least one frame"),
    ):
        np.save(tmp_path / "bad.npy", content)
        code, _, err = call(capsys, out_dir, f"--predict={tmp_path / 'bad.npy'}")
        assert code == 2 and "bad.npy" in err and message in err
    code, _, err = call(capsys, out_dir, f"--predict={TORCH_FILES / 'integer.pt'}")
    assert code == 2 and "integer.pt: must be floating point" in err
    monkeypatch.setattr(prediction, "tensor_headers", lambda _: {"epoch": 3})
    code, _, err = call(capsys, out_dir, f"--predict={TORCH_FILES / 'dict.pt'}")
    assert code == 2 and "dict.pt is a dict without a tensor" in err
    code, _, err = call(capsys, out_dir, f"--predict={tmp_path / 'absent.npy'}")
    assert code == 2 and "absent.npy" in err
    np.save(tmp_path / "new.npy", new(0))
    code, _, err = call(capsys, out_dir, f"--predict={tmp_path / 'new.npy'}", "--predict_seed=0")
    assert code == 2 and "full seed 3" in err
    code, _, err = call(capsys, tmp_path / "empty", f"--predict={tmp_path / 'new.npy'}")
    assert code == 2 and "nothing was trained there" in err
