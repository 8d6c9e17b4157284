import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

import tempalign
from tempalign import plot

COST = np.arange(12.0).reshape(3, 4)
PATH = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def sequences(n=3, m=4, features=2):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, features)), rng.normal(size=(m, features))


def test_hard_alignment_is_a_line_through_its_cells_over_the_costs():
    figure = plot.alignment(COST, PATH)
    ax = figure.axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), COST)
    (line,) = ax.lines
    np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2, 3])
    np.testing.assert_array_equal(line.get_ydata(), [0, 0, 1, 2])


def test_path_without_diagonal_moves_is_drawn_in_the_order_of_time():
    staircase = np.array([[1, 0, 0], [1, 1, 1]])
    (line,) = plot.alignment(np.ones((2, 3)), staircase).axes[0].lines
    cells = list(zip(line.get_ydata(), line.get_xdata(), strict=True))
    assert cells == [(0, 0), (1, 0), (1, 1), (1, 2)]


def test_expected_alignment_is_the_more_opaque_the_more_probable():
    expected = np.array([[1.0, 0.25], [0.0, 1.0]])
    ax = plot.alignment(np.ones((2, 2)), expected).axes[0]
    assert not ax.lines
    np.testing.assert_allclose(ax.images[1].get_array()[..., 3], [[1, 0.5], [0, 1]])


@pytest.mark.parametrize("features", [1, 8, 9, 40])
def test_margins_are_lines_for_few_features_and_an_image_for_many(features):
    x, y = sequences(features=features)
    ax = plot.alignment(COST, PATH, x, y).axes[0]
    left, top = ax.child_axes
    for margin in (left, top):
        if features <= 8:
            assert (len(margin.lines), len(margin.images)) == (features, 0)
        else:
            assert (len(margin.lines), len(margin.images)) == (0, 1)


def test_line_of_the_row_sequence_runs_down_beside_the_rows():
    x, _ = sequences(features=1)
    (left,) = plot.alignment(COST, PATH, x).axes[0].child_axes
    np.testing.assert_array_equal(left.lines[0].get_ydata(), [0, 1, 2])
    np.testing.assert_array_equal(left.lines[0].get_xdata(), x[:, 0])
    assert left.get_ylim() == (2.5, -0.5)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (7, 1), (120, 300)])
def test_any_size_is_drawn_with_nothing_cut_off(n, m, tmp_path):
    x, y = sequences(n, m, features=3)
    path = np.zeros((n, m))
    path[0, 0] = path[-1, -1] = 1
    figure = plot.alignment(np.ones((n, m)), path, x, y, title="title")
    figure.savefig(tmp_path / "a.png")  # constrained layout happens while drawing
    inside = figure.bbox.padded(1)
    box = figure.get_tightbbox().transformed(figure.dpi_scale_trans)
    assert inside.x0 <= box.x0 and inside.y0 <= box.y0
    assert box.x1 <= inside.x1 and box.y1 <= inside.y1
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_forbidden_cells_of_a_band_are_left_out_of_the_colours():
    cost = COST.copy()
    cost[0, 3] = np.inf
    image = plot.alignment(cost, PATH).axes[0].images[0]
    assert image.get_array().mask.sum() == 1
    assert image.get_clim() == (0, 11)


def test_draws_in_given_axes_and_returns_their_figure():
    figure = Figure(figsize=(8, 3))
    first, second = figure.subplots(1, 2)
    x, y = sequences()
    assert plot.alignment(COST, PATH, x, y, ax=second, title="t", cost_label=None) is figure
    assert not first.images and second.images
    assert len(figure.axes) == 2  # no colour bar was asked for


def test_own_figure_has_the_size_asked_for():
    figure = plot.alignment(COST, PATH, figsize=(5, 4))
    assert tuple(figure.get_size_inches()) == (5, 4)


def test_takes_jax_arrays():
    jnp = pytest.importorskip("jax.numpy")
    figure = plot.alignment(jnp.asarray(COST, jnp.bfloat16), jnp.asarray(PATH))
    assert figure.axes[0].images


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cost": COST[0]}, "cost must be a matrix"),
        ({"cost": COST[:0]}, "cost must be a matrix"),
        ({"alignment": PATH.T}, r"alignment must have the shape of cost, \(3, 4\)"),
        ({"alignment": 2 * PATH}, r"alignment must have values in \[0, 1\]"),
        ({"alignment": PATH * np.nan}, r"alignment must have values in \[0, 1\]"),
        ({"x": np.ones(3)}, "x must be a sequence"),
        ({"x": np.ones((4, 2))}, "x must have as many frames as cost has rows, 3"),
        ({"y": np.ones((3, 2))}, "y must have as many frames as cost has columns, 4"),
        ({"y": np.ones((4, 0))}, "y must be a sequence"),
        ({"ax": Figure().add_subplot(), "figsize": (3, 3)}, "figsize"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        plot.alignment(**({"cost": COST, "alignment": PATH} | arguments))


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"tempalign\[plot\]"):
        plot.alignment(COST, PATH)


def pair():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(9, 2)), random.normal(size=(12, 2))
    return x, y, tempalign.dtw_path(x, y)


def test_a_path_of_pairs_is_drawn_like_its_matrix():
    x, y, path = pair()
    costs = np.square(x[:, None] - y).sum(-1)
    lines = [
        plot.alignment(costs, one).axes[0].lines[0].get_xydata()
        for one in (path, tempalign.dtw_alignment(x, y))
    ]
    np.testing.assert_array_equal(*lines)


def test_matches_link_the_frames_of_a_path(tmp_path):
    x, y, path = pair()
    figure = plot.matches(x, y, path, title="two", x_label="slow", y_label="fast")
    (ax,) = figure.axes
    assert len(ax.lines) == 4 and ax.get_title() == "two"
    upper, lower = np.array([line.get_ydata() for line in ax.lines[:2]]), ax.lines[2:]
    assert upper.min() > max(line.get_ydata().max() for line in lower)
    np.testing.assert_allclose(np.diff(upper), np.diff(x.T), atol=1e-6)
    links = np.array(ax.collections[0].get_segments())
    pairs = np.asarray(path.pairs)[: int(path.num_pairs)]
    np.testing.assert_array_equal(links[:, :, 0], pairs)
    np.testing.assert_allclose(links[:, 0, 1], upper.min(axis=0)[pairs[:, 0]])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["slow", "fast"]
    few = plot.matches(x, y, path, max_links=3).axes[0].collections[0].get_segments()
    assert [link[0][0] for link in few][::2] == [0, 8]
    figure.savefig(tmp_path / "matches.png")
    constant = np.ones((4, 1))
    plot.matches(constant, constant[:1], tempalign.dtw_path(constant, constant[:1]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, y, path: plot.matches(x, y, path.pairs), TypeError, "path must be what"),
        (lambda x, y, path: plot.matches(x[:5], y, path), ValueError, "within 5 and 12 frames"),
        (lambda x, y, path: plot.matches(x[0], y, path), ValueError, "x must be a sequence"),
        (lambda x, y, path: plot.matches(x, y, path, max_links=0), ValueError, "max_links"),
        (
            lambda x, y, path: plot.matches(x, y, tempalign.dtw_path(x[None], y)),
            ValueError,
            "path must be that of one pair",
        ),
    ],
)
def test_bad_input_of_matches(call, error, message):
    with pytest.raises(error, match=message):
        call(*pair())
