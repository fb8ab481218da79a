"""The manifests in `deploy/`: up to date, valid against published schemas, safe by default."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SCHEMAS = ROOT.parent / "shared" / "schemas"
KUBERAY = {"RayCluster": "kuberay/raycluster.yaml", "RayJob": "kuberay/rayjob.yaml"}


def load(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.fixture(scope="module")
def render() -> ModuleType:
    spec = importlib.util.spec_from_file_location("deploy_render", DEPLOY / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # pydantic resolves annotations through it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = load("docker-compose.yaml")
    return found


@pytest.fixture(params=sorted(KUBERAY))
def cluster_spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    """`spec` of the RayCluster, or `rayClusterSpec` of the RayJob."""
    spec = load(KUBERAY[request.param])["spec"]
    found: dict[str, Any] = spec.get("rayClusterSpec", spec)
    return found


def pod_specs(cluster: Mapping[str, Any]) -> list[dict[str, Any]]:
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


# Rendering


def test_the_committed_files_are_what_the_templates_give(render: ModuleType) -> None:
    settings = render.load_settings()

    assert len(render.render_all(settings)) == 7
    assert render.stale_files(settings) == []


def test_a_stale_file_is_noticed(render: ModuleType, tmp_path: Path) -> None:
    settings = render.load_settings()
    for name, text in render.render_all(settings).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + ("# edited" if name == "ray-cluster.yaml" else ""))

    assert render.stale_files(settings, folder=tmp_path) == ["ray-cluster.yaml"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("replicas: 2", "replica: 2", r"workers\.replicas.*workers\.replica: Extra"),
        ("gpus: 0 ", "gpus: -1 ", r"workers\.gpus: .*greater than or equal to 0"),
        ("path: /shared", "path: shared", r"shared\.path: .*pattern"),
        ('env_file: "" ', "env_file: x", r"checkpoints\.env_file: .*pattern"),
    ],
)
def test_mistakes_in_the_settings_are_named(
    render: ModuleType, tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = (DEPLOY / "settings.yaml").read_text()
    assert old in text
    (tmp_path / "settings.yaml").write_text(text.replace(old, new, 1))

    with pytest.raises(ValueError, match=message):
        render.load_settings(tmp_path / "settings.yaml")


def test_gpus_in_the_settings_reach_every_manifest(render: ModuleType) -> None:
    values = yaml.safe_load((DEPLOY / "settings.yaml").read_text())
    values["workers"]["gpus"] = 2
    values["slurm"]["gpus_per_node"] = 4
    files = render.render_all(render.Settings.model_validate(values))

    job = yaml.safe_load(files["kuberay/rayjob.yaml"])["spec"]["rayClusterSpec"]
    worker = pod_specs(job)[1]["containers"][0]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "2"
    service = yaml.safe_load(files["docker-compose.yaml"])["services"]["ray-worker"]
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == 2
    assert "--num-gpus=2" in service["command"]
    assert (
        "--gpus=all" in yaml.safe_load(files["ray-cluster.yaml"])["docker"]["worker_run_options"]
    )
    assert "#SBATCH --gpus-per-node=4\n" in files["slurm/greedy.sbatch"]


def test_a_file_with_the_checkpoints_variables_reaches_head_and_workers(
    render: ModuleType,
) -> None:
    values = yaml.safe_load((DEPLOY / "settings.yaml").read_text())
    assert "env-file" not in (DEPLOY / "ray-cluster.yaml").read_text()
    assert "env_file" not in (DEPLOY / "docker-compose.yaml").read_text()
    values["checkpoints"] = {"secret": "mine", "env_file": "/etc/tuner/checkpoints.env"}
    files = render.render_all(render.Settings.model_validate(values))

    services = yaml.safe_load(files["docker-compose.yaml"])["services"]
    given = {name: service.get("env_file") for name, service in services.items()}
    assert {name for name, file in given.items() if file} == {"ray-head", "ray-worker"}
    assert given["ray-worker"] == ["/etc/tuner/checkpoints.env"]
    options = yaml.safe_load(files["ray-cluster.yaml"])["docker"]["run_options"]
    assert "--env-file=/etc/tuner/checkpoints.env" in options
    assert files["kuberay/rayjob.yaml"].count("name: mine\n") == 2


# Published schemas


@functools.cache
def openapi_schema(kind: str) -> dict[str, Any]:
    path = SCHEMAS / f"ray.io_{kind.lower()}s.yaml"
    if not path.is_file():
        pytest.skip(f"KubeRay's schema {path} is not here")
    with path.open() as text:  # half a megabyte: the parser in C, where there is one
        definition = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    versions = definition["spec"]["versions"]
    schema: dict[str, Any] = next(
        version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1"
    )
    return schema


def unknown_fields(value: Any, schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Fields that the API server would drop without a word."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return
    if isinstance(value, list):
        for position, item in enumerate(value):
            yield from unknown_fields(item, schema.get("items", {}), f"{path}[{position}]")
    if not isinstance(value, dict):
        return
    known = schema.get("properties", {})
    extra = schema.get("additionalProperties")
    for name, item in value.items():
        if name in known:
            yield from unknown_fields(item, known[name], f"{path}.{name}")
        elif isinstance(extra, dict):
            yield from unknown_fields(item, extra, f"{path}.{name}")
        elif path != ".metadata" and not extra:  # metadata's own schema is Kubernetes'
            yield f"{path}.{name}"


@pytest.mark.parametrize("kind", sorted(KUBERAY))
def test_kuberay_manifests_fit_the_published_schema(kind: str) -> None:
    schema = openapi_schema(kind)
    manifest = load(KUBERAY[kind])

    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", kind)
    jsonschema.Draft202012Validator(schema).validate(manifest)
    assert list(unknown_fields(manifest, schema)) == []


@pytest.mark.parametrize("kind", sorted(KUBERAY))
def test_the_schema_check_finds_what_does_not_belong(kind: str) -> None:
    schema = openapi_schema(kind)
    manifest = load(KUBERAY[kind])
    cluster = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    cluster["headGroupSpec"]["template"]["spec"]["contaniers"] = []
    prefix = ".spec.rayClusterSpec" if "rayClusterSpec" in manifest["spec"] else ".spec"

    found = list(unknown_fields(manifest, schema))
    assert found == [f"{prefix}.headGroupSpec.template.spec.contaniers"]

    cluster["authOptions"]["mode"] = "tokens"
    with pytest.raises(jsonschema.ValidationError, match="'tokens' is not one of"):
        jsonschema.Draft202012Validator(schema).validate(manifest)


def test_the_cluster_of_machines_fits_rays_schema() -> None:
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(load("ray-cluster.yaml"), schema)


# Kubernetes


def test_every_ray_cluster_asks_for_the_token(cluster_spec: dict[str, Any]) -> None:
    assert cluster_spec["authOptions"] == {"mode": "token", "secretName": "tuner-ray-token"}


def test_the_head_takes_no_trials_and_is_reached_only_inside(cluster_spec: dict[str, Any]) -> None:
    assert cluster_spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster_spec["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_every_container_has_resources_probes_and_no_privileges(
    cluster_spec: dict[str, Any],
) -> None:
    for pod in pod_specs(cluster_spec):
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert "healthz" in container[probe]["exec"]["command"][-1]
            assert_unprivileged(container)


def assert_unprivileged(container: Mapping[str, Any]) -> None:
    security = container["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] > 0
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}


def test_only_the_head_gets_the_stores_secrets_and_all_reach_the_checkpoints(
    cluster_spec: dict[str, Any],
) -> None:
    head, *workers = [pod["containers"][0] for pod in pod_specs(cluster_spec)]
    stores = {"secretRef": {"name": "tuner-stores", "optional": True}}
    checkpoints = {"secretRef": {"name": "tuner-checkpoints", "optional": True}}

    assert workers
    assert head["envFrom"] == [stores, checkpoints]
    assert all(worker["envFrom"] == [checkpoints] for worker in workers)
    for pod in pod_specs(cluster_spec):
        claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"][:1]]
        assert claims == [load("kuberay/shared-storage.yaml")["metadata"]["name"]]


def test_the_ray_job_runs_greedy_on_the_shared_storage_once() -> None:
    spec = load("kuberay/rayjob.yaml")["spec"]
    words = shlex.split(spec["entrypoint"])
    mounts = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]

    assert words[:2] == ["tuner", "greedy"]
    home = words[words.index("--home") + 1]
    assert home.startswith(mounts["volumeMounts"][0]["mountPath"] + "/")
    assert words[words.index("--name") + 1] == spec["jobId"] == spec["metadata"]["run"]
    assert (spec["backoffLimit"], spec["shutdownAfterJobFinishes"]) == (0, True)
    environment = yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"]
    assert environment == {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "30"}
    assert_unprivileged(spec["submitterPodTemplate"]["spec"]["containers"][0])


def test_the_network_policy_covers_every_pod_of_both_manifests() -> None:
    policy = load("kuberay/networkpolicy.yaml")["spec"]
    wanted = policy["podSelector"]["matchLabels"]
    job = load("kuberay/rayjob.yaml")["spec"]
    templates = [job["submitterPodTemplate"]]
    for cluster in (job["rayClusterSpec"], load("kuberay/raycluster.yaml")["spec"]):
        templates += [cluster["headGroupSpec"]["template"]]
        templates += [group["template"] for group in cluster["workerGroupSpecs"]]

    assert len(templates) == 5
    assert all(wanted.items() <= t["metadata"]["labels"].items() for t in templates)
    assert policy["policyTypes"] == ["Ingress"]
    assert all("from" in rule for rule in policy["ingress"])


# Compose, machines, Slurm, image


def test_compose_publishes_on_loopback_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]

    assert sorted(ports) == ["127.0.0.1:5000:5000", "127.0.0.1:8265:8265"]
    assert not any("network_mode" in service for service in compose["services"].values())


def test_compose_has_token_authentication_and_no_secret_of_its_own(
    compose: dict[str, Any],
) -> None:
    for name in ("ray-head", "ray-worker"):
        environment = compose["services"][name]["environment"]
        assert environment["RAY_AUTH_MODE"] == "token"
        assert environment["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")
    text = (DEPLOY / "docker-compose.yaml").read_text()
    variables = set(re.findall(r"\$\{(\w+)", text))
    example = (DEPLOY / ".env.example").read_text()
    assert variables == set(re.findall(r"^(\w+)=$", example, re.MULTILINE))
    assert not re.search(r"(?i)(password|token|key)\w*: *(?!\$\{)[\"']?\w", text)


def test_compose_services_are_limited_unprivileged_and_watched(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert ("healthcheck" in service) == (name != "bucket"), name
        if name not in ("postgres", "s3"):  # those start as root and give it up themselves
            assert (service["cap_drop"], service["user"]) == (["ALL"], "1000:1000"), name


def test_compose_waits_until_postgres_serves_the_network(compose: dict[str, Any]) -> None:
    check = compose["services"]["postgres"]["healthcheck"]["test"]
    # while it is set up for the first time, it answers on its socket only
    assert check[:3] == ["CMD", "pg_isready", "--host=127.0.0.1"]


@pytest.mark.parametrize("memory_gib", [2, 8, 12, 61, 200])
def test_rays_object_store_fits_into_shared_memory(render: ModuleType, memory_gib: int) -> None:
    values = yaml.safe_load((DEPLOY / "settings.yaml").read_text())
    values["head"]["memory_gib"] = memory_gib
    values["workers"]["memory_gib"] = memory_gib + 3
    files = render.render_all(render.Settings.model_validate(values))

    services = yaml.safe_load(files["docker-compose.yaml"])["services"]
    docker = yaml.safe_load(files["ray-cluster.yaml"])["docker"]
    assert not [option for option in docker["run_options"] if "shm" in option]
    for node, service in (("head", services["ray-head"]), ("worker", services["ray-worker"])):
        wanted_gib = memory_gib if node == "head" else memory_gib + 3
        options = dict(option.split("=", 1) for option in docker[f"{node}_run_options"])
        limits = service["deploy"]["resources"]["limits"]
        for shared, memory in (
            (service["shm_size"], limits["memory"]),
            (options["--shm-size"], options["--memory"]),
        ):
            assert memory == f"{wanted_gib}g"
            shared_gib = int(re.fullmatch(r"(\d+)gb?", shared)[1])  # type: ignore[index]
            # Ray takes 30 % of the memory, and the disk where that does not fit
            assert 0.35 <= shared_gib / wanted_gib <= 0.5


@pytest.mark.parametrize(
    ("repository", "pulls"), [("seal-pose-tuner", False), ("registry.example/a/b", True)]
)
def test_machines_pull_only_an_image_that_a_registry_has(
    render: ModuleType, repository: str, pulls: bool
) -> None:
    values = yaml.safe_load((DEPLOY / "settings.yaml").read_text())
    values["image"]["repository"] = repository
    files = render.render_all(render.Settings.model_validate(values))

    docker = yaml.safe_load(files["ray-cluster.yaml"])["docker"]
    assert (docker["image"].split(":")[0], docker["pull_before_run"]) == (repository, pulls)


def test_compose_workers_cannot_reach_the_stores(compose: dict[str, Any]) -> None:
    assert compose["networks"]["stores"] == {"internal": True}
    assert compose["services"]["ray-worker"]["networks"] == ["cluster"]
    assert "--num-cpus=0" in compose["services"]["ray-head"]["command"]


def test_the_cluster_of_machines_is_guarded_too() -> None:
    cluster = load("ray-cluster.yaml")
    options = cluster["docker"]["run_options"]

    assert {"--env=RAY_AUTH_MODE=token", "--cap-drop=ALL"} <= set(options)
    token_path = "/home/tuner/.ray/auth_token"
    assert f"--env=RAY_AUTH_TOKEN_PATH={token_path}" in options
    assert cluster["file_mounts"] == {token_path: "~/.ray/auth_token"}
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]
    assert "--num-cpus=0" in cluster["head_start_ray_commands"][-1]


def test_the_image_does_not_run_as_root_and_is_pinned() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    users = re.findall(r"^USER (.*)$", text, re.MULTILINE)

    assert users[-1] == "1000:1000"
    assert users.count("0:0") == len(users) - 2
    assert "--constraint constraints.txt" in text
    images = [load("settings.yaml")["compose"][name] for name in ("postgres_image", "s3_image")]
    images += re.findall(r"^ARG BASE_IMAGE=(.*)$", text, re.MULTILINE)
    assert len(images) == 3
    assert all(re.search(r":\d[\w.-]+$", image) for image in images)


def test_the_image_has_what_ray_up_calls_in_a_login_shell() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    stage = text[text.index("AS tuner") : text.index("AS mlflow")]

    install = re.search(r"apt-get install((?: [\w-]+)+)", stage)
    assert install is not None
    assert {"rsync", "openssh-client", "wget"} <= set(install[1].split())
    written = re.search(r"RUN echo '(.*)' > /etc/profile\.d/\w+\.sh$", stage, re.MULTILINE)
    assert written is not None
    # /etc/profile sets PATH anew, then reads the files of that folder
    shown = subprocess.run(
        ["bash", "-c", f'PATH=/usr/bin:/bin; {written[1]}; printf %s "$PATH"'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "/opt/tuner/bin:/usr/bin:/bin"
    assert "ENV PATH=/opt/tuner/bin:$PATH" in stage


def test_the_versions_agree_with_the_packages() -> None:
    settings = load("settings.yaml")
    constraints = (ROOT / "constraints.txt").read_text()

    assert f"\nray=={settings['ray_version']}\n" in constraints
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert settings["image"]["tag"].startswith(version[1] + "-")


STAND_IN_COMMANDS = {
    "scontrol": 'if [ "$1" = show ]; then echo node1; echo node2; else echo "scontrol $*"; fi',
    "srun": 'while [ "$1" != ray ] && [ "$1" != hostname ]; do shift; done\nexec "$@"',
    "hostname": "echo 192.0.2.7 fe80::1",
    "ray": '[ "$1" = health-check ] && exit 0\necho "ray $*"\nexec sleep 60',
    "tuner": (
        'echo "tuner $* at $RAY_ADDRESS with $(wc -c < "$RAY_AUTH_TOKEN_PATH") characters"\n'
        "trap 'echo saved; exit 143' TERM\n"
        "kill -USR1 $PPID\nfor i in $(seq 200); do sleep 0.1; done"
    ),
}
"""Slurm's commands are not here; these say what they were asked, and let the script go on. The
tuner's tells the script that the time limit is near, as Slurm would."""


