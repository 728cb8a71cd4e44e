"""One training: a generator of metrics per epoch, with all that is needed to go on in one state."""

from __future__ import annotations

import math
import random
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from trainers.average import Ema
from trainers.compiled import worth_compiling
from trainers.config import TrainConfig
from trainers.data import batches, load, steps_in_epoch
from trainers.evaluate import evaluate
from trainers.losses import loss_for
from trainers.metrics import Average, Scores
from trainers.models import configured
from trainers.normalise import Normalise
from trainers.optim import adopt, build_optimizer, peak_lr, set_lr
from trainers.patience import Patience
from trainers.precision import autocast, fix_cublas_workspace, switches
from trainers.schedule import LrSchedule
from trainers.step import Step
from trainers.transfer import freeze, load_weights

__all__ = ["STATE_FORMAT", "Trainer"]

STATE_FORMAT = 2
PLACES = ("root", "download")
"""Fields of the dataset's section that may differ on resuming: they say where pictures lie, not which they are."""
_COMPILED: set[tuple[object, ...]] = set()
"""Kinds of training that this process has compiled a network for: to do it again costs next to nothing."""


class Trainer:
    """Trains one network on one dataset. Two trainers of equal configuration, seed and device train alike."""

    def __init__(
        self,
        config: TrainConfig,
        *,
        seed: int,
        data_folder: Path,
        device: str | None = None,
        forecast: float | None = None,
        shares_device: bool = False,
    ) -> None:
        """Load the pictures and draw the first weights.

        `seed` (from 0) rules weights, order of pictures, augmentation and dropout; the split has its own in the
        configuration. `device` as torch spells it; None takes a GPU where there is one. `forecast`: epochs like these
        that this process is to train, this training's among them; by default no others. `shares_device`: others train
        on it too, so that running out of its memory is an error, where it else makes a batch be computed in parts.
        Seeds Python's, NumPy's and torch's global generators. Raises what `trainers.data.load` and
        `trainers.transfer.load_weights` raise.
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
        self.normalise = Normalise(self.split.mean, self.split.std, device=self.device)
        self.model = self._build()
        self.optimizer = build_optimizer(config, self.model, device=self.device)
        self._steps = steps_in_epoch(len(self.split.train_labels), config.batch_size, config.max_batches)
        self._schedule = LrSchedule(config.lr_schedule, steps_per_epoch=self._steps, epochs=config.epochs)
        self._patience = Patience(config.early_stopping) if config.early_stopping is not None else None
        self._ema = Ema(self.model, config.ema) if config.ema is not None else None
        self.loss = loss_for(config, self.split.class_counts, self.split.classes, device=self.device)
        self._step = Step(
            config,
            model=self.model,
            optimizer=self.optimizer,
            loss=self.loss,
            normalise=self.normalise,
            mirrored=self.split.flip,
            ema=self._ema,
            device=self.device,
            may_part=not shares_device,
        )
        self._forecast = config.epochs if forecast is None else forecast
        self._compiled = False
        if config.compile == "always" or (self._may_compile() and self._kind() in _COMPILED):
            self._compile()
        self._rng = self._read_rng()

    def _build(self) -> torch.nn.Module:
        fix_cublas_workspace(self.device)
        model = configured(self.config, input_shape=self.input_shape, classes=len(self.split.classes))
        if self.config.transfer is not None:
            load_weights(model, self.config.transfer.weights)
        return model.to(self.device).to(memory_format=self.normalise.layout)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Colours, height and width of a picture."""
        colours, height, width = self.split.train_images.shape[1:]
        return colours, height, width

    @property
    def evaluated_model(self) -> torch.nn.Module:
        """The network that is validated and promoted: the averaged one where there is an average."""
        return self.model if self._ema is None else self._ema.model

    def fit(self) -> Iterator[dict[str, float]]:
        """Train from the first unfinished epoch to the last, yielding after each.

        Keys: those of `trainers.config.METRICS`. train/loss is as optimised, with label smoothing, weights and mixing;
        val/* are of all validation pictures; lr of the last batch; seconds of the epoch; images_per_second in training;
        peak_memory_mb of the GPU's tensors, or of the process on a CPU; batch_parts that a batch was computed in.
        Accuracies are fractions in [0, 1], averages weigh pictures alike. Where a loss is not finite the epoch's losses
        and scores are NaN and it is the last. Dropout's generator is kept from epoch to epoch, whatever the caller
        draws meanwhile.
        """
        while self.epoch < self.config.epochs and not self.ended:
            began = time.perf_counter()
            self._write_rng(self._rng)
            with switches(self.config, self.device):
                numbers, rate = self._run_epoch()
            self._rng = self._read_rng()
            self.epoch += 1
            self._consider_compiling(time.perf_counter() - began)
            yield numbers | {
                "lr": float(self.optimizer.param_groups[0]["lr"]),
                "seconds": time.perf_counter() - began,
                "images_per_second": rate,
                "peak_memory_mb": self._peak_memory(),
                "batch_parts": self._step.parts,
            }

    def _consider_compiling(self, epoch_seconds: float) -> None:
        """Compile the network once an epoch has shown what the forecast ones will take."""
        left = self._forecast - self.epoch
        if self._may_compile() and worth_compiling(self.model, epoch_seconds=epoch_seconds, epochs=left):
            self._compile()

    def _may_compile(self) -> bool:
        """Whether it is left to the clock, which does not decide alike twice."""
        left_open = self.config.compile == "auto" and not self.config.deterministic
        return left_open and not self._compiled and self.device.type == "cuda"

    def _compile(self) -> None:
        self._compiled = True
        _COMPILED.add(self._kind())
        self._step.compile()

    def _kind(self) -> tuple[object, ...]:
        """What trainings have in common that share a compiled network."""
        config = self.config
        network = (config.model, config.depth, config.growth, config.width, config.dropout > 0, len(self.split.classes))
        return (*network, self.input_shape, config.batch_size, config.precision, str(self.device))

    @property
    def ended(self) -> bool:
        """Whether the training is over before its last epoch: diverged, or stopped early."""
        return self.diverged or (self._patience is not None and self._patience.lost)

    def _run_epoch(self) -> tuple[dict[str, float], float]:
        """Return the epoch's losses and scores, and pictures per second of training."""
        began = time.perf_counter()
        train_loss, train_accuracy, seen = self._train_epoch()
        trained = time.perf_counter()
        scores = self.validate()
        self.diverged = not (math.isfinite(train_loss) and math.isfinite(scores.loss))
        numbers = {"train/loss": train_loss, "train/accuracy": train_accuracy, **scores.as_metrics("val")}
        if self.diverged:
            numbers = dict.fromkeys(numbers, math.nan)
        else:
            self._schedule.after_epoch(scores.loss)
            if self._patience is not None:
                self._patience.watch(numbers)
        return numbers, seen / (trained - began)

    def _train_epoch(self) -> tuple[float, float, int]:
        """Return (loss, accuracy, pictures trained on)."""
        average, seen = Average(self.device), 0
        for loss, logits, labels in self.steps():
            average.add(loss, logits, labels)
            seen += len(labels)
        return *average.read(), seen

    def steps(self, rate: Callable[[int], float] | None = None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Train through the epoch after the last finished one, a batch at a time.

        Yields mean loss, logits (B, classes) and labels (B,); the first two may be overwritten by the next step.
        `rate` gives the learning rate of a batch by its number in the epoch, where it is not to be the schedule's.
        """
        config, split = self.config, self.split
        words = np.random.SeedSequence((self.seed, self.epoch)).generate_state(2)
        order = torch.randperm(len(split.train_labels), generator=Generator().manual_seed(int(words[0])))
        self._step.generator.manual_seed(int(words[1]))
        self.model.train()
        if config.transfer is not None:
            before = self._trained()
            freeze(self.model, config.transfer, self.epoch + 1)
            if self._trained() != before:
                self._step.forget()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        peak = peak_lr(config)
        for number, (images, labels) in enumerate(
            batches(
                split.train_images,
                split.train_labels,
                batch_size=config.batch_size,
                order=order,
                max_batches=config.max_batches,
            )
        ):
            lr = peak * self._schedule.factor(self.epoch, number) if rate is None else rate(number)
            set_lr(self.optimizer, lr)
            yield *self._step(images, labels), labels

    def seen(self, images: Tensor, labels: Tensor) -> Tensor:
        """What the network is given of stored pictures (B, C, H, W) in training: augmented, mixed and scaled."""
        return self._step.inputs(images, labels)[0]

    @property
    def parts(self) -> int:
        """Parts that a batch is computed in so far."""
        return self._step.parts

    def _trained(self) -> list[bool]:
        return [parameter.requires_grad for parameter in self.model.parameters()]

    def validate(self) -> Scores:
        """Score the network on the whole validation set, without label smoothing or augmentation."""
        self.evaluated_model.eval()
        split = self.split
        classes = len(split.classes)
        with switches(self.config, self.device):
            return evaluate(self.logits, split.val_images, split.val_labels, classes=classes, device=self.device)

    def logits(self, images: Tensor) -> Tensor:
        """What the network that is validated makes of stored pictures (B, C, H, W) on the device, as float32."""
        with autocast(self.config, self.device):
            logits: Tensor = self.evaluated_model(self.normalise.stored(images))
        return logits.float()

    def _peak_memory(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    # -- state --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed training or a prediction needs: tensors and plain values, safe for weights_only.

        Weights are not copied: save or copy the state before training goes on.
        """
        return {
            "format": STATE_FORMAT,
            "config": self.config.model_dump(mode="json"),
            "seed": self.seed,
            "epoch": self.epoch,
            "diverged": self.diverged,
            "data": self.split.fingerprint,
            "classes": list(self.split.classes),
            "input": {
                "shape": list(self.input_shape),
                "mean": list(self.split.mean),
                "std": list(self.split.std),
                "mirrored": self.split.flip,
            },
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "patience": self._patience.state_dict() if self._patience is not None else None,
            "ema": self._ema.state_dict() if self._ema is not None else None,
            "scaler": self._step.scaler.state_dict() if self._step.scaler is not None else None,
            "batch_parts": self._step.parts,
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
        adopt(self.optimizer, state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        if self._patience is not None:
            self._patience.load_state_dict(state["patience"])
        if self._ema is not None:
            self._ema.load_state_dict(state["ema"])
        if self._step.scaler is not None and state["scaler"] is not None:  # a state from a CPU has none
            self._step.scaler.load_state_dict(state["scaler"])
        self._step.parts = state["batch_parts"]
        self._step.forget()
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
