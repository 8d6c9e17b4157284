import io

from experiments.shared import progress as module


def test_silent_where_stderr_is_no_terminal(capsys):
    assert list(module.progress(range(3), desc="items")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(module.sys, "stderr", terminal)
    with module.progress(total=4, desc="training", unit=" samples") as bar:
        bar.update(2)
        bar.refresh()
    assert "training" in terminal.getvalue() and "samples/s" in terminal.getvalue()
