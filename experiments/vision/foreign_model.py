"""What encoders that others made have in common: what was asked for, errors, trial, identity."""

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared.errors import MissingFileError, UserError
from experiments.shared.fingerprint import Digests, digest_json
from experiments.vision.checked_encoder import CheckedEncoder, EncoderSpec, Function
from experiments.vision.preprocessing import FILES, Preprocessing, read_preprocessing

SIZE = (224, 224)
"""Height and width of pictures where nothing says them."""

TRIED = 2
"""Windows of a trial: one would not show that a model mixes them up with features."""

_LONGEST = 300  # characters of another library's message
_EXTRAS = {"onnxruntime": "onnx", "torch": "torch", "transformers": "torch"}  # of pyproject.toml


@dataclass(frozen=True)
class Wish:
    """An encoder as it was asked for: see `experiments.vision.encoders.open_encoder`."""

    name: str
    weights: str
    size: int
    frames: int
    logits: bool
    allow_pickle: bool

    @property
    def path(self) -> Path:
        """What stands behind the colon."""
        return Path(self.name.partition(":")[2]).expanduser()

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width, None where nothing was asked for."""
        return (self.size, self.size) if self.size else None

    def error(self, problem: str) -> UserError:
        """An error that names the encoder."""
        return UserError(f"--encoder={self.name}: {problem}")

    def failed(self, doing: str, error: Exception) -> UserError:
        """An error of another library, in a line."""
        words = " ".join(str(error).split())
        words = words[:_LONGEST] + "..." * (len(words) > _LONGEST)
        return self.error(f"{doing} ({type(error).__name__}: {words})")


def tried(wish: Wish, spec: EncoderSpec, function: Function) -> CheckedEncoder:
    """The encoder, tried on black pictures, its failures told as the user's."""

    def told(frames: np.ndarray) -> np.ndarray:
        try:
            return _array(function(frames))
        except UserError:
            raise
        except Exception as error:  # the model is the user's
            raise wish.failed(f"fails on pictures {frames.shape}", error) from error

    black = np.zeros((TRIED, spec.frames or 1, *spec.size, 3), np.uint8)
    num_features = CheckedEncoder(spec, told)(black).shape[1]
    return CheckedEncoder(replace(spec, num_features=num_features), told)


def joined(outputs: Sequence[Any], wish: Wish) -> np.ndarray:
    """Embedding, and class scores behind it if they are wished for."""
    arrays = [_array(output) for output in outputs[: 1 + wish.logits]]
    if len(arrays) <= wish.logits:
        raise wish.error("has one output: no logits beside the embedding")
    if arrays[0].ndim == 3:
        arrays[0] = arrays[0].mean(axis=1)
    if any(array.ndim != 2 for array in arrays):
        shapes = " and ".join(str(array.shape) for array in arrays)
        raise wish.error(f"must return [B, F] or [B, tokens, F], got {shapes}")
    return np.concatenate(arrays, axis=1)


def _array(output: Any) -> np.ndarray:
    """An output in NumPy, of whatever device and floating type torch has it in."""
    return np.asarray(output.detach().float().cpu() if hasattr(output, "detach") else output)


def file_of(wish: Wish) -> tuple[Path, Preprocessing]:
    """Returns the file of a model and what is done with its pictures.

    Raises:
        MissingFileError: it is not there.
        UserError: weights were named besides, or what lies beside it cannot be read.
    """
    without_weights(wish)
    if not wish.path.is_file():
        raise MissingFileError(f"--encoder={wish.name}: {wish.path}: no such file")
    return wish.path, read_preprocessing(wish.path.parent) or Preprocessing()


def without_weights(wish: Wish) -> None:
    """Raises a UserError where weights were named besides the model."""
    if wish.weights:
        raise wish.error("its weights are in it; no others can be given")


def package(name: str, wish: Wish) -> Any:
    """Imports a package that is not always there.

    Raises:
        UserError: it is not installed (the message says how), or does not work.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        extra = _EXTRAS[name]
        raise wish.error(
            f"needs {name}, which cannot be imported ({error}). "
            f'Install it by: python -m pip install -e ".[{extra}]" (or pip install {name})'
        ) from error


def agreed(wish: Wish, what: str, asked: int, fixed: int) -> int:
    """Returns what was asked for or what a file fixes; 0 where neither says it.

    Raises:
        UserError: both do, and differ.
    """
    if asked and fixed and asked != fixed:
        raise wish.error(f"its {what} is {fixed}, not {asked}")
    return asked or fixed


def layout_key(path: Path) -> str:
    """Returns where the order of the axes is said, for a message."""
    return f'"layout" in {path.parent / FILES[0]}'


def identity_of(
    wish: Wish, paths: Iterable[Path], preprocessing: Preprocessing, packages: Iterable[str]
) -> dict[str, str]:
    """Returns what tells a model from every other: its files, preprocessing, versions."""
    return {
        "encoder": f"{wish.name.partition(':')[0]}:{wish.path.name}",  # wherever it lies
        "weights": digest_of(paths),
        "preprocessing": preprocessing.text(),
        "versions": ", ".join(f"{name} {version(name)}" for name in packages),
    }


def digest_of(paths: Iterable[Path]) -> str:
    """Returns the digest of files, names included; of one file, of its bytes alone."""
    listed = list(paths)
    digests = Digests().of_files(listed, desc="encoder")
    if len(listed) == 1:
        return digests[0]
    return digest_json([[path.name, one] for path, one in zip(listed, digests, strict=True)])
