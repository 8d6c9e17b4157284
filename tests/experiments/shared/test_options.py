import dataclasses
import math
import re
from typing import ClassVar

import pytest

from experiments.shared.errors import UserError
from experiments.shared.options import Options, help_text, merge, option, parse, to_text


@dataclasses.dataclass(frozen=True)
class Base(Options):
    seeds: tuple[int, ...] = option((0,), "Job", "One run each.", minimum=0, grows=True)
    out_dir: str = option("runs/base", "Job", "Folder.", changes_result=False, path=True)
    traceback: bool = option(False, "Debugging", "Show more.", changes_result=False)


@dataclasses.dataclass(frozen=True)
class Settings(Base):
    FORMER: ClassVar[dict[str, str]] = {
        "--variants": "--methods",
        "--window": "--tau",
        "--center=sequence": "--center=mean",
        "--center": "--center=median",
        "--nocenter": "--center=none",
        "--fast": "--quick",
        "--nofast": "--noquick",
    }

    data_dir: str = option("", "Data", "Your data.", path=True)
    center: str = option("none", "Data", "What is subtracted.", choices=("none", "mean", "median"))
    extra: str = option("", "Data", "Or not.", choices=("", "Some"))
    tau: int = option(7, "Training", "Frames.", minimum=2)
    rate: float = option(1e-3, "Training", "Learning rate.", above=0)
    decay: float = option(0.0, "Training", "Weight decay.", minimum=0)
    quick: bool = option(True, "Training", "In a hurry.")
    epochs: int = option(3, "Training", "How long.", minimum=1, grows=True)
    methods: tuple[str, ...] = option(
        ("a", "b"), "Training", "How.", choices=("a", "b", "c"), grows=True
    )
    sweep: tuple[float, ...] = option((), "Training", "Values.", above=0, grows=True)
    out_dir: str = option("runs/own", "Job", "Own folder.", changes_result=False, path=True)


def read(*arguments):
    return parse(Settings, ["job", *arguments])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["--tau=5", "-epochs=4"], {"tau": 5, "epochs": 4}),
        (["--tau", "5", "--center", "mean"], {"tau": 5, "center": "mean"}),
        (["--rate=8e-3", "--decay=1"], {"rate": 0.008, "decay": 1.0}),
        (["--noquick", "--traceback"], {"quick": False, "traceback": True}),
        (["--quick=false", "--traceback=1"], {"quick": False, "traceback": True}),
        (["--seeds=2, 0", "--methods=c"], {"seeds": (2, 0), "methods": ("c",)}),
        (["--seeds=", "--methods=,"], {"seeds": (), "methods": ()}),
        (["--sweep=0.1,1e2"], {"sweep": (0.1, 100.0)}),
        (["--data_dir=a b=c", "--extra="], {"data_dir": "a b=c", "extra": ""}),
        (["--tau=3", "--tau=4"], {"tau": 4}),
    ],
)
def test_every_kind_of_flag_is_read(arguments, expected):
    assert read(*arguments) == Settings(**expected)


