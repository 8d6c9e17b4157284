"""A full disk, wherever it is noticed: a message that names the file, and nothing is lost."""

import contextlib
import ctypes
import errno
import io
import os
import shutil
import sys
from pathlib import Path

import pytest
import slow_job

from experiments.shared import command

_CANNOT_MOUNT = 77
_NEW_MOUNTS, _NEW_USER, _PRIVATE = 0x20000, 0x10000000, 0x44000  # of linux/sched.h, sys/mount.h


def mount_small_disk(disk, megabytes=4):
    """Mounts a small file system in memory, which only this process sees; exits if it cannot.

    The kernel lets anyone do so who is root in a namespace of users.
    """
    libc, (user, group) = ctypes.CDLL(None, use_errno=True), (os.getuid(), os.getgid())
    maps = {"setgroups": "deny", "uid_map": f"0 {user} 1", "gid_map": f"0 {group} 1"}
    try:
        if libc.unshare(_NEW_MOUNTS | _NEW_USER):
            raise OSError(ctypes.get_errno(), "unshare")
        for name, text in maps.items():
            Path(f"/proc/self/{name}").write_text(text)
        size = f"size={megabytes}m".encode()
        if libc.mount(b"none", b"/", None, _PRIVATE, None) or libc.mount(
            b"none", os.fsencode(disk), b"tmpfs", 0, size
        ):
            raise OSError(ctypes.get_errno(), "mount")
    except (OSError, AttributeError) as error:
        print(error, flush=True)
        sys.exit(_CANNOT_MOUNT)


def call(*flags):
    """Runs the job here; returns (exit code, what it said)."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            command.main("", slow_job.Settings, slow_job.run, ["job", *flags])
        except SystemExit as ended:
            return ended.code, said.getvalue()


def fill(path, room):
    """Fills up a disk but for some room."""
    with open(path, "wb", buffering=0) as filler:
        with contextlib.suppress(OSError):
            while filler.write(bytes(4096)) == 4096:
                pass
        filler.truncate(max(0, filler.tell() // 4096 * 4096 - room))


def on_a_small_disk(disk, rooms, *flags):
    """Runs the job with so much room, makes room and goes on; a line each, then exits."""
    mount_small_disk(disk)
    out, filler = disk / "out", disk / "filler"
    flags = (*flags, f"--out_dir={out}")
    assert call(*flags)[0] == 0
    whole = slow_job.result(out)
    for room in rooms:
        shutil.rmtree(out)
        out.mkdir()
        fill(filler, room)
        code, said = call(*flags)
        filler.unlink()
        assert "Traceback" not in said and "bug" not in said, said
        print(code, " ".join(said.split()), flush=True)
        if code:
            code, said = call(*flags, "--resume")
        assert code == 0 and slow_job.result(out) == whole, said
    sys.exit(0)


@pytest.mark.parametrize(
    "rooms",
    [(0, 16384, 110592), pytest.param(range(0, 200_000, 4096), marks=pytest.mark.slow)],
)
def test_a_disk_that_fills_up_anywhere(start, tmp_path, data_dir, rooms):
    disk = tmp_path / "disk"
    disk.mkdir()
    spoil = (on_a_small_disk, disk, rooms, f"--data_dir={data_dir}")
    code, said = start(spoil=spoil).end()
    if code == _CANNOT_MOUNT:
        pytest.skip(f"no file system can be mounted here: {said}")
    assert code == 0, said
    lines = said.splitlines()
    failed = [line for line in lines if not line.startswith("0 ")]
    assert len(lines) == len(rooms) and failed
    for line in failed:
        assert line.startswith("2 error: ") and str(disk / "out") in line, line
        assert os.strerror(errno.ENOSPC) in line and "make room" in line, line


def fill_up(name):
    """Lets every opening of a file of a name for writing fail, as on a full disk."""

    def hook(event, args):
        if event == "open" and isinstance(args[0], (str, os.PathLike)):
            path, mode, flags = args
            begins = Path(path).name.split(".part")[0].startswith(name)
            if begins and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sys.addaudithook(hook)


@pytest.mark.parametrize(
    "name",
    [".lock", "digests.json", "settings.json", "metrics.jsonl", "report.json", "report.md"],
)
def test_a_full_disk_is_told_with_the_file(start, whole, tmp_path, name):
    code, said = start(spoil=(fill_up, name)).end()
    assert code == 2 and said.startswith(f"error: {tmp_path / 'out' / name}: cannot be written")
    assert "No space left on device" in said and "make room" in said and "Traceback" not in said
    begun = (tmp_path / "out" / "settings.json").is_file()
    code, said = start(*["--resume"] * begun).end()
    assert code == 0, said
    assert slow_job.result(tmp_path / "out") == whole


def test_without_room_for_a_picture_there_is_a_report(start, whole, tmp_path):
    code, said = start(spoil=(fill_up, "loss.png")).end()
    assert code == 0
    assert "picture loss.png could not be drawn" in said and "No space left on device" in said
    assert "oss.png could not be drawn" in (tmp_path / "out" / "report.md").read_text()
    assert start("--resume").end()[0] == 0
    assert slow_job.result(tmp_path / "out") == whole
