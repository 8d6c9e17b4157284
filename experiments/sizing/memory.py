"""The memory of a device, from the shapes that a training step allocates.

What is there for the whole of a training is exact. Of what comes and goes in a step, the compiler
decides what shares memory; here everything that could be there at once is counted, so it is an
upper bound, between 1 and 2 times what the compiler plans for an H200.
"""

import numpy as np

from experiments.shared.finite import STEPS_AHEAD
from experiments.sizing.settings import Settings
from tempalign.kernels.gpu import path_sums, specs, weighted_cost

BATCHES_AT_ONCE = STEPS_AHEAD + 1
"""On a device: the one that is computed with, and those that the host is ahead."""

_FLOAT = 4


def of_training(settings: Settings) -> dict[str, int]:
    """Returns bytes that a device holds in training, by what they are; both parameters learned."""
    step = settings.step
    parameters = 2 * _FLOAT * step.classes * step.steps * step.features
    row = step.frames * step.features * np.dtype(settings.dtype).itemsize + 3 * _FLOAT
    return {
        "centroids and weights": parameters,
        "Adam's moments": 2 * parameters,
        "copies that decide the paths": parameters,
        "mean and deviation of the features": 2 * _FLOAT * step.features,
        f"batches, {BATCHES_AT_ONCE} at once": BATCHES_AT_ONCE * step.videos * row,
        "what comes and goes in a step, at most": in_a_step(settings),
    }


def in_a_step(settings: Settings) -> int:
    """Returns at most how many bytes there are for a part of a step only.

    That is at one of two moments: costs are computed, beside the operands of what follows, or
    gradients are.
    """
    buffer = buffers(settings)
    classes = buffer["centroids in blocks"] + buffer["weights in blocks"]
    gradients = 2 * classes + buffer["frames in blocks"] + buffer["paths"]
    return max(sum(buffer.values()), gradients)


def buffers(settings: Settings) -> dict[str, int]:
    """Returns bytes of what the kernels read and write, see `tempalign.kernels.gpu`."""
    step = settings.step
    form, how, height, width, words = weighted_cost.layout(
        step.classes * step.steps,
        step.videos * step.frames,
        step.features,
        half=settings.path_precision == "float16",
        cores=specs.CARDS[settings.card].cores,
    )
    blocks = path_sums.padded_features(step.features)
    pairs = step.classes * step.videos
    centroids = _FLOAT * step.classes * step.steps * blocks
    return {
        "classes by feature": 2 * _FLOAT * height * words,
        "frames by feature": _FLOAT * width * words,
        "costs": _FLOAT * how.written_bands * form.tile[0] * width,
        "sums of costs": _FLOAT * height * width if how.parts > 1 else 0,
        "centroids in blocks": centroids,
        "weights in blocks": centroids,
        "frames in blocks": _FLOAT * step.videos * step.frames * blocks,
        # The choices of every frame, the two ends of every step, twice, and values.
        "paths": _FLOAT * (pairs + 128) * (step.frames + 4 * step.steps + 4),
    }


def of_first_centroids(settings: Settings) -> int:
    """Returns bytes, at least, of the samples that are averaged before training, on one device.

    As they are given and as they are averaged, of as many classes at once as a device has.
    """
    samples = settings.step.classes * settings.dba_samples
    return 2 * _FLOAT * samples * settings.steps * settings.features


def of_checkpoint(settings: Settings) -> int:
    """Returns bytes of one checkpoint of a run: state, scaling, and the logits of the test."""
    head = _FLOAT * settings.classes * settings.steps * settings.features
    numbers = 2 * settings.features + settings.test_videos * settings.classes
    return 8 * head + _FLOAT * numbers
