"""Trunks by the name that a flag has for them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from experiments.shared.errors import UserError
from experiments.vision.trunks import mobilenet_v2
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
    precision: str = "float32",
    remat: bool = False,
) -> Trunk:
    """Opens a trunk by its name.

    Args:
        name: `mobilenet_v2`, whose weights come with this repository.
        weights: a local file of weights; "random": made from the seed; empty: those that come with
            this repository where there are some, else random ones.
        seed: of random weights.
        precision: what it computes in, see `Trunk`.
        remat: see `Trunk`.

    Raises:
        MissingFileError: the weights are not there.
        UserError: an unknown name (it lists what is allowed), or weights that are damaged or of
            another architecture.
    """
    if name not in _OPENERS:
        raise UserError(f"{name}: no such model; allowed: {', '.join((*NAMES, *FORMS))}")
    return _OPENERS[name](TrunkWish(name, weights, seed, precision, remat))


def _mobilenet_v2(wish: TrunkWish) -> Trunk:
    if wish.weights == RANDOM:
        layers = mobilenet_v2.random_layers(wish.seed)
    else:
        path = Path(wish.weights).expanduser() if wish.weights else None
        layers = list(mobilenet_v2.stored_layers(path))
    return mobilenet_v2.MobileNetV2(layers, precision=wish.precision, remat=wish.remat)


_OPENERS: dict[str, Callable[[TrunkWish], Trunk]] = {"mobilenet_v2": _mobilenet_v2}
NAMES = tuple(_OPENERS)
FORMS: tuple[str, ...] = ()
