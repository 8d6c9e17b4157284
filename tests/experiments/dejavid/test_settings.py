import dataclasses
import importlib
import re
from pathlib import Path

import pytest

from experiments.dejavid import job
from experiments.dejavid.settings import Settings
from experiments.shared import options
from experiments.shared.errors import UserError

FLAGS = Path(__file__).resolve().parents[3] / "experiments" / "flags"


def parse(*arguments: str) -> Settings:
    return options.parse(Settings, ["job", "--layout=spoken_digits", *arguments])


def test_every_kind_of_flag_is_read():
    settings = parse(
        "--epochs=5", "--learning_rate=8e-3", "--diagonal", "--nofixed_epoch_paths",
        "--seeds=2,0", "--methods=full", "--baselines=", "--weight_init=normal",
    )  # fmt: skip
    assert settings == Settings(
        layout="spoken_digits",
        epochs=5,
        learning_rate=0.008,
        diagonal=True,
        fixed_epoch_paths=False,
        seeds=(2, 0),
        methods=("full",),
        baselines=(),
        weight_init="normal",
    )


@pytest.mark.parametrize(
    ("argument", "allowed"),
    [
        ("--epochs=0", "a whole number >= 1"),
        ("--learning_rate=0", "a number > 0"),
        ("--weight_decay=-1", "a number >= 0"),
        ("--pooling=max", "none, mean"),
        ("--layout=zip", "index, dejavid, ts, spoken_digits"),
        ("--weight_init=zeros", "ones, normal"),
        ("--methods=all", "frozen_weights, weights_only, full, custom"),
        ("--predict_method=all", "(empty), frozen_weights, weights_only, full, custom"),
        ("--synthetic=imagenet", "(empty), k400, ssv2, hmdb51"),
    ],
)
def test_wrong_value_names_flag_value_and_allowed(argument, allowed):
    with pytest.raises(UserError, match=re.escape(f"{argument}: allowed: ")) as error:
        parse(argument)
    assert allowed in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layout=index"], "--data_dir: needed with --layout=index"),
        (["--nolearn_weights"], "--learn_weights=false: only the method custom reads it"),
        (
            ["--methods=custom", "--nolearn_weights", "--nolearn_centroids"],
            "would learn nothing",
        ),
        (["--methods="], "--methods and --seeds must each name at least one"),
        (["--baselines=encoder_logits"], "needs --encoder_logits"),
        (["--predict=x.npy", "--synthetic=k400"], "two different jobs"),
    ],
)
def test_flags_that_do_not_go_together(arguments, message):
    with pytest.raises(UserError, match=re.escape(message)):
        parse(*arguments)


def test_methods_and_what_they_learn():
    settings = parse("--methods=custom,full", "--nolearn_centroids")
    assert settings.learned("frozen_weights") == ("centroids",)
    assert settings.learned("weights_only") == ("log_weights",)
    assert settings.learned("full") == ("centroids", "log_weights")
    assert settings.learned("custom") == ("log_weights",)


def test_pooling_leaves_one_centroid_step():
    assert parse("--num_steps=6").centroid_steps == 6
    assert parse("--num_steps=6", "--pooling=mean").centroid_steps == 1


def test_former_words_still_work(capsys):
    settings = parse("--variants=full", "--predict_variant", "full")
    assert (settings.methods, settings.predict_method) == (("full",), "full")
    note = capsys.readouterr().err
    assert "--variants=full is now written --methods=full" in note
    saved = {"layout": "spoken_digits", "variants": ["full"]}
    assert Settings.from_json(saved) == Settings(layout="spoken_digits", methods=("full",))


def test_a_job_reads_back_the_settings_it_wrote_down():
    settings = parse("--seeds=3,4", "--learning_rate=0.1")
    saved = settings.to_json()
    assert Settings.from_json(saved) == settings
    # And so does the command line that a report shows: 1/3 was printed 0.333333 and refused.
    shown = [f"--{name}={options.to_text(value)}" for name, value in saved.items()]
    assert options.parse(Settings, ["job", *shown]) == settings
    assert settings.centroid_lr_ratio == 1 / 3


def test_settings_that_cannot_change_the_result():
    others = {field.name for field in dataclasses.fields(Settings)} - set(Settings.result_names())
    assert others == {
        "data_dir", "feats_dir", "out_dir", "resume", "keep_checkpoints", "check_data",
        "class_shards", "distributed", "coordinator_address", "num_processes", "process_id",
        "num_threads", "traceback", "predict", "predict_method", "predict_seed", "synthetic",
        "synthetic_steps", "outside_paths", "encoder", "encoder_weights", "allow_pickle",
        "predict_pictures",
    } | {"seeds", "methods", "baselines", "epochs"}  # fmt: skip  # by which a job grows


@pytest.mark.parametrize(
    ("name", "rate", "blocks"), [("k400", 1e-3, 1), ("hmdb51", 8e-3, 1), ("ssv2", 1e-3, 4)]
)
def test_each_script_starts_from_its_paper(monkeypatch, name, rate, blocks):
    """Without a flagfile too; each in a folder of its own."""
    found = []
    monkeypatch.setattr(job, "run", lambda settings: found.append(settings) or "done")
    for given in ([], [f"--flagfile={FLAGS / name}.txt"]):
        with pytest.raises(SystemExit) as exit_:
            job.main("About.", name, [name, *given, "--data_dir=d", "--seeds=7"])
        assert exit_.value.code == 0
    settings = found[0]
    assert found == [settings, settings]
    assert (settings.out_dir, settings.seeds) == (f"runs/{name}", (7,))
    assert (settings.num_steps, settings.epochs, settings.batch_size) == (8, 36, 48)
    assert (settings.learning_rate, settings.encoder_logits) == (rate, blocks)
    assert settings.centroid_lr_ratio == 1 / 3
    assert settings.weight_decay == 0
    assert settings.weight_init == "normal"
    assert settings.fixed_epoch_paths and not settings.diagonal
    assert "dtw_1nn" not in settings.baselines  # does not scale


@pytest.mark.parametrize("name", ["k400", "hmdb51", "ssv2"])
def test_help_of_each_script(name, capsys):
    """In this process: what is printed is made from the settings alone."""
    with pytest.raises(SystemExit) as exit_:
        job.main(importlib.import_module(f"experiments.{name}").__doc__, name, [name, "--help"])
    out, err = capsys.readouterr()
    assert (exit_.value.code, err) == (0, "")
    assert f"python -m experiments.{name} --data_dir=FOLDER\n" in out
    assert f"Where no flagfile is named: --flagfile={FLAGS / name}.txt" in out
    for field in dataclasses.fields(Settings):
        assert re.search(rf"^  --(\[no\])?{field.name}[= ]", out, re.MULTILINE), field.name


def test_flagfile_of_the_demo_needs_no_data():
    settings = options.parse(Settings, ["job", f"--flagfile={FLAGS / 'demo.txt'}"])
    assert settings.layout == "spoken_digits" and settings.standardize
    assert settings.seeds == (0, 1, 2) and settings.learning_rate == 0.008
