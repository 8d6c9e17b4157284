"""The settings of the job that are about videos: what is read of them, and what is trained."""

import dataclasses

from experiments.shared.errors import UserError
from experiments.shared.job import JOB, OTHER, JobOptions
from experiments.shared.options import option
from experiments.vision.encoder_options import predict_allow_pickle, predict_weights
from experiments.vision.segments import CROPS
from experiments.vision.trunks import FORMS, NAMES, PRECISIONS

_VIDEOS = "Videos, in place of stored features"
_TRUNK = "The trunk, which makes features of frames"


@dataclasses.dataclass(frozen=True)
class VideoOptions(JobOptions):
    """What the job can be told about videos. `--help` says what each field means.

    Raises:
        UserError: a value that its flag does not allow, or two that do not go together.
    """

    videos: str = option(
        "",
        _VIDEOS,
        "CSV file with the columns path,label,split (python -m experiments.make_list makes it). "
        "--class_splits says which classes are trained and tested on, whatever the column split; "
        "without it that column does, and no class may have two splits.",
        changes_result=False,
        path=True,
    )
    segment_frames: int = option(
        0,
        _VIDEOS,
        "In training a random frame stands for each segment: one of so many, evenly spread over "
        "it; 0: any. A small number lets --cache_mb hold long videos.",
        minimum=0,
    )
    side: int = option(
        0, _VIDEOS, "Side of the pictures that the trunk is given; 0: its usual one.", minimum=0
    )
    scaled_side: int = option(
        0,
        _VIDEOS,
        "Side to which frames are scaled, whatever their aspect, before --side of it is cut; 0: "
        "8/7 of --side (256 for 224, as in the paper).",
        minimum=0,
    )
    train_crop: str = option(
        "random",
        _VIDEOS,
        "What training sees of a video's frames, all of them alike; testing sees the middle. "
        "random: --side of --scaled_side, anywhere (the paper); multiscale: sides of 1 to 0.66 of "
        "the picture's, at corners and between (TSN); resized: 0.4 to 1 of the area, anywhere; "
        "center: the middle.",
        choices=CROPS,
    )
    flip: bool = option(
        False,
        _VIDEOS,
        "Mirror half of the training videos. The paper does for Kinetics, and not for Something-"
        "Something, whose classes tell left from right.",
    )
    max_pixels: int = option(
        50_000_000,
        _VIDEOS,
        "Videos with larger pictures are not decoded.",
        minimum=1,
        changes_result=False,
    )
    skip_bad: bool = option(
        False,
        _VIDEOS,
        "Leave out videos that cannot be decoded; failed.csv in --out_dir lists them. Without this "
        "they end the job before anything is trained.",
    )
    cache_mb: int = option(
        1024,
        _VIDEOS,
        "Megabytes of decoded pictures that are kept in memory, those of testing first; other "
        "videos are decoded whenever they are read. Changes no number.",
        minimum=0,
        changes_result=False,
    )

    trunk: str = option(
        "mobilenet_v2",
        _TRUNK,
        f"One of {', '.join(NAMES)} (the first is trained on ImageNet and comes with this "
        f"repository), or {FORMS[0]}, code of your own (see experiments/vision/trunks/foreign.py).",
    )
    trunk_weights: str = option(
        "",
        _TRUNK,
        "Its first weights: a local file of torchvision's (.pth, .safetensors or .npz); random; "
        "empty: those that come with this repository, else random.",
        changes_result=False,
        path=True,
    )
    train_trunk: str = option(
        "last",
        _TRUNK,
        "Which of its parameters are trained: none, those of the last --trunk_stages stages, or "
        "all (the paper).",
        choices=("none", "last", "all"),
    )
    trunk_stages: int = option(
        1, _TRUNK, "Last stages that are trained with --train_trunk=last.", minimum=1
    )
    trunk_learning_rate: float = option(
        1e-4,
        _TRUNK,
        "First learning rate of the trunk; that of the encoder on top is --learning_rate.",
        above=0,
    )
    precision: str = option(
        "float32",
        _TRUNK,
        "What the trunk computes in; parameters, alignment and loss are float32 in any case.",
        choices=PRECISIONS,
    )
    remat: bool = option(
        False,
        _TRUNK,
        "Compute the insides of the trunk's stages again for the gradient instead of keeping them: "
        "less memory for about a third more time.",
    )
    episodes_at_once: int = option(
        0,
        _TRUNK,
        "Episodes of a step whose gradients are computed at once, the others after them: bounds "
        "memory, the gradient being the same; 0: all. Must divide --batch_episodes.",
        minimum=0,
    )
    videos_at_once: int = option(
        8,
        JOB,
        "Videos that are encoded in one call where nothing is trained.",
        minimum=1,
        changes_result=False,
    )

    video_encoder: str = option(
        "",
        OTHER,
        "With --predict of videos by a run on stored features: their encoder, where that is a file "
        "or code (a run folder cannot ask for them); names as in experiments.extract_tse.",
        changes_result=False,
    )
    video_encoder_weights: str = predict_weights()
    allow_pickle: bool = predict_allow_pickle()
    predict_pictures: int = option(
        8,
        OTHER,
        "With --predict of videos: of how many, the first ones, to draw how they are aligned with "
        "the labelled ones that are nearest.",
        minimum=0,
        changes_result=False,
    )

    def check_videos(self, batch_episodes: int) -> None:
        """Checks what must go together.

        Raises:
            UserError: two flags that do not.
        """
        if self.scaled_side and not self.side <= self.scaled_side:
            raise UserError(
                f"--scaled_side={self.scaled_side}: must be at least --side={self.side}"
            )
        if self.episodes_at_once and batch_episodes % self.episodes_at_once:
            raise UserError(
                f"--episodes_at_once={self.episodes_at_once}: must divide --batch_episodes="
                f"{batch_episodes}"
            )
