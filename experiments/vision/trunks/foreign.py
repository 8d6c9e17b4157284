"""Trunks of others: MODULE:FACTORY, code of your own.

`FACTORY(seed=...)` returns what is called as a trunk is: float32 images ``[N, H, W, 3]`` in [0, 1]
to features ``[N, F]``; it normalises them itself. A Flax NNX module is trained, a plain function is
not (one of Flax's older Linen modules becomes one by `flax.nnx.bridge.ToNNX`). The factory is given
`weights`, `precision` and `remat` as well where it has such arguments. Where it returns a `Trunk`,
its last stages can be trained alone.

Modules are put into the mode of evaluation (`.eval()`) for good: statistics of batch normalisation
stay as they are, and there is no dropout. Only parameters (`nnx.Param`) are trained.
"""

import importlib
import inspect
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from experiments.shared.errors import UserError
from experiments.vision.trunks.trunk import Trunk, rematerialised

_PLAIN = {"weights": "", "precision": "float32", "remat": False}


class ForeignTrunk(Trunk):
    """Somebody's model in the form of a trunk; it has no stages that are known."""

    def __init__(self, model: Any, num_features: int, *, side: int, remat: bool) -> None:
        """Takes a model that was tried."""
        super().__init__((), precision="float32", remat=remat)
        self.model, self.num_features, self.side = model, num_features, side

    def __call__(self, images: jax.Array) -> jax.Array:
        """Features ``[N, num_features]``, float32, of images ``[N, H, W, 3]`` in [0, 1]."""
        images = images.astype(jnp.float32)
        if self.remat and isinstance(self.model, nnx.Module):
            features = rematerialised(self.model, images)
        else:
            features = self.model(images)
        return features.astype(jnp.float32)


def open_foreign(
    name: str, *, weights: str, seed: int, precision: str, remat: bool, side: int = 0
) -> Trunk:
    """Calls MODULE:FACTORY and tries what it returns, without computing anything.

    Args:
        name: "MODULE:FACTORY".
        weights: for the factory, if it takes them.
        seed: for the factory.
        precision: for the factory, if it takes one; "float32" where it does not.
        remat: for the factory; where it does not take it, all of the model is computed again.
        side: of the pictures that it is tried with; 0: its own, or 224.

    Raises:
        UserError: it cannot be imported, has no use for an option, or fails; names it.
    """
    factory = _imported(name)
    given = {"weights": weights, "precision": precision, "remat": remat}
    try:
        taken = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # of C
        taken = {}  # type: ignore[assignment]
    any_name = any(one.kind is one.VAR_KEYWORD for one in taken.values())
    options: dict[str, Any] = {"seed": seed}
    for key, value in given.items():
        if value == _PLAIN[key]:
            continue
        if key in taken or any_name:
            options[key] = value
        elif key != "remat":
            raise UserError(
                f"{name}: its factory has no argument {key}, but {key}={value} is asked"
            )
    try:
        model = factory(**options)
    except UserError:
        raise
    except Exception as error:  # the user's code
        raise _failed(name, "fails when it is made", error) from error
    if not callable(model):
        raise UserError(f"{name}: must return a module or a function, not {model!r:.100}")
    if isinstance(model, nnx.Module):
        model.eval()
        nnx.pop(model, nnx.RngState)  # nothing draws from it any more
    side = side or getattr(model, "side", Trunk.side)
    num_features = _tried(name, model, side)
    if isinstance(model, Trunk):
        return model
    remat = remat and "remat" not in options
    return ForeignTrunk(model, num_features, side=side, remat=remat)


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever the module does when it is imported
        raise _failed(name, "cannot be imported", error) from error
    if not callable(found):
        raise UserError(f"{name}: is not a function")
    return found


def _tried(name: str, model: Any, side: int) -> int:
    """The number of features that a model makes of pictures of a side."""
    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    try:
        if isinstance(model, nnx.Module):
            found = nnx.eval_shape(lambda one, x: one(x), model, images)
        else:
            found = jax.eval_shape(model, images)
    except Exception as error:  # the user's code
        raise _failed(name, f"fails on pictures of {side} x {side}", error) from error
    shape = getattr(found, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != 2 or not shape[1]:
        what = type(found).__name__ if shape is None else f"shape {shape}"
        raise UserError(f"{name}: must return features [N, F] of images [N, H, W, 3], got {what}")
    return int(shape[1])


def _failed(name: str, what: str, error: Exception) -> UserError:
    return UserError(
        f"{name}: {what} ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
    )
