"""Encoders of windows that the papers use, for `--encoder=MODULE:FUNCTION`.

Each is a function to use as it is or to copy and change. None fetches anything: code and weights
are what you have on your disk. They were run with small models of the real architectures whose
weights were drawn at random, not with the published weights.

VideoMAE V2, as the DejaVid paper has it (N_f = 1408 + 400, 16 frames of 224 x 224), with the
official repository on the path, `timm`, and weights fine-tuned on Kinetics-400::

    export PYTHONPATH=VideoMAEv2
    --encoder=experiments.vision.recipes:videomae_v2

and its options weights=vit_g_k400_ft.pth and logits. A VideoMAE in a folder of transformers
needs no recipe: `--encoder=transformers:FOLDER`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.vision.checked_encoder import EncoderSpec
from experiments.vision.preprocessing import Preprocessing


class Recipe:
    """An encoder made of a function and what is known of it."""

    def __init__(self, spec: EncoderSpec, function: Any) -> None:
        """Takes both; the function has uint8 ``[B, frames, H, W, 3]`` and returns ``[B, F]``."""
        self.spec, self._function = spec, function

    def __call__(self, frames: np.ndarray, /) -> Any:
        """Returns features of pictures."""
        return self._function(frames)


def videomae_v2(weights: str, frames: int = 16, size: int = 224, logits: bool = False) -> Recipe:
    """VideoMAE V2-g of the official repository (its `models.modeling_finetune`).

    The embedding is what its head takes; pictures are normalised by ImageNet's mean and deviation,
    as in its fine-tuning (its script of features for detection leaves that out).

    Args:
        weights: the official file of a fine-tuned model; its head says how many classes there are.
        frames: of a window.
        size: of pictures.
        logits: the class scores too.
    """
    import torch
    from models.modeling_finetune import vit_giant_patch14_224

    tensors = torch.load(weights, map_location="cpu", weights_only=True)
    tensors = tensors.get("model", tensors.get("module", tensors))
    classes = len(tensors["head.weight"])
    model = vit_giant_patch14_224(img_size=size, all_frames=frames, num_classes=classes)
    model.load_state_dict(tensors)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, prepared = model.to(device).float().eval(), Preprocessing()

    def run(pictures: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            clips = torch.from_numpy(prepared(pictures, "BCTHW")).to(device)
            embedding = model.forward_features(clips)
            parts = [embedding, model.head(embedding)] if logits else [embedding]
            return torch.cat(parts, dim=1).cpu().numpy()

    return Recipe(EncoderSpec("videomae_v2", None, frames, (size, size), logits=logits), run)


def vjepa2(weights: str, frames: int = 64, size: int = 256) -> Recipe:
    """V-JEPA 2 of transformers, the mean of the encoder's tokens; its predictor is not run.

    Args:
        weights: a folder with the model, as published.
        frames: of a window.
        size: of pictures.
    """
    import torch
    from transformers import VJEPA2Model

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = VJEPA2Model.from_pretrained(weights, local_files_only=True).to(device).float().eval()
    prepared = Preprocessing()  # of ImageNet, as published

    def run(pictures: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            clips = torch.from_numpy(prepared(pictures, "BTCHW")).to(device)
            tokens = model(pixel_values_videos=clips, skip_predictor=True).last_hidden_state
            return tokens.mean(dim=1).cpu().numpy()

    return Recipe(EncoderSpec("vjepa2", None, frames, (size, size)), run)


def videoprism(weights: str, frames: int = 16, size: int = 288) -> Recipe:
    """VideoPrism (JAX; the package of its repository), the mean of its tokens.

    Args:
        weights: the published .npz; base or large by its name.
        frames: of a window; 16 is the base model's number, 8 the large one's.
        size: of pictures.
    """
    import jax
    from videoprism import models

    name = f"videoprism_public_v1_{'large' if 'large' in Path(weights).name else 'base'}"
    model = models.get_model(name)
    state = models.load_pretrained_weights(name, checkpoint_path=weights)

    @jax.jit
    def run(state: Any, pictures: jax.Array) -> jax.Array:
        clips = pictures.astype("float32") / 255  # it takes values in [0, 1]
        return model.apply(state, clips, train=False)[0].mean(axis=1)

    spec = EncoderSpec("videoprism", None, frames, (size, size))
    return Recipe(spec, lambda pictures: run(state, pictures))
