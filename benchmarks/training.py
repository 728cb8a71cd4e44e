"""Pictures a second of the built-in trainer, beside a plain PyTorch loop and, on a GPU, beside another script's ladder.

python -m benchmarks.training                                   # this machine's GPU; small on a CPU
python -m benchmarks.training --peer SCRIPT --data PACKED       # then SCRIPT's ladder, pack and startup rows too

Sections: single (one training; plain loop and trainer in turn), second (a second training in a warm process, to its
10th step), pack (K trainings at once, each a process), folder (decoding, and reopening what was decoded). Data are
random pixels of CIFAR-10's shape, which cost what real ones do, but for `folder`, which needs --folder with
train/<class>/*.jpg.
Results go to stdout as a table and, a JSON line each, to --out as they come.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from benchmarks.tables import conditions, spread, table
from trainers.config import TrainConfig
from trainers.imagefolder import read_folder
from trainers.models import build
from trainers.train import Trainer

SEED = 0
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main() -> None:
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="hpo-benchmark-"))
    _write_pictures(folder / "pictures.npz", arguments.pictures)
    print(conditions("torch"), torch.cuda.get_device_name() if DEVICE == "cuda" else "", sep=", ")
    rows: list[list[str]] = []

    def note(section: str, what: str, **figures: Any) -> None:
        line = {"section": section, "what": what, "device": DEVICE, **figures}
        rows.append([section, what, ", ".join(f"{key} {value}" for key, value in figures.items())])
        print(json.dumps(line), file=sys.stderr, flush=True)
        if arguments.out:
            with arguments.out.open("a") as file:
                file.write(json.dumps(line) + "\n")

    for model in arguments.models:
        config = _config(model, folder, arguments)
        if "single" in arguments.sections:
            _single(config, folder, arguments.rounds, note)
        if "second" in arguments.sections:
            _second(config, folder, note)
        for count in arguments.pack if "pack" in arguments.sections else []:
            note("pack", f"{model} x {count}", images_per_second=_packed(config, folder, count, arguments.rounds))
    if "folder" in arguments.sections and arguments.folder:
        _folder(arguments.folder, folder, note)
    print(table(["section", "what", "figures"], rows))
    if arguments.peer:
        command = [sys.executable, str(arguments.peer), "--sections", "ladder,pack,startup", "--data", arguments.data]
        subprocess.run([*command, *(["--smoke"] if DEVICE == "cpu" else [])], check=True)


def _single(config: TrainConfig, folder: Path, rounds: int, note: Callable[..., None]) -> None:
    """One training: the trainer and a plain loop over the same network and pictures, each first in every other round.

    Who comes second finds memory that the process has touched already.
    """
    ours: list[float] = []
    plain: list[float] = []
    for number in range(rounds):
        trainer = Trainer(config, seed=SEED, data_folder=folder, forecast=0)
        if number % 2:
            plain.append(_plain(config, trainer))
        ours.append(max(epoch["images_per_second"] for epoch in islice(trainer.fit(), config.epochs)))
        if not number % 2:
            plain.append(_plain(config, trainer))
    ratio = [one / other for one, other in zip(ours, plain, strict=True)]
    note("single", config.model, trainer=spread(ours, 0), plain=spread(plain, 0), ratio=spread(ratio, 2))
    if DEVICE == "cuda":
        compiled = Trainer(config.model_copy(update={"compile": "always"}), seed=SEED, data_folder=folder)
        began = time.perf_counter()
        rates = [epoch["images_per_second"] for epoch in compiled.fit()]
        first = time.perf_counter() - began
        note("single", f"{config.model} compiled", trainer=round(max(rates)), seconds=round(first, 1))


def _plain(config: TrainConfig, trainer: Trainer) -> float:
    """Pictures a second of the loop that everybody writes: batches by index, accuracy as it goes, fp32."""
    images, labels = trainer.split.train_images, trainer.split.train_labels
    colours, height, width = images.shape[1:]
    network = build(config.model, input_shape=(colours, height, width), classes=10, dropout=0, depth=config.depth)
    network = network.to(DEVICE)
    optimizer = torch.optim.SGD(network.parameters(), lr=config.lr, momentum=0.9, weight_decay=1e-4)
    rates = []
    for _ in range(config.epochs):
        began, right, seen = time.perf_counter(), 0, 0
        order = torch.randperm(len(labels)).to(images.device)
        for start in range(0, len(labels), config.batch_size):
            which = order[start : start + config.batch_size]
            inputs = (images[which].float() / 255 - 0.5) / 0.25
            logits = network(inputs)
            loss = functional.cross_entropy(logits, labels[which])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            right += int((logits.argmax(dim=1) == labels[which]).sum())
            seen += len(which)
            if config.max_batches and start // config.batch_size + 1 >= config.max_batches:
                break
        rates.append(seen / (time.perf_counter() - began))
    return max(rates)


def _second(config: TrainConfig, folder: Path, note: Callable[..., None]) -> None:
    """A second training in this process, whose pictures and libraries are there: seconds to its 10th step."""
    short = config.model_copy(update={"max_batches": 10, "epochs": 1})
    times = []
    for seed in range(4):
        began = time.perf_counter()
        trainer = Trainer(short, seed=seed, data_folder=folder, forecast=0)
        trainer._train_epoch()  # without validation
        times.append(time.perf_counter() - began)
    note("second", config.model, first_seconds=round(times[0], 2), later_seconds=spread(times[1:], 2))


def _packed(config: TrainConfig, folder: Path, count: int, rounds: int) -> str:
    """Pictures a second of `count` trainings in processes of their own, in sum, while all of them train."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    workers = [
        context.Process(target=_train_beside, args=(config, folder, barrier, results, rounds)) for _ in range(count)
    ]
    for worker in workers:
        worker.start()
    rates = [results.get(timeout=900) for _ in workers]
    for worker in workers:
        worker.join()
    return spread([sum(each[number] for each in rates) for number in range(rounds)], 0)


