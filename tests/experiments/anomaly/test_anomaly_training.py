"""The windows, the loss of each method against NumPy, and runs that are killed and go on."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import tiny_videos

import tempalign
from experiments.anomaly import training
from experiments.anomaly.dataset import AnomalyDataset, Video
from experiments.anomaly.steps import make_spec, score_rows, train_step
from experiments.anomaly.windows import Sampler
from experiments.shared.checkpoints import Checkpoints
from experiments.shared.metrics_log import MetricsLog


def ramp_dataset(length=30):
    """Videos whose single feature is the time, anomalous from 10 to 19; the second runs down."""
    labels = np.zeros(length, np.uint8)
    labels[10:20] = 1
    times = np.arange(length, dtype=np.float32)[:, None]
    videos = (Video("up", times, labels), Video("down", 1000 - times, labels))
    return AnomalyDataset("ramp", videos, videos, 1)


def test_windows_are_straight_lines_in_time_within_one_video():
    data = ramp_dataset()
    sampler = Sampler(data, tiny_videos.settings(window=4, batch_size=40, max_speed=3.0))
    speeds = []
    for step in range(5):
        episode = sampler.draw(0, step, by_frame=False)
        values = (episode.query * sampler.std + sampler.mean)[..., 0]
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
        support = (episode.support * sampler.std + sampler.mean)[..., 0]
        times = np.where(support < 500, support, 1000 - support)
        np.testing.assert_allclose(np.diff(times, axis=-1), 1, atol=1e-3)  # as recorded
        inside = (times > 9.5) & (times < 19.5)
        assert inside[1].all() and not inside[0].any()
    assert 1 / 3 - 0.01 <= min(speeds) < 0.45 and 2.4 < max(speeds) <= 3.01


def test_speed_one_shows_rows_as_they_are_and_short_videos_are_not_left():
    rows = {tuple(row) for video in tiny_videos.dataset().train for row in video.features}
    sampler = Sampler(tiny_videos.dataset(), tiny_videos.settings(max_speed=1.0))
    episode = sampler.draw(1, 2, by_frame=False)
    shown = (episode.query * sampler.std + sampler.mean).reshape(-1, 3)
    known = np.array(sorted(rows))
    assert np.abs(shown[:, None] - known).max(axis=-1).min(axis=1).max() < 1e-5

    data = ramp_dataset(length=22)
    episode = Sampler(data, tiny_videos.settings(window=10, max_speed=8.0)).draw(
        0, 0, by_frame=False
    )
    assert np.isfinite(episode.query).all()


def test_episodes_are_functions_of_seed_and_step():
    sampler = Sampler(tiny_videos.dataset(), tiny_videos.settings())
    one, two = sampler.draw(0, 1, by_frame=False), sampler.draw(0, 1, by_frame=False)
    for mine, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert not np.array_equal(one.query, sampler.draw(0, 2, by_frame=False).query)
    assert not np.array_equal(one.query, sampler.draw(1, 1, by_frame=False).query)


def test_frames_drawn_one_by_one_are_half_anomalous():
    sampler = Sampler(tiny_videos.dataset(), tiny_videos.settings())
    episode = sampler.draw(0, 0, by_frame=True)
    assert episode.frame_labels.tolist() == [[0] * 4] * 2 + [[1] * 4] * 2
    assert episode.query.shape == (4, 4, 3)


def test_rows_are_standardised_on_the_training_split():
    sampler = Sampler(tiny_videos.dataset(), tiny_videos.settings())
    rows = np.concatenate([video.features for video in tiny_videos.dataset().train])
    np.testing.assert_allclose(sampler.mean, rows.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(sampler.std, rows.std(axis=0), rtol=1e-5)


def test_a_window_longer_than_every_event_is_refused():
    with pytest.raises(ValueError, match="no anomalous stretch of a training video is as long as"):
        Sampler(tiny_videos.dataset(), tiny_videos.settings(window=10))


def softmax(scores):
    exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize(
    ("method", "align", "smooth"),
    [
        ("baseline", False, False),
        ("trajectory", False, False),
        ("seq", True, True),
        ("seq_no_align", False, True),
        ("seq_no_smooth", True, False),
    ],
)
def test_the_loss_of_every_method(method, align, smooth):
    settings = tiny_videos.settings()
    sampler = Sampler(tiny_videos.dataset(), settings)
    episode = sampler.draw(0, 0, by_frame=method == "baseline")
    spec, state = make_spec(settings, method, 3, seed=0)
    first = jax.tree.map(np.asarray, state.params)
    kernel, bias = (np.asarray(first["linear"][name], np.float64) for name in ("kernel", "bias"))
    alpha, beta, gamma = 3.0, 0.7, 0.1
    state, totals = train_step(
        spec, state, jnp.zeros(4), episode, (alpha, beta, gamma), np.float32(0.01)
    )
    p = softmax(episode.query @ kernel + bias)
    entropy = -np.log(np.take_along_axis(p, episode.frame_labels[..., None], axis=-1)).mean()
    change = (np.diff(p, axis=1) ** 2).sum(axis=-1).mean()
    support = softmax(episode.support @ kernel + bias).astype(np.float32)
    exemplars = np.asarray(tempalign.soft_dtw_barycenter(support, gamma, num_iters=3), np.float64)
    distances = []
    for query, label in zip(p, episode.labels, strict=True):
        cost = ((query[:, None] - exemplars[label][None]) ** 2).sum(axis=-1)
        distances.append(oracles.loop_soft_dtw(cost, gamma, True)[0])
    terms = [np.mean(distances) * align, entropy, change * smooth]
    expected = [terms[0] + alpha * terms[1] + beta * terms[2], *terms]
    np.testing.assert_allclose(np.asarray(totals), expected, rtol=2e-3, atol=1e-4)
    moved = jax.tree.map(lambda new, old: np.abs(np.asarray(new) - old).max(), state.params, first)
    assert 0.005 < moved["linear"]["kernel"] < 0.02  # about the rate, by AdamW's first step


def test_scores_are_probabilities_of_single_rows():
    spec, state = make_spec(tiny_videos.settings(), "seq", 3, seed=0)
    rows = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)  # two parts
    mean, std = np.float32([1, 2, 3]), np.float32([1, 2, 1])
    linear = jax.tree.map(np.asarray, state.params)["linear"]
    expected = softmax(((rows - mean) / std) @ linear["kernel"] + linear["bias"])[:, 1]
    found = score_rows(spec.graphdef, state.params, rows, mean, std)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def train(folder, method="seq", **changes):
    folder.mkdir(parents=True, exist_ok=True)
    settings = tiny_videos.settings(**changes)
    data = tiny_videos.dataset()
    with MetricsLog(folder / "metrics.jsonl") as log:
        return training.train_run(
            data, Sampler(data, settings), settings, method, 0, folder / "run", log
        )


def arrays(folder):
    with Checkpoints(folder / "run") as checkpoints:
        return checkpoints.read(checkpoints.latest())[0]


def without_seconds(history):
    return [{key: entry[key] for key in entry if key != "seconds"} for entry in history]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return train(folder), arrays(folder)


@pytest.mark.parametrize("where", ["in the first epoch", "in the second", "after the second"])
def test_an_interrupted_run_ends_bit_for_bit_the_same(tmp_path, uninterrupted, monkeypatch, where):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if where == "after the second":
            save = Checkpoints.save

            def save_twice(self, step, *args):
                save(self, step, *args)
                if step == 2:
                    raise KeyboardInterrupt

            patch.setattr(Checkpoints, "save", save_twice)
        else:
            calls = []

            def stopping_step(*args):
                calls.append(1)
                if len(calls) == {"in the first epoch": 3, "in the second": 8}[where]:
                    raise KeyboardInterrupt
                return train_step(*args)

            patch.setattr(training, "train_step", stopping_step)
        train(tmp_path)
    resumed = train(tmp_path)
    result, expected = uninterrupted
    found = arrays(tmp_path)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    assert without_seconds(resumed.history) == without_seconds(result.history)
    np.testing.assert_array_equal(resumed.test_scores, result.test_scores)
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        starts = [line["epochs_done"] for line in log.lines() if line["event"] == "run_start"]
    expected_starts = {"in the first epoch": 0, "in the second": 1, "after the second": 2}
    assert starts == [0, expected_starts[where]]


def test_a_finished_run_is_read_not_repeated(tmp_path, monkeypatch):
    first = train(tmp_path)

    def never(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(training, "train_step", never)
    again = train(tmp_path)
    assert again.history == first.history and again.seconds == first.seconds
    np.testing.assert_array_equal(again.test_scores, first.test_scores)


def test_the_tiny_data_is_learned(uninterrupted):
    result = uninterrupted[0]
    assert result.last["roc_auc"] > 0.85
    assert [entry["epoch"] for entry in result.history] == [1, 2, 3]


def test_a_loss_that_is_not_finite_is_named(tmp_path):
    with pytest.raises(
        ValueError, match="seq seed 0: the loss of epoch [12] is nan.*learning_rate"
    ):
        train(tmp_path, learning_rate=1e38)
