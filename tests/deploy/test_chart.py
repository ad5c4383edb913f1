"""The chart's golden manifests and its schema of values; `make deploy-test` runs helm."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]  # it has no types
from kubernetes_validate.utils import all_versions

from builders.rendered_chart import CHART, FOLDER, VALUES, mistakes

ROOT = Path(__file__).parents[2]
# The operators' own kinds: `make deploy-test` checks them against their definitions.
OF_OPERATORS = {"PodMonitor", "PrometheusRule", "ScaledObject"}
MANIFESTS = [FOLDER / "manifests" / path.name for path in VALUES]


def manifests(path: Path) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(path.read_text("utf-8")) if found]


def merged(values: Any, over: Any) -> Any:
    """Values as helm lays one file over another."""
    if not isinstance(values, dict) or not isinstance(over, dict):
        return over
    return {name: merged(values.get(name), over.get(name, values.get(name))) for name in
            {**values, **over}}  # fmt: skip


@pytest.mark.parametrize("path", MANIFESTS, ids=[path.stem for path in MANIFESTS])
@pytest.mark.parametrize("version", [all_versions()[0], all_versions()[-1]])
def test_golden_manifests_fit_the_oldest_and_the_newest_kubernetes(
    path: Path, version: str
) -> None:
    checked = [found for found in manifests(path) if found["kind"] not in OF_OPERATORS]
    assert len(checked) > 2
    for found in checked:
        kubernetes_validate.validate(found, version, strict=True)


@pytest.mark.parametrize("path", MANIFESTS, ids=[path.stem for path in MANIFESTS])
def test_no_pod_may_more_than_it_needs(path: Path) -> None:
    pods = [found["spec"]["template"]["spec"] for found in manifests(path)
            if "template" in found["spec" if "spec" in found else "metadata"]]  # fmt: skip
    assert len(pods) > 0
    for pod in pods:
        assert (pod["securityContext"]["runAsNonRoot"], pod["automountServiceAccountToken"]) == (
            True,
            False,
        )
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"]
            assert (context["allowPrivilegeEscalation"], context["capabilities"]) == (
                False,
                {"drop": ["ALL"]},
            )


def test_a_mistake_in_values_is_refused_by_its_path() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    checker = jsonschema.Draft7Validator(schema)
    usual = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    usual = merged(usual, yaml.safe_load((FOLDER / "values" / "least.yaml").read_text()))
    assert list(checker.iter_errors(usual)) == []
    for mistake in mistakes():
        found = _leaves(list(checker.iter_errors(merged(usual, mistake["values"]))))
        if mistake.get("by") == "helm":
            assert found == [], mistake
        else:
            assert any(_names(error, mistake["at"]) for error in found), (mistake, found)


def _names(error: Any, at: str) -> bool:
    """Whether an error is of a value, or of the value above and names it."""
    above, _, name = at.rpartition(".")
    path = ".".join(map(str, error.absolute_path))
    return path == at or (path == above and name != "" and name in error.message)


def _leaves(errors: list[Any]) -> list[Any]:
    """Errors, and those of the branches of `anyOf`."""
    return [leaf for error in errors for leaf in (error, *_leaves(error.context or []))]


def test_the_chart_has_the_alarms_and_the_version_of_the_project() -> None:
    text = (ROOT / "deploy/alarms/feedmill.rules.yml").read_text("utf-8")
    # Helm reads no file outside of the chart, and the tree has no links.
    assert (CHART / "files/feedmill.rules.yml").read_text("utf-8") == text
    rules = yaml.safe_load(text)
    manifests = yaml.safe_load_all((FOLDER / "manifests/monitored.yaml").read_text("utf-8"))
    (rendered,) = (one["spec"] for one in manifests if one and one["kind"] == "PrometheusRule")
    assert rendered == rules, "make deploy-test renders the chart; --update writes the manifests"
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert f'version = "{chart["appVersion"]}"' in (ROOT / "pyproject.toml").read_text("utf-8")
