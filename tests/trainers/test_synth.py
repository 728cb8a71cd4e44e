from __future__ import annotations

import csv
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw

from trainers.dirt import LEVELS, find_plate, soil
from trainers.groups import MANIFEST
from trainers.synth import LEVEL_SHARES, synthesise

PLATE = (40, 16, 120, 104)


def plate(colour="white", table="saddlebrown"):
    picture = Image.new("RGB", (160, 120), table)
    ImageDraw.Draw(picture).ellipse(PLATE, fill=colour)
    return picture


@pytest.fixture
def clean(tmp_path):
    folder = tmp_path / "clean"
    (folder / "more").mkdir(parents=True)
    for number in range(4):
        plate(("white", "ivory", "lightblue", "black")[number]).save(folder / f"{number}.png")
    plate().save(folder / "more" / "0.jpg")
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder


def rows(out):
    with (out / MANIFEST).open() as stream:
        return list(csv.DictReader(stream))


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_clean_ones_are_copied_and_dirty_ones_named_with_their_source(tmp_path, clean):
    made = synthesise(clean, tmp_path / "out", seed=1)
    assert (made.clean, made.kept_dirty, sum(made.levels.values())) == (5, 0, 10)
    assert made.skipped_files == ("broken.png",)
    files = tree(tmp_path / "out")
    assert files["cleaned/more/0.jpg"] == (clean / "more" / "0.jpg").read_bytes()
    table = rows(tmp_path / "out")
    assert {row["file"] for row in table} == set(files) - {MANIFEST}
    assert Counter(row["source"] for row in table) == {f"cleaned/{name}": 3 for name in _names()}
    assert Counter(row["level"] for row in table if row["level"] != "none") == Counter(
        {level: count for level, count in made.levels.items() if count}
    )


def _names():
    return [*(f"{number}.png" for number in range(4)), "more/0.jpg"]


def test_the_seed_decides_and_a_new_picture_changes_no_other(tmp_path, clean):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        synthesise(clean, tmp_path / name, seed=seed)
    assert tree(tmp_path / "a") == tree(tmp_path / "b") != tree(tmp_path / "c")
    plate("pink").save(clean / "00.png")
    synthesise(clean, tmp_path / "d", seed=3)
    before, after = tree(tmp_path / "a"), tree(tmp_path / "d")
    assert all(after[name] == content for name, content in before.items() if name != MANIFEST)


@pytest.mark.parametrize(("ratio", "expected"), [(2, 6), (1.5, 4), (0.5, 0)])
def test_topped_up_to_a_ratio_with_what_is_dirty_already(tmp_path, clean, ratio, expected):
    source = tmp_path / "both"
    source.mkdir()
    (clean / "broken.png").unlink()
    clean.rename(source / "cleaned")
    for number in range(4):
        (source / "dirty").mkdir(exist_ok=True)
        plate("grey").save(source / "dirty" / f"{number}.png")
    made = synthesise(source, tmp_path / "out", ratio=ratio)
    assert (made.kept_dirty, sum(made.levels.values())) == (4, expected)
    assert Counter(row["level"] for row in rows(tmp_path / "out"))["real"] == 4
    synthetic = Counter(row["source"] for row in rows(tmp_path / "out") if row["level"] in LEVELS)
    assert max(synthetic.values(), default=0) - min(synthetic.values(), default=0) <= 1


def test_levels_come_as_often_as_said(tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    for number in range(10):
        Image.new("RGB", (16, 16), "white").save(folder / f"{number}.png")
    made = synthesise(folder, tmp_path / "out", per_picture=10, seed=1)
    found = np.array([made.levels[level] for level in LEVELS]) / 100
    assert found == pytest.approx(LEVEL_SHARES, abs=0.1)  # two standard errors


def test_dirt_lies_on_the_plate_and_grows_with_the_level():
    picture = plate()
    before = np.asarray(picture, dtype=int)
    covered = []
    for level in LEVELS:
        shares = []
        for seed in range(6):
            after = np.asarray(soil(picture, level, np.random.default_rng(seed)), dtype=int)
            changed = np.abs(after - before).max(axis=2) > 12
            shares.append(changed.mean())
            outside = np.asarray(plate("white", "black").convert("L")) == 0
            assert changed[outside].mean() < 0.02
        covered.append(np.mean(shares))
    assert 0.003 < covered[0] < covered[1] < covered[2] < 0.4


def test_the_plate_is_found_off_the_middle():
    picture = Image.new("RGB", (200, 100), "black")
    ImageDraw.Draw(picture).ellipse((100, 20, 170, 90), fill="white")
    found = find_plate(picture)
    assert (found.x, found.y) == (pytest.approx(135, abs=20), pytest.approx(55, abs=10))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_every_kind_of_picture(mode):
    assert soil(plate().convert(mode), "heavy", np.random.default_rng(0)).mode == "RGB"


def test_what_cannot_be_made(tmp_path, clean):
    for changes, words in (
        ({"per_picture": 2, "ratio": 2.0}, "exclude each other"),
        ({"per_picture": 0}, "must be 1 or more"),
        ({"ratio": 0.0}, "must be above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            synthesise(clean, tmp_path / "out", **changes)
    with pytest.raises(ValueError, match="lies inside"):
        synthesise(clean, clean / "out")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        synthesise(tmp_path / "absent", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no readable picture"):
        synthesise(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    synthesise(clean, tmp_path / "out", per_picture=1)
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        synthesise(clean, tmp_path / "out")
