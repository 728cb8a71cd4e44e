"""What is planted in a folder of pictures is found in it, and its test part is left alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from hpo.cli import app
from hpo.errors import SpecError
from trainers.doubts import doubts
from trainers.measures import measure, reduced
from trainers.near import near_groups


def run(*arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["data", "report", *map(str, arguments), "--json"])
    if isinstance(done.exception, SpecError):
        raise done.exception
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def scene(seed: int, side: int = 32) -> Image.Image:
    """A smooth picture that is like no other."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 30, with a duplicate, a leak, near ones, a black picture, a broken file; and a test part."""
    root = tmp_path_factory.mktemp("pictures")
    for label, name in enumerate(("cat", "dog")):
        for part, count in (("train", 30), ("val", 6), ("test", 3)):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                seed = {"train": 0, "val": 5000, "test": 9000}[part] + 100 * label + number
                scene(seed).save(root / part / name / f"{number:02}.png")
    scene(3).save(root / "train" / "dog" / "as-cat-03.png")
    scene(4).save(root / "val" / "cat" / "leaked.png")
    ImageEnhance.Brightness(scene(5)).enhance(0.95).save(root / "train" / "cat" / "pale.jpg", quality=60)
    Image.new("RGB", (32, 32)).save(root / "train" / "cat" / "black.png")
    (root / "train" / "dog" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    return root


def test_what_is_planted_is_found(folder: Path, home: Path) -> None:
    before = {path: path.stat().st_atime_ns for path in (folder / "test").rglob("*.png")}
    found = run(folder, "--image-size", 32, "--home", home)
    assert found["counts"] == {"train": {"cat": 32, "dog": 31}, "val": {"cat": 7, "dog": 6}}
    assert found["unreadable"] == ["train/dog/broken.jpg"]
    assert [(set(each["pictures"]), each["parts"], each["labels"]) for each in found["duplicates"]] == [
        ({"train/cat/03.png", "train/dog/as-cat-03.png"}, ["train"], ["cat", "dog"]),
        ({"train/cat/04.png", "val/cat/leaked.png"}, ["train", "val"], ["cat"]),
    ]
    assert [set(each["pictures"]) for each in found["near_duplicates"]] == [{"train/cat/05.png", "train/cat/pale.jpg"}]
    assert found["outliers"][0]["picture"] == "train/cat/black.png"
    assert not found["label_model"]["trusted"], "noise has no classes"
    assert found["doubtful_labels"] == []
    page = Path(found["page"]).read_text()
    for said in ("train/cat/black.png", "in both parts", "different labels", "broken.jpg", "difference hash"):
        assert said in page
    assert "<script" not in page
    assert {path: path.stat().st_atime_ns for path in before} == before, "the test part was opened"
    assert not any("test" in name.name for name in (home / "datasets" / "cache").iterdir())


def test_a_space_file_says_which_data_and_how_they_are_parted(folder: Path, home: Path, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "name: x\nmetric: val/accuracy\nsampler: random\nbudget: 1\nparameters: {lr: {min: 0.1, max: 1.0}}\n"
        f"trainer: {{model: linear, dataset: {{name: imagefolder, root: {folder}, image_size: 16}}}}\n"
    )
    found = run("--space", space, "--home", home, "--set", "trainer.dataset.limit=20")
    assert sum(found["counts"]["train"].values()) == 20
    assert found["page"].endswith(f"data-{folder.name}.html")


@pytest.mark.parametrize(
    ("words", "said"),
    [([], "or --space FILE"), (["nowhere"], "neither a folder"), (["digits", "--set", "a=1"], "give --space FILE too")],
)
def test_what_cannot_be_looked_at_is_said(words: list[str], said: str, home: Path) -> None:
    with pytest.raises(SpecError, match=said):
        run(*words, "--home", home)


def test_labels_that_were_swapped_are_doubted() -> None:
    bunch = load_digits()
    small = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64).copy()
    planted = np.random.default_rng(0).choice(len(labels), 20, replace=False)
    labels[planted] = (labels[planted] + 1) % 10
    found = doubts(small, labels, 10)
    assert found.trusted
    suspects = {each.place: each.suggested for each in found.doubts}
    hits = [place for place in planted.tolist() if suspects.get(place) == bunch.target[place]]
    assert len(hits) >= 18
    assert len(suspects) <= 30, "most of what is doubted was planted"


def test_near_is_near_in_the_hash_and_in_the_pixels() -> None:
    pictures = [np.asarray(scene(seed)).transpose(2, 0, 1) for seed in range(300)]
    shifted = np.clip(pictures[7].astype(int) + 6, 0, 255).astype(np.uint8)
    dark = (pictures[8] * 0.3).astype(np.uint8)  # equal in its hash, far in its pixels
    images = np.stack([*pictures, shifted, dark])
    found = near_groups(measure(images).hashes, lambda places: images[places], np.arange(len(images)))
    assert found == [[7, 300]]


def test_reduced_pictures_are_means_over_areas() -> None:
    ramp = np.arange(12, dtype=np.uint8).reshape(1, 1, 3, 4)
    assert reduced(ramp, 1, 2)[0, 0].tolist() == [[4.5, 6.5]]
    assert reduced(ramp, 3, 8).mean() == pytest.approx(ramp.mean())
