"""`hpo data` as typed."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from hpo.cli import app
from hpo.errors import SpecError
from trainers.survey import class_weights


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, ["data", *map(str, arguments)])
    if isinstance(result.exception, SpecError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def noise(path: Path, seed: int, size: tuple[int, int] = (20, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Thirty clean and ten dirty pictures."""
    for number in range(30):
        noise(tmp_path / "pictures" / "cleaned" / f"{number}.png", number)
    for number in range(10):
        noise(tmp_path / "pictures" / "dirty" / f"{number}.png", 100 + number)
    return tmp_path / "pictures"


def test_made_parted_and_looked_at(tmp_path: Path, pictures: Path, home: Path) -> None:
    made = json.loads(run("synth", pictures, tmp_path / "more", "--ratio", 1, "--json").stdout)
    assert (made["clean"], made["kept_dirty"], sum(made["levels"].values())) == (30, 10, 20)
    assert (made["before"], made["after"]) == ({"cleaned": 30, "dirty": 10}, {"cleaned": 30, "dirty": 30})
    counts = json.loads(run("split", tmp_path / "more", tmp_path / "parts", "--json").stdout)
    assert sum(counts["train"].values()) == pytest.approx(48, abs=2)
    assert all(min(each.values()) >= 1 for each in counts.values())
    found = json.loads(run("stats", tmp_path / "parts", "--image-size", 16, "--home", home, "--json").stdout)
    assert found["counts"] == counts
    assert found["leaks"] == found["shared_sources"] == []
    assert found["sizes"] == {"24x20": 60}
    assert sum(counts["train"].values()) == found["measured"]
    assert home.stat().st_mode & 0o777 == 0o700
    with (tmp_path / "parts" / "groups.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 60


@pytest.mark.parametrize(
    ("options", "dirty", "ratio"),
    [((), 70, "2.33"), (("--ratio", 2), 60, "2 "), (("--ratio", 1), 30, "1 "), (("--per-picture", 1), 40, "1.33")],
)
def test_classes_are_counted_before_and_after(
    tmp_path: Path, pictures: Path, options: tuple[object, ...], dirty: int, ratio: str
) -> None:
    told = run("synth", pictures, tmp_path / "out", *options).stdout
    rows = [line.split() for line in told.splitlines()[:4]]
    assert rows[:3] == [["class", "before", "after"], ["cleaned", "30", "30"], ["dirty", "10", str(dirty)]]
    assert f"ratio     {ratio}" in told
    assert len(list((tmp_path / "out" / "dirty").iterdir())) == dirty


def test_stats_find_what_is_wrong(tmp_path: Path, pictures: Path, home: Path) -> None:
    parts = tmp_path / "parts"
    run("split", pictures, parts, "--ratios", ".7/.15/.15", "--link")
    leaked = next((parts / "train" / "cleaned").iterdir())
    # another name, format and label, the same pixels
    with Image.open(leaked) as picture:
        picture.save(parts / "test" / "dirty" / "leaked.bmp")
    shutil.copy(leaked, leaked.with_name("twin.png"))
    (parts / "val" / "dirty" / "broken.jpg").write_bytes(b"no")
    (parts / "groups.csv").write_text(f"file,source\ntrain/cleaned/{leaked.name},p\ntest/dirty/leaked.bmp,p\n")
    found = json.loads(run("stats", parts, "--home", home, "--json", "--image-size", 24).stdout)
    (leak,) = found["leaks"]
    assert set(leak["pictures"]) == {f"train/cleaned/{leaked.name}", "train/cleaned/twin.png", "test/dirty/leaked.bmp"}
    assert (leak["parts"], leak["classes"]) == (["train", "test"], ["cleaned", "dirty"])
    assert found["shared_sources"][0]["parts"] == ["train", "test"]
    assert found["skipped_files"] == ["val/dirty/broken.jpg"]
    assert found["counts"]["train"] == {"cleaned": 23, "dirty": 7} or found["counts"]["train"]["cleaned"] == 22
    weights, train = found["class_weights"], found["counts"]["train"]
    assert weights["dirty"] == pytest.approx(sum(train.values()) / (2 * train["dirty"]))
    assert class_weights(parts) == pytest.approx(weights)
    told = run("stats", parts, "--home", home, "--image-size", 24).stdout
    for words in ("leaks       1 are the same in several parts", "labelled cleaned, dirty", "unreadable  1: val/dirty"):
        assert words in told


def test_stats_of_training_pixels_only(tmp_path: Path, home: Path) -> None:
    for part, colour in (("train", 100), ("val", 200), ("test", 0)):
        for name in ("a", "b"):
            for number in range(2):
                path = tmp_path / "root" / part / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (colour + number, colour, colour)).save(path)
    found = json.loads(run("stats", tmp_path / "root", "--image-size", 8, "--home", home, "--json").stdout)
    assert found["mean"] == pytest.approx([100.5 / 255, 100 / 255, 100 / 255])
    assert len(found["duplicates"]) == 6
    digits = json.loads(run("stats", "digits", "--home", home, "--json").stdout)
    assert sum(sum(each.values()) for each in digits["counts"].values()) == 1797
    assert digits["sizes"] == {"8x8": 1797}


def test_stats_of_arrays(tmp_path: Path, home: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 9, 9)).astype(np.uint8)
    images[7] = images[3]
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=np.arange(40) % 2)
    found = json.loads(run("stats", tmp_path / "a.npz", "--home", home, "--json").stdout)
    assert [twins["pictures"] for twins in found["duplicates"]] == [["train[3]", "train[7]"]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["split", "pictures", "out", "--ratios", ".5/.4/.2"], "0.5/0.4/0.2 must be three"),
        (["split", "pictures", "out", "--ratios", "a/b"], "could not convert string to float"),
        (["split", "pictures", "pictures"], "nothing is overwritten"),
        (["split", "absent", "out"], "absent is not a folder"),
        (["synth", "pictures", "out", "--per-picture", "1", "--ratio", "3"], "exclude each other"),
        (["stats", "absent"], "absent is neither a folder, an .npz file nor one of cifar10, "),
        (["stats", "pictures/dirty"], "holds 0 class folder"),
    ],
    ids=lambda each: " ".join(each[:3]) if isinstance(each, list) else "",
)
def test_refusals_are_one_message(
    pictures: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures.parent)
    monkeypatch.setenv("HPO_HOME", "home")
    with pytest.raises(SpecError) as caught:
        run(*arguments)
    assert words in str(caught.value)
    assert not Path("out").exists()


def test_an_absent_class_has_no_weight(pictures: Path) -> None:
    (pictures / "greasy").mkdir()
    with pytest.raises(ValueError, match="class 'greasy' has no readable picture"):
        class_weights(pictures)
