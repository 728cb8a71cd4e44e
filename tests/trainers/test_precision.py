"""What cuBLAS needs for products that repeat is there before its first call."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from trainers.precision import fix_cublas_workspace


def test_cublas_gets_a_fixed_workspace_on_cuda_and_keeps_its_own(monkeypatch):
    name = "CUBLAS_WORKSPACE_CONFIG"
    monkeypatch.setenv(name, ":16:8")
    fix_cublas_workspace(torch.device("cuda"))
    assert os.environ[name] == ":16:8"
    monkeypatch.delenv(name)
    fix_cublas_workspace(torch.device("cpu"))
    assert name not in os.environ
    fix_cublas_workspace(torch.device("cuda:1"))
    assert os.environ[name] == ":4096:8"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_deterministic_training_may_follow_another_in_one_process(tmp_path):
    code = """
import sys
from pathlib import Path
from trainers import TrainConfig, Trainer
for deterministic in (False, True):
    config = TrainConfig(model="linear", dataset="digits", epochs=1, deterministic=deterministic)
    list(Trainer(config, seed=0, data_folder=Path(sys.argv[1]), device="cuda").fit())
"""
    environment = {key: value for key, value in os.environ.items() if key != "CUBLAS_WORKSPACE_CONFIG"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120, env=environment)
