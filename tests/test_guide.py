"""The guide, tempalign/README.md: its examples run, its links lead on, no function is left out."""

import doctest
import pathlib
import re

import pytest

import tempalign

GUIDE = pathlib.Path(tempalign.__file__).with_name("README.md")
FUNCTIONS = [
    name for name in tempalign.__all__ if name.islower() and callable(getattr(tempalign, name))
]


class Fenced(doctest.DocTestParser):
    """Reads examples between fences, which would else count as output of the last one."""

    def parse(self, string, name="<string>"):
        return super().parse(re.sub(r"^```.*$", "", string, flags=re.MULTILINE), name)


@pytest.mark.usefixtures("our_modes")  # optax is not written for strict dtypes
def test_the_examples_run():
    result = doctest.testfile(
        str(GUIDE),
        module_relative=False,
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
        parser=Fenced(),
        encoding="utf-8",
    )
    assert result.attempted > 50
    assert result.failed == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_mentioned(name):
    assert re.search(rf"(?<!\w){name}(?!\w)", GUIDE.read_text(encoding="utf-8"))


def test_links_lead_to_sections():
    text = GUIDE.read_text(encoding="utf-8")
    sections = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    }
    links = re.findall(r"\]\(#([^)]*)\)", text)
    assert len(links) > 10
    assert set(links) <= sections
