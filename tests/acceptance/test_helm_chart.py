"""The Helm chart: rendered by Helm, held against Kubernetes' schemas and against our settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from crawling.service.options import MONITOR_OPTIONS, OPTIONS
from crawling.settings import SHUTDOWN_GRACE
from rest_service import settings as rest_settings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "scrapy-fleet"
README = (CHART / "README.md").read_text("utf-8")
HOWTO = (ROOT / "docs" / "howto" / "run_on_kubernetes.md").read_text("utf-8")
KUBERNETES = ("1.27", "1.34")
#: KEDA's own, which Kubernetes has no schema of.
SCALED_OBJECT = ROOT / "tests" / "keda" / "scaledobject.json"

REST = {name for name in vars(rest_settings) if name.isupper()}

SERVERS, SCALED, TRACED = (
    yaml.safe_load(each) for each in re.findall("```yaml\n(.*?)```", HOWTO, re.DOTALL)
)
ALL: dict[str, Any] = {
    **SCALED,
    "rest": {"enabled": True, "tokensSecret": "fleet-tokens"},
    "workers": {**SCALED["workers"], "pagesClaim": "pages", "settings": {"SHUTDOWN_GRACE": 40}},
    "settings": {"DOWNLOAD_MAXSIZE": 33554432, "RETRY_DELAY": 0.5, "KAFKA_APPID_TOPICS": True},
    "volumes": [{"name": "ca", "secret": {"secretName": "ca"}}],
    "volumeMounts": [{"name": "ca", "mountPath": "/ca"}],
    "image": {"pullSecrets": [{"name": "registry"}]},
    "nodeSelector": {"pool": "crawl"},
    "tolerations": [{"key": "crawl", "operator": "Exists"}],
    "podDisruptionBudget": {"maxUnavailable": 2},
    "networkPolicy": {"privateSites": True, "metricsFrom": [{"namespaceSelector": {}}]},
}
VALUES: dict[str, dict[str, Any]] = {
    "default": {},
    "own servers": SERVERS,
    "traced": TRACED,
    "all": ALL,
}


@pytest.fixture(scope="session")
def helm() -> str:
    found = subprocess.run(
        [ROOT / "tools" / "need-helm"], check=False, capture_output=True, text=True
    )
    if found.returncode:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(found.stderr)
    return found.stdout.strip()


def run(
    helm: str, verb: str, values: dict[str, Any], folder: Path, chart: Path = CHART
) -> subprocess.CompletedProcess[str]:
    """Run Helm as with a file of values; it needs no cluster for what is asked here."""
    file = folder / "values.json"
    file.write_text(json.dumps(values))
    command = {"lint": ["lint", "--strict"], "template": ["template", "demo"]}[verb]
    return subprocess.run(
        # Helm from its Go module takes the cluster for an old one, where none is named.
        [helm, *command, str(chart), "--values", str(file), "--kube-version", KUBERNETES[-1]],
        check=False,
        capture_output=True,
        text=True,
    )


def rendered(
    helm: str, values: dict[str, Any], folder: Path, chart: Path = CHART
) -> dict[tuple[str, str], Any]:
    done = run(helm, "template", values, folder, chart)
    assert done.returncode == 0, done.stderr
    objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    found = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    assert len(found) == len(objects)
    return found


def pods(objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
    kinds = {"Deployment", "StatefulSet"}
    return {
        name.removeprefix("demo-scrapy-fleet-"): each["spec"]["template"]
        for (kind, name), each in objects.items()
        if kind in kinds
    }


def env(pod: Any) -> dict[str, Any]:
    return {
        each["name"]: each.get("value", each.get("valueFrom"))
        for each in pod["spec"]["containers"][0]["env"]
    }


@pytest.mark.parametrize("name", VALUES)
def test_helm_and_kubernetes_accept_the_chart(helm: str, tmp_path: Path, name: str) -> None:
    linted = run(helm, "lint", VALUES[name], tmp_path)
    assert linted.returncode == 0, linted.stdout + linted.stderr

    objects = rendered(helm, VALUES[name], tmp_path)

    assert len(objects) > 9
    for (kind, _), each in objects.items():
        if kind == "ScaledObject":
            assert each["apiVersion"] == "keda.sh/v1alpha1"
            jsonschema.validate(each, strict(json.loads(SCALED_OBJECT.read_text("utf-8"))))
            continue
        for version in KUBERNETES:
            kubernetes_validate.validate(each, version, strict=True)


def strict(schema: Any) -> Any:
    """Return a schema of KEDA's that refuses fields of which it says nothing."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: strict(each) for name, each in schema.items()}
    return {"additionalProperties": False, **made} if "properties" in made else made


