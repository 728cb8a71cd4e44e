from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from trainers.config import DatasetConfig
from trainers.data import load, load_test
from trainers.imagefolder import read_folder


def folder(root, **changes):
    return DatasetConfig(name="imagefolder", root=root, **{"image_size": 10} | changes)


def test_train_and_val_folders(tmp_path, picture_folder):
    root = picture_folder("train", "val", "test")
    split = load(folder(root), tmp_path, "cpu")
    assert split.classes == ("blue", "red")
    assert split.train_images.shape == split.val_images.shape == (20, 3, 10, 10)
    assert split.train_labels.tolist() == [0] * 10 + [1] * 10
    red = split.train_images[10:].float().mean(dim=(0, 2, 3))
    assert red[1] > red[0] + 100, "pictures and labels are mixed up"
    assert load_test(folder(root), tmp_path, "cpu").images.shape == (20, 3, 10, 10)


def test_one_folder_is_split_and_its_test_part_left_alone(tmp_path, picture_folder):
    root = picture_folder("")
    broken = root / "test" / "blue" / "never_opened.png"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"not a picture")
    split = load(folder(root, val_fraction=0.2), tmp_path, "cpu")
    assert (len(split.train_labels), split.val_labels.tolist()) == (16, [0, 0, 1, 1])


def test_every_kind_of_file(tmp_path, picture_folder):
    root = picture_folder("train")
    blue = root / "train" / "blue"
    Image.new("L", (20, 20), 200).save(blue / "a_grey.jpg")
    Image.new("RGBA", (20, 20), (9, 9, 9, 0)).save(blue / "b_transparent.png")
    Image.fromarray(np.full((20, 20), 100 * 256, dtype=np.uint16)).save(blue / "b_deep_grey.png")
    Image.new("P", (20, 20), 0).save(blue / "c_palette.gif")
    (blue / "notes.txt").write_text("not a picture, and not taken for one")
    (blue / "e_corrupt.png").write_bytes((blue / "0.png").read_bytes()[:60])
    (blue / "f_empty.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"2 of 26 pictures cannot be read and are left out: .*e_corrupt.*f_empty"):
        split = load(folder(root, val_fraction=0.05), tmp_path, "cpu")
    assert split.skipped == 2
    pictures = torch.cat([split.train_images, split.val_images])
    assert len(pictures) == 24
    flat = {int(picture[0, 0, 0]) for picture in pictures if picture.float().std() < 2}
    assert {255, 200, 100} <= flat, "transparency is white, grey stays grey"


def test_upright_by_exif(tmp_path, picture_folder):
    root = picture_folder("train", "val", count=2)
    (root / "val" / "red" / "0.png").unlink()
    turned = Image.new("RGB", (40, 40), "black")
    turned.paste("white", (0, 0, 20, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(root / "val" / "red" / "0.jpg", exif=exif, quality=95)
    last = load(folder(root), tmp_path, "cpu").val_images[2].float().mean(dim=0)
    assert last[0].mean() > 200 > 50 > last[-1].mean(), "the white half belongs on top"


def test_a_small_size_by_default_of_folders(tmp_path, picture_folder):
    split = load(folder(picture_folder("train", "val", count=1), image_size=None), tmp_path, "cpu")
    assert split.train_images.shape == (2, 3, 224, 224)


def test_errors_say_what_to_do(tmp_path, picture_folder):
    with pytest.raises(FileNotFoundError, match="is not a folder; give one that holds train/<class>/"):
        load(folder(tmp_path / "absent"), tmp_path, "cpu")
    with pytest.raises(ValueError, match=r"holds 0 class folder\(s\)"):
        load(folder(tmp_path), tmp_path, "cpu")
    root = picture_folder("train", count=3)
    with pytest.raises(FileNotFoundError, match="has no test/ folder"):
        load_test(folder(root), tmp_path, "cpu")
    (root / "val" / "blue").mkdir(parents=True)
    (root / "val" / "green").mkdir()
    with pytest.raises(ValueError, match=r"differ in classes \['green', 'red'\]"):
        load(folder(root), tmp_path, "cpu")


def test_a_class_too_small(tmp_path, picture_folder):
    root = picture_folder("train", count=3)
    for number in (0, 1):
        (root / "train" / "red" / f"{number}.png").unlink()
    with pytest.raises(ValueError, match=r"class 'red' has 1 picture\(s\), too few to be split"):
        load(folder(root), tmp_path, "cpu")
    (root / "train" / "red" / "2.png").unlink()
    with pytest.raises(ValueError, match="class 'red' has no readable picture"):
        load(folder(root, seed=1), tmp_path, "cpu")


def test_val_without_train(tmp_path, picture_folder):
    root = picture_folder("val")
    with pytest.raises(ValueError, match="holds val/ but no train/"):
        load(folder(root), tmp_path, "cpu")


def test_pictures_of_other_content_have_another_fingerprint(tmp_path, picture_folder):
    one = load(folder(picture_folder("train", "val")), tmp_path, "cpu")
    other = load(folder(picture_folder("train", "val", shift=1)), tmp_path, "cpu")
    assert one.fingerprint != other.fingerprint
    assert len(one.fingerprint) == 16
    assert np.isfinite(one.std).all()


@pytest.mark.parametrize("seed", range(5))
def test_variants_of_one_source_stay_together(tmp_path, picture_folder, seed):
    """Each picture of "blue" has a variant in "red" and another beside it."""
    root = picture_folder("train", count=20)
    rows = [f"train/{name}/{number}.png,plate{number // 2}" for name in ("blue", "red") for number in range(20)]
    (root / "groups.csv").write_text("\n".join(["file,source", *rows]))
    split = load(folder(root, val_fraction=0.2, seed=seed), tmp_path, "cpu")
    alone = load(folder(root, val_fraction=0.2, seed=seed, image_size=10), tmp_path, "cpu")
    assert alone is split
    everything = read_folder(root, "train", size=10, threads=1, cache=tmp_path / "cache")
    source = {picture.tobytes(): group for picture, group in zip(everything.images, everything.groups, strict=True)}
    train, val = ({source[p.numpy().tobytes()] for p in part} for part in (split.train_images, split.val_images))
    assert not train & val
    assert len(train | val) == 10
    assert set(split.val_labels.tolist()) == {0, 1}
    assert len(split.val_labels) == 8


@pytest.mark.parametrize("statistics", ["pixel", "picture", "imagenet"])
def test_statistics_are_of_training_pictures_alone(tmp_path, picture_folder, statistics):
    root = picture_folder("train", "val")
    split = load(folder(root, statistics=statistics), tmp_path, "cpu")
    pixels = split.train_images.double() / 255
    if statistics == "imagenet":
        assert split.mean == (0.485, 0.456, 0.406)
        return
    assert split.mean == pytest.approx(pixels.mean(dim=(0, 2, 3)).tolist(), abs=1e-6)
    own = pixels.flatten(2).std(dim=2, correction=0).mean(dim=0)
    expected = pixels.transpose(0, 1).flatten(1).std(dim=1, correction=0) if statistics == "pixel" else own
    assert split.std == pytest.approx(expected.tolist(), abs=1e-4)
