"""ViT-B/16 as a trunk: torchvision's `vit_b_16`.

The architecture is that of timm's `vit_base_patch16_224` too, but names and the normalisation of
pictures are torchvision's: timm's files must be renamed, and mostly want pixels in [-1, 1].
"""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from experiments.vision.trunks.trunk import Trunk
from experiments.vision.trunks.weights import Weights

NUM_FEATURES = 768
PATCH = 16
_BLOCKS, _HEADS, _HIDDEN = 12, 12, 3072
_GRID = 14  # patches along each side of a picture of 224
_EPSILON = 1e-6


class ViTB16(Trunk):
    """Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021: features of its class token.

    Its 13 stages are the embedding of patches, and the blocks. Pictures of another size than 224
    have the learned places interpolated (bicubic).
    """

    num_features = NUM_FEATURES
    divisor = smallest = PATCH

    def __init__(
        self,
        tensors: Mapping[str, jax.Array],
        *,
        precision: str = "float32",
        remat: bool = False,
    ) -> None:
        """Makes a trunk from tensors by torchvision's names, linear kernels ``[in, out]``."""
        stages = [_Embedding(tensors), *(_Block(tensors, number) for number in range(_BLOCKS))]
        super().__init__(stages, precision=precision, remat=remat)
        self.norm = _Norm(tensors, "encoder.ln")

    def pooled(self, maps: jax.Array) -> jax.Array:
        """Features ``[N, 768]``, float32: of the class token, which is the first."""
        return self.norm(maps[:, 0].astype(jnp.float32))


