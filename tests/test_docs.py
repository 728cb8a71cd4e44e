"""What the documents say stays true: commands exist, spaces load, links lead somewhere."""

import re
import sys
from pathlib import Path

import pytest

from hpo import spec
from hpo.cli import app
from trainers.config import METRICS, paths

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))
import references  # noqa: E402 - what `make docs` runs

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += sorted((ROOT / "benchmarks").glob("*.md"))
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_every_command_is_in_the_readme_and_every_command_in_the_documents_exists() -> None:
    commands = {
        command.name or command.callback.__name__.replace("_", "-")
        for command in app.registered_commands
        if command.callback
    }
    commands |= {group.name for group in app.registered_groups if group.name}
    assert set(re.findall(r"`hpo ([a-z][a-z-]*)", README)) == commands
    for page in PAGES:
        named = set(re.findall(r"(?:`|^\$ )hpo ([a-z][a-z-]*)", page.read_text(), re.MULTILINE))
        assert named <= commands, page.name


@pytest.mark.parametrize("name", references.PAGES)
def test_references_are_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == references.PAGES[name](), "make docs writes them anew"


def test_the_space_in_the_readme_loads() -> None:
    assert spec.parse(blocks("yaml")[0]).budget.trials == 64


def test_the_trainer_in_the_readme_is_a_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(blocks("python")[0])
    space = f"name: own\nmetric: val/accuracy\nsampler: random\nbudget: 2\n{blocks('yaml')[1]}"
    space += "parameters: {lr: {min: 0.1, max: 1.0}, weight_decay: {min: 0.1, max: 1.0}}\n"
    assert spec.parse(space).trainer["import"] == "mine:train"


def test_every_key_and_metric_of_the_trainer_is_described() -> None:
    assert all(field.description for field in paths().values())
    page = (ROOT / "docs" / "trainers.md").read_text()
    assert all(f"`{metric}`" in page for metric in METRICS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", page.read_text()):
        there = page.parent / target if target else page
        assert there.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 _-]", "", each.lower()).replace(" ", "-") for each in titles}, anchor


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^\$ make ([a-z]+)", README, re.MULTILINE)
    assert {"demo", "test"} <= set(targets)
    assert all(f"\n{target}:" in makefile for target in targets)
