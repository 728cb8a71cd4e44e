"""MLflow's model registry, as promotions use it: versions with tags, an alias that moves, no stages."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hpo.settings import Settings, environment
from hpo.tracking.runs import answering
from trainers.folders import private

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from hpo.tracking.projection import client  # it sets how patiently MLflow's client waits

__all__ = ["Registry", "Version"]

DESCRIPTION = 5000
"""Characters that MLflow's column holds."""
UPLOAD_SECONDS = "120"  # that a server may take to store a file, as MLflow's environment has it
EXPERIMENT = "{}.models"
"""Of the files of a model's versions: one of its own, for a promoted model outlives its study."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a registered model."""

    number: int
    tags: Mapping[str, str]
    source: str  # where its files are
    ready: bool


class Registry:
    """The versions and aliases of one registered model.

    Every method raises Unavailable where MLflow does not answer.
    """

    def __init__(self, settings: Settings, name: str, folder: Path) -> None:
        """`folder` is where files are read back to."""
        self.name = name
        self._settings = settings
        self._folder = folder
        self._uri = settings.mlflow
        with answering(self._uri):
            self._client = client(settings.mlflow)

    def aliases(self) -> dict[str, int]:
        """Alias -> version; nothing where no model of that name is registered."""
        with answering(self._uri):
            try:
                found = self._client.get_registered_model(self.name)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return {}
                raise
            return {alias: int(version) for alias, version in found.aliases.items()}

    def versions(self) -> list[Version]:
        """All versions, the newest first."""
        with answering(self._uri):
            found = []
            token: str | None = None
            while True:
                page = self._client.search_model_versions(f"name='{self.name}'", page_token=token)
                found += [
                    Version(number=int(each.version), tags=each.tags, source=each.source, ready=each.status == "READY")
                    for each in page
                ]
                token = page.token
                if not token:
                    return sorted(found, key=lambda each: -each.number)

    def pointed(self, alias: str) -> Version | None:
        """The version that holds the alias."""
        number = self.aliases().get(alias)
        return next((each for each in self.versions() if each.number == number), None)

    def add(self, folder: Path, *, run_id: str, tags: Mapping[str, str], description: str) -> Version:
        """Upload a model and make a version of it, which no alias points to yet."""
        with answering(self._uri), environment(MLFLOW_HTTP_REQUEST_TIMEOUT=UPLOAD_SECONDS):
            model = self._client.create_logged_model(
                self._experiment(), name=self.name, source_run_id=run_id, tags={"hpo.sha256": tags["hpo.sha256"]}
            )
            self._client.log_model_artifacts(model.model_id, str(folder))
            self._client.finalize_logged_model(model.model_id, "READY")
            self._register()
            # the place itself and the run: asked for `models:/...`, MLflow would look into the default database
            made = self._client.create_model_version(
                self.name,
                model.artifact_location,
                run_id=run_id,
                tags=dict(tags),
                description=_short(description),
                model_id=model.model_id,
            )
        return next(each for each in self.versions() if each.number == int(made.version))

    def _experiment(self) -> str:
        name = EXPERIMENT.format(self.name)
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage != "active":
                self._client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        artifacts = self._settings.artifacts
        location = f"{artifacts}/{name}" if artifacts else None
        return str(self._client.create_experiment(name, artifact_location=location))

    def _register(self) -> None:
        try:
            self._client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    @contextmanager
    def fetched(self, version: Version) -> Iterator[Path]:
        """The files of a version, read back into a folder that is removed afterwards."""
        with tempfile.TemporaryDirectory(dir=private(self._folder)) as folder:
            with answering(self._uri), environment(MLFLOW_HTTP_REQUEST_TIMEOUT=UPLOAD_SECONDS):
                path = download_artifacts(artifact_uri=version.source, tracking_uri=self._uri, dst_path=str(folder))
            yield Path(path)

    def point(self, alias: str, version: int) -> None:
        """Move the alias."""
        with answering(self._uri):
            self._client.set_registered_model_alias(self.name, alias, str(version))

    def tag(self, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""
        with answering(self._uri):
            for key, value in tags.items():
                self._client.set_model_version_tag(self.name, str(version), key, value)


def _short(text: str) -> str:
    rest = "\n\nThe whole card is the artifact MODEL_CARD.md.\n"
    return text if len(text) <= DESCRIPTION else text[: DESCRIPTION - len(rest)] + rest
