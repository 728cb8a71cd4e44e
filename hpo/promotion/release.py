"""The files of a promotion in a folder of their own, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hpo.model import export
from hpo.promotion import bundle
from hpo.promotion.appraisal import Appraisal
from hpo.promotion.card import card
from hpo.promotion.gate import Check
from hpo.space.sections import URLS
from hpo.spec import SearchSpec

__all__ = ["Release"]

BUNDLE = "bundle"
PASSING = ("hpo.digest", "hpo.test_openings")
"""Tags in which versions of one checkpoint may differ."""


class Release:
    """What becomes a version: weights, the model card, the record, the space, as MLflow wants them."""

    def __init__(self, seen: Appraisal, folder: Path) -> None:
        self._seen = seen
        self._folder = folder
        self._network = folder / "network"
        self.int8: dict[str, Any] | None = None  # the 8-bit file, measured

    def weights(self, *, int8: bool) -> None:
        """Write the weights as safetensors, and the 8-bit file if wanted.

        Raises:
            SpecError: a package or the pictures that the 8-bit file needs are not there.
        """
        from trainers.export import save_weights

        save_weights(self._seen.predictor, self._network)
        if int8:
            found = self._seen.found
            source = export.Source(checkpoint=found.checkpoint, sha256=found.sha256)
            made = export.export(source, ["int8"], folder=self._folder / "onnx", settings=self._seen.settings)["int8"]
            self.int8 = {
                "bytes": made["int8"]["bytes"],
                "accuracy_change": made["accuracy_change"],
                "p95_ms": made["int8"]["latency"]["p95_ms"],
            }

    @property
    def bytes(self) -> int:
        """Of the weights with what describes them."""
        return sum(path.stat().st_size for path in self._network.iterdir())

    @property
    def quantised(self) -> int | None:
        """Bytes of the 8-bit file."""
        return self.int8["bytes"] if self.int8 else None

    @cached_property
    def latency(self) -> dict[str, Any]:
        return self._seen.latency()

    def record(
        self, model: str, alias: str, *, checks: Sequence[Check], test: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """All that is known of the version, as plain values."""
        seen, found, member = self._seen, self._seen.found, self._seen.predictor.members[0]
        state = json.loads((self._network / "config.json").read_text())
        return {
            "model": model,
            "alias": alias,
            "study": found.study.name,
            "trial": found.trial,
            "runs": found.runs.name,
            "run": found.run,
            "epoch": seen.epoch,
            "sha256": found.sha256,
            "weights_sha256": state["weights"]["sha256"],
            "params": dict(found.params),
            "seed": found.seed,
            "seeds": list(found.seeds),
            "git_commit": seen.facts.get("git_commit"),
            "git_dirty": seen.facts.get("git_dirty"),
            "versions": seen.facts.get("versions") or {},
            "device": seen.facts.get("device"),
            "network": {
                "model": member.config.model,
                "parameters": seen.parameters,
                "shape": list(member.shape),
                "classes": list(member.classes),
                "config": state["config"],
            },
            "data": {"name": str(member.config.dataset.name), "digest": member.data},
            "search": {
                "metric": found.study.spec.metric.name,
                "value": found.value,
                **({"others": found.others} if found.others else {}),
                "fresh": list(found.fresh),
                "interval": list(found.interval) if found.interval else None,
            },
            "metrics": dict(seen.metrics),
            "validation": seen.validation(),
            "test": dict(test) if test is not None else None,
            "latency": self.latency,
            "bytes": self.bytes,
            "int8": self.int8,
            "checks": [each.facts() for each in checks],
        }

    def bundle(self, record: Mapping[str, Any]) -> Path:
        """The folder that is uploaded."""
        texts = {
            bundle.CARD: card(record),
            "record.json": json.dumps(record, indent=2),
            "space.yaml": yaml.safe_dump(_space(self._seen.found.study.spec), sort_keys=False),
        }
        files = {}
        for name, text in texts.items():
            files[Path(name).stem.lower()] = self._folder / name
            (self._folder / name).write_text(text)
        if self.int8:
            files["int8"] = self._folder / "onnx" / export.INT8
        folder = self._folder / BUNDLE
        bundle.pack(
            folder,
            network=self._network,
            files=files,
            examples=self._seen.examples.numpy(),
            classes=len(self._seen.predictor.classes),
            about={"classes": list(self._seen.predictor.classes), "checkpoint_sha256": record["sha256"]},
        )
        return folder

    def digest(self) -> str:
        """Of the folder that is uploaded."""
        return bundle.digest(self._folder / BUNDLE)

    def tags(self, record: Mapping[str, Any]) -> dict[str, str]:
        """What links a version with its study, and what a later promotion has to beat."""
        test = record["test"] or {}
        waived = {each["name"]: each["waiver"] for each in record["checks"] if each["outcome"] == "waived"}
        tags = {
            "hpo.study": record["study"],
            "hpo.trial": record["trial"],
            "hpo.training": f"{record['runs']} {record['run']}",
            "hpo.git_commit": record["git_commit"],
            "hpo.data": record["data"]["digest"],
            "hpo.sha256": record["sha256"],
            "hpo.seed": record["seed"],
            "hpo.seeds": json.dumps(record["seeds"]) if record["seeds"] else None,
            "hpo.interval": json.dumps(record["search"]["interval"]) if record["search"]["interval"] else None,
            "hpo.test_accuracy": repr(test["accuracy"]) if test else None,
            "hpo.test_interval": json.dumps(test["interval"]) if test else None,
            "hpo.test_data": test.get("data"),
            "hpo.test_openings": test.get("openings"),
            "hpo.int8": self.int8["bytes"] if self.int8 else None,
            "hpo.waived": json.dumps(waived) if waived else None,
            "hpo.alias": record["alias"],  # that the model card names
        }
        return {name: str(value) for name, value in tags.items() if value is not None}

    @staticmethod
    def is_same(there: Mapping[str, str], tags: Mapping[str, str]) -> bool:
        """Whether a version that has the tags `there` says what one with `tags` would; looks at the test part aside."""
        sides = ({key: tag for key, tag in each.items() if key not in PASSING} for each in (there, tags))
        one, other = ({key: tag for key, tag in each.items() if key.startswith("hpo.")} for each in sides)
        return one == other

    def is_whole(self, folder: Path, digest: str | None) -> bool:
        """Whether a model that was read back is what was sent, and answers as the checkpoint does, bit for bit."""
        if digest is None or bundle.digest(folder) != digest or not bundle.is_ours(folder):
            return False
        if bundle.digest(folder / "artifacts" / "network") != bundle.digest(self._network):
            return False  # tags may be written by others: these are the weights of this checkpoint
        served, pictures = self._seen.served, self._seen.examples
        said = served.probabilities(pictures.to(served.device)).cpu().numpy()
        return bool(np.array_equal(bundle.answers(folder, pictures.numpy()), said))


def _space(spec: SearchSpec) -> dict[str, Any]:
    """The space without the addresses of stores and cluster, which are nobody's business who uses the model."""
    return {key: value for key, value in spec.canonical().items() if key not in (*URLS, "notify")}
