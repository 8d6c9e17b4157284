"""What made the rows of a folder, kept with what is trained on them: encoder, windows, decoder.

A run that keeps its data's manifest can make the same rows of new videos. The copy is content and
no path, and it is only read: a run folder may come from anyone, so it names encoders that come with
this repository, while files and code of others are named on the command line again.
"""

import itertools
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from experiments.extract_tse.settings import Settings
from experiments.shared.errors import UserError
from experiments.shared.files import read_json, write_json
from experiments.vision.encoders import BUILT_IN, Encoder, open_encoder

MANIFEST = "manifest.json"
KEPT = "data_manifest.json"

_FORMAT = 1  # of what is written; other numbers are refused
_LIBRARIES = ("libavformat", "libavcodec", "libswscale")  # on which frames and pictures depend
_OF_ENCODER = ("encoder", "size", "frames")  # settings whose outcome the encoder itself says
_PICTURE = re.compile(r"([1-9][0-9]{0,4}) x ([1-9][0-9]{0,4})")
_VERSIONS = "versions"  # of packages: other ones are told, not refused


def manifest_of(settings: Settings, encoder: Encoder) -> dict[str, Any]:
    """Returns what decides the bytes of everything that is written, of JSON's types."""
    values = settings.to_json()
    return {
        "format": _FORMAT,
        "settings": {f"--{name}": values[name] for name in _setting_names()},
        "encoder": _described(encoder),
        "decoder": {
            "PyAV": av.__version__,
            **{name: ".".join(map(str, av.library_versions[name])) for name in _LIBRARIES},
        },
        "times": "time stamps of the file in seconds; of a file that lacks some, the number of the "
        "frame / its rate, which the ledger notes",
    }


def keep_manifest(data_dir: Path | str, run_folder: Path, *, is_new: bool) -> None:
    """Copies the manifest of a job's data, where there is one, into the folder of the job.

    Args:
        data_dir: of the data, with a manifest or without.
        run_folder: where the copy is kept, as `KEPT`.
        is_new: whether the job has no result yet: a copy that is there is of an attempt before it.
            A job that is resumed has the same data, wherever it lies now.

    Raises:
        UserError: the copy cannot be written.
    """
    kept = run_folder / KEPT
    if is_new:
        kept.unlink(missing_ok=True)
    path = Path(data_dir) / MANIFEST
    if not path.is_file():
        return
    try:
        manifest = Manifest.read(path)
    except UserError as error:  # training does not need it
        print(f"{error}: --predict will not take videos", file=sys.stderr)
        return
    write_json(kept, manifest.content)


@dataclass(frozen=True)
class Manifest:
    """A manifest that was read, with everything in it that is used checked.

    Attributes:
        path: of the file, for messages.
        content: of JSON's types.
        picture: height and width of the encoder's pictures.
        frames: that it takes of a window; 0 where it encodes single pictures.
    """

    path: Path
    content: dict[str, Any]
    picture: tuple[int, int]
    frames: int

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Reads a file.

        Raises:
            MissingFileError: it is not there.
            UserError: it is not the manifest of an extraction, or of another version.
        """
        content = read_json(path)
        try:
            encoder, settings = content["encoder"], content["settings"]
            match = _PICTURE.fullmatch(encoder["picture"])
            fits = content["format"] == _FORMAT and isinstance(settings, dict)
            if not (fits and match and isinstance(encoder["encoder"], str)):
                raise ValueError
            frames = encoder["frames"] if type(encoder["frames"]) is int else 0
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: not a manifest that this version writes") from error
        manifest = cls(path, content, (int(match[1]), int(match[2])), frames)
        manifest.settings("-")
        return manifest

    def settings(self, videos: str, **others: Any) -> Settings:
        """Returns the settings of an extraction that makes such rows.

        Args:
            videos: what the settings call their videos.
            **others: settings that change no result. The manifest says none of them.

        Raises:
            UserError: the manifest has settings of another version, or values that are not allowed.
        """
        saved = {name.removeprefix("--"): one for name, one in self.content["settings"].items()}
        unknown = sorted(set(saved) - set(_setting_names()))
        if unknown:
            raise UserError(f"{self.path}: unknown settings {', '.join(unknown)}")
        try:
            return Settings.from_json({**saved, **others, "videos": videos})
        except UserError as error:
            raise UserError(f"{self.path}: {error}") from error

    def open_encoder(
        self,
        name: str = "",
        *,
        weights: str = "",
        allow_pickle: bool = False,
        flag: str = "encoder",
    ) -> Encoder:
        """Opens the encoder again.

        Args:
            name: as the command line has it; may be empty where the encoder comes with this
                repository.
            weights: see `experiments.vision.encoders.open_encoder`; likewise of the command line.
            allow_pickle: likewise.
            flag: by which the command line has the name; with _weights, the weights.

        Returns:
            The encoder. Where packages or the decoder have other versions than they had, which may
            change the last digits of features, a line on stderr says so.

        Raises:
            UserError: it is another one than it was, which cannot be opened, or one that is a file
                or code and is not named.
        """
        known = self.content["encoder"]["encoder"]
        if not name and known not in BUILT_IN:
            raise UserError(
                f"{self.path}: names the encoder {known}, a file or code that a run folder cannot "
                f"ask for; where you trust it, add --{flag}={known} (a file with its whole path) "
                "to the command line, and what else it was opened with"
            )
        settings = self.settings("-")
        encoder = self._opened(
            name or known, weights=weights, logits=settings.logits, allow_pickle=allow_pickle
        )
        was, now = self.content["encoder"], _described(encoder)
        differing = _differences({**was, _VERSIONS: ""}, {**now, _VERSIONS: ""})
        if differing:
            raise UserError(
                f"--{flag}={name or known}: is not the encoder of the features in {self.path}:\n  "
                + "\n  ".join(differing)
                + f"\nGive the former one, by --{flag} and --{flag}_weights."
            )
        others = [
            *_differences(*({_VERSIONS: one.get(_VERSIONS, "")} for one in (was, now))),
            *_differences(
                self.content.get("decoder", {}), manifest_of(settings, encoder)["decoder"]
            ),
        ]
        if others:
            print(
                f"note: the features of {self.path} were made with other versions, which may "
                f"change their last digits: {'; '.join(others)}",
                file=sys.stderr,
            )
        return encoder

    def _opened(self, name: str, **options: Any) -> Encoder:
        """An encoder with such pictures; which options it was opened with, nothing has noted."""
        height, width = self.picture
        side = height if height == width else 0
        frames = 0 if name in BUILT_IN else self.frames
        found: Encoder | None = None
        errors: list[UserError] = []
        for size, count in dict.fromkeys(itertools.product((0, side), (0, frames))):
            try:
                found = open_encoder(name, size=size, frames=count, **options)
            except UserError as error:
                errors.append(error)
            else:
                if found.spec.size == self.picture and (found.spec.frames or 0) == self.frames:
                    break
        if found is None:
            raise errors[0]
        return found


def _setting_names() -> list[str]:
    return [name for name in Settings.result_names() if name not in _OF_ENCODER]


def _described(encoder: Encoder) -> dict[str, Any]:
    spec = encoder.spec
    return {
        **spec.identity,
        "frames": spec.frames or "each by itself, windows are their mean",
        "picture": f"{spec.size[0]} x {spec.size[1]}",
    }


def _differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: was {was.get(name, '(not there)')}, now {now.get(name, '(not there)')}"
        for name in dict.fromkeys([*was, *now])
        if was.get(name) != now.get(name)
    ]
