"""Renders the chart by helm, part of `make deploy-test`.

    PYTHONPATH=tests python -m builders.rendered_chart HELM [--update] [--definitions FOLDER]…

Each set of values must give its golden manifests, each mistake must be refused by the path of the
value, and objects of KEDA and of the Prometheus operator must fit the definitions in the folders.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import yaml  # type: ignore[import-untyped]  # it has no types

CHART = Path(__file__).parents[2] / "deploy" / "chart"
FOLDER = Path(__file__).parents[1] / "deploy" / "chart"
VALUES = sorted((FOLDER / "values").glob("*.yaml"))
# helm of the Go proxy takes Kubernetes to be 1.20.
_KUBERNETES = "1.37.0"
_KINDS = ("scaledobject", "podmonitor", "prometheusrule")


def mistakes() -> list[dict[str, Any]]:
    """The planted mistakes: `at` a path, `values`, and `by: helm` where no schema can see them."""
    found: list[dict[str, Any]] = yaml.safe_load((FOLDER / "mistakes.yaml").read_text("utf-8"))
    return found


def render(helm: str, *values: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run `helm template` with these files of values; `-` is `text`."""
    given = [word for name in values for word in ("-f", name)]
    command = [helm, "template", "feedmill", str(CHART), "--kube-version", _KUBERNETES, *given]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("helm")
    parser.add_argument("--update", action="store_true", help="write the golden manifests")
    parser.add_argument("--definitions", action="append", default=[], type=Path)
    given = parser.parse_args()
    wrong = _misfits(given.definitions)
    for path in VALUES:
        golden, found = FOLDER / "manifests" / path.name, render(given.helm, str(path))
        if given.update and found.returncode == 0:
            golden.write_text(found.stdout, "utf-8")
        is_right = found.returncode == 0 and found.stdout == golden.read_text("utf-8")
        wrong += not is_right
        print(f"{path.stem}: {'as its golden manifests' if is_right else found.stderr or 'other'}")
    least = str(FOLDER / "values" / "least.yaml")
    for mistake in mistakes():
        found = render(given.helm, least, "-", text=json.dumps(mistake["values"]))
        is_refused = found.returncode != 0 and _names(found.stderr, mistake["at"])
        wrong += not is_refused
        said = found.stderr.strip().splitlines()[-1:]
        print(f"{json.dumps(mistake['values'])}\n    {'refused' if is_refused else 'NOT'}: {said}")
    sys.exit(1 if wrong else 0)


def _misfits(folders: list[Path]) -> int:
    """How many objects do not fit the custom resource definitions of these folders."""
    schemas = {}
    for path in (
        f for folder in folders for kind in _KINDS for f in folder.glob(f"*_{kind}s.yaml")
    ):
        definition = yaml.safe_load(path.read_text("utf-8"))["spec"]
        for version in definition["versions"]:
            name = f"{definition['group']}/{version['name']}", definition["names"]["kind"]
            schemas[name] = version["schema"]["openAPIV3Schema"]
    wrong = 0
    for path in sorted((FOLDER / "manifests").glob("*.yaml")):
        for found in filter(None, yaml.safe_load_all(path.read_text("utf-8"))):
            if schema := schemas.get((found["apiVersion"], found["kind"])):
                errors = [
                    error.message for error in jsonschema.Draft7Validator(schema).iter_errors(found)
                ]
                wrong += len(errors)
                print(f"{path.stem}: {found['kind']} {errors or 'fits its definition'}")
    return wrong


def _names(error: str, path: str) -> bool:
    """Whether an error names a value: helm's schemas write `/a/b`, the templates `a.b:`."""
    return f"at '{'/' if path else ''}{path.replace('.', '/')}'" in error or f"{path}: " in error


if __name__ == "__main__":
    main()
