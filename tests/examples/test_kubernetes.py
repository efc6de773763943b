"""kubernetes.yaml: what Kubernetes would take, and what the app in the image reads."""

from __future__ import annotations

import os
from typing import Any

import pytest
import yaml

from tests.examples.launch import EXAMPLES

OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text()))


def found(kind: str, name: str) -> dict[str, Any]:
    (match,) = (
        each for each in OBJECTS if (each["kind"], each["metadata"]["name"]) == (kind, name)
    )
    return match


def test_it_is_what_kubernetes_knows() -> None:
    if not os.environ.get("CI"):
        pytest.importorskip("kubernetes_validate")
    import kubernetes_validate

    for each in OBJECTS:
        kubernetes_validate.validate(each, "1.30", strict=True)


def test_each_service_and_each_deployment_find_their_pods() -> None:
    for name in ("signaling", "signaling-redis"):
        spec = found("Deployment", name)["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert (
            spec["selector"]["matchLabels"] == labels == found("Service", name)["spec"]["selector"]
        )
        (container,) = spec["template"]["spec"]["containers"]
        (port,) = container["ports"]
        (served,) = found("Service", name)["spec"]["ports"]
        assert served.get("targetPort", served["port"]) == port["containerPort"]


def test_what_it_sets_is_what_the_app_reads() -> None:
    (container,) = found("Deployment", "signaling")["spec"]["template"]["spec"]["containers"]
    environ = {each["name"]: each.get("value") for each in container["env"]}
    assert environ["RTCIO_CLUSTER"].endswith("@signaling-redis:6379/0")
    assert environ["CLUSTER_ADDRESS"] == "$(POD_IP):8000"
    source = (EXAMPLES / "public_rooms.py").read_text()
    for name in ("RTCIO_CLUSTER", "CLUSTER_ADDRESS", "CLUSTER_SECRET"):
        assert name in environ and name.lower() in source.lower()
    assert container["command"][1:3] == ["-c", "gunicorn.conf.py"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": 8000}
    stop = found("Deployment", "signaling")["spec"]["template"]["spec"]
    assert stop["terminationGracePeriodSeconds"] > 5 + 5  # preStop, gunicorn's graceful_timeout
