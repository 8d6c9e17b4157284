"""The extraction: from the list of videos to the folder of rows."""

from pathlib import Path
from typing import NoReturn

from experiments.extract_tse.extraction import Extraction
from experiments.extract_tse.listing import Listing, read_list
from experiments.extract_tse.manifest import MANIFEST, manifest_of
from experiments.extract_tse.settings import Settings
from experiments.extract_tse.store import PARTS, Store
from experiments.shared import command, processes
from experiments.shared.errors import UserError, raise_all
from experiments.shared.folder import locked, prepare_folder
from experiments.vision.encoders import open_encoder


def main(description: str | None, argv: list[str] | None = None) -> NoReturn:
    """Runs the command line."""
    command.main(description, Settings, run, argv, go_on="the same command")


def run(settings: Settings) -> str:
    """Extracts what the settings ask for, or goes on with it; returns what to print.

    Raises:
        UserError: anything that the user can mend, but for single videos, which are listed in
            failed.csv; and that there is no video that can be used.
    """
    folder = Path(settings.out_dir)
    listing = read_list(settings.videos, outside_paths=settings.outside_paths)
    shard = _shard(settings)
    if settings.merge or settings.verify:
        if not (folder / MANIFEST).is_file():
            raise UserError(f"--out_dir={folder}: holds no extraction")
        store = Store(folder, "tools", listing)
        return _verified(store) if settings.verify else _ended(store, listing, must_be_all=False)
    prepare_folder(folder, 0)
    part = f"{shard[0]}-of-{shard[1]}"
    prepare_folder(folder / PARTS / part, 0)
    with locked(folder / PARTS / part):
        store = Store(folder, part, listing)  # which mends a ledger: no other may be writing there
        encoder = open_encoder(
            settings.encoder,
            weights=settings.weights,
            size=settings.size,
            frames=settings.frames,
            logits=settings.logits,
            allow_pickle=settings.allow_pickle,
        )
        store.claim(manifest_of(settings, encoder))
        own = listing.videos[shard[0] :: shard[1]]
        remaining = store.remaining(own)
        told = [f"{len(own) - len(remaining)} of {len(own)} videos were done before"]
        if remaining:
            told = [Extraction(settings, encoder, store).run(remaining), *told]
        text = "\n".join([*told, _ended(store, listing, must_be_all=True)])
    processes.meet()
    return text


def _shard(settings: Settings) -> tuple[int, int]:
    if not settings.is_cluster:
        return settings.shard_of()
    processes.initialize(settings)
    return processes.number(), processes.count()


def _ended(store: Store, listing: Listing, *, must_be_all: bool) -> str:
    """Writes the index if all shards are done, or if it is wanted as it is; says how far it is."""
    summary = store.summary()
    done, failed, pending = len(summary.done), len(summary.failed), summary.pending
    if pending and must_be_all:
        return (
            f"{pending} of {len(listing.videos)} videos are left to other shards; the last to end "
            "writes index.csv (or --merge does)"
        )
    store.write_index(summary)
    index, failures = store.folder / "index.csv", store.folder / "failed.csv"
    if not done:
        reasons = [UserError(f"{one.path}: {one.reason}") for one in summary.failed.values()]
        raise_all(reasons, f"{failures}: no video could be used")
        raise UserError(f"--out_dir={store.folder}: no video has been extracted yet")
    shapes = [record.shape for record in summary.done.values()]
    lengths = [length for length, _ in shapes]
    unusual = sum(bool(record.note) for record in summary.done.values())
    lines = [
        f"{index}: {done} videos, {min(lengths)} to {max(lengths)} rows of {shapes[0][1]} features"
    ]
    if failed:
        lines.append(f"{failures}: {failed} videos that could not be used, with the reasons")
    if pending:
        lines.append(f"{pending} videos are not extracted yet")
    if unusual:
        lines.append(f"{unusual} videos have a note in the ledger, such as a wrong frame count")
    return "\n".join(lines)


def _verified(store: Store) -> str:
    right, wrong = store.verify()
    raise_all(
        wrong, f"{store.folder}: {right} videos are as they were written; the next start mends"
    )
    return f"{store.folder}: {right} videos are as they were written"
