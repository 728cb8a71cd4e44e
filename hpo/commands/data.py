"""`hpo data`: part, make and look at pictures before they are trained on."""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.commands.options import Home, Json, Set
from hpo.errors import SpecError
from hpo.wording import plain

if TYPE_CHECKING:
    from trainers.config import DatasetConfig
    from trainers.survey import Survey, Twins

__all__ = ["app"]

app = typer.Typer(help="Part, make and look at pictures before they are trained on.", no_args_is_help=True)

_SHOWN = 10
REPORTED_SIZE = 64
"""Of folders in a report, in pixels: enough to find what is the same, and a twelfth of the room that 224 take."""
Source = Annotated[Path, typer.Argument(metavar="SRC", show_default=False)]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="A new folder; nothing is overwritten.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same choice.")]


@app.command()
def split(
    source: Source,
    out: Out,
    ratios: Annotated[
        str, typer.Option(metavar="A/B/C", help="Shares of train, val and test; two make no test part.")
    ] = ".8/.1/.1",
    seed: Seed = 0,
    link: Annotated[bool, typer.Option("--link/--copy", help="Hard links need no room on the disk.")] = False,
    as_json: Json = False,
) -> None:
    """Part SRC/<class>/ into OUT/{train,val,test}/<class>/, every class in each, variants of one source together.

    Where SRC holds train/ already, its val/ and test/ go over as they are, and what is missing is cut out of train:
    with .8/.1/.1 a ninth of it.

    SRC stays as it is.
    """
    from trainers.parting import part_folder

    with _refusals():
        shares = [float(each) for each in ratios.split("/")]
        counts = part_folder(source.expanduser(), out.expanduser(), ratios=shares, seed=seed, link=link)
    _print_counts(counts, as_json)


