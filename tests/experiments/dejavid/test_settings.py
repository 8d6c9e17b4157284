import dataclasses
import re
from pathlib import Path

import pytest

from experiments.dejavid.settings import Settings
from experiments.shared import options

FLAGS = Path(__file__).parents[3] / "experiments" / "flags"


def parse(*arguments: str) -> Settings:
    return options.parse(Settings, ["job", "--layout=spoken_digits", *arguments])


def test_every_kind_of_flag_is_read():
    settings = parse(
        "--epochs=5", "--learning_rate=8e-3", "--diagonal", "--nofixed_epoch_paths",
        "--seeds=2,0", "--variants=full", "--baselines=", "--weight_init=normal",
    )  # fmt: skip
    assert settings == Settings(
        layout="spoken_digits",
        epochs=5,
        learning_rate=0.008,
        diagonal=True,
        fixed_epoch_paths=False,
        seeds=(2, 0),
        variants=("full",),
        baselines=(),
        weight_init="normal",
    )


@pytest.mark.parametrize(
    ("argument", "allowed"),
    [
        ("--epochs=0", "a whole number >= 1"),
        ("--epochs=many", "a whole number >= 1"),
        ("--epochs=1.5", "a whole number >= 1"),
        ("--learning_rate=0", "a number > 0"),
        ("--learning_rate=nan", "a number > 0"),
        ("--weight_decay=-1", "a number >= 0"),
        ("--diagonal=maybe", "true or false"),
        ("--pooling=max", "none, mean"),
        ("--layout=zip", "index, dejavid, spoken_digits"),
        ("--weight_init=zeros", "ones, normal"),
        ("--seeds=1,1", "a comma-separated list of whole numbers >= 0, each once"),
        ("--seeds=-1", "a comma-separated list of whole numbers >= 0, each once"),
        ("--variants=all", "frozen_weights, weights_only, full, custom"),
        ("--synthetic=imagenet", "(empty), k400, ssv2, hmdb51"),
    ],
)
def test_wrong_value_names_flag_value_and_allowed(argument, allowed):
    with pytest.raises(ValueError, match="allowed: ") as error:
        parse(argument)
    assert argument in str(error.value)
    assert allowed in str(error.value)


def test_wrong_value_is_refused_without_flags_too():
    with pytest.raises(ValueError, match="--batch_size=0: allowed: a whole number >= 1"):
        Settings(layout="spoken_digits", batch_size=0)
    with pytest.raises(ValueError, match="--seeds"):
        Settings(layout="spoken_digits", seeds=[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layout=index"], "--data_dir: needed with --layout=index"),
        (["--nolearn_weights"], "--learn_weights=false: only the variant custom reads it"),
        (
            ["--variants=custom", "--nolearn_weights", "--nolearn_centroids"],
            "would learn nothing",
        ),
        (["--variants="], "--variants and --seeds must each name at least one"),
        (["--baselines=encoder_logits"], "needs --encoder_logits"),
        (["--predict=x.npy", "--synthetic=k400"], "two different jobs"),
        (["--epocs=3"], "Did you mean: epochs"),
        (["run"], "'run' is not a flag"),
        (["--flagfile=absent.txt"], "absent.txt"),
    ],
)
def test_flags_that_do_not_go_together(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse(*arguments)


def test_variants_and_what_they_learn():
    settings = parse("--variants=custom,full", "--nolearn_centroids")
    assert settings.learned("frozen_weights") == ("centroids",)
    assert settings.learned("weights_only") == ("log_weights",)
    assert settings.learned("full") == ("centroids", "log_weights")
    assert settings.learned("custom") == ("log_weights",)


def test_pooling_leaves_one_centroid_step():
    assert parse("--num_steps=6").centroid_steps == 6
    assert parse("--num_steps=6", "--pooling=mean").centroid_steps == 1


def test_json_round_trip():
    settings = parse("--seeds=3,4", "--learning_rate=0.1")
    assert Settings.from_json(settings.to_json()) == settings
    with pytest.raises(ValueError, match="unknown settings: colour"):
        Settings.from_json({"colour": "red"})


def test_settings_that_cannot_change_the_result():
    others = {field.name for field in dataclasses.fields(Settings)} - set(Settings.result_names())
    assert others == {
        "data_dir", "feats_dir", "out_dir", "resume", "keep_checkpoints", "check_data",
        "num_threads", "traceback", "predict", "predict_variant", "predict_seed", "synthetic",
        "synthetic_steps",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "rate", "blocks"), [("k400", 1e-3, 1), ("hmdb51", 8e-3, 1), ("ssv2", 1e-3, 4)]
)
def test_flagfiles_of_the_paper(name, rate, blocks):
    settings = options.parse(Settings, ["job", f"--flagfile={FLAGS / name}.txt", "--data_dir=d"])
    assert (settings.num_steps, settings.epochs, settings.batch_size) == (8, 36, 48)
    assert (settings.learning_rate, settings.encoder_logits) == (rate, blocks)
    assert settings.centroid_lr_ratio == pytest.approx(1 / 3)
    assert settings.weight_decay == 0
    assert settings.weight_init == "normal"
    assert settings.fixed_epoch_paths and not settings.diagonal


def test_flagfile_of_the_demo_needs_no_data():
    settings = options.parse(Settings, ["job", f"--flagfile={FLAGS / 'demo.txt'}"])
    assert settings.layout == "spoken_digits" and settings.standardize
    assert settings.seeds == (0, 1, 2) and settings.learning_rate == 0.008


def test_help_names_every_flag_with_its_default():
    text = options.help_text(Settings)
    for field in dataclasses.fields(Settings):
        assert re.search(rf"^  --(\[no\])?{field.name}[= ]", text, re.MULTILINE), field.name
    assert "--epochs=36\n" in text
    assert max(map(len, text.splitlines())) <= 100