@pytest.mark.parametrize("name", VALUES)
def test_each_pod_is_confined(helm: str, tmp_path: Path, name: str) -> None:
    for part, pod in pods(rendered(helm, VALUES[name], tmp_path)).items():
        spec, (container,) = pod["spec"], pod["spec"]["containers"]

        assert spec["securityContext"]["runAsNonRoot"], part
        assert spec["securityContext"]["runAsUser"] > 0, part
        assert spec["automountServiceAccountToken"] is False, part
        # else the Services' own variables REDIS_PORT and KAFKA_… would be taken for settings
        assert spec["enableServiceLinks"] is False, part
        assert container["securityContext"]["readOnlyRootFilesystem"] is (part != "kafka")
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, part
        mounted = {each["name"] for each in container["volumeMounts"]}
        claimed = {"data"} if part in {"redis", "kafka"} else set()
        assert mounted == {each["name"] for each in spec.get("volumes", [])} | claimed, part


@pytest.mark.parametrize("name", VALUES)
def test_the_settings_of_each_part_exist(helm: str, tmp_path: Path, name: str) -> None:
    known = {*OPTIONS, *MONITOR_OPTIONS, *REST, "POD_NAME"}
    for part, pod in pods(rendered(helm, VALUES[name], tmp_path)).items():
        if part not in {"redis", "kafka"}:
            ours = {name for name in env(pod) if not name.startswith("OTEL_")}
            assert ours <= known, part


@pytest.mark.parametrize("name", VALUES)
def test_what_selects_pods_finds_them(helm: str, tmp_path: Path, name: str) -> None:
    objects = rendered(helm, VALUES[name], tmp_path)
    labels = [pod["metadata"]["labels"] for pod in pods(objects).values()]
    for (kind, _), each in objects.items():
        spec = each["spec"]
        selector = {
            "Service": spec.get("selector"),
            "NetworkPolicy": spec.get("podSelector", {}).get("matchLabels"),
            "ScaledObject": None,
        }.get(kind, spec.get("selector", {}).get("matchLabels") if kind != "Service" else None)
        if selector:
            assert sum(selector.items() <= pod.items() for pod in labels) == 1, each
    scaled = [each for (kind, _), each in objects.items() if kind == "ScaledObject"]
    assert all(
        ("Deployment", each["spec"]["scaleTargetRef"]["name"]) in objects for each in scaled
    )


def test_a_worker_has_the_time_to_drain(helm: str, tmp_path: Path) -> None:
    default = pods(rendered(helm, {}, tmp_path))["worker"]["spec"]
    longer = pods(rendered(helm, ALL, tmp_path))["worker"]["spec"]

    assert default["terminationGracePeriodSeconds"] == SHUTDOWN_GRACE + 25
    assert longer["terminationGracePeriodSeconds"] == 40 + 25


