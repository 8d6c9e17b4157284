"""What damages files at random, and what a reader of them may do."""

from hypothesis import settings
from hypothesis import strategies as st

from experiments.shared.errors import UserError

MANY = settings(max_examples=5 * settings().max_examples)

# Bytes that mean something to some reader, and any others.
PIECES = [
    *(b"\0", b"\r", b"\n", b'"', b"'", b",", b"..", b"/", b"C:\\", b"\xff\xfe", b"\xef\xbb\xbf"),
    *(b"train", b"test", b"1e999", b"nan", b"-1", b"9" * 30, b"[" * 2000, b"{" * 50, b"\\ud800"),
    *(b"{", b"}", b"[", b"]", b":", b"null", b"true", b"--", b"=", b"@data", b"\xc3"),
]
PIECE = st.one_of(st.sampled_from(PIECES), st.binary(max_size=6))


@st.composite
def damaged(draw, whole: bytes) -> bytes:
    """A file that was good: cut, with other bytes in a few places, or of something else."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([0, 0, 1, 1, 2, 7, len(content)]))
        content[at : at + length] = draw(PIECE)
    return bytes(content)


def told(read, *arguments):
    """Calls a reader, which may return anything or raise one of our errors."""
    try:
        return read(*arguments)
    except UserError as error:
        assert str(error)
    return None


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
        st.sampled_from(["MODULE:FUNCTION", "../..", "os:system", 10**400, "nan", "0,1"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)  # fmt: skip