def test_epochs_may_end_between_the_signal_and_the_time_limit(render: ModuleType) -> None:
    script = render.render_all(render.load_settings())["slurm/greedy.sbatch"]
    (lead_s,) = re.findall(r"#SBATCH --signal=B:USR1@(\d+)", script)
    (grace_s,) = re.findall(r"--interrupt-grace-s (\d+)", script)
    assert 60 <= int(grace_s) <= int(lead_s) - 60, "to record what was done takes time, too"


def test_the_slurm_script_saves_and_requeues_before_the_time_limit(tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, body in STAND_IN_COMMANDS.items():
        (commands / name).write_text(f"#!/bin/bash\n{body}\n")
        (commands / name).chmod(0o755)
    script = tmp_path / "greedy.sbatch"
    script.write_text(
        (DEPLOY / "slurm/greedy.sbatch").read_text().replace("/shared", str(tmp_path))
    )
    environment = {
        "PATH": f"{commands}:/usr/bin:/bin",
        **{"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": "16"},
    }

    done = subprocess.run(
        ["bash", str(script), "--seed", "3"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert done.returncode == 143, done.stderr
    assert "saved" in done.stdout
    assert "scontrol requeue 4711" in done.stdout
    assert re.search(r"tuner greedy .*--seed 3 at 192\.0\.2\.7:24711 with 64 char", done.stdout)
    assert "ray start --address=192.0.2.7:24711 --block --num-cpus=15" in done.stdout
    assert not list(tmp_path.glob(".tuner-token*"))
