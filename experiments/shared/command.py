"""The command line of an experiment: `--help`, flags, one message for an error, exit codes."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from absl import flags

from experiments.shared import interrupts, options, processes
from experiments.shared.errors import UserError

S = TypeVar("S", bound=options.Options)

_OTHER_STOPPED = 3
_SECONDS_TO_TELL = 2.0
_HELP = ("--help", "-help", "-h", "--helpshort")
_FULL_HELP = ("--helpfull", "-helpfull")
_FLAGFILE = ("--flagfile", "-flagfile")


def main(
    description: str | None,
    settings_class: type[S],
    run: Callable[[S], str],
    argv: Sequence[str] | None = None,
    defaults: Path | str = "",
    go_on: str = "the same command and --resume",
) -> NoReturn:
    """Runs an experiment and exits.

    The exit code is 0 at the end of the work; 2 after an error that the caller can mend (a wrong
    flag, a damaged file, a full disk: UserError or OSError, wherever it is found), told in one
    message; 3 where another process of the job has stopped; 130 after Ctrl-C and 143 after SIGTERM,
    with what to do to go on; 1 after a mistake of ours, with its traceback.

    Args:
        description: what `--help` prints above the flags.
        settings_class: its fields are the flags.
        run: does what the settings ask for and returns what to print at the end.
        argv: the command line, program first; that of the process without it.
        defaults: a flagfile that is read first where the command line names none; empty: none.
        go_on: what goes on with work that was interrupted.
    """
    program, *arguments = sys.argv if argv is None else argv
    if any(argument in (*_HELP, *_FULL_HELP) for argument in arguments):
        parts = [(description or "").strip(), options.help_text(settings_class)]
        if defaults:
            parts.append(f"Where no flagfile is named: --flagfile={defaults}")
        if any(argument in _FULL_HELP for argument in arguments):
            parts.append(f"Flags of absl:\n{flags.FlagValues().get_help()}")
        print("\n\n".join(parts))
        sys.exit(0)
    if defaults and not any(word.partition("=")[0] in _FLAGFILE for word in arguments):
        arguments.insert(0, f"--flagfile={defaults}")

    interrupts.install()
    settings = None
    try:
        settings = options.parse(settings_class, [program, *arguments])
        text = run(settings)
        if text:  # of several processes one may have nothing to say
            print(text)
    except processes.OtherProcessError as error:
        print(f"error: {error}", file=sys.stderr)
        _leave(_OTHER_STOPPED)
    except (UserError, OSError) as error:
        if getattr(settings, "traceback", False):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        _leave(2)
    except KeyboardInterrupt as error:
        is_terminated = isinstance(error, interrupts.Terminated)
        said = ["terminated" if is_terminated else "interrupted", *getattr(error, "__notes__", ())]
        print("; ".join([*said, f"what was saved is kept: go on by {go_on}"]), file=sys.stderr)
        _leave(143 if is_terminated else 130)
    except Exception as error:
        if processes.count() > 1 and processes.is_lost(error):
            print(f"error: {processes.lost(error)}", file=sys.stderr)
            _leave(_OTHER_STOPPED)
        traceback.print_exc()
        print(
            "This is a bug in tempalign's experiments, not a mistake of yours: please report it "
            "with the lines above. What was saved is kept.",
            file=sys.stderr,
        )
        _leave(1)
    sys.exit(0)


def _leave(code: int) -> NoReturn:
    """Exits; without a word to other processes of the job, for which jax would wait minutes."""
    if processes.count() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        if processes.is_first():
            time.sleep(_SECONDS_TO_TELL)  # without this one, the others end in the same moment
        os._exit(code)
    sys.exit(code)
