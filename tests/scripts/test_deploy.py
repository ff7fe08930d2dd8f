"""What runs the bundle in containers: valid by the schemas of its tools, and true of what it runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "scripts" / "deploy"
KUBERNETES = "1.32"

MANIFESTS = sorted(
    (path.relative_to(DEPLOY).as_posix(), index)
    for path in DEPLOY.glob("kubernetes/**/*.yaml")
    if path.name != "kustomization.yaml"
    for index, _ in enumerate(yaml.safe_load_all(path.read_text()))
)


def manifests() -> Iterator[dict[str, Any]]:
    for name, index in MANIFESTS:
        yield list(yaml.safe_load_all((DEPLOY / name).read_text()))[index]


def containers() -> Iterator[dict[str, Any]]:
    for manifest in manifests():
        yield from manifest.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return read


@pytest.mark.parametrize(("name", "index"), MANIFESTS)
def test_a_manifest_is_valid(name: str, index: int) -> None:
    manifest = list(yaml.safe_load_all((DEPLOY / name).read_text()))[index]
    assert kubernetes_validate.validate(manifest, KUBERNETES, strict=True) == KUBERNETES


def test_the_validator_would_find_a_slip() -> None:
    name, index = MANIFESTS[-1]
    manifest = list(yaml.safe_load_all((DEPLOY / name).read_text()))[index]
    manifest["spec"]["no_such_member"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_kustomize_builds_it() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(DEPLOY / "kubernetes")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    listed = [name for name, _ in MANIFESTS if "/clients/" not in name]
    assert len(built) == len(listed)
    assert all(one["metadata"]["namespace"] == "llmproxy" for one in built if one["kind"] != "Namespace")


CHART = DEPLOY / "chart"
IMAGE = "registry.example.com/llmproxy:0.1.0"


def rendered(*arguments: str) -> list[dict[str, Any]]:
    """What Helm makes of the chart."""
    if shutil.which("helm") is None:
        pytest.skip("helm is not installed")
    command = ["helm", "template", "release", str(CHART), "--namespace", "llmproxy", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def by_name(objects: Iterable[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Objects without the labels that only a chart has."""
    found = {}
    for each in objects:
        each["metadata"].pop("labels", None)
        for container in each["spec"].get("template", {}).get("spec", {}).get("containers", []):
            container["image"] = IMAGE
            container["env"].sort(key=lambda one: str(one["name"]))
        found[each["kind"], each["metadata"]["name"]] = each
    return found


def test_the_chart_renders_what_the_manifests_say() -> None:
    ours = [one for one in manifests() if one["kind"] != "Namespace"]
    ours = [one for one in ours if one["metadata"]["name"] != "only-through-the-proxy"]
    assert by_name(rendered()) == by_name(ours)


def test_the_chart_with_other_values_is_valid(tmp_path: Path) -> None:
    values = {
        "config": '[proxy]\nllm_models = ["gpt-4o*"]\n',
        "image": {"repository": "localhost/llmproxy", "tag": "7", "pullSecrets": ["one", "two"]},
        "proxy": {"storageClass": "fast", "env": [{"name": "LLMPROXY_PROJECT", "value": "search"}]},
        "networkPolicy": {"enabled": False},
    }
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    found = rendered("--values", str(tmp_path / "values.yaml"))
    for manifest in found:
        assert kubernetes_validate.validate(manifest, KUBERNETES, strict=True) == KUBERNETES
    kinds = {one["kind"]: one for one in found}
    assert kinds.keys() == {"StatefulSet", "Deployment", "Service", "PodDisruptionBudget", "ConfigMap"}
    assert kinds["ConfigMap"]["data"]["llmproxy.toml"].strip() == str(values["config"]).strip()
    pod = kinds["StatefulSet"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "localhost/llmproxy:7"
    assert pod["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
    names = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    assert (names["LLMPROXY_CONFIG"], names["LLMPROXY_PROJECT"]) == ("/config/llmproxy.toml", "search")


def test_helm_finds_nothing_to_complain_of() -> None:
    rendered()
    done = subprocess.run(
        ["helm", "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_chart_is_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)


def test_compose_is_valid(compose: dict[str, Any]) -> None:
    pytest.importorskip("check_jsonschema", reason="check-jsonschema goes with no mitmproxy of Python 3.11")
    text = (files("check_jsonschema.builtin_schemas") / "vendor" / "compose-spec.json").read_text()
    schema = json.loads(text)
    found = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in found.iter_errors(compose)] == []
    compose["services"]["redis"]["no_such_member"] = 1
    assert list(found.iter_errors(compose))


def test_containers_have_no_rights() -> None:
    for container in containers():
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
    pods = [
        manifest["spec"]["template"]["spec"]
        for manifest in manifests()
        if "template" in manifest.get("spec", {})
    ]
    assert len(pods) == 2
    assert all(pod["securityContext"]["runAsNonRoot"] for pod in pods)


def test_no_secret_stands_in_a_manifest() -> None:
    for container in containers():
        for variable in container.get("env", []):
            if variable["name"] in ("LLMPROXY_STORE", "LLMPROXY_BUS", "DISPATCHER_BUS"):
                assert "secretKeyRef" in variable["valueFrom"], variable


def test_variables_and_options_exist(compose: dict[str, Any]) -> None:
    known = "\n".join(path.read_text() for path in (ROOT / "docs").glob("*.md") if path.stem != "containers")
    # docs/dispatch.md tells the rule by which each option of a sink has a variable.
    known += "DISPATCHER_CLOUDWATCH_LOG_GROUP DISPATCHER_METRICS_HOST"
    named = set()
    for path in DEPLOY.rglob("*"):
        if path.suffix in (".yaml", "") and path.is_file():
            named |= set(re.findall(r"\b(?:LLMPROXY|DISPATCHER)_[A-Z_]+|\bllm_[a-z_]+", path.read_text()))
    assert named
    assert [name for name in sorted(named) if name not in known] == []
    assert compose["services"]["dispatcher"]["command"][:2] == ["llmproxy", "dispatch"]


def test_times_to_end_are_longer_than_the_proxy_takes(compose: dict[str, Any]) -> None:
    """30 s for answers (llm_shutdown_grace), 30 s for their events; as systemd's unit has it."""
    unit = (ROOT / "scripts" / "systemd" / "llmproxy.service").read_text()
    seconds = int(re.findall(r"TimeoutStopSec=(\d+)", unit)[0])
    proxy = next(one for one in manifests() if one["kind"] == "StatefulSet")
    assert proxy["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= seconds
    assert int(compose["services"]["proxy-one"]["stop_grace_period"].rstrip("s")) >= seconds


def test_what_the_image_copies_exists() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    (locked,) = re.findall(r"^COPY (\S+) \./$", text, re.MULTILINE)[:1]
    assert (ROOT / locked).is_file()
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for path in (line[1:] for line in kept if line.startswith("!")):
        assert (ROOT / path).exists(), path
    assert "*" in kept, "else a checkout's data/ would be part of the image"


def test_haproxy_takes_its_configuration(tmp_path: Path) -> None:
    haproxy = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if haproxy is None:
        pytest.skip("haproxy is not installed")
    done = subprocess.run(
        [haproxy, "-c", "-f", str(DEPLOY / "haproxy.cfg")],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
