"""Two epochs of a tiny run of each system: `five_systems.py FOLDER NAMES FLAGS`.

Process 0 prints, as JSON, the losses of each and what it says of the test split. FLAGS are those by
which processes find each other.
"""

import json
import sys
from pathlib import Path

import cluster  # it finds the modules with the tiny data
import jax
import numpy as np
import tiny_clips
import tiny_episodes
import tiny_frames
import tiny_images
import tiny_seq
import tiny_tse
import tiny_videos

from experiments.dejavid.training import DejaVidRun
from experiments.few_shot.data import load
from experiments.few_shot.training import FewShotRun, Source
from experiments.few_shot.video_data import load_videos
from experiments.few_shot.video_training import VideoRun
from experiments.seq.results import Variant
from experiments.seq_anomaly.training import AnomalyRun
from experiments.seq_anomaly.windows import Sampler as Windows
from experiments.seq_images import dataset as image_data
from experiments.seq_images.episodes import Sampler
from experiments.seq_images.features import compute_features
from experiments.seq_images.training import ImagesRun
from experiments.shared import options, processes
from experiments.time_layer.dataset import load as load_clips
from experiments.time_layer.training import TimeLayerRun, methods

assert cluster


def write(folder):
    """Writes the data; batches are of sizes that no number of devices above 1 divides."""
    tiny_episodes.write(folder / "episodes")
    tiny_images.write(folder / "images")
    tiny_frames.write(folder / "frames")
    tiny_clips.write_folder(folder / "clips")
    return folder


def dejavid(folder, **changes):
    settings = tiny_tse.settings(batch_size=7, weight_init="normal", standardize=True, **changes)
    run = DejaVidRun(tiny_tse.dataset(), settings, "full", 0)
    return run, lambda state: state.test_logits


def dejavid_two_class_shards(folder):
    return dejavid(folder, class_shards=2)


def few_shot(folder):
    settings = tiny_episodes.settings(folder / "episodes", batch_episodes=3)
    run = FewShotRun(load(settings), settings, Source("tam", 0.1, 0))
    return run, lambda state: jax.tree.leaves(state.best)[0]


def few_shot_videos(folder):
    settings = tiny_frames.settings(folder / "frames", batch_episodes=3, episodes_at_once=1)
    run = VideoRun(load_videos(settings), settings, Source("tam", 0.1, 0))
    return run, lambda state: jax.tree.leaves(state.best)[0]


def seq_images(folder):
    settings = tiny_images.settings(folder / "images")
    data = image_data.load_folder(
        settings.data_dir, image_size=settings.image_size, skip_bad=False, outside_paths=False
    )
    train, test = compute_features(data, settings, folder / f"features{processes.is_first()}")
    sampler = Sampler(train, np.arange(len(train.labels)), seed=0)
    variant = Variant.of(settings, "seq")
    run = ImagesRun(
        settings, variant, 0, sampler=sampler, test=test, num_classes=len(data.class_names)
    )
    return run, lambda state: state.tested["images"]


def seq_anomaly(folder):
    data, settings = tiny_videos.dataset(), tiny_videos.settings()
    variant = Variant.of(settings, "seq")
    run = AnomalyRun(data, Windows(data, settings), settings, variant, 0)
    return run, lambda state: state.tested["log_odds"]


def seq_by_frame(folder):
    run = tiny_seq.TinyRun(tiny_seq.options(), Variant.of(tiny_seq.options(), "baseline"))
    return run, lambda state: state.tested["classes"]


def time_layer(folder):
    settings = tiny_clips.settings(folder / "clips", batch_size=5)
    run = TimeLayerRun(load_clips(settings), settings, methods(settings)[-1], 0)
    return run, lambda state: state.predictions


def trained(run, said):
    """The losses of two epochs, and what is said after them."""
    state, losses = processes.to_host(run.start()), []
    for number in (1, 2):
        state, entry = run.epoch(state, number, lambda steps: None)
        state = processes.to_host(state)
        losses.append(entry["loss"])
    return {"losses": losses, "said": np.asarray(said(state), np.float64).tolist()}


if __name__ == "__main__":
    folder, names, *flags = sys.argv[1:]
    processes.initialize(options.parse(processes.ClusterOptions, ["", *flags]))
    found = {name: trained(*globals()[name](Path(folder))) for name in names.split(",")}
    if processes.is_first():
        print(json.dumps(found))
