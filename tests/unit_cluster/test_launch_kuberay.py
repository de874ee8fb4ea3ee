"""The KubeRay manifests. Core kinds and pod templates are checked against Kubernetes' own schemas.

The schemas of RayCluster and RayJob are on no package index, so that their own fields are held against the list below, read from KubeRay's
API reference (v1.6): a typo is found, a field with a wrong type may not be.
"""

from __future__ import annotations

import json
import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.compose_bed import ROOT

FOLDER = ROOT / "cluster/launch/kuberay"
KUBERNETES = "1.31"
CLUSTER = yaml.safe_load((FOLDER / "raycluster.yaml").read_text())
JOB = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
SPECS = {"raycluster": CLUSTER["spec"], "rayjob": JOB["spec"]["rayClusterSpec"]}
EACH = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
FIELDS = {
    "RayCluster": {
        "rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs", "enableInTreeAutoscaling", "autoscalerOptions",
        "headServiceAnnotations", "gcsFaultToleranceOptions", "suspend", "managedBy",
    },
    "head": {"serviceType", "headService", "enableIngress", "rayStartParams", "template"},
    "worker": {
        "groupName", "replicas", "minReplicas", "maxReplicas", "idleTimeoutSeconds", "numOfHosts", "rayStartParams", "scaleStrategy",
        "suspend", "template",
    },
    "RayJob": {
        "entrypoint", "submissionMode", "submitterConfig", "submitterPodTemplate", "backoffLimit", "activeDeadlineSeconds",
        "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec", "runtimeEnvYAML", "clusterSelector", "metadata", "jobId",
        "entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "suspend", "managedBy", "deletionStrategy",
    },
}  # fmt: skip


def groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def templates(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [group["template"] for group in groups(spec)]


def check_template(template: dict[str, Any]) -> None:
    whole = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": template}
    kubernetes_validate.validate(whole, KUBERNETES, strict=True)


def test_core_kinds_keep_to_kubernetes_own_schema() -> None:
    (policy,) = yaml.safe_load_all((FOLDER / "networkpolicy.yaml").read_text())
    kubernetes_validate.validate(policy, KUBERNETES, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(policy | {"spec": policy["spec"] | {"polcyTypes": []}}, KUBERNETES, strict=True)


@EACH
def test_pod_templates_keep_to_kubernetes_own_schema(spec: dict[str, Any]) -> None:
    for template in templates(spec):
        check_template(template)
    broken = templates(spec)[0]
    with pytest.raises(kubernetes_validate.ValidationError):
        check_template({"metadata": {}, "spec": broken["spec"] | {"volums": []}})


def test_the_pod_that_submits_keeps_to_it_too() -> None:
    check_template(JOB["spec"]["submitterPodTemplate"])


@EACH
def test_fields_of_a_ray_cluster_are_known_and_of_their_type(spec: dict[str, Any]) -> None:
    assert set(spec) <= FIELDS["RayCluster"]
    assert set(spec["headGroupSpec"]) <= FIELDS["head"]
    assert spec["authOptions"] == {"mode": "token"}
    for group in spec["workerGroupSpecs"]:
        assert set(group) <= FIELDS["worker"]
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert re.fullmatch("[a-z]+", group["groupName"])
    for group in groups(spec):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "a map of text to text"


def test_fields_of_a_ray_job_are_known_and_of_their_type() -> None:
    spec = JOB["spec"]
    assert set(spec) <= FIELDS["RayJob"]
    assert spec["submissionMode"] in {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"}
    assert isinstance(spec["backoffLimit"], int)
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert (CLUSTER["apiVersion"], CLUSTER["kind"], JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayCluster", "ray.io/v1", "RayJob")


def test_the_job_brings_the_same_cluster_with_the_grid_on_top() -> None:
    alone, within = SPECS["raycluster"], json.loads(json.dumps(SPECS["rayjob"]))
    for template in templates(within):
        grids = [volume for volume in template["spec"]["volumes"] if volume["name"] == "grid"]
        assert grids == [{"name": "grid", "configMap": {"name": "s2l-grid"}}]
        template["spec"]["volumes"].remove(grids[0])
        template["spec"]["containers"][0]["volumeMounts"].remove({"name": "grid", "mountPath": "/grids", "readOnly": True})
    assert within == alone
    assert JOB["spec"]["entrypoint"] == "s2l run /grids/grid.yaml"


@EACH
def test_ray_is_the_version_of_the_pins(spec: dict[str, Any]) -> None:
    assert f"ray=={spec['rayVersion']}" in (ROOT / "requirements.txt").read_text().splitlines()


@EACH
def test_each_container_has_limits_probes_and_no_rights(spec: dict[str, Any]) -> None:
    for template in templates(spec):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert set(container["resources"]["limits"]) >= {"cpu", "memory", "ephemeral-storage"}
        assert {"livenessProbe", "readinessProbe"} <= set(container)
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
        }  # fmt: skip
        written = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/data", "/tmp", "/dev/shm"} <= written, "the rest of the file system is read-only"
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}


def test_the_user_is_that_of_the_image() -> None:
    assert "USER 10001:10001" in (ROOT / "docker/Dockerfile").read_text()


@EACH
def test_credentials_come_from_a_secret_that_is_not_in_the_files(spec: dict[str, Any]) -> None:
    for template in templates(spec):
        (container,) = template["spec"]["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": "s2l-credentials"}}]
        assert not [entry for entry in container["env"] if re.search("KEY|SECRET|PASSWORD|TOKEN", entry["name"])]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_no_file_holds_a_secret_or_a_merge_key(path: Any) -> None:
    text = path.read_text()
    assert "kind: Secret" not in text
    assert "<<:" not in text, "not every reader of Kubernetes manifests knows merge keys"


def test_the_policy_covers_every_pod_and_the_secret_is_made_as_it_is_used() -> None:
    policy = yaml.safe_load((FOLDER / "networkpolicy.yaml").read_text())
    chosen = policy["spec"]["podSelector"]["matchLabels"]
    every = [*templates(SPECS["raycluster"]), *templates(SPECS["rayjob"]), JOB["spec"]["submitterPodTemplate"]]
    assert all(chosen.items() <= template["metadata"]["labels"].items() for template in every)
    for name in ("raycluster.yaml", "rayjob.yaml"):
        assert "create secret generic s2l-credentials" in (FOLDER / name).read_text()