@app.command()
def synth(
    source: Source,
    out: Out,
    per_picture: Annotated[
        int | None,
        typer.Option(
            help="Dirty pictures made of each clean one, however many are there (default 2).", show_default=False
        ),
    ] = None,
    ratio: Annotated[
        float | None,
        typer.Option(
            help="Instead: make only what is missing to so many dirty ones per clean one; 1 balances the classes.",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Make dirty plates of clean ones: SRC holds clean pictures, or cleaned/ and dirty/; OUT gets both, and groups.csv.

    By default two are made of each clean one, whatever is there: a balanced folder comes out three to one.

    With --ratio 2 it comes out two to one, with --ratio 1 as balanced as it was.

    Three in ten are lightly soiled, five fairly, two heavily.
    """
    from trainers.synth import synthesise

    with _refusals():
        made = synthesise(source.expanduser(), out.expanduser(), per_picture=per_picture, ratio=ratio, seed=seed)
    if as_json:
        print(json.dumps(dataclasses.asdict(made) | made.counts, indent=2))
        return
    _print_counts(made.counts, as_json=False)
    after = made.counts["after"]
    levels = ", ".join(f"{count} {level}" for level, count in made.levels.items())
    print(f"\nmade      {sum(made.levels.values())}: {levels}")
    print(f"ratio     {after['dirty'] / after['cleaned']:.3g} dirty pictures for each clean one")
    print(f"manifest  {out / 'groups.csv'}")
    _print_skipped(made.skipped_files)


@app.command()
def stats(
    what: Annotated[
        str,
        typer.Argument(metavar="ROOT|NAME", help="A folder, an .npz file, or a dataset's name.", show_default=False),
    ],
    image_size: Annotated[
        int | None, typer.Option(min=8, max=1024, help="Side in pixels; by default 224 for folders, else as stored.")
    ] = None,
    home: Annotated[Path | None, typer.Option(help="Folder of all files (default hpo-data, or HPO_HOME).")] = None,
    as_json: Json = False,
) -> None:
    """Show classes, counts, sizes, mean and deviation, corrupt files, duplicates, leaks and class weights.

    Pictures are decoded into the cache that trainings read.
    """
    from hpo import settings
    from trainers.survey import survey

    places = settings.resolve(home=home)
    with _refusals(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # skipped files are named below
        config = _config(what, image_size)
        places.make_home()
        found = survey(config, places.datasets)
    if as_json:
        print(json.dumps(dataclasses.asdict(found), indent=2))
        return
    _print_survey(found)


@app.command()
def report(
    what: Annotated[
        str | None,
        typer.Argument(metavar="ROOT|NAME", help="A folder, an .npz file, or a dataset's name.", show_default=False),
    ] = None,
    space: Annotated[
        Path | None, typer.Option("--space", "-s", help="Instead: the data of a space file, parted as it says.")
    ] = None,
    overrides: Set = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=8, max=1024, help="Side in pixels; by default what the space file says, for folders 64."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The page; by default in reports/ of the home folder.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show a dataset as one HTML page: samples, classes, duplicates, leaks, outliers, doubtful labels, corrupt files.

    Training and validation pictures are looked at; a test part is not opened.
    """
    from hpo import settings
    from hpo.report import dataset as page
    from trainers.examine import examine

    if (what is None) == (space is None):
        raise SpecError("give a folder, an .npz file or a dataset's name, or --space FILE")
    if space is None and overrides:
        raise SpecError("--set changes a key of a space file: give --space FILE too")
    with _refusals(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # skipped files are named in the page
        config = _config(what, image_size) if what is not None else _of_space(space, overrides, image_size)
        if what is not None and config.name == "imagefolder" and image_size is None:
            config = config.model_copy(update={"image_size": REPORTED_SIZE})
        places = settings.resolve(home=home)
        places.make_home()
        found = examine(config, places.datasets)
        name = config.root.expanduser().resolve().name if config.root is not None else config.name
        path = out or places.home / "reports" / f"data-{name}.html"
        page.drawn_page(found, name).write(path)
    facts = page.facts(found)
    if as_json:
        print(json.dumps({"page": str(path), **facts}, indent=2))
        return
    for key, value in page.summary(facts).items():
        print(plain(f"{key:<11} {value}"))
    print(plain(f"page        {path}"))


def _of_space(space: Path | None, overrides: list[str] | None, image_size: int | None) -> DatasetConfig:
    from hpo import spec
    from trainers.config import DatasetConfig

    assert space is not None
    parsed = spec.load(space, overrides or [])
    if "import" in parsed.trainer:
        raise SpecError(f"{space} has a trainer of its own, which reads its data itself; give a folder or a file")
    parsed.require_sources()
    size = {} if image_size is None else {"image_size": image_size}
    return DatasetConfig.model_validate({**parsed.trainer["dataset"], **size})


@contextmanager
def _refusals() -> Iterator[None]:
    """What pictures or arguments make impossible is the user's to mend."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise SpecError(str(error)) from error


def _config(what: str, image_size: int | None) -> DatasetConfig:
    from typing import get_args

    from trainers.config import DatasetConfig
    from trainers.config.dataset import BUNDLED, DOWNLOADED, DatasetName

    if what in BUNDLED | DOWNLOADED:
        name = next(each for each in get_args(DatasetName) if each == what)
        return DatasetConfig(name=name, image_size=image_size)
    root = Path(what).expanduser()
    if root.is_file():
        return DatasetConfig(name="npz", root=root, image_size=image_size)
    if root.is_dir():
        return DatasetConfig(name="imagefolder", root=root, image_size=image_size)
    raise ValueError(f"{what} is neither a folder, an .npz file nor one of {', '.join(sorted(BUNDLED | DOWNLOADED))}")


def _print_survey(found: Survey) -> None:
    _print_counts(found.counts, as_json=False)
    sizes = [f"{size} ({count})" for size, count in list(found.sizes.items())[:5]]
    more = f" and {len(found.sizes) - 5} others" if len(found.sizes) > 5 else ""
    weights = ", ".join(f"{name} {weight:.3g}" for name, weight in found.class_weights.items())
    print(f"\nimbalance   {found.imbalance:.3g} to 1")
    print(f"weights     {plain(weights)}")
    print(f"sizes       {', '.join(sizes)}{more}")
    print(f"mean        {' '.join(f'{value:.4f}' for value in found.mean)}, of {found.measured} training pictures")
    print(f"deviation   {' '.join(f'{value:.4f}' for value in found.std)}")
    _print_twins("duplicates", found.duplicates, "within a part")
    _print_twins("leaks", found.leaks, "are the same in several parts")
    if found.shared_sources:
        _print_twins("sources", found.shared_sources, "have variants in several parts")
    _print_skipped(found.skipped_files)


def _print_counts(counts: dict[str, dict[str, int]], as_json: bool) -> None:
    if as_json:
        print(json.dumps(counts, indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("class", overflow="fold")
    for part in counts:
        table.add_column(part, justify="right")
    for name in next(iter(counts.values())):
        table.add_row(Text(plain(name)), *(str(each[name]) for each in counts.values()))
    table.add_row("all", *(str(sum(each.values())) for each in counts.values()))
    Console(highlight=False).print(table)


def _print_twins(title: str, twins: tuple[Twins, ...], what: str) -> None:
    if not twins:
        print(f"{title:<12}none")
        return
    print(f"{title:<12}{len(twins)} {what}:")
    for each in twins[:_SHOWN]:
        classes = f"  (labelled {', '.join(each.classes)})" if len(each.classes) > 1 else ""
        pictures = ", ".join(each.pictures[:4]) + (", ..." if len(each.pictures) > 4 else "")
        print(f"            {plain(pictures + classes)}")
    if len(twins) > _SHOWN:
        print("            ... (all of them with --json)")


def _print_skipped(files: tuple[str, ...]) -> None:
    if files:
        named = plain(", ".join(files[:_SHOWN])) + (", ..." if len(files) > _SHOWN else "")
        print(f"unreadable  {len(files)}: {named}")
