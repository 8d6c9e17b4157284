import dataclasses
import signal

import pytest

from experiments.shared import command
from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.interrupts import Terminated
from experiments.shared.options import Options, option


@dataclasses.dataclass(frozen=True)
class Settings(Options):
    tau: int = option(7, "Training", "Frames.", minimum=2)
    traceback: bool = option(False, "Job", "Show where.", changes_result=False)

    def __post_init__(self):
        super().__post_init__()
        if self.tau == 13:
            raise UserError("--tau=13: brings bad luck")


@pytest.fixture(autouse=True)
def former_handler():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def call(capsys):
    """Calls `main` with arguments; returns its exit code and what it printed."""

    def call(*arguments, run=lambda settings: f"tau {settings.tau}", **options):
        with pytest.raises(SystemExit) as exit_:
            command.main("What it does.\n", Settings, run, ["job", *arguments], **options)
        return exit_.value.code, *capsys.readouterr()

    return call


def raising(error):
    def run(settings):
        raise error

    return run


def test_the_result_is_printed(call, monkeypatch):
    assert call("--tau=3") == (0, "tau 3\n", "")
    monkeypatch.setattr("sys.argv", ["job", "--tau=4"])
    with pytest.raises(SystemExit) as exit_:
        command.main(None, Settings, lambda settings: f"tau {settings.tau}")
    assert exit_.value.code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tau=1"], "error: --tau=1: allowed: a whole number >= 2\n"),
        (["--tau=13"], "error: --tau=13: brings bad luck\n"),
        (["--tua=1"], "error: Unknown command line flag 'tua'. Did you mean: tau, traceback ?\n"),
    ],
)
def test_a_wrong_command_line_ends_before_the_work(call, arguments, message):
    assert call(*arguments, run=raising(AssertionError)) == (2, "", message)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UserError("index.csv, line 3: empty"), "index.csv, line 3: empty"),
        (MissingFileError("x.npy: no such file"), "x.npy: no such file"),
        (FileNotFoundError(2, "No such file", "x"), "[Errno 2] No such file: 'x'"),
        (PermissionError("x: not allowed"), "x: not allowed"),
    ],
)
def test_what_the_user_can_mend_is_one_message(call, error, message):
    assert call(run=raising(error)) == (2, "", f"error: {message}\n")


def test_where_it_was_found_is_shown_on_demand(call):
    code, _, told = call("--traceback", run=raising(UserError("bad file")))
    assert code == 2 and told.startswith("Traceback") and "in run" in told
    assert told.endswith("\nerror: bad file\n")


@pytest.mark.parametrize(
    "error", [ValueError("shapes"), KeyError("x"), RuntimeError(), MemoryError]
)
def test_anything_else_is_a_bug_and_says_so(call, error):
    code, out, told = call(run=raising(error))
    assert (code, out) == (1, "") and told.startswith("Traceback") and "in run" in told
    assert "This is a bug in tempalign's experiments" in told.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [(KeyboardInterrupt, 130, "interrupted"), (Terminated, 143, "terminated")],
)
def test_an_interrupt_says_how_to_go_on(call, error, code, word):
    found, out, told = call(run=raising(error))
    assert (found, out) == (code, "") and told.count("\n") == 1
    assert told.startswith(word) and "same command and --resume" in told


def test_what_goes_on_with_it_may_be_another_command(call):
    told = call(run=raising(KeyboardInterrupt), go_on="magic")[2]
    assert told == "interrupted; what was saved is kept: go on by magic\n"


def test_sigterm_is_caught(call):
    def run(settings):
        signal.raise_signal(signal.SIGTERM)

    code, _, told = call(run=run)
    assert code == 143 and told.startswith("terminated")


@pytest.mark.parametrize("flag", ["--help", "-help", "-h", "--helpshort"])
def test_help(call, flag):
    code, out, told = call("--tau=oops", flag, run=raising(AssertionError))
    assert (code, told) == (0, "")
    assert out.startswith("What it does.\n\nTraining:\n  --tau=7\n") and "--helpfull" in out
    assert "undefok" not in out and "Where no flagfile" not in out


def test_full_help_has_the_flags_of_absl_too(call):
    code, out, _ = call("--helpfull")
    assert code == 0 and "  --tau=7\n" in out and "--undefok" in out


def test_a_flagfile_is_used_where_none_is_named(call, tmp_path):
    defaults, other = tmp_path / "defaults.txt", tmp_path / "other.txt"
    defaults.write_text("--tau=5\n")
    other.write_text("--notraceback\n")
    assert call(defaults=defaults)[:2] == (0, "tau 5\n")
    assert call("--tau=6", defaults=str(defaults))[:2] == (0, "tau 6\n")
    assert call(f"--flagfile={other}", defaults=defaults)[:2] == (0, "tau 7\n")
    assert call("--flagfile", str(other), defaults=defaults)[:2] == (0, "tau 7\n")
    assert call("-flagfile=", defaults=defaults)[:2] == (0, "tau 7\n")
    assert f"Where no flagfile is named: --flagfile={defaults}" in call("-h", defaults=defaults)[1]
