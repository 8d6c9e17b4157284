"""The windows that training sees, and the scores of frames."""

import jax
import numpy as np
import pytest
import tiny_videos

from experiments.seq.results import Variant
from experiments.seq.steps import make_spec
from experiments.seq_anomaly.dataset import AnomalyDataset, Video
from experiments.seq_anomaly.metrics import evaluate
from experiments.seq_anomaly.training import AnomalyRun, score_rows
from experiments.seq_anomaly.windows import Sampler
from experiments.shared.scaling import Scaling


def ramp_dataset(length=30):
    """Videos whose single feature is the time, anomalous from 10 to 19; the second runs down."""
    labels = np.zeros(length, np.uint8)
    labels[10:20] = 1
    times = np.arange(length, dtype=np.float32)[:, None]
    videos = (Video("up", times, labels), Video("down", 1000 - times, labels))
    return AnomalyDataset("ramp", videos, videos, 1)


def test_windows_are_straight_lines_in_time_within_one_video():
    data = ramp_dataset()
    sampler = Sampler(data, tiny_videos.settings(tau=4, batch_size=40, max_speed=3.0))
    speeds = []
    for step in range(5):
        episode = sampler.draw(0, step, num_support=2, by_frame=False)
        values = (episode.query * sampler.scaling.std + sampler.scaling.mean)[..., 0]
        up = values.mean(axis=1) < 500
        times = np.where(up[:, None], values, 1000 - values)
        assert times.min() > -1e-3 and times.max() < 29 + 1e-3
        steps = np.diff(times, axis=1)
        np.testing.assert_allclose(steps, steps.mean(axis=1, keepdims=True) + 0 * steps, atol=1e-2)
        speeds += steps.mean(axis=1).tolist()
        nearest = np.round(times)
        expected = (nearest >= 10) & (nearest <= 19)
        clear = np.abs(times - np.floor(times) - 0.5) > 0.01  # float32 may round the other way
        np.testing.assert_array_equal(episode.frame_labels[clear], expected[clear])
        np.testing.assert_array_equal(episode.labels, 2 * episode.frame_labels.sum(axis=1) >= 4)
        assert (times.mean(axis=1)[20:] >= 9).all() and (times.mean(axis=1)[20:] <= 20).all()
        support = (episode.support * sampler.scaling.std + sampler.scaling.mean)[..., 0]
        times = np.where(support < 500, support, 1000 - support)
        np.testing.assert_allclose(np.diff(times, axis=-1), 1, atol=1e-3)  # as recorded
        inside = (times > 9.5) & (times < 19.5)
        assert inside[1].all() and not inside[0].any()
    assert 1 / 3 - 0.01 <= min(speeds) < 0.45 and 2.4 < max(speeds) <= 3.01


def test_speed_one_shows_rows_as_they_are_and_short_videos_are_not_left():
    rows = {tuple(row) for video in tiny_videos.dataset().train for row in video.features}
    sampler = Sampler(tiny_videos.dataset(), tiny_videos.settings(max_speed=1.0))
    episode = sampler.draw(1, 2, num_support=2, by_frame=False)
    shown = (episode.query * sampler.scaling.std + sampler.scaling.mean).reshape(-1, 3)
    known = np.array(sorted(rows))
    assert np.abs(shown[:, None] - known).max(axis=-1).min(axis=1).max() < 1e-5

    data = ramp_dataset(length=22)
    episode = Sampler(data, tiny_videos.settings(tau=10, max_speed=8.0)).draw(
        0, 0, num_support=2, by_frame=False
    )
    assert np.isfinite(episode.query).all()


def test_episodes_are_functions_of_seed_and_step():
    sampler = Sampler(tiny_videos.dataset(), tiny_videos.settings())
    one, two = (sampler.draw(0, 1, num_support=2, by_frame=False) for _ in range(2))
    for mine, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert not np.array_equal(one.query, sampler.draw(0, 2, num_support=2, by_frame=False).query)
    assert not np.array_equal(one.query, sampler.draw(1, 1, num_support=2, by_frame=False).query)


def test_frames_drawn_one_by_one_are_half_anomalous():
    sampler = Sampler(tiny_videos.dataset(), tiny_videos.settings())
    episode = sampler.draw(0, 0, num_support=2, by_frame=True)
    assert episode.frame_labels.tolist() == [[0] * 4] * 2 + [[1] * 4] * 2
    assert episode.query.shape == (4, 4, 3)


def test_rows_are_standardised_on_the_training_split():
    sampler = Sampler(tiny_videos.dataset(), tiny_videos.settings())
    rows = np.concatenate([video.features for video in tiny_videos.dataset().train])
    np.testing.assert_allclose(sampler.scaling.mean, rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(sampler.scaling.std, rows.std(axis=0), rtol=1e-5)


def test_a_window_longer_than_every_event_is_refused():
    with pytest.raises(ValueError, match="no anomalous stretch of a training video is as long as"):
        Sampler(tiny_videos.dataset(), tiny_videos.settings(tau=10))


def test_queries_do_not_depend_on_the_support():
    """A sweep of N must change nothing else."""
    sampler = Sampler(tiny_videos.dataset(), tiny_videos.settings())
    few, many = (sampler.draw(0, 1, num_support=n, by_frame=False) for n in (1, 4))
    np.testing.assert_array_equal(few.query, many.query)
    assert few.support.shape == (2, 1, 4, 3) and many.support.shape == (2, 4, 4, 3)


def test_scores_are_log_odds_of_single_rows():
    spec, state = make_spec(tiny_videos.settings(), "seq", 3, 2, seed=0)
    rows = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)  # two parts
    scaling = Scaling(np.float32([1, 2, 3]), np.float32([1, 2, 1]))
    linear = jax.tree.map(np.asarray, state.params)["linear"]
    scores = ((rows - scaling.mean) / scaling.std) @ linear["kernel"] + linear["bias"]
    found = score_rows(spec.graphdef, state.params, rows, scaling)
    np.testing.assert_allclose(found, scores[:, 1] - scores[:, 0], atol=1e-5)


def test_a_run_scores_every_test_frame():
    data, settings = tiny_videos.dataset(), tiny_videos.settings()
    variant = Variant.of(settings, "seq")
    run = AnomalyRun(data, Sampler(data, settings), settings, variant, 0)
    state = run.start()
    for number in (1, 2, 3):
        state, entry = run.epoch(state, number, lambda steps: None)
    assert entry["roc_auc"] > 0.85  # the tiny data is learned
    assert state.tested["log_odds"].shape == (96,)
    assert entry["roc_auc"] == evaluate(data.test_labels, state.tested["log_odds"]).roc_auc
