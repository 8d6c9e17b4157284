"""Trunks by the name that a flag has for them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from experiments.shared.errors import UserError
from experiments.shared.fingerprint import Digests, encoder_identity
from experiments.vision.mobilenet import WEIGHTS_FILE
from experiments.vision.trunks import mobilenet_v2, resnet50, vit_b16
from experiments.vision.trunks.foreign import open_foreign
from experiments.vision.trunks.trunk import Trunk

RANDOM = "random"
"""For a flag of weights: none of a file, but random ones."""


class TrunkWish(NamedTuple):
    """What is asked for.

    Attributes:
        name: see `open_trunk`.
        weights: a file, `RANDOM`, or empty.
        seed: of random weights.
        precision: see `Trunk`.
        remat: see `Trunk`.
    """

    name: str
    weights: str
    seed: int
    precision: str
    remat: bool


def open_trunk(
    name: str,
    *,
    weights: str = "",
    seed: int,
    side: int = 0,
    precision: str = "float32",
    remat: bool = False,
) -> Trunk:
    """Opens a trunk by its name.

    Args:
        name: `mobilenet_v2`, whose weights come with this repository; `resnet50`; `vit_b16`; or
            MODULE:FACTORY, see `experiments.vision.trunks.foreign`.
        weights: a local file of torchvision's weights of that architecture (.pth, .safetensors or
            .npz, with torchvision's names); "random": made from the seed; empty: those that come
            with this repository where there are some, else random ones.
        seed: of random weights.
        side: height and width of the pictures that it will be given, which are checked; 0: its own.
        precision: what it computes in, see `Trunk`.
        remat: see `Trunk`.

    Raises:
        MissingFileError: the weights are not there.
        UserError: an unknown name (it lists what is allowed), weights that are damaged or of
            another architecture, or pictures of a size that it cannot take.
    """
    if all(name.partition(":")):
        return open_foreign(
            name, weights=weights, seed=seed, precision=precision, remat=remat, side=side
        )
    if name not in _OPENERS:
        raise UserError(f"{name}: no such model; allowed: {', '.join((*NAMES, *FORMS))}")
    kind, opener = _OPENERS[name]
    if side and (side < kind.smallest or side % kind.divisor):
        multiple = f", and a multiple of {kind.divisor}" if kind.divisor > 1 else ""
        raise UserError(
            f"{name}: pictures must have a side of at least {kind.smallest}{multiple}, not {side}"
        )
    return opener(TrunkWish(name, weights, seed, precision, remat))


def trunk_identity(name: str, weights: str, digests: Digests) -> dict[str, str]:
    """Returns what tells a trunk's first weights from all others, but for the seed.

    Args:
        name: as for `open_trunk`; of MODULE:FACTORY the source counts.
        weights: likewise.
        digests: what is known of files.

    Returns:
        Of JSON's types.

    Raises:
        MissingFileError: the weights are not there.
        UserError: there is no such module.
    """
    path: Path | None = Path(weights).expanduser()
    if weights == RANDOM or not (weights or name == "mobilenet_v2"):
        return encoder_identity(name, digests) | {"weights": RANDOM}
    if not weights:
        path = WEIGHTS_FILE
    elif ":" in name and not Path(weights).is_file():
        return encoder_identity(name, digests) | {"weights": weights}  # what they are, it knows
    return encoder_identity(name, digests, path)


def _mobilenet_v2(wish: TrunkWish) -> Trunk:
    if wish.weights == RANDOM:
        layers = mobilenet_v2.random_layers(wish.seed)
    else:
        layers = list(mobilenet_v2.stored_layers(_path(wish)))
    return mobilenet_v2.MobileNetV2(layers, precision=wish.precision, remat=wish.remat)


def _resnet50(wish: TrunkWish) -> Trunk:
    path = _path(wish)
    made = resnet50.random_layers(wish.seed) if path is None else resnet50.stored_layers(path)
    return resnet50.ResNet50(made, precision=wish.precision, remat=wish.remat)


def _vit_b16(wish: TrunkWish) -> Trunk:
    path = _path(wish)
    made = vit_b16.random_tensors(wish.seed) if path is None else vit_b16.stored_tensors(path)
    return vit_b16.ViTB16(made, precision=wish.precision, remat=wish.remat)


def _path(wish: TrunkWish) -> Path | None:
    return Path(wish.weights).expanduser() if wish.weights not in ("", RANDOM) else None


_OPENERS: dict[str, tuple[type[Trunk], Callable[[TrunkWish], Trunk]]] = {
    "mobilenet_v2": (mobilenet_v2.MobileNetV2, _mobilenet_v2),
    "resnet50": (resnet50.ResNet50, _resnet50),
    "vit_b16": (vit_b16.ViTB16, _vit_b16),
}
NAMES = tuple(_OPENERS)
FORMS = ("MODULE:FACTORY",)
