import json

import pytest

from experiments.shared.tables import Cell, Table, display_width, percent, points, seconds

TABLE = Table(("method", "top-1"), (("a", "9.00"), ("longer name", percent([0.5, 0.6]))))


def test_text():
    assert TABLE.to_text() == (
        "method              top-1\n"
        "-----------  ------------\n"
        "a                    9.00\n"
        "longer name  55.00 ± 7.07"
    )


def test_markdown():
    assert TABLE.to_markdown() == (
        "| method      |        top-1 |\n"
        "| ----------- | -----------: |\n"
        "| a           |         9.00 |\n"
        "| longer name | 55.00 ± 7.07 |"
    )


def test_names_do_not_break_a_table():
    table = Table(("a|b", "x"), (("$\\foo$ <b>", "1"), ("two\nlines", "2\r\n3"), ("", "")))
    assert len(table.to_text().split("\n")) == 5
    lines = table.to_markdown().splitlines()
    assert len(lines) == 5
    assert all(line.count("|") - line.count("\\|") == 3 for line in lines)
    assert "\\$\\foo\\$ \\<b>" in lines[2]


def test_wide_characters_stay_in_their_columns():
    assert [display_width(text) for text in ("ab", "走路", "e\u0301", "🐶")] == [2, 4, 1, 2]
    text = Table(("class", "n"), (("走路", "1"), ("さようなら", "2"))).to_text()
    assert {display_width(line) for line in text.splitlines()} == {13}


def test_rows_have_a_cell_a_column():
    with pytest.raises(ValueError, match=r"rows\[1\] must have 2 cells"):
        Table(("a", "b"), (("1", "2"), ("1",)))


def test_numbers_of_cells_are_kept():
    thirds = [1 / 3, None, 2 / 3]
    content = Table(("a", "b"), (("x", percent(thirds)),)).to_json()
    assert json.loads(json.dumps(content)) == {
        "columns": ["a", "b"],
        "rows": [["x", {"text": "50.00 ± 23.57", "values": thirds}]],
    }
    assert Cell("x", [1.0]) == "x"


def test_numbers_as_tables_show_them():
    assert percent([0.123456]) == "12.35"
    assert percent([0.8, 0.9]) == "85.00 ± 7.07"
    assert percent([None]) == percent([]) == "-"
    assert points([0.01]) == "+1.00"
    assert points([-0.01, -0.02]) == "-1.50 ± 0.71"
    assert [seconds(value) for value in (0.25, 99.94, 100.4, 12345.6)] == [
        "0.2", "99.9", "100", "12,346",
    ]  # fmt: skip
