"""Command lines of the scripts, called in the process of the test."""

import pytest


def call(capsys, main, *arguments):
    """Runs a command line; returns (exit code, stdout, stderr).

    Args:
        capsys: pytest's.
        main: of the script, called with the command line, program first.
        *arguments: what follows the program.
    """
    capsys.readouterr()  # what was printed before
    with pytest.raises(SystemExit) as exit_:
        main(["job", *map(str, arguments)])
    return (exit_.value.code, *capsys.readouterr())


def never(*_, **__):
    """Stands in for what must not be called again."""
    raise AssertionError("computed again")
