"""`--encoder` of the SEQ experiments: encoders of single pictures.

Two are their own (`OWN`): they see pictures of whatever size the data has. All others are those of
every script, see `experiments.vision.encoders`.
"""

import dataclasses
from functools import lru_cache

import numpy as np
from PIL import Image

from experiments.seq.settings import SeqOptions
from experiments.shared.errors import UserError
from experiments.shared.options import option
from experiments.vision import encoder_options
from experiments.vision.checked_encoder import Encoder
from experiments.vision.encoders import BUILT_IN, FORMS, open_encoder

OWN = ("mobilenet_v2", "pixels")
WITHOUT_CODE = tuple(dict.fromkeys((*OWN, *BUILT_IN)))
"""Those that a run folder may name: neither a file nor code."""

NAMES = ", ".join((*WITHOUT_CODE, *FORMS))

_GROUP = "The encoder"
_AT_ONCE = 32  # pictures


@dataclasses.dataclass(frozen=True)
class EncoderOptions(SeqOptions):
    """What an encoder is opened with, beside `--encoder`, which each experiment has itself."""

    encoder_weights: str = option(
        "",
        _GROUP,
        "Other weights of mobilenet_v2 (a torch.save file of torchvision's model), or whatever a "
        "MODULE:FUNCTION makes of them.",
        changes_result=False,  # their digest is a part of the encoder's identity
        path=True,
    )
    allow_pickle: bool = encoder_options.allow_pickle(_GROUP)


def check_name(name: str, weights: str) -> None:
    """Checks `--encoder` and `--encoder_weights` before anything is opened.

    Raises:
        UserError: an unknown name, or weights for an encoder that takes none.
    """
    kind, _, rest = name.partition(":")
    if name not in WITHOUT_CODE and not (kind and rest):
        raise UserError(f"--encoder={name}: allowed: {NAMES}")
    if weights and name != "mobilenet_v2" and not is_code(name):
        raise UserError("--encoder_weights: only with --encoder=mobilenet_v2 or a MODULE:FUNCTION")


def is_code(name: str) -> bool:
    """Returns whether an encoder is MODULE:FUNCTION."""
    kinds = {form.partition(":")[0] for form in FORMS}
    kind, _, rest = name.partition(":")
    return bool(rest) and kind not in kinds


def forget() -> None:
    """Lets go of the encoder that `opened` keeps: its file may have changed, or it is large."""
    _opened.cache_clear()


def opened(name: str, *, weights: str = "", size: int = 0, allow_pickle: bool = False) -> Encoder:
    """Opens an encoder of single pictures by its name; the last one is kept until `forget`.

    Args:
        name: one of `NAMES`, none of `OWN`.
        weights: see `open_encoder`.
        size: likewise.
        allow_pickle: likewise.

    Raises:
        UserError: it cannot be opened, or takes windows of several frames.
    """
    return _opened(name, weights, size, allow_pickle)


@lru_cache(maxsize=1)
def _opened(name: str, weights: str, size: int, allow_pickle: bool) -> Encoder:
    encoder = open_encoder(name, weights=weights, size=size, allow_pickle=allow_pickle)
    frames = encoder.spec.frames
    if frames is not None and frames > 1:
        raise UserError(
            f"--encoder={name}: encodes windows of {frames} frames, and these are single pictures; "
            "name an encoder of pictures (features of windows: python -m experiments.extract_tse)"
        )
    return encoder


def encoded(encoder: Encoder, images: np.ndarray) -> np.ndarray:
    """Returns float32 features ``[N, F]`` of pictures uint8 ``[N, H, W, 3]``.

    Those of another size than the encoder's are scaled to it, whatever their aspect.
    """
    height, width = encoder.spec.size
    parts = []
    for start in range(0, len(images), _AT_ONCE):
        part = images[start : start + _AT_ONCE]
        if part.shape[1:3] != (height, width):
            scaled = (
                Image.fromarray(one).resize((width, height), Image.Resampling.BILINEAR)
                for one in part
            )
            part = np.stack([np.asarray(one) for one in scaled])
        # One shape, one compilation: the last part is filled up.
        fill = ((0, _AT_ONCE - len(part)), (0, 0), (0, 0), (0, 0))
        parts.append(encoder(np.pad(part, fill, mode="edge")[:, None])[: len(part)])
    return np.concatenate(parts)
