"""One training: a generator of metrics per epoch, with all that is needed to go on in one state."""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from trainers.augment import augment
from trainers.config import TrainConfig
from trainers.data import batches, load, steps_in_epoch
from trainers.metrics import Average
from trainers.models import build
from trainers.optim import build_optimizer, lr_factor, set_lr

__all__ = ["Trainer"]

STATE_FORMAT = 1
PLACES = ("root", "download")
"""Fields of the dataset's section that may differ on resuming: they say where pictures lie, not which they are."""
_EVAL_PIXELS = 512 * 32 * 32


class Trainer:
    """Trains one network on one dataset. Two trainers of equal configuration, seed and device train alike."""

    def __init__(self, config: TrainConfig, *, seed: int, data_folder: Path, device: str | None = None) -> None:
        """Load the pictures and draw the first weights.

        `seed` (from 0) rules weights, order of pictures, augmentation and dropout; the split has its own in the
        configuration. `device` as torch spells it; None takes a GPU where there is one.
        Seeds Python's, NumPy's and torch's global generators. Raises what `trainers.data.load` raises.
        """
        self.config = config
        self.seed = seed
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.split = load(config.dataset, data_folder, str(self.device))
        self.epoch = 0
        """finished epochs"""
        self.diverged = False
        """whether a loss was not finite, after which nothing is trained any more"""
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        colours, height, width = self.split.train_images.shape[1:]
        model = build(
            config.model,
            input_shape=(colours, height, width),
            classes=len(self.split.classes),
            dropout=config.dropout,
            depth=config.depth,
            growth=config.growth,
            width=config.width,
        )
        # NVIDIA's convolutions are fastest with the channels last.
        self._layout = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        self.model = model.to(self.device).to(memory_format=self._layout)
        self.optimizer = build_optimizer(config, self.model.parameters())
        self._steps = steps_in_epoch(len(self.split.train_labels), config.batch_size, config.max_batches)
        shape = (1, colours, 1, 1)
        self._mean = torch.tensor(self.split.mean, device=self.device).mul(255).reshape(shape)
        self._scale = torch.tensor(self.split.std, device=self.device).mul(255).reciprocal().reshape(shape)
        self._rng = self._read_rng()

    def fit(self) -> Iterator[dict[str, float]]:
        """Train from the first unfinished epoch to the last, yielding after each.

        Keys: train/loss (as optimised, with label smoothing), train/accuracy, val/loss, val/accuracy (all of the
        validation pictures), lr (of the last batch), seconds (of the epoch), images_per_second (in training).
        Accuracies are fractions in [0, 1], averages weigh pictures alike. Where a loss is not finite the epoch's losses
        and accuracies are NaN and it is the last. Dropout's generator is kept from epoch to epoch, whatever the caller
        draws meanwhile.
        """
        while self.epoch < self.config.epochs and not self.diverged:
            began = time.perf_counter()
            self._write_rng(self._rng)
            train_loss, train_accuracy, seen = self._train_epoch()
            trained = time.perf_counter()
            val_loss, val_accuracy = self._validate()
            self._rng = self._read_rng()
            self.epoch += 1
            self.diverged = not (math.isfinite(train_loss) and math.isfinite(val_loss))
            numbers = {
                "train/loss": train_loss,
                "train/accuracy": train_accuracy,
                "val/loss": val_loss,
                "val/accuracy": val_accuracy,
            }
            if self.diverged:
                numbers = dict.fromkeys(numbers, math.nan)
            yield numbers | {
                "lr": float(self.optimizer.param_groups[0]["lr"]),
                "seconds": time.perf_counter() - began,
                "images_per_second": seen / (trained - began),
            }

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed training needs: tensors and plain values, loadable with weights_only.

        Weights are not copied: save or copy the state before training goes on.
        """
        return {
            "format": STATE_FORMAT,
            "config": self.config.model_dump(mode="json"),
            "seed": self.seed,
            "epoch": self.epoch,
            "diverged": self.diverged,
            "data": self.split.fingerprint,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": dict(self._rng),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state; `fit` then goes on after its last finished epoch.

        Raises ValueError for a state of another format, configuration, seed or other pictures.
        """
        if state.get("format") != STATE_FORMAT:
            raise ValueError(f"state has format {state.get('format')}, not {STATE_FORMAT}: train this trial anew")
        mine = self.state_dict()
        differing = [key for key in ("seed", "data") if state[key] != mine[key]]
        differing += _differing(_without_places(state["config"]), _without_places(mine["config"]))
        if differing:
            raise ValueError(f"state belongs to another training, it differs in {', '.join(differing)}")
        self.model.load_state_dict(state["model"])
        # torch keeps the very tensors it is given here, and training would change the caller's.
        self.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
        self.epoch, self.diverged, self._rng = state["epoch"], state["diverged"], dict(state["rng"])

    def facts(self) -> dict[str, str | int | float]:
        """Return what a tracker records once about this training."""
        return {
            "model": self.config.model,
            "optimizer": self.config.optimizer,
            "epochs": self.config.epochs,
            "dataset": self.config.dataset.name,
            "parameters_count": sum(parameter.numel() for parameter in self.model.parameters()),
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else str(self.device),
            "torch_version": str(torch.__version__),
            "dataset_fingerprint": self.split.fingerprint,
            "train_size": len(self.split.train_labels),
            "val_size": len(self.split.val_labels),
            "skipped_files": self.split.skipped,
            "classes": len(self.split.classes),
        }

    def _train_epoch(self) -> tuple[float, float, int]:
        """Return (loss, accuracy, pictures trained on)."""
        config, split = self.config, self.split
        words = np.random.SeedSequence((self.seed, self.epoch)).generate_state(2)
        order_seed, augment_seed = int(words[0]), int(words[1])
        order = torch.randperm(len(split.train_labels), generator=Generator().manual_seed(order_seed))
        generator = Generator(self.device).manual_seed(augment_seed)
        average, seen = Average(self.device), 0
        self.model.train()
        for batch, (images, labels) in enumerate(
            batches(
                split.train_images,
                split.train_labels,
                batch_size=config.batch_size,
                order=order.to(self.device, non_blocking=True),
                max_batches=config.max_batches,
            )
        ):
            step = self.epoch * self._steps + batch
            set_lr(self.optimizer, config.lr * lr_factor(config.lr_schedule, step, self._steps, config.epochs))
            inputs = augment(
                self._normalise(images), level=config.augment.level, mirrored=split.flip, generator=generator
            )
            loss, logits = self._step(inputs.contiguous(memory_format=self._layout), labels)
            average.add(loss, logits, labels)
            seen += len(labels)
        return *average.read(), seen

    def _step(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self._logits(inputs)
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if self.config.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        self.optimizer.step()
        return loss, logits

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Return (loss, accuracy) over the whole validation set, without label smoothing or augmentation."""
        images, labels = self.split.val_images, self.split.val_labels
        average = Average(self.device)
        self.model.eval()
        size = max(16, min(512, _EVAL_PIXELS // math.prod(images.shape[-2:])))
        for part, part_labels in batches(images, labels, batch_size=size):
            logits = self._logits(self._normalise(part).contiguous(memory_format=self._layout))
            average.add(functional.cross_entropy(logits, part_labels), logits, part_labels)
        return average.read()

    def _normalise(self, images: Tensor) -> Tensor:
        return (images.float() - self._mean) * self._scale

    def _logits(self, inputs: Tensor) -> Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.config.precision == "bf16"):
            logits: Tensor = self.model(inputs)
        return logits.float()

    def _read_rng(self) -> dict[str, Tensor]:
        rng = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state(self.device)
        return rng

    def _write_rng(self, rng: Mapping[str, Tensor]) -> None:
        torch.set_rng_state(rng["cpu"])
        if self.device.type == "cuda" and "cuda" in rng:
            torch.cuda.set_rng_state(rng["cuda"], self.device)


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    dataset = {key: value for key, value in config["dataset"].items() if key not in PLACES}
    return {**config, "dataset": dataset}


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