class _Embedding(nnx.Module):
    def __init__(self, tensors: Mapping[str, jax.Array]) -> None:
        self.kernel = nnx.Param(tensors["conv_proj.weight"])
        self.bias = nnx.Param(tensors["conv_proj.bias"])
        self.token = nnx.Param(tensors["class_token"])
        self.places = nnx.Param(tensors["encoder.pos_embedding"])

    def __call__(self, x: jax.Array) -> jax.Array:
        x = lax.conv_general_dilated(
            x,
            self.kernel[...].astype(x.dtype),
            (PATCH, PATCH),
            "VALID",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = x + self.bias[...].astype(x.dtype)[None, None, None]
        first, places = self.places[...][:, :1], self.places[...][:, 1:]
        if x.shape[1:3] != (_GRID, _GRID):
            places = places.reshape(1, _GRID, _GRID, NUM_FEATURES)
            places = jax.image.resize(places, (1, *x.shape[1:]), "cubic")
            places = places.reshape(1, -1, NUM_FEATURES)
        patches = x.reshape(x.shape[0], -1, NUM_FEATURES) + places.astype(x.dtype)
        token = (self.token[...] + first).astype(x.dtype)
        return jnp.concatenate([jnp.tile(token, (x.shape[0], 1, 1)), patches], axis=1)


class _Block(nnx.Module):
    def __init__(self, tensors: Mapping[str, jax.Array], number: int) -> None:
        name = f"encoder.layers.encoder_layer_{number}"
        self.norms = nnx.List([_Norm(tensors, f"{name}.ln_{which}") for which in (1, 2)])
        attention = f"{name}.self_attention"
        self.qkv = _Linear(tensors, f"{attention}.in_proj_weight", f"{attention}.in_proj_bias")
        self.out = _Linear.named(tensors, f"{attention}.out_proj")
        self.wide = _Linear.named(tensors, f"{name}.mlp.0")
        self.narrow = _Linear.named(tensors, f"{name}.mlp.3")

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self._attended(self.norms[0](x))
        y = self.wide(self.norms[1](x))
        return x + self.narrow(jax.nn.gelu(y, approximate=False))

    def _attended(self, x: jax.Array) -> jax.Array:
        batch, tokens, width = x.shape
        split = self.qkv(x).reshape(batch, tokens, 3, _HEADS, width // _HEADS)
        query, key, value = split[:, :, 0], split[:, :, 1], split[:, :, 2]
        scores = jnp.einsum("nqhf,nkhf->nhqk", query, key, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores * (width // _HEADS) ** -0.5, axis=-1).astype(x.dtype)
        return self.out(jnp.einsum("nhqk,nkhf->nqhf", weights, value).reshape(x.shape))


class _Linear(nnx.Module):
    def __init__(self, tensors: Mapping[str, jax.Array], weight: str, bias: str) -> None:
        self.kernel, self.bias = nnx.Param(tensors[weight]), nnx.Param(tensors[bias])

    @classmethod
    def named(cls, tensors: Mapping[str, jax.Array], name: str) -> "_Linear":
        """One whose tensors have the usual names."""
        return cls(tensors, f"{name}.weight", f"{name}.bias")

    def __call__(self, x: jax.Array) -> jax.Array:
        product = jnp.einsum("nti,io->nto", x, self.kernel[...].astype(x.dtype))
        return product + self.bias[...].astype(x.dtype)[None, None]


class _Norm(nnx.Module):
    """Layer normalisation; its mean and deviation are float32 in every precision."""

    def __init__(self, tensors: Mapping[str, jax.Array], name: str) -> None:
        self.scale = nnx.Param(tensors[f"{name}.weight"])
        self.bias = nnx.Param(tensors[f"{name}.bias"])

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x.astype(jnp.float32)
        y = y - y.mean(axis=-1, keepdims=True)
        y = y * lax.rsqrt(jnp.square(y).mean(axis=-1, keepdims=True) + _EPSILON)
        ahead = (None,) * (x.ndim - 1)
        return (y * self.scale[...][ahead] + self.bias[...][ahead]).astype(x.dtype)


def stored_tensors(path: Path) -> dict[str, jax.Array]:
    """Reads weights, see `Weights`.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is damaged, or of another architecture.
    """
    weights = Weights(path, "vit_b_16")
    found = {}
    for name, shape in _shapes().items():
        stored = name
        for number, former in (("0", "linear_1"), ("3", "linear_2")):  # in the published files
            old = name.replace(f".mlp.{number}.", f".mlp.{former}.")
            stored = old if old in weights and old != name else stored
        values = jnp.asarray(weights.take(stored, _of_torch(name, shape)))
        if name == "conv_proj.weight":
            values = values.transpose(2, 3, 1, 0)
        found[name] = values.T if values.ndim == 2 else values
    return found


def random_tensors(seed: int) -> dict[str, jax.Array]:
    """Returns weights for a training from nothing, deviations of 0.02 as usual."""
    shapes = _shapes()
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return {
        name: jnp.full(shape, float("ln" in name.split(".")[-2] and name.endswith("weight")))
        if len(shape) == 1
        else 0.02 * jax.random.truncated_normal(key, -2, 2, shape)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def _of_torch(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a tensor in torchvision's files."""
    if name == "conv_proj.weight":
        return (shape[3], shape[2], *shape[:2])
    return shape[::-1] if len(shape) == 2 else shape


def _shapes() -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors as they are used here, by torchvision's names."""
    width = NUM_FEATURES
    shapes: dict[str, tuple[int, ...]] = {
        "class_token": (1, 1, width),
        "conv_proj.weight": (PATCH, PATCH, 3, width),
        "conv_proj.bias": (width,),
        "encoder.pos_embedding": (1, 1 + _GRID**2, width),
    }
    for number in range(_BLOCKS):
        name = f"encoder.layers.encoder_layer_{number}"
        linear = {
            f"{name}.self_attention.out_proj": (width, width),
            f"{name}.mlp.0": (width, _HIDDEN),
            f"{name}.mlp.3": (_HIDDEN, width),
        }
        shapes[f"{name}.self_attention.in_proj_weight"] = (width, 3 * width)
        shapes[f"{name}.self_attention.in_proj_bias"] = (3 * width,)
        for layer, shape in linear.items():
            shapes |= {f"{layer}.weight": shape, f"{layer}.bias": shape[1:]}
        for which in (1, 2):
            shapes |= {f"{name}.ln_{which}.{part}": (width,) for part in ("weight", "bias")}
    return shapes | {f"encoder.ln.{part}": (width,) for part in ("weight", "bias")}