def test_settings_arrive_as_they_were_given(helm: str, tmp_path: Path) -> None:
    all_parts = pods(rendered(helm, ALL, tmp_path))
    own = pods(rendered(helm, SERVERS, tmp_path))

    for part in ("worker", "kafka-monitor", "redis-monitor", "rest"):
        found = env(all_parts[part])
        assert found["DOWNLOAD_MAXSIZE"] == "33554432"
        assert found["RETRY_DELAY"] == "0.5"
        assert found["KAFKA_APPID_TOPICS"] == "true"
        assert found["TRACKER"] == "redis://demo-scrapy-fleet-redis:6379/0"
        assert found["KAFKA_HOSTS"] == "demo-scrapy-fleet-kafka:9092"
    assert env(all_parts["worker"])["SHUTDOWN_GRACE"] == "40"
    assert "SHUTDOWN_GRACE" not in env(all_parts["rest"])
    assert env(own["worker"])["TRACKER"] == {
        "secretKeyRef": {"name": "fleet", "key": "tracker"}
    }
    assert env(own["kafka-monitor"])["KAFKA_GROUP_INSTANCE"] == "$(POD_NAME)"


def test_each_part_finds_and_may_reach_the_collector(helm: str, tmp_path: Path) -> None:
    objects = rendered(helm, {**TRACED, "rest": ALL["rest"]}, tmp_path)
    [rule] = TRACED["networkPolicy"]["servers"]

    for part in ("worker", "kafka-monitor", "rest"):
        found = env(pods(objects)[part])
        assert found["TRACING"] == "true"
        assert found["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector.monitoring:4318"
        assert found["OTEL_TRACES_SAMPLER_ARG"] == "0.001"
        assert rule in objects["NetworkPolicy", f"demo-scrapy-fleet-{part}"]["spec"]["egress"]


def test_prometheus_finds_and_may_reach_the_metrics_of_each_part(
    helm: str, tmp_path: Path
) -> None:
    objects = rendered(helm, ALL, tmp_path)

    for part in ("worker", "kafka-monitor", "redis-monitor", "rest"):
        pod = pods(objects)[part]
        port = pod["metadata"]["annotations"]["prometheus.io/port"]
        assert env(pod)["METRICS_PORT"] == port
        named = {
            each["name"]: each["containerPort"]
            for each in pod["spec"]["containers"][0]["ports"]
        }
        assert named["metrics"] == int(port)
        policy = objects["NetworkPolicy", f"demo-scrapy-fleet-{part}"]["spec"]
        assert {
            "ports": [{"port": "metrics"}],
            "from": ALL["networkPolicy"]["metricsFrom"],
        } in policy["ingress"]


#: Of the REST service: Redis and Kafka must be there at its start, and may go away later.
PROBES = {"startup": "/readyz", "readiness": "/healthz", "liveness": "/healthz"}


@pytest.mark.parametrize("name", VALUES)
def test_each_part_is_probed_guarded_and_kept_when_a_node_is_drained(
    helm: str, tmp_path: Path, name: str
) -> None:
    objects = rendered(helm, VALUES[name], tmp_path)

    for part, pod in pods(objects).items():
        [container] = pod["spec"]["containers"]
        assert "readinessProbe" in container, part
        assert ("NetworkPolicy", f"demo-scrapy-fleet-{part}") in objects
        if part not in {"redis", "kafka"}:
            assert "livenessProbe" in container, part
            budget = objects["PodDisruptionBudget", f"demo-scrapy-fleet-{part}"]["spec"]
            labels = pod["metadata"]["labels"].items()
            assert budget["selector"]["matchLabels"].items() <= labels
            assert budget["maxUnavailable"] == (2 if name == "all" else 1), part
            assert "minAvailable" not in budget
        if part == "rest":
            paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in PROBES}
            assert paths == PROBES
    budgets = {named for kind, named in objects if kind == "PodDisruptionBudget"}
    assert not budgets & {"demo-scrapy-fleet-redis", "demo-scrapy-fleet-kafka"}


