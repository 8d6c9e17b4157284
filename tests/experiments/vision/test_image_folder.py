import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.shared.errors import MissingFileError, UserError
from experiments.vision import image_folder

RED, GREEN, BLUE = (200, 0, 0), (0, 180, 0), (0, 0, 160)


def write(path: Path, colour=RED, *, width: int = 12, height: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), colour).save(path)
    return path


def write_index(root: Path, rows, columns=("path", "label", "split"), encoding="utf-8") -> Path:
    with (root / "images.csv").open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([columns, *rows])
    return root


def broken(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("not an image")
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("train/dog/b.png", "train/dog/a.png", "train/cat/x.png", "test/dog/z.png"):
        write(tmp_path / name)
    return tmp_path


def listed(data: image_folder.ImageFolder, root: Path) -> list[tuple[str, str, str]]:
    return [
        (file.path.relative_to(root).as_posix(), data.class_names[file.label], file.split)
        for file in data.files
    ]


def test_class_folders_are_listed_in_a_fixed_order(folder):
    (folder / "train" / "dog" / "notes.txt").write_text("not an image")
    data = image_folder.load(folder)
    assert data.class_names == ("cat", "dog")
    assert listed(data, folder) == [
        ("train/cat/x.png", "cat", "train"),
        ("train/dog/a.png", "dog", "train"),
        ("train/dog/b.png", "dog", "train"),
        ("test/dog/z.png", "dog", "test"),
    ]
    assert [file.path.name for file in data.of("test")] == ["z.png"]
    assert len(data.of("train")) == 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])  # spreadsheets write the second
def test_an_index_goes_before_the_folders(folder, encoding):
    rows = [("train/dog/a.png", "müde", "train"), ("test/dog/z.png", "müde", "test")]
    data = image_folder.load(write_index(folder, rows, encoding=encoding))
    assert listed(data, folder) == rows


COLUMNS = ("path", "label", "split")


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([], COLUMNS, "has no rows"),
        ([("a.png", "x")], ("path", "label"), "no column split"),
        ([("a.png", "x")], ("file", "class"), "no column path, label, split"),
        ([("a.png", "x", "dev")], COLUMNS, "line 2: unknown split 'dev'"),
        ([("a.png",)], COLUMNS, "line 2: no label, split"),
        ([("a.png", "x", "train"), ("b.png", "", "train")], COLUMNS, "line 3: no label"),
        (
            [("a.png", "x", "train"), ("b.png", "x", "test"), ("./a.png", "x", "test")],
            COLUMNS,
            r"line 4 \('test'\) and line 2 \('train'\) name the same file, .*a.png",
        ),
        ([("../a.png", "x", "train")], COLUMNS, "line 2: path '../a.png' leads out"),
        (
            [("a.png", "x", "train"), ("b.png", "y", "test")],
            COLUMNS,
            "no training image of the class y",
        ),
    ],
)
def test_bad_indices_are_named(tmp_path, rows, columns, message):
    with pytest.raises(UserError, match=message) as error:
        image_folder.load(write_index(tmp_path, rows, columns))
    assert str(tmp_path) in str(error.value)


def test_folders_in_class_folders_are_read(folder, capsys):
    write(folder / "train" / "dog" / "puppies" / "small" / "p.PNG")
    write(folder / "train" / "dog" / ".ipynb_checkpoints" / "a.png")
    write(folder / "train" / "dog" / "._a.png")
    write(folder / "train" / "stray.png")
    data = image_folder.load(folder)
    assert listed(data, folder)[3] == ("train/dog/puppies/small/p.PNG", "dog", "train")
    assert len(data.files) == 5
    assert data.note == (
        "1 images beside the class folders are not used; 1 class has a single training image: cat"
    )
    assert "warning: 1 class has a single training image: cat" in capsys.readouterr().err


def test_links_in_folders(folder, tmp_path_factory):
    outside = write(tmp_path_factory.mktemp("outside") / "o.png").parent
    (folder / "train" / "dog" / "again").symlink_to(folder / "train")  # a circle
    assert len(image_folder.load(folder).files) == 4
    (folder / "train" / "cat" / "more").symlink_to(outside)
    with pytest.raises(UserError, match="path 'train/cat/more/o.png' is or follows a link"):
        image_folder.load(folder)
    assert len(image_folder.load(folder, outside_paths=True).files) == 5
    (folder / "train" / "cat" / "more").unlink()
    (folder / "test" / "cat").symlink_to(folder / "train" / "cat")
    with pytest.raises(UserError, match="test/cat/x.png is the same file as .*train/cat/x.png"):
        image_folder.load(folder)


@pytest.mark.parametrize("name", ["val", "validation"])
def test_val_is_not_trained_on_and_evaluated_on_where_there_is_no_test(folder, name):
    write(folder / name / "cat" / "v.png")
    write(folder / "train" / "cat" / "y.png")
    data = image_folder.load(folder)
    assert [file.path.name for file in data.of("val")] == ["v.png"]
    assert data.note == "1 images of the split val are not used"
    (folder / "test" / "dog" / "z.png").unlink()
    data = image_folder.load(folder)
    assert [file.path.name for file in data.of("test")] == ["v.png"] and not data.of("val")
    assert data.note == "evaluated on the images of the split val, there are none of test"
    rows = [("train/dog/a.png", "x", "train"), ("train/dog/b.png", "x", "train")]
    data = image_folder.load(write_index(folder, [*rows, (f"{name}/cat/v.png", "x", name)]))
    assert [file.path.name for file in data.of("test")] == ["v.png"]


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="none: no such folder of images"):
        image_folder.load(tmp_path / "none")
    with pytest.raises(MissingFileError, match=r"holds neither images\.csv nor images in train"):
        image_folder.load(tmp_path)


