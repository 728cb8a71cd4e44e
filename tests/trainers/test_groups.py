from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from trainers.config import DatasetConfig
from trainers.data import load
from trainers.groups import MANIFEST, numbered, sources_of
from trainers.parting import assign, part_folder
from trainers.pictures import balanced_weights, held_of

CLASSES = ("ant", "bee", "cow")


def random_groups(seed, pictures=600, groups=120):
    """Sources with one to a dozen pictures, which may be of several classes."""
    generator = np.random.default_rng(seed)
    owners = generator.choice(groups, pictures, p=generator.dirichlet(np.full(groups, 2.0)))
    home = generator.integers(0, 3, groups)
    labels = np.where(generator.random(pictures) < 0.8, home[owners], generator.integers(0, 3, pictures))
    return labels.astype(np.int64), owners.astype(np.int64)


@pytest.mark.parametrize("seed", range(8))
def test_groups_stay_together_and_shares_are_met(seed):
    labels, groups = random_groups(seed)
    held = held_of(labels, 0.2, seed=seed, classes=CLASSES, groups=groups)
    rest = np.setdiff1d(np.arange(len(labels)), held)
    assert not set(groups[held]) & set(groups[rest])
    shares = np.bincount(labels[held], minlength=3) / np.bincount(labels, minlength=3)
    assert shares == pytest.approx(0.2, abs=0.04)
    assert np.array_equal(held, held_of(labels, 0.2, seed=seed, classes=CLASSES, groups=groups))
    assert not np.array_equal(held, held_of(labels, 0.2, seed=seed + 1, classes=CLASSES, groups=groups))


@pytest.mark.parametrize("seed", range(4))
def test_three_parts_have_every_class_and_no_group_twice(seed):
    labels, groups = random_groups(seed, pictures=90, groups=30)
    parts = assign(labels, (0.8, 0.1, 0.1), seed=seed, classes=CLASSES, groups=groups)
    for part in range(3):
        assert set(labels[parts == part]) == {0, 1, 2}
    assert all(len(set(parts[groups == group])) == 1 for group in set(groups))


def test_without_groups_the_counts_are_exact():
    labels = np.repeat([0, 1, 2], [100, 60, 40])
    parts = assign(labels, (0.7, 0.15, 0.15), seed=0, classes=CLASSES)
    assert [np.bincount(labels[parts == part]).tolist() for part in range(3)] == [[70, 42, 28], [15, 9, 6], [15, 9, 6]]
    cifar = np.repeat(np.arange(10), 5000)
    held = held_of(cifar, 0.1, seed=0, classes=tuple("abcdefghij"))
    assert np.bincount(cifar[held]).tolist() == [500] * 10


def test_a_class_of_too_few_sources_is_named():
    labels = np.array([0, 0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match=r"class 'bee' has pictures of 1 source\(s\)"):
        held_of(labels, 0.3, seed=0, classes=("ant", "bee"), groups=np.array([0, 1, 2, 3, 3, 3]))
    with pytest.raises(ValueError, match=r"class 'bee' has 2 picture\(s\), too few to be split; it needs 3"):
        assign(np.array([0, 0, 0, 1, 1]), (0.8, 0.1, 0.1), seed=0, classes=("ant", "bee"))


def test_weights_come_from_counts():
    assert balanced_weights((30, 10, 20), CLASSES) == pytest.approx((60 / 90, 60 / 30, 60 / 60))
    with pytest.raises(ValueError, match="class 'bee' has no training picture"):
        balanced_weights((3, 0, 1), CLASSES)


def test_the_manifest_of_a_folder_rules_its_split(tmp_path, picture_folder):
    root = picture_folder("", count=20)
    rows = [f"{name}/{number}.png,plate {number // 4}" for name in ("blue", "red") for number in range(20)]
    (root / MANIFEST).write_text("\n".join(["file,source", *rows]))
    config = DatasetConfig(name="imagefolder", root=root, image_size=8, val_fraction=0.2)
    split = load(config, tmp_path, "cpu")
    assert split.val_labels.tolist() == [0] * 4 + [1] * 4, "one plate, both its classes"
    free = (root / MANIFEST).rename(root / "unused.csv")
    load.cache_clear()
    assert load(config, tmp_path, "cpu").fingerprint != split.fingerprint
    assert free.exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("picture,source\na,b\n", r"has columns \['picture', 'source'\]; it needs file and source"),
        ("file,source\na/1.png,x\na/1.png,y\n", "gives a/1.png two sources, x and y"),
        ("file,source\na/1.png,\n", "line 2: file and source must both be given"),
        ("file,source\nwrong/1.png,x\n", "names no file in .*not wrong/1.png"),
    ],
)
def test_mistakes_in_a_manifest(tmp_path, text, words):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=words):
        sources_of(tmp_path, ["a/1.png", "a/2.png"])


def test_files_without_a_row_stand_alone(tmp_path):
    assert sources_of(tmp_path, ["a/1.png"]) is None
    (tmp_path / MANIFEST).write_text("file,source,level\na\\1.png,x,light\na/2.png,x,heavy\ngone.png,x,\n")
    assert numbered(sources_of(tmp_path, ["a/1.png", "a/2.png", "a/3.png"])).tolist() == [0, 0, 1]


