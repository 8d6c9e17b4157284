"""The settings of the job: one frozen dataclass, whose fields are also the command-line flags."""

import dataclasses

from experiments.seq.encoding import EncoderOptions, check_name
from experiments.seq.settings import METHOD
from experiments.seq_images.augment import BORDERS
from experiments.seq_images.virtual_sequences import STARTS
from experiments.shared.errors import UserError
from experiments.shared.job import JOB
from experiments.shared.options import option

_DATA = "Data"
_SEQUENCES = "Virtual sequences and features"


@dataclasses.dataclass(frozen=True)
class Settings(EncoderOptions):
    """Everything the job can be told. `--help` says what each field means.

    Raises:
        UserError: a value that its flag does not allow, or two that do not go together.
    """

    data_dir: str = option(
        "", _DATA, "Folder of your images, with --layout=folder.", changes_result=False, path=True
    )
    layout: str = option(
        "folder",
        _DATA,
        "folder: train/<class>/ and test/<class>/ with image files, or images.csv (path,label,"
        "split); silhouettes: 10 classes of animals, which come with this repository; digits: "
        "scikit-learn's 8 x 8 digits.",
        choices=("folder", "silhouettes", "digits"),
    )
    image_size: int = option(
        224,
        _DATA,
        "Side of the square that images are scaled to cover, and whose middle is cut out.",
        minimum=8,
    )
    skip_bad: bool = option(
        False, _DATA, "Leave out images that do not decode (named and counted) instead of ending."
    )
    split_seed: int = option(
        0, _DATA, "Which images are for testing (silhouettes and digits only).", minimum=0
    )
    train_per_class: int = option(
        0,
        _DATA,
        "Train on so many images of each class, drawn anew for each seed; 0: on all.",
        minimum=0,
    )

    encoder: str = option(
        "mobilenet_v2",
        _SEQUENCES,
        "The frozen encoder: mobilenet_v2 (comes with this repository; 1280 features), pixels "
        "(their values; for tests), thumbnail and models of others from a local path (onnx:FILE, "
        "torchscript:FILE, torch:FILE, transformers:FOLDER), which are given bytes and must be of "
        "--image_size; see experiments/vision/encoders.py. Or MODULE:FUNCTION of your own, which "
        "is called with float32 [N, S, S, 3] in [0, 1] and returns [N, F], or makes an encoder. "
        "--predict wants files and code named again.",
    )
    draws: int = option(
        4, _SEQUENCES, "Virtual sequences of each training image; each test image has one.",
        minimum=1,
    )  # fmt: skip
    start: str = option(
        "image",
        _SEQUENCES,
        "image: the first frame of a sequence is the image as it is; random: drawn as the last.",
        choices=STARTS,
    )
    border: str = option(
        "reflect",
        _SEQUENCES,
        "What is outside of an image that is turned or moved: its mirror image, its border pixels "
        "or black.",
        choices=BORDERS,
    )
    augment_seed: int = option(0, _SEQUENCES, "Seed of the virtual sequences.", minimum=0)

    queries: int = option(2, METHOD, "Query images of each class in an episode.", minimum=1)
    classes_per_episode: int = option(
        0,
        METHOD,
        "So many classes, drawn anew, are in an episode; 0: all. Scores are of all classes always. "
        "Time and memory of an episode grow with this number.",
        minimum=0,
    )

    out_dir: str = option(
        "runs/seq_images",
        JOB,
        "Where everything is written, the features too (they are computed once).",
        changes_result=False,
        path=True,
    )

    def __post_init__(self) -> None:
        """Checks every value by itself, then those that must go together."""
        super().__post_init__()
        if not (self.predict or self.layout != "folder" or self.data_dir):
            raise UserError(
                "--data_dir: needed with --layout=folder; give the folder of your images (or "
                "--flagfile=experiments/flags/seq_images_demo.txt for the data that comes with "
                "this)"
            )
        check_name(self.encoder, self.encoder_weights)
        if self.encoder == "mobilenet_v2" and self.image_size < 32:
            raise UserError(
                f"--image_size={self.image_size}: --encoder=mobilenet_v2 needs at least 32"
            )
        if self.classes_per_episode == 1:
            raise UserError("--classes_per_episode=1: an episode needs two classes or more")
