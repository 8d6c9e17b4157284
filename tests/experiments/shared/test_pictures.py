import warnings

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from experiments.shared import charts, lettering
from experiments.shared.errors import UserError
from experiments.shared.pictures import Picture, draw, save, style

NAMES = [r"$\foo$", "_^{", "走路", "さようなら", "dog 🐶", "a name that goes on " * 3, "two\nlines"]


@pytest.fixture
def no_other_fonts(monkeypatch):
    """A system with matplotlib's own font alone."""
    monkeypatch.setattr(lettering, "_other_fonts", lambda needed, _: ((), frozenset(needed)))


def history(epochs, **values):
    return [
        {"epoch": epoch, **{key: value / epoch for key, value in values.items()}}
        for epoch in range(1, epochs + 1)
    ]


def texts(figure):
    return {text.get_text() for text in figure.findobj(Text)}


def with_title(title):
    def drawing():
        figure = Figure(figsize=(3, 2))
        ax = figure.add_subplot()
        ax.set_title(title)
        ax.plot([1, 2], [1, 2], label=title)
        ax.set_xticks([1, 2], [title, "b"])
        return figure, Picture("other.png", "A title", "A caption.")

    return drawing


def test_a_picture_that_fails_is_named_and_skipped(tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"of an earlier report")

    def bad():
        raise RuntimeError("no way\nmore")

    drawings = [("a.png", with_title("a")), ("bad.png", bad), ("b.png", with_title("b"))]
    drawn = draw(tmp_path, drawings)
    assert [picture.file for picture in drawn.pictures] == ["a.png", "b.png"]
    assert drawn.failed == ("bad.png could not be drawn (RuntimeError: no way)",)
    assert "bad.png could not be drawn" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_a_kill_is_not_a_failed_picture(tmp_path):
    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(tmp_path, [("a.png", killed)])


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_drawn(tmp_path, capfd, name, no_other_fonts):
    """As a title, a tick, a class and a line; nothing is parsed, nothing warns."""
    labels = np.arange(3)
    names = [name, "b", "c"]
    drawings = [
        ("title.png", with_title(name)),
        ("confusion.png", lambda: _picture(charts.confusion(labels, labels, names, name)[0])),
        ("curves.png", lambda: _picture(charts.curves({name: [history(3, loss=1)]}, PANELS[:1]))),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = draw(tmp_path, drawings)
    assert drawn.failed == () and len(drawn.pictures) == 3
    assert capfd.readouterr().err == ""
    for path in tmp_path.iterdir():
        assert np.ptp(imread(path)) > 0.5


def test_characters_without_a_font_are_spelled_and_noted_once(tmp_path, no_other_fonts):
    drawings = [("a.png", with_title("走路")), ("b.png", with_title("dog 🐶\ufe0f"))]
    drawn = draw(tmp_path, drawings)
    (note,) = drawn.notes
    assert "走" in note and "🐶" in note and "Noto" in note
    with style():
        figure, _ = with_title("走路 x")()
        assert save(figure, tmp_path / "c.png") == {"走", "路"}
        assert "[8D70 8DEF] x" in texts(figure)
        ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
        assert ticks == ["[8D70 8DEF] x", "b"]
        figure, _ = with_title("dog 🐶")()
        save(figure, tmp_path / "c.png")
        assert "dog [dog face]" in texts(figure)


def test_what_a_legend_lost_is_still_noted(tmp_path, no_other_fonts):
    with style():
        figure = charts.curves({"走路": [history(3, loss=1)]}, PANELS[:1])
        assert save(figure, tmp_path / "c.png") == {"走", "路"}
    assert "[8D70 8DEF]" in texts(figure)


def test_another_font_is_taken_where_the_system_has_one(monkeypatch):
    """Of two fonts that do not have all, both."""
    entries = [
        mpl.font_manager.FontEntry(fname=name, name=name, style="normal")
        for name in ("DejaVu Sans", "Half", "Last Resort", "All but one Sans")
    ]
    maps = {"Half": "走", "Last Resort": "走路跑🐶", "All but one Sans": "走路🐶"}
    monkeypatch.setattr(mpl.font_manager.fontManager, "ttflist", entries)
    monkeypatch.setattr(lettering, "_charmap", lambda path: frozenset(map(ord, maps.get(path, ""))))
    families, lost = lettering._other_fonts.__wrapped__(frozenset("走路🐶跑"), 4)
    assert (families, lost) == (("All but one Sans",), {"跑"})


def test_style_is_left_as_it_was():
    before = dict(mpl.rcParams)
    with pytest.raises(KeyError), style():
        assert not mpl.rcParams["text.parse_math"]
        raise KeyError
    assert dict(mpl.rcParams) == before


def test_a_folder_that_cannot_be_written(tmp_path):
    with style(), pytest.raises(UserError, match="a.png"):
        save(with_title("a")()[0], tmp_path / "no" / "a.png")


def test_logarithmic_axes_have_plain_numbers(tmp_path):
    lines = {"a": {10.0**k: [1.0] for k in range(-7, 7)}}
    with style():
        figure = charts.sweep(lines, x_label="gamma", y_label="%", log=True)
        save(figure, tmp_path / "a.png")
        ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert "0.01" in ticks and not any("$" in tick for tick in ticks)


def test_labels():
    assert lettering.label("two\nlines") == "two lines"
    assert lettering.label("_x") == "\u200b_x"
    long = lettering.label("a" * 50 + "b" * 50, 21)
    assert long == "a" * 10 + "…" + "b" * 10
    assert lettering.label("走" * 50, 21) == "走" * 5 + "…" + "走" * 5


PANELS = [
    charts.Panel("loss", "Loss", "loss"),
    charts.Panel("accuracy", "Accuracy", "%", 100, references={"1-NN": 0.4, "best": 0.8}),
]


@pytest.mark.parametrize("epochs", [1, 4])
@pytest.mark.parametrize("seeds", [1, 3])
def test_curves(epochs, seeds):
    histories = {
        "a": [history(epochs, loss=1 + seed, accuracy=0.5) for seed in range(seeds)],
        "b": [history(epochs, loss=2)],
    }
    with style():
        figure = charts.curves(histories, PANELS)
    loss, accuracy = figure.axes
    assert np.allclose(loss.lines[0].get_ydata()[0], np.mean(range(1, seeds + 1)))
    assert np.allclose(accuracy.lines[0].get_ydata()[0], 50)
    # b has no accuracy; both baselines are there, the strongest dark.
    gray = {line.get_ydata()[0]: line.get_color() for line in accuracy.lines[-2:]}
    assert gray == {40.0: "0.55", 80.0: "0.15"}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b", "1-NN", "best"]


def test_losses_on_other_scales_have_panels_of_their_own():
    histories = {"cosine": [history(3, loss=1)], "dtw": [history(3, loss=1000)]}
    panels = [charts.Panel("loss", name, "loss", lines=[name]) for name in histories]
    with style():
        figure = charts.curves(histories, panels)
    assert [len(ax.lines) for ax in figure.axes] == [1, 1]
    assert figure.axes[0].lines[0].get_color() != figure.axes[1].lines[0].get_color()


def test_a_panel_without_values_is_left_out_and_nothing_at_all_is_refused():
    histories = {"a": [[{"epoch": 1, "loss": 0.5, "accuracy": None}]]}
    with style():
        assert len(charts.curves(histories, PANELS).axes) == 1
        with pytest.raises(ValueError, match="nothing|anything"):
            charts.curves({"a": [[{"epoch": 1}]]}, PANELS)


@pytest.mark.parametrize("count", [1, 3, 14])
def test_legends_are_inside_the_figure(tmp_path, count):
    histories = {
        f"{k}: a method with a name that is as long as names may be": [history(3, loss=1)]
        for k in range(count)
    }
    with style():
        figure = charts.curves(histories, PANELS[:1])
        save(figure, tmp_path / "a.png")
        figure.draw_without_rendering()
        box, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and whole.y0 <= box.y0
    assert figure.axes[0].get_window_extent().height > 150


def test_looks_differ():
    looks = [(look["color"], look["linestyle"]) for look in charts.looks(20)]
    assert len(set(looks)) == 20
    widths = [look["linewidth"] for look in charts.looks(5)]
    assert widths == sorted(widths, reverse=True) and widths[-1] >= 1.2


@pytest.mark.parametrize("count", [2, 25, 400])
def test_confusion(tmp_path, count):
    rng = np.random.default_rng(0)
    labels = rng.integers(count, size=2000)
    guesses = np.where(rng.random(2000) < 0.2, (labels + 1) % count, labels)
    names = [f"class with a long name, {k}" for k in range(count)]
    with style():
        figure, about = charts.confusion(labels, guesses, names, "full, seed 0, 80 % right " * 3)
        save(figure, tmp_path / "a.png")
        figure.draw_without_rendering()
        drawn = figure.get_tightbbox()
    assert about.startswith(f"{(labels != guesses).sum()} errors in 2,000 test items. Most often: ")
    width, height = figure.get_size_inches()
    assert drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= width and drawn.y1 <= height
    counts = [text.get_text() for text in figure.axes[0].texts]
    assert bool(counts) == (count <= 25)
    assert ("numbered from 0" in about) == (count > 25)


def test_confusion_without_errors_and_with_names_that_no_font_has(no_other_fonts):
    labels = np.arange(2)
    with style():
        figure, about = charts.confusion(labels, labels, ["走路", "b"], "t")
    assert "0 errors in 2 test items." in about and "the numbers are 0: 走路, 1: b." in about
    assert figure.axes[0].get_xlabel() == "predicted class (number)"


def test_sweep():
    lines = {"images": {1.0: [70.0, 72.0], 0.1: [60.0, 60.0]}, "videos": {1.0: [50.0]}}
    with style():
        figure = charts.sweep(
            lines, x_label="gamma", y_label="%", log=True, references={"plain": 65.0}
        )
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_xticklabels()] == ["0.1", "1"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["images", "videos", "plain"]
    assert list(ax.lines[0].get_ydata()) == [60, 71]


def _picture(figure):
    return figure, Picture("x.png", "x", "x")