def _train_beside(config: TrainConfig, folder: Path, barrier: Any, results: Any, rounds: int) -> None:
    torch.set_num_threads(1)
    whole = config.model_copy(update={"epochs": rounds + 1})
    epochs = Trainer(whole, seed=SEED, data_folder=folder, forecast=0).fit()
    next(epochs)
    rates = []
    for _ in range(rounds):
        barrier.wait()
        rates.append(next(epochs)["images_per_second"])
    results.put(rates)


def _folder(root: Path, folder: Path, note: Callable[..., None]) -> None:
    times = []
    for _ in range(4):  # the first decodes
        began = time.perf_counter()
        pictures = read_folder(root, "train", size=32, threads=torch.get_num_threads(), cache=folder / "cache")
        times.append(time.perf_counter() - began)
    assert pictures is not None
    count = len(pictures.labels)
    note(
        "folder", f"{count} pictures", decoded_per_second=round(count / times[0]), reopened_seconds=spread(times[1:], 2)
    )


def _config(model: str, folder: Path, arguments: argparse.Namespace) -> TrainConfig:
    return TrainConfig(
        model=model,
        depth=arguments.depth,
        dataset={"name": "npz", "root": folder / "pictures.npz", "val_fraction": 0.02},
        lr=0.01,
        batch_size=arguments.batch_size,
        epochs=3,
        max_batches=arguments.batches,
        augment="light" if DEVICE == "cuda" else "none",
        precision="bf16" if DEVICE == "cuda" else "fp32",
        compile="never",
    )


def _write_pictures(path: Path, count: int) -> None:
    draws = np.random.default_rng(SEED)
    images = draws.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    np.savez(path, train_images=images, train_labels=np.arange(count) % 10)


def _arguments() -> argparse.Namespace:
    def listed(text: str) -> list[str]:
        return text.split(",")

    small = DEVICE == "cpu"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=listed, default=["custom_cnn"] if small else ["densenet121", "resnet18"])
    parser.add_argument("--depth", type=int, default=16, help="of densenet_bc")
    parser.add_argument("--sections", type=listed, default=["single", "second", "pack", "folder"])
    parser.add_argument(
        "--pack", type=lambda text: [int(each) for each in text.split(",")], default=[1, 2] if small else [1, 4]
    )
    parser.add_argument("--batch-size", type=int, default=64 if small else 128)
    parser.add_argument("--pictures", type=int, default=2_000 if small else 50_000)
    parser.add_argument("--batches", type=int, default=None, help="at most so many an epoch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="pictures to decode, train/<class>/*.jpg")
    parser.add_argument("--peer", type=Path, metavar="SCRIPT", help="a ladder to run afterwards")
    parser.add_argument("--data", default="", help="for SCRIPT")
    parser.add_argument("--out", type=Path, help="file of JSON lines")
    return parser.parse_args()


if __name__ == "__main__":
    main()
