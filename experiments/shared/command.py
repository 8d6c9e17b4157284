"""The command line of an experiment: `--help`, flags, one message for an error, exit codes."""

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from experiments.shared import options

S = TypeVar("S", bound=options.Options)

_HELP = ("--help", "-help", "-h", "--helpshort", "--helpfull")


def main(
    description: str | None,
    settings_class: type[S],
    run: Callable[[S], str],
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Runs an experiment and exits: 0, 2 after an error, 130 after Ctrl-C.

    Errors that the caller can mend (a wrong flag, a damaged file, a full disk) are ValueError or
    OSError wherever they are found; they become one message and exit code 2.

    Args:
        description: what `--help` prints above the flags.
        settings_class: its fields are the flags.
        run: does what the settings ask for and returns what to print at the end.
        argv: the command line, program first; that of the process without it.
    """
    argv = list(sys.argv if argv is None else argv)
    if any(argument in _HELP for argument in argv[1:]):
        print((description or "").strip(), options.help_text(settings_class), sep="\n\n")
        sys.exit(0)
    settings = None
    try:
        settings = options.parse(settings_class, argv)
        print(run(settings))
    except (ValueError, OSError) as error:
        if settings and getattr(settings, "traceback", False):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; what was saved is kept, go on with --resume", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)
