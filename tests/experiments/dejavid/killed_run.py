"""A job that kills itself while it commits its second checkpoint: `killed_run.py FLAGS`.

All of the checkpoint is written then, and only its name is still the temporary one.
"""

import os
import signal
import sys
from pathlib import Path

from experiments.dejavid import job


def kill_at_commit(event: str, args: tuple) -> None:
    if event == "os.rename" and Path(args[1]).name == "2":
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.addaudithook(kill_at_commit)
    job.main("", "k400")