def test_a_class_that_is_only_tested_is_an_error(folder):
    write(folder / "test" / "bird" / "b.png")
    with pytest.raises(UserError, match="no training image of the class bird"):
        image_folder.load(folder)


def image_files(*paths: Path) -> list[image_folder.ImageFile]:
    return [image_folder.ImageFile(path, label, "train") for label, path in enumerate(paths)]


def test_decoded_images_have_their_colours_and_labels(tmp_path):
    paths = [write(tmp_path / f"{i}.png", colour) for i, colour in enumerate((RED, GREEN, BLUE))]
    images, labels, bad = image_folder.decode(image_files(*paths), size=(6, 8))
    assert images.shape == (3, 6, 8, 3) and images.dtype == np.uint8
    assert labels.tolist() == [0, 1, 2] and labels.dtype == np.int32
    assert bad == []
    for image, colour in zip(images, (RED, GREEN, BLUE), strict=True):
        assert (image == colour).all()


@pytest.mark.parametrize("across", [True, False])
def test_the_middle_is_cut_out(tmp_path, across):
    stripes = np.zeros((40, 120, 3), np.uint8)
    stripes[:, :40], stripes[:, 40:80], stripes[:, 80:] = RED, GREEN, BLUE
    if not across:
        stripes = stripes.transpose(1, 0, 2)
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    images, _, _ = image_folder.decode(image_files(tmp_path / "stripes.png"), size=(20, 20))
    assert (images[0, 3:-3, 3:-3] == GREEN).all()  # of the whole middle stripe, but its edges


@pytest.mark.parametrize("size", [(7, 31), (31, 7), (10, 12), (64, 3)])
def test_any_size_is_covered(tmp_path, size):
    path = write(tmp_path / "one.png", GREEN, width=17, height=11)
    images, _, _ = image_folder.decode(image_files(path), size=size)
    assert images.shape == (1, *size, 3)
    assert (images == GREEN).all()  # no black border


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_other_kinds_of_pictures_become_rgb(tmp_path, mode):
    path = tmp_path / ("one.jpg" if mode == "CMYK" else "one.png")
    Image.new("RGB", (9, 9), (255, 255, 255)).convert(mode).save(path)
    images, _, _ = image_folder.decode(image_files(path), size=(5, 5))
    assert images.shape == (1, 5, 5, 3) and images.min() >= 250


RAMP = np.linspace(0, 65535, 64 * 64).reshape(64, 64)


@pytest.mark.parametrize(
    ("name", "dtype"), [("one.png", np.uint16), ("one.tif", np.uint16), ("one.tif", np.int32)]
)
def test_grey_of_16_bits_keeps_its_shades(tmp_path, name, dtype):
    values = np.round(RAMP).astype(dtype)
    Image.fromarray(values).save(tmp_path / name)
    images, _, _ = image_folder.decode(image_files(tmp_path / name), size=(64, 64))
    np.testing.assert_array_equal(images[0, ..., 0], np.round(values / 257))
    assert images.min() == 0 and images.max() == 255
    assert (images[..., 0] == images[..., 2]).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (RAMP.astype(np.float32), "one.tif: floating-point pixels"),
        (RAMP.astype(np.int32) * 2, "one.tif: pixels of more than 16 bits"),
        (RAMP.astype(np.int32) - 1, "one.tif: pixels of more than 16 bits"),
    ],
)
def test_pixels_without_a_known_range_are_refused_with_a_word(tmp_path, values, message):
    Image.fromarray(values).save(tmp_path / "one.tif")
    files = image_files(tmp_path / "one.tif", write(tmp_path / "good.png"))
    with pytest.raises(UserError, match=f"1 of 2 images do not decode:\n .*{message}"):
        image_folder.decode(files, size=(8, 8))
    _, labels, bad = image_folder.decode(files, size=(8, 8), skip_bad=True)
    assert labels.tolist() == [1] and bad == [tmp_path / "one.tif"]


def truncated(path: Path) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    return path


def test_images_that_do_not_decode_are_named_and_counted(tmp_path):
    files = image_files(
        write(tmp_path / "good.png"),
        broken(tmp_path / "text.jpg"),
        truncated(tmp_path / "half.jpg"),
        tmp_path / "none.png",
    )
    with pytest.raises(UserError, match="3 of 4 images do not decode") as error:
        image_folder.decode(files, size=(8, 8))
    for name in ("text.jpg", "half.jpg", "none.png"):
        assert str(tmp_path / name) in str(error.value)
    assert "good.png" not in str(error.value)


def test_bad_images_can_be_left_out(tmp_path):
    files = image_files(broken(tmp_path / "text.jpg"), write(tmp_path / "good.png", BLUE))
    images, labels, bad = image_folder.decode(files, size=(8, 8), skip_bad=True)
    assert labels.tolist() == [1]  # that of the good one
    assert (images == BLUE).all() and len(images) == 1
    assert bad == [tmp_path / "text.jpg"]


def test_a_long_list_of_bad_images_is_cut(tmp_path):
    files = image_files(*(tmp_path / f"{i:02d}.png" for i in range(25)))
    with pytest.raises(UserError, match="25 of 25") as error:
        image_folder.decode(files, size=(8, 8))
    assert "09.png" in str(error.value) and "10.png" not in str(error.value)
    assert "..." in str(error.value)


@pytest.mark.parametrize("count", [0, 2])
def test_nothing_left_is_an_error(tmp_path, count):
    files = image_files(*(broken(tmp_path / f"{i}.png") for i in range(count)))
    with pytest.raises(UserError, match=f"none of {count} images decodes"):
        image_folder.decode(files, size=(8, 8), skip_bad=True)
