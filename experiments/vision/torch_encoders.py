"""Models of torch as encoders: TorchScript, pickled modules, folders of transformers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.shared.errors import MissingFileError, UserError
from experiments.vision.checked_encoder import CheckedEncoder, EncoderSpec
from experiments.vision.foreign_model import (
    SIZE,
    TRIED,
    Wish,
    file_of,
    identity_of,
    joined,
    layout_key,
    package,
    tried,
    without_weights,
)
from experiments.vision.preprocessing import CLIPS, PICTURES, Preprocessing, read_preprocessing

_MODEL_FILES = (".json", ".safetensors", ".bin")  # of a folder of transformers


def open_torchscript(wish: Wish) -> CheckedEncoder:
    """Opens a file of TorchScript, see `experiments.vision.foreign_encoders`."""
    path, preprocessing = file_of(wish)
    torch = package("torch", wish)
    try:
        module = torch.jit.load(str(path), map_location=_device(torch))
    except Exception as error:  # RuntimeError of C++, and what reading raises
        raise wish.failed("cannot be loaded as TorchScript", error) from error
    return _of_module(wish, torch, module, preprocessing)


def open_torch(wish: Wish) -> CheckedEncoder:
    """Opens a pickled module, see `experiments.vision.foreign_encoders`."""
    path, preprocessing = file_of(wish)
    if not wish.allow_pickle:
        raise wish.error(
            "a pickled module runs whatever code the file names when it is read. If you trust "
            "who made it, say so by --allow_pickle; else save the model as TorchScript, or let "
            "MODULE:FUNCTION build it and load its tensors"
        )
    torch = package("torch", wish)
    try:
        module = torch.load(path, map_location=_device(torch), weights_only=False)
    except Exception as error:  # whatever code the file names
        raise wish.failed("cannot be loaded", error) from error
    if not isinstance(module, torch.nn.Module):
        raise wish.error(
            f"holds a {type(module).__name__}, not a module. Weights alone do not say what is "
            "computed of them: give a MODULE:FUNCTION that builds the model and loads them"
        )
    return _of_module(wish, torch, module, preprocessing)


def _of_module(wish: Wish, torch: Any, module: Any, preprocessing: Preprocessing) -> CheckedEncoder:
    """An encoder of a module whose order of axes is not known."""
    module = module.to(_device(torch)).float().eval()
    size = wish.shape or preprocessing.size or SIZE

    def run(frames: np.ndarray, layout: str) -> np.ndarray:
        found = _forward(torch, module, preprocessing(frames, layout))
        return joined(found if isinstance(found, (tuple, list)) else [found], wish)

    black = np.zeros((TRIED, wish.frames or 1, *size, 3), np.uint8)
    candidates: Sequence[str] = (PICTURES[0],) if not wish.frames else CLIPS[:2]
    if preprocessing.layout:
        candidates = (preprocessing.layout,)
    fitting, errors = [], []
    for layout in candidates:
        try:
            run(black, layout)
            fitting.append(layout)
        except Exception as error:  # the module is the user's
            errors.append(error)
    if not fitting and isinstance(errors[0], UserError):
        raise errors[0]
    if not fitting:
        takes = f"clips of {wish.frames} frames" if wish.frames else "pictures"
        advice = "" if wish.frames else "; a model of clips wants the number of its frames"
        raise wish.failed(
            f"fails on {takes} of {size[0]} x {size[1]}{advice}", errors[0]
        ) from errors[0]
    if len(fitting) > 1:
        raise wish.error(
            f"takes {' and '.join(fitting)}: name the right one as {layout_key(wish.path)}"
        )
    (layout,) = fitting
    identity = identity_of(wish, [wish.path], preprocessing, ["torch"]) | {"layout": layout}
    spec = EncoderSpec(wish.name, None, wish.frames or None, size, identity, wish.logits)
    return tried(wish, spec, lambda frames: run(frames, layout))


def open_transformers(wish: Wish) -> CheckedEncoder:
    """Opens a folder of transformers, see `experiments.vision.foreign_encoders`."""
    folder = wish.path
    without_weights(wish)
    if not folder.is_dir():
        raise MissingFileError(f"--encoder={wish.name}: {folder}: no such folder")
    preprocessing = read_preprocessing(folder)
    if preprocessing is None:
        raise MissingFileError(
            f"--encoder={wish.name}: {folder}: has no preprocessor_config.json, which says how "
            "pictures are normalised"
        )
    torch, transformers = package("torch", wish), package("transformers", wish)
    model, classifies = _loaded(wish, transformers)
    model = model.to(_device(torch)).float().eval()
    config = model.config
    own_frames = getattr(config, "num_frames", 0) or getattr(config, "frames_per_clip", 0)
    frames = wish.frames or own_frames
    if wish.frames and not own_frames:
        raise wish.error(f"encodes single pictures, not {wish.frames}")
    own = getattr(config, "image_size", None) or getattr(config, "crop_size", None) or SIZE
    size = wish.shape or preprocessing.size or ((own, own) if isinstance(own, int) else tuple(own))
    taken: list[Any] = []  # what the classifier was given last
    if classifies:
        model.classifier.register_forward_pre_hook(lambda _, given: taken.append(given[0]))

    def run(pictures: np.ndarray) -> np.ndarray:
        taken.clear()
        values = preprocessing(pictures, "BTCHW" if frames else "BCHW")
        found = _forward(torch, model, values, keyword=model.main_input_name)
        if not classifies:
            return joined([found.last_hidden_state], wish)
        return joined([taken[-1].flatten(1), found.logits], wish)

    files = sorted(path for path in folder.iterdir() if path.suffix in _MODEL_FILES)
    identity = identity_of(wish, files, preprocessing, ["torch", "transformers"])
    spec = EncoderSpec(wish.name, None, frames or None, size, identity, wish.logits)
    return tried(wish, spec, run)


def _loaded(wish: Wish, transformers: Any) -> tuple[Any, bool]:
    """The model of a folder, and whether it has a classifier."""
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(str(wish.path), **local)
        (architecture, *_) = config.architectures or [""]
        classifies = architecture.endswith(("ForVideoClassification", "ForImageClassification"))
        kind = getattr(transformers, architecture) if classifies else transformers.AutoModel
        model, loading = kind.from_pretrained(
            str(wish.path), config=config, output_loading_info=True, **local
        )
    except Exception as error:  # a damaged file, an unknown architecture, code in the folder
        raise wish.failed("cannot be loaded", error) from error
    # What a file lacks is made at random. A pooler is not used.
    lacking = sorted(name for name in loading["missing_keys"] if not name.startswith("pooler."))
    if lacking:
        raise wish.error(f"{len(lacking)} of its weights are not there: {', '.join(lacking[:3])}")
    if classifies and not hasattr(model, "classifier"):
        raise wish.error(f"{architecture} has no classifier whose input is the embedding")
    if wish.logits and not classifies:
        raise wish.error(f"{architecture or 'a model without a head'} has no logits")
    return model, classifies


def _forward(torch: Any, module: Any, values: np.ndarray, keyword: str = "") -> Any:
    """What a module returns of pictures."""
    with torch.inference_mode():
        tensor = torch.from_numpy(values).to(_device(torch))
        return module(**{keyword: tensor}) if keyword else module(tensor)


def _device(torch: Any) -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