@pytest.mark.parametrize(
    ("argument", "allowed"),
    [
        ("--epochs=0", "a whole number >= 1"),
        ("--epochs=many", "a whole number >= 1"),
        ("--epochs=1.5", "a whole number >= 1"),
        ("--epochs=", "a whole number >= 1"),
        ("--rate=0", "a number > 0"),
        ("--rate=nan", "a number > 0"),
        ("--rate=inf", "a number > 0"),
        ("--rate=1e999", "a number > 0"),
        ("--decay=-1", "a number >= 0"),
        ("--quick=maybe", "true or false"),
        ("--center=max", "none, mean, median"),
        ("--extra=some", "(empty), Some"),
        ("--seeds=1,1", "a comma-separated list of whole numbers >= 0, each once"),
        ("--seeds=1,-1", "a comma-separated list of whole numbers >= 0, each once"),
        ("--seeds=1,x", "a comma-separated list of whole numbers >= 0, each once"),
        ("--sweep=1,1.0", "a comma-separated list of numbers > 0, each once"),
        ("--sweep=0", "a comma-separated list of numbers > 0, each once"),
        ("--methods=a,d", "a comma-separated list of a, b, c, each once"),
        ("--out_dir=", "a text that is not empty"),
    ],
)
def test_a_wrong_value_is_told_with_its_flag_and_what_is_allowed(argument, allowed):
    with pytest.raises(UserError, match=f"^{re.escape(f'{argument}: allowed: {allowed}')}$"):
        read(argument)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epocs=3"], "Unknown command line flag 'epocs'. Did you mean: epochs"),
        (["run"], "'run' is not a flag; flags are written --name=value"),
        (["--quick", "false"], "'false' is not a flag"),
        (["--tau"], "Missing value for flag --tau"),
        (["--flagfile"], "--flagfile with no argument"),
        (["--flagfile=absent.txt"], "absent.txt"),
    ],
)
def test_what_is_no_flag(arguments, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}" if message[0] != "a" else message):
        read(*arguments)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tau": 1}, "--tau=1: allowed: a whole number >= 2"),
        ({"tau": True}, "--tau=true: allowed"),
        ({"tau": 2.0}, "--tau=2: allowed"),
        ({"rate": math.nan}, "--rate=nan: allowed"),
        ({"rate": 10**400}, "--rate=1000"),
        ({"seeds": [0]}, "--seeds=0: allowed"),
        ({"out_dir": ""}, "--out_dir=: allowed"),
    ],
)
def test_values_are_checked_without_a_command_line_too(values, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Settings(**values)


@pytest.mark.parametrize("value", [1 / 3, 1e-30, 10.0, 0.1, 1e-3, 123456789.125, 2**-52, 1e300])
def test_a_number_is_read_back_as_it_was_written(value):
    assert read(f"--rate={to_text(value)}").rate == value
    settings = Settings(rate=value, sweep=(value, 7.0))
    assert read(f"--sweep={to_text(settings.sweep)}").sweep == settings.sweep
    assert Settings.from_json(settings.to_json()) == settings


def test_values_as_text():
    values = (10.0, 1e-3, 1e-30, True, "x", (), (1, 2))
    assert [to_text(value) for value in values] == ["10", "0.001", "1e-30", "true", "x", "", "1,2"]


def test_a_path_begins_at_home_and_its_default_says_whether_it_may_be_empty(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    found = read("--out_dir=~/x", "--data_dir=~", "--extra=")
    assert (found.out_dir, found.data_dir) == ("/home/somebody/x", "/home/somebody")
    assert read("--data_dir=", "--out_dir=a/~").out_dir == "a/~"


def test_flagfiles_nest_have_comments_and_former_words(tmp_path, capsys):
    inner, outer = tmp_path / "inner.txt", tmp_path / "outer.txt"
    inner.write_text("# about\n\n--window=9\n--nocenter\n")
    outer.write_text(f"--tau=3\n--flagfile={inner}\n// more\n--variants=c\n--noquick\n")
    expected = Settings(tau=9, methods=("c",), quick=False)
    assert read(f"--flagfile={outer}") == expected
    note = capsys.readouterr().err
    assert note.count("\n") == 1
    assert "--window=9 is now written --tau=9; --nocenter is now written --center=none" in note
    assert read("--flagfile", str(outer), "--window=4") == dataclasses.replace(expected, tau=4)


def test_a_flagfile_that_is_no_text(tmp_path):
    (tmp_path / "flags.bin").write_bytes(b"--tau=3\n\xff\xfe\x80")
    with pytest.raises(UserError, match="flags.bin: not a text file"):
        read(f"--flagfile={tmp_path / 'flags.bin'}")
    with pytest.raises(UserError, match="Unable to open flagfile"):
        read(f"--flagfile={tmp_path}")


@pytest.mark.parametrize(
    ("arguments", "expected", "note"),
    [
        (["--variants=c"], {"methods": ("c",)}, "--variants=c is now written --methods=c"),
        (["--variants", "c"], {"methods": ("c",)}, "--variants=c is now written --methods=c"),
        (["-window=9"], {"tau": 9}, "--window=9 is now written --tau=9"),
        (["--center=sequence"], {"center": "mean"}, "written --center=mean"),
        (["--center", "sequence"], {"center": "mean"}, "written --center=mean"),
        (["--center"], {"center": "median"}, "--center is now written --center=median"),
        (["--center", "--tau=3"], {"center": "median", "tau": 3}, "written --center=median"),
        (["--center=true"], {"center": "median"}, "written --center=median"),
        (["--center=false"], {"center": "none"}, "written --center=none"),
        (["--nocenter"], {"center": "none"}, "--nocenter is now written --center=none"),
        (["--nofast"], {"quick": False}, "--nofast is now written --noquick"),
        (["--fast=false"], {"quick": False}, "--fast=false is now written --quick=false"),
        (["--center=median"], {"center": "median"}, ""),
        (["--center", "median"], {"center": "median"}, ""),
        (["--tau=3"], {"tau": 3}, ""),
    ],
)
def test_former_spellings_are_read_and_told(capsys, arguments, expected, note):
    assert read(*arguments) == Settings(**expected)
    told = capsys.readouterr()
    assert told.out == "" and note in told.err
    assert told.err.count("\n") == bool(note)


def test_a_wrong_value_in_a_former_spelling_is_told_in_the_present_one():
    with pytest.raises(UserError, match="^--tau=1: allowed: a whole number >= 2"):
        read("--window=1")


def test_settings_of_a_former_version(capsys):
    values = {"variants": ["c"], "window": 9, "center": "sequence", "fast": False, "rate": 1}
    assert Settings.from_json(values) == Settings(
        methods=("c",), tau=9, center="mean", quick=False, rate=1.0
    )
    assert Settings.from_json({"center": True}).center == "median"
    assert Settings.from_json({"center": False}).center == "none"
    assert Settings.from_json({"center": "mean"}).center == "mean"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colour": "red", "tau": 3, "age": 1}, "unknown settings: age, colour"),
        ({"tau": "5"}, "--tau='5': allowed: a whole number >= 2"),
        ({"tau": 5.0}, "--tau=5: allowed"),
        ({"tau": None}, "--tau=None: allowed"),
        ({"tau": [5]}, "--tau=5: allowed"),
        ({"quick": 1}, "--quick=1: allowed: true or false"),
        ({"quick": "true"}, "--quick='true': allowed: true or false"),
        ({"data_dir": 5}, "--data_dir=5: allowed: a text"),
        ({"methods": "a"}, "--methods=a: allowed"),
        ({"seeds": [[1], {}]}, "--seeds=1,{}: allowed"),
        ({"rate": True}, "--rate=true: allowed: a number > 0"),
        ([], "must be a JSON object"),
    ],
)
def test_saved_settings_that_cannot_be(values, message):
    with pytest.raises(UserError, match=re.escape(message)):
        Settings.from_json(values)