@pytest.mark.parametrize("link", [False, True])
def test_a_folder_is_parted_whole_with_its_manifest(tmp_path, picture_folder, link):
    source, out = picture_folder("", count=20), tmp_path / "new" / "out"
    (source / "red" / "deep").mkdir()
    (source / "red" / "deep" / "x.JPG").write_bytes(b"opened by nobody")
    (source / "red" / "notes.txt").write_text("no picture")
    rows = [f"{name}/{number}.png,plate {number // 2}" for name in ("blue", "red") for number in range(20)]
    (source / MANIFEST).write_text("\n".join(["file,source", *rows]))
    counts = part_folder(source, out, ratios=(0.8, 0.1, 0.1), seed=0, link=link)
    written = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    pictures = {name.split("/", 1)[1]: path for name, path in written.items() if name != MANIFEST}
    assert set(pictures) == {
        *(f"{name}/{number}.png" for name in ("blue", "red") for number in range(20)),
        "red/deep/x.JPG",
    }
    assert all(path.read_bytes() == (source / name).read_bytes() for name, path in pictures.items())
    assert all(path.samefile(source / name) == link for name, path in pictures.items())
    assert {part: sum(each.values()) for part, each in counts.items()} == Counter(
        name.split("/")[0] for name in written if name != MANIFEST
    )
    sources = dict(zip(files := sorted(set(written) - {MANIFEST}), sources_of(out, files), strict=True))
    parts_of = Counter(source for source, _ in {(source, name.split("/")[0]) for name, source in sources.items()})
    assert set(parts_of.values()) == {1}
    assert out.stat().st_mode & 0o777 == source.stat().st_mode & 0o777
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def files_of(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}


@pytest.mark.parametrize(
    ("there", "ratios", "sizes"),
    [
        (("train", "val"), (0.8, 0.1, 0.1), {"train": 16, "val": 6, "test": 2}),
        (("train", "test"), (0.5, 0.25, 0.25), {"train": 12, "val": 6, "test": 6}),
        (("train", "test"), (0.5, 0.5), {"train": 10, "val": 8, "test": 6}),
        (("train",), (0.5, 0.25, 0.25), {"train": 10, "val": 4, "test": 4}),
    ],
    ids=["no test", "no val", "no val, two ratios", "train only"],
)
def test_what_is_missing_is_cut_out_of_train(tmp_path, picture_folder, there, ratios, sizes):
    for part in there:
        source = picture_folder(part, count=9 if part == "train" else 3)
    before = files_of(source)
    (source / MANIFEST).write_text("file,source\n" + "".join(f"{name},{name}\n" for name in before))
    counts = part_folder(source, tmp_path / "out", ratios=ratios, seed=0)
    assert {part: sum(each.values()) for part, each in counts.items()} == sizes
    assert all(len({*each}) == 2 and min(each.values()) >= 1 for each in counts.values())
    written = files_of(tmp_path / "out")
    for part in there[1:]:
        assert {name for name in written if name.startswith(part)} == {name for name in before if name.startswith(part)}
    cut = {name.split("/", 1)[1] for name in written if name.split("/")[0] not in there[1:]}
    assert cut == {name.split("/", 1)[1] for name in before if name.startswith("train")}
    assert files_of(source) == before
    assert set(sources_of(tmp_path / "out", sorted(written))) == before


def test_a_folder_with_nothing_to_cut_says_what_to_do(tmp_path, picture_folder):
    for part in ("train", "val"):
        source = picture_folder(part, count=9)
    with pytest.raises(ValueError, match=r"holds train and val: give three ratios"):
        part_folder(source, tmp_path / "out", ratios=(0.8, 0.2), seed=0)
    (source / MANIFEST).write_text("file,source\ntrain/red/1.png,p\nval/red/2.png,p\n")
    with pytest.raises(ValueError, match=r"train/red/1\.png and val/red/2\.png are variants of one source"):
        part_folder(source, tmp_path / "out", ratios=(0.8, 0.1, 0.1), seed=0)
    picture_folder("test", count=9)
    with pytest.raises(ValueError, match="holds train, val, test and is parted already"):
        part_folder(source, tmp_path / "out", ratios=(0.8, 0.1, 0.1), seed=0)


def test_what_cannot_be_parted_leaves_nothing(tmp_path, picture_folder):
    source, out = picture_folder("", count=5), tmp_path / "out"
    for ratios, words in (
        ((0.8, 0.1), "0.8/0.1 must be three"),
        ((1.0, 0.0), "above 0"),
        ((0.5, 0.6, -0.1), "above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            part_folder(source, out, ratios=ratios, seed=0)
    with pytest.raises(ValueError, match="lies inside"):
        part_folder(source, source / "out", ratios=(0.8, 0.2), seed=0)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        part_folder(tmp_path / "absent", out, ratios=(0.8, 0.2), seed=0)
    assert not out.exists()
    out.mkdir()
    part_folder(source, out, ratios=(0.8, 0.2), seed=0)
    with pytest.raises(FileExistsError, match="is not empty; nothing is overwritten"):
        part_folder(source, out, ratios=(0.8, 0.2), seed=0)
    (source / "red" / "0.png").unlink()
    for number in (1, 2, 3):
        (source / "red" / f"{number}.png").unlink()
    with pytest.raises(ValueError, match=r"class 'red' has 1 picture\(s\)"):
        part_folder(source, tmp_path / "other", ratios=(0.8, 0.2), seed=0)
    assert not list(tmp_path.glob(".o*"))