def test_workers_scale_by_what_is_ready(helm: str, tmp_path: Path) -> None:
    objects = rendered(helm, ALL, tmp_path)
    scaled = objects["ScaledObject", "demo-scrapy-fleet-worker"]["spec"]
    (trigger,) = scaled["triggers"]

    assert trigger["type"] == "prometheus"
    assert trigger["metadata"]["query"] == 'max(fleet_domains{state="ready"})'
    assert all(isinstance(value, str) for value in trigger["metadata"].values())
    # else each upgrade would set the number of workers back
    assert "replicas" not in objects["Deployment", "demo-scrapy-fleet-worker"]["spec"]


def notes(helm: str, values: dict[str, Any], folder: Path) -> str:
    """Return what `helm install` prints, which needs a cluster, as `helm template` renders it."""
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    (chart / "templates" / "NOTES.txt").rename(chart / "notes")
    text = '{{ tpl (.Files.Get "notes") . | nindent 4 }}'
    (chart / "templates" / "notes.yaml").write_text(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: notes}}\ndata:\n  text: |{text}\n"
    )
    objects = rendered(helm, values, folder, chart)
    return str(objects["ConfigMap", "notes"]["data"]["text"])


@pytest.mark.parametrize(
    ("settings", "scheme"), [({}, "http"), ({"REST_TLS_CERTFILE": "/tls/cert.pem"}, "https")]
)
def test_the_notes_say_how_to_open_the_dashboard(
    helm: str, tmp_path: Path, settings: dict[str, str], scheme: str
) -> None:
    values = {"rest": {**ALL["rest"], "settings": settings}}
    printed = notes(helm, values, tmp_path)

    assert f"{scheme}://127.0.0.1:5343/ui/" in printed
    [service] = re.findall("port-forward service/(.*) 5343", printed)
    objects = rendered(helm, values, tmp_path)
    assert objects["Service", service]["spec"]["ports"][0]["port"] == 5343


def test_the_notes_name_no_dashboard_where_there_is_none(helm: str, tmp_path: Path) -> None:
    printed = notes(helm, {}, tmp_path)

    assert "deploy/demo-scrapy-fleet-worker -- fleet doctor" in printed
    assert "port-forward" not in printed


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"redis": {"enabled": False}}, "TRACKER: is missing"),
        ({"settings": {"TRACKER": "redis://mine"}}, "redis.enabled must be false, not true"),
        ({**SERVERS, "networkPolicy": {}}, "networkPolicy.servers: is missing"),
        ({"settings": {"REDIS_PASSWORD": "secret"}}, "REDIS_PASSWORD"),
        (
            {"redis": {"enabled": False}, "settings": {"TRACKER": "redis://u:secret@mine"}},
            "settings/TRACKER|settings.TRACKER",
        ),
        ({"workers": {"replica": 3}}, "replica"),
        ({"workers": {"autoscaling": {"enabled": True}}}, "prometheus"),
        ({"rest": {"enabled": True}}, "tokensSecret"),
        (
            {
                "settings": {"QUEUE_HITS": 1},
                "secretSettings": {"QUEUE_HITS": {"name": "a", "key": "b"}},
            },
            "QUEUE_HITS: is both",
        ),
    ],
)
def test_values_that_make_no_sense_are_refused(
    helm: str, tmp_path: Path, values: dict[str, Any], reason: str
) -> None:
    done = run(helm, "template", values, tmp_path)

    assert done.returncode
    assert re.search(reason, done.stderr), done.stderr


def leaves(values: Any, path: str = "") -> dict[str, Any]:
    """Return the values by their paths; what is given as a whole counts as one."""
    if not isinstance(values, dict) or not values or path.endswith(".resources"):
        return {path.removeprefix("."): values}
    return {
        name: leaf
        for key, value in values.items()
        for name, leaf in leaves(value, f"{path}.{key}").items()
    }


def test_each_value_is_documented_with_its_default() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| \S.* \|$", README, re.MULTILINE)
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))

    assert {name: json.loads(default) for name, default in rows} == leaves(values)