def test_a_job_that_is_resumed_may_grow():
    saved = Settings(seeds=(2, 0), methods=("b",), epochs=3, quick=False, out_dir="x")
    given = Settings(
        seeds=(1, 0), methods=("a", "b"), epochs=5, quick=False, sweep=(1.0,), traceback=True
    )
    assert merge(saved, given) == dataclasses.replace(
        given, seeds=(2, 0, 1), methods=("b", "a"), epochs=5
    )
    assert merge(saved, saved) == saved
    assert merge(given, dataclasses.replace(given, sweep=())).sweep == (1.0,)


def test_a_job_that_is_resumed_may_not_become_another():
    saved = Settings(rate=1 / 3, data_dir="x", epochs=9)
    with pytest.raises(UserError) as error:
        merge(saved, Settings(rate=0.333333, epochs=8, seeds=(5,), out_dir="y"), "runs/x")
    assert str(error.value) == (
        "--resume: runs/x was started with other settings:\n"
        "  --data_dir: was x, now (empty)\n"
        "  --rate: was 0.3333333333333333, now 0.333333\n"
        "  --epochs: was 9, now 8 (it may only grow)\n"
        "Give the former ones, or start anew in another --out_dir."
    )


@pytest.mark.parametrize("default", ["x", True])
def test_only_lists_and_numbers_grow(default):
    with pytest.raises(TypeError, match="only lists and numbers"):
        option(default, "Job", "That.", grows=True)


def test_settings_that_decide_every_result():
    names = {field.name for field in dataclasses.fields(Settings)}
    cannot_change_it, may_grow = {"out_dir", "traceback"}, {"seeds", "epochs", "methods", "sweep"}
    assert names - set(Settings.result_names()) == cannot_change_it | may_grow


def test_help_has_groups_of_the_base_last_and_its_changed_defaults():
    text = help_text(Settings)
    headings = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert headings == ["Data", "Training", "Job", "Debugging", "Flags from a file, and more help"]
    assert re.findall(r"^  --(?:\[no\])?(\w+)", text, re.MULTILINE) == [
        "data_dir", "center", "extra", "tau", "rate", "decay", "quick", "epochs", "methods",
        "sweep", "seeds", "out_dir", "traceback", "flagfile", "helpfull",
    ]  # fmt: skip
    assert text.startswith("Data:\n  --data_dir=\n        Your data.\n  --center=none\n")
    assert "  --out_dir=runs/own\n        Own folder.\n" in text
    assert "  --[no]quick  (default: true)\n        In a hurry.\n" in text
    assert "  --rate=0.001\n        Learning rate. Allowed: a number > 0.\n" in text
    assert "Or not. Allowed: (empty), Some.\n" in text
    assert "Allowed: a comma-separated list of a, b, c, each once.\n" in text


def test_a_group_that_a_class_shares_with_its_base_has_its_own_flags_first():
    @dataclasses.dataclass(frozen=True)
    class More(Base):
        threads: int = option(4, "Job", "Threads.", minimum=0, changes_result=False)

    flags = re.findall(r"^  --(?:\[no\])?(\w+)", help_text(More), re.MULTILINE)
    assert flags[:4] == ["threads", "seeds", "out_dir", "traceback"]


def test_long_help_is_wrapped():
    @dataclasses.dataclass(frozen=True)
    class Long(Options):
        word: str = option("", "Group", "A sentence with many words. " * 20)

    assert max(map(len, help_text(Long).splitlines())) <= 100
