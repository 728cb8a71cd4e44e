"""The product's audit as tests use it, and a look at MLflow's runs by hand."""

from typing import Any

from mlflow import MlflowClient

from hpo.audit.agreement import audit
from hpo.study import Study


def disagreements(study: Study) -> list[str]:
    """One line for each fact on which the records differ; empty when they agree."""
    found = audit(study)
    return [str(each) for each in found.findings] + ([found.silent] if found.silent else [])


def mlflow_runs(study: Study) -> dict[int, dict[str, Any]]:
    """The child runs of a study in MLflow by trial number; two of one trial are an error."""
    client = MlflowClient(study.settings.mlflow)
    experiment = client.get_experiment_by_name(study.name)
    assert experiment is not None
    found: dict[int, dict[str, Any]] = {}
    for run in client.search_runs([experiment.experiment_id], "tags.`hpo.trial` != ''", max_results=5000):
        number = int(run.data.tags["hpo.trial"])
        assert number not in found, f"two runs of trial {number}"
        found[number] = {"status": run.info.status, "state": run.data.tags["hpo.state"], "run_id": run.info.run_id}
    return found
