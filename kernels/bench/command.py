"""The command line of the benchmark: ``python -m tempalign.kernels.benchmark``."""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Sequence

from tempalign.kernels.bench import report
from tempalign.kernels.bench.peers import load
from tempalign.kernels.bench.timing import QUICK_ROUNDS, ROUNDS, Entry, measure
from tempalign.kernels.bench.workloads import WORKLOADS, Workload, select

_ABOUT = """\
Times tempalign beside other libraries, on named workloads, and prints a report in markdown:
machine and versions, the table, who was not timed and why, and what was called of each. Results are
compared before anything is timed. Peers take part where they are installed, native code where it
was built, GPUs where there are some; none of these is needed.
"""
_COLUMNS = """\
columns:
  dtype         what a contender computes in; rows that end in -f64 have only those in float64
  median ms     of samples that all contenders take in turns; with the quartiles
  first s       the first call, compilation included
  temp MiB      what the compiler plans to allocate; jax only, native code not counted
  differs       largest difference from our first result, of its largest entry
  ratio         the fastest peer's median over ours (where there is no peer, ours on XLA over ours)
  of the limit  what the machine needs at least for the arithmetic or the memory traffic of the row,
                over our median, and which of the two it is
"""


def main(arguments: Sequence[str] | None = None, workloads: Sequence[Workload] = WORKLOADS) -> None:
    """The command line.

    Args:
        arguments: of the command; None: those of the process.
        workloads: to choose from.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tempalign.kernels.benchmark",
        description=_ABOUT,
        epilog=_COLUMNS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PART",
        help="rows of this name, or with it in theirs; may be given again; none: all that suit",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        help=f"samples of each, {ROUNDS} unless --quick; who is slow has fewer",
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds")
    parser.add_argument("--list", action="store_true", help="print the workloads' names and stop")
    parser.add_argument(
        "--out", type=pathlib.Path, metavar="FILE", help="write the report there, too"
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write everything there")
    options = parser.parse_args(arguments)
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    if options.rounds is not None:
        rounds = options.rounds
    if rounds < 1:
        parser.error(f"--rounds must be at least 1, got {rounds}")
    try:
        chosen = select(options.only, workloads)
    except ValueError as error:
        parser.error(str(error))
    if options.list:
        for workload in workloads if not options.only else chosen:
            print(workload.name)
        return
    peers, missing = load()
    about = report.machine(peers, missing)
    given = sys.argv[1:] if arguments is None else arguments
    command = shlex.join([*parser.prog.split(), *given])
    rows: list[tuple[str, list[Entry]]] = []
    page = ""
    for workload in chosen:
        print(f"... {workload.name}", file=sys.stderr, flush=True)
        rows.append((workload.name, measure(workload, peers, rounds)))
        page = report.page(command, about, rows)
        # After every row: a run that is stopped has what it found.
        if options.out is not None:
            options.out.write_text(page)
        if options.json is not None:
            options.json.write_text(report.as_json(about, rows))
    print(page, end="")
