"""The settings of the job: one frozen dataclass, whose fields are also the command-line flags."""

import dataclasses

from experiments.shared.errors import UserError
from experiments.shared.options import Options, option

_DATA = "Data"
_OUT = "What is written"
_CHECK = "Instead of writing"


@dataclasses.dataclass(frozen=True)
class Settings(Options):
    """Everything the job can be told. `--help` says what each field means.

    Raises:
        UserError: a value that its flag does not allow, or two that do not go together.
    """

    data_dir: str = option("", _DATA, "Folder of the data set: its files, or a store.", path=True)
    layout: str = option(
        "index",
        _DATA,
        "index: index.csv and one .npy [T, F] a video, or a store; dejavid: the files of the "
        "authors' code.",
        choices=("index", "dejavid"),
    )
    feats_dir: str = option(
        "",
        _DATA,
        "With --layout=dejavid: the folder of the extracted features, where it is not "
        "--data_dir/feats.",
        path=True,
    )
    outside_paths: bool = option(
        False, _DATA, "Allow paths in index files that lead out of the data's own folder."
    )

    out_dir: str = option("", _OUT, "Folder that is made; it must not be there.", path=True)
    to: str = option(
        "store",
        _OUT,
        "store: few array_record files; index: index.csv and one .npy file a record.",
        choices=("store", "index"),
    )
    shard_mb: int = option(1024, _OUT, "Megabytes of a file of a store, about.", minimum=1)

    verify: bool = option(
        False, _CHECK, "Compare every record of the store in --data_dir with its digest, and end."
    )
    benchmark: bool = option(
        False,
        _CHECK,
        "Measure how fast batches of --data_dir are read (of random data of Kinetics-400's shape "
        "without it), and end.",
    )
    processes: tuple[int, ...] = option(
        (1, 2),
        _CHECK,
        "With --benchmark: how many processes share an epoch; each number is measured.",
        minimum=1,
    )
    num_threads: int = option(
        1, _CHECK, "With --benchmark: threads of each that read ahead.", minimum=0
    )
    batch_size: int = option(
        48, _CHECK, "With --benchmark: sequences of a batch, a process.", minimum=1
    )
    repeats: int = option(
        5, _CHECK, "With --benchmark: epochs of which the median is told.", minimum=1
    )
    records: int = option(
        4000, _CHECK, "With --benchmark: at most so many are read of an epoch.", minimum=1
    )

    traceback: bool = option(
        False, _CHECK, "Show where in the code an error was found, too.", changes_result=False
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if self.verify and self.benchmark:
            raise UserError("--verify and --benchmark are two different jobs: give one of them")
        if not (self.data_dir or self.benchmark):
            raise UserError("--data_dir: needed; give the folder of the data set")
        if self.verify or self.benchmark:
            if self.out_dir:
                raise UserError("--out_dir: nothing is written with --verify and --benchmark")
        elif not self.out_dir:
            raise UserError("--out_dir: needed; name the folder that is to be made")
