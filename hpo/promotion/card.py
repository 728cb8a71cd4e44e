"""The model card of a promoted version: what it is, how good, how that is known, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import yaml

from hpo.wording import assignments, number, plain

__all__ = ["card"]

TABLE = "| check | outcome | measured | limit | |\n|---|---|---|---|---|"


def card(record: Mapping[str, Any]) -> str:
    """Markdown of what `hpo.promotion.release` has on record of a version."""
    parts = [
        f"# {record['model']}: trial {record['trial']}",
        _what(record),
        "## How good it is\n\n" + _scores(record),
        "## Gate\n\n" + _checks(record["checks"]),
        "## Speed and size\n\n" + _speed(record),
        "## Limits\n\n" + _limits(record),
        "## Where it comes from\n\n" + _origin(record),
        "## How to load it\n\n" + _loading(record),
    ]
    return plain("\n\n".join(parts)) + "\n"


def _what(record: Mapping[str, Any]) -> str:
    network, data = record["network"], record["data"]
    shape, classes = "x".join(map(str, network["shape"])), network["classes"]
    named = ", ".join(classes[:20]) + (f" and {len(classes) - 20} more" if len(classes) > 20 else "")
    return (
        f"A {network['model']} with {network['parameters']:,} parameters that tells {len(classes)} classes of "
        f"{shape} pictures: {named}.\n"
        f"Trained on `{data['name']}`, digest `{data['digest']}` over pixels, labels, class names and split."
    )


def _scores(record: Mapping[str, Any]) -> str:
    test, lines = record["test"], []
    if test:
        lines += [
            f"- test accuracy {number(test['accuracy'])} (95% interval {_span(test['interval'])}, "
            f"n = {test['pictures']} pictures, data `{test['data']}`), macro F1 {number(test['macro_f1'])}, "
            f"calibration error {number(test['calibration_error'])}",
            f"- this test part was opened {_times(test['openings'])}; by this promotion at {test['time']}",
        ]
    else:
        lines.append("- not scored on test pictures")
    if validation := record["validation"]:
        lines.append(
            f"- validation accuracy {number(validation['accuracy'])} (95% interval {_span(validation['interval'])}, "
            f"n = {validation['pictures']} pictures), on which the search chose it"
        )
    return "\n".join([*lines, _searched(record["search"])])


def _searched(search: Mapping[str, Any]) -> str:
    fresh, metric = search["fresh"], search["metric"]
    others = "".join(f", {name} {number(value)}" for name, value in search.get("others", {}).items())
    if not fresh:
        found = f"{metric} {number(search['value'])}{others}"
        return f"- {found} in the search, n = 1 training: not confirmed with fresh seeds, so too good by luck"
    spread = f" (95% interval {_span(search['interval'])})" if search["interval"] else ""
    return (
        f"- {metric} {number(fmean(fresh))}{spread}, mean of n = {len(fresh)} trainings with fresh seeds; the search "
        f"saw {number(search['value'])}. A winner was chosen by this mean among a few, which flatters it a little"
    )


def _checks(checks: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [each["name"], each["outcome"], _cell(each["measured"]), _cell(each["limit"]), each["waiver"] or each["note"]]
        for each in checks
    ]
    return "\n".join([TABLE, *(f"| {' | '.join(map(_escaped, row))} |" for row in rows)])


def _escaped(text: str) -> str:
    """Text of people's own within a Markdown table."""
    return " ".join(text.replace("|", r"\|").replace("<", "&lt;").split())


def _speed(record: Mapping[str, Any]) -> str:
    latency, int8 = record["latency"], record["int8"]
    lines = [
        f"- {record['bytes']:,} bytes of weights, SHA-256 `{record['weights_sha256']}`",
        f"- batch {latency['batch']} on {latency['device']}: p50 {latency['p50_ms']:.2f} ms, p95 "
        f"{latency['p95_ms']:.2f} ms, n = {latency['n']} calls, without decoding",
    ]
    if int8:
        lines.append(
            f"- `model.int8.onnx`: {int8['bytes']:,} bytes, {int8['accuracy_change']:+.4f} of validation accuracy, "
            f"p95 {int8['p95_ms']:.2f} ms on this processor"
        )
    return "\n".join(lines)


def _limits(record: Mapping[str, Any]) -> str:
    shape = "x".join(map(str, record["network"]["shape"]))
    return (
        f"It knows pictures like those of `{record['data']['name']}`, scaled to {shape}, and always answers with one "
        "of its classes: what is none of them it does not notice. Its probabilities are off by the calibration error "
        "above. Numbers hold for pictures from the same source; every further look at the test part makes them less "
        "trustworthy."
    )


def _origin(record: Mapping[str, Any]) -> str:
    code = f"commit `{record['git_commit']}`" if record["git_commit"] else "the versions below, in no repository"
    changed = ", with changes that are not in it" if record["git_dirty"] else ""
    fresh = f"; trained again with seeds {', '.join(map(str, record['seeds']))}" if record["seeds"] else ""
    lines = [
        f"- study `{record['study']}`, trial {record['trial']}; checkpoint of `{record['runs']}`, training "
        f"{record['run']}, epoch {record['epoch']}, SHA-256 `{record['sha256']}`",
        f"- parameters: {assignments(dict(record['params']))}",
        f"- seed {record['seed']}{fresh}; code of {code}{changed}",
        f"- trained on {record['device']} with "
        + (", ".join(f"{name} {version}" for name, version in record["versions"].items()) or "versions not on record"),
    ]
    config = yaml.safe_dump(dict(record["network"]["config"]), sort_keys=False).rstrip()
    return "\n".join(lines) + f"\n\n```yaml\n{config}\n```"


def _loading(record: Mapping[str, Any]) -> str:
    uri = f"models:/{record['model']}@{record['alias']}"
    return (
        f"```console\n$ mlflow models serve -m {uri} --env-manager local\n```\n\n"
        f'```python\nimport mlflow\n\nmlflow.pyfunc.load_model("{uri}").predict(pictures)'
        "  # uint8, N x C x H x W -> probabilities\n```\n\n"
        "Without MLflow: `trainers.export.load_weights` reads `artifacts/network` (safetensors and JSON; no pickle)."
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _span(interval: Sequence[float]) -> str:
    return f"{number(interval[0])} to {number(interval[1])}"


def _cell(value: Any) -> str:
    return number(value) if isinstance(value, float) else "" if value is None else str(value)
