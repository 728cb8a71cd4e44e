"""The model that MLflow serves: this file goes into each promoted version and is read as code, never as a pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.pyfunc import PythonModel

from trainers.evaluate import evaluation_batch
from trainers.export import load_weights

__all__ = ["Served"]


class Served(PythonModel):  # type: ignore[misc]
    """Stored pictures (N, C, H, W), uint8, to probabilities (N, classes), float32, as `hpo predict` gives them."""

    def load_context(self, context: Any) -> None:
        """Read the weights, after their hash; on a GPU where there is one."""
        self.predictor = load_weights(Path(context.artifacts["network"]))

    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None) -> np.ndarray:
        pictures = torch.from_numpy(np.ascontiguousarray(model_input))
        parts = torch.split(pictures, evaluation_batch(*pictures.shape[-2:]))
        answers = [self.predictor.probabilities(part.to(self.predictor.device)).cpu() for part in parts]
        return torch.cat(answers).numpy()


mlflow.models.set_model(Served())
