"""The corpus on Kubernetes, by area. An area is a function that walks through requests with a `ClusterSide`; it runs once
for each server."""

import importlib
import pkgutil

from servers import KEY

AREAS = {}
"""All areas by name; each has the attribute `config`, a name of CONFIGS."""

_COMMON = """
[server]
host = "127.0.0.1"
port = @PORT@
api_key = "@KEY@"
[runtime]
type = "kubernetes"
execd_image = "osb-test/execd:stub"
[kubernetes]
kubeconfig_path = "@KUBECONFIG@"
namespace = "@NAMESPACE@"
allow_windows = true
"""
_KEYS = """
[ingress.secure_access]
active_key = "k"
[[ingress.secure_access.keys]]
key_id = "k"
key = "c2VjcmV0"
"""


def _gateway(address, mode, keys=_KEYS):
    return f'[ingress]\nmode = "gateway"\n[ingress.gateway]\naddress = "{address}"\n[ingress.gateway.route]\nmode = "{mode}"\n{keys}'


_QUICK = "sandbox_create_poll_interval_seconds = 0.05\n"
_LATE = f"{_QUICK}sandbox_create_timeout_seconds = 1\npool_acquisition_timeout_seconds = 1\n"
_EGRESS = """
[egress]
image = "reg.example/egress:v1"
mode = "dns+nft"
otlp_endpoint = "http://otel.example:4318"
[egress.requests]
cpu = "50m"
[egress.limits]
memory = "128Mi"
"""
_STORAGE = """
[storage]
allowed_host_paths = ["/data/opensandbox"]
volume_default_size = "3Gi"
"""
_INIT = """
[kubernetes.execd_init_resources]
limits = { memory = "64Mi" }
requests = { cpu = "10m" }
"""
_PROXY = """
[egress.upstream_proxy]
url = "http://proxy.example:3128"
authorization = "Basic c2VjcmV0"
ca_secret_name = "upstream-ca"
"""
_AGENT = 'workload_provider = "agent-sandbox"\n'

CONFIGS = {
    "batch": _COMMON + _QUICK,
    "agent": _COMMON + _AGENT + _QUICK,
    "late": _COMMON + _LATE + _STORAGE,
    "late-agent": _COMMON + _AGENT + _LATE,
    "rich": _COMMON + _QUICK + _INIT + _EGRESS + _STORAGE + _gateway("gw.example.com", "header"),
    "templated": (_COMMON + _QUICK + 'batchsandbox_template_file = "@HERE@/batch.yaml"\nimage_pull_policy = "Always"\n')
    .replace("[kubernetes]", "execd_run_as_init = true\n[kubernetes]")
    + _EGRESS.replace("[egress]", "[egress]\ndisable_ipv6 = false")
    + _PROXY
    + _STORAGE,
    "without-windows": (_COMMON + _QUICK).replace("allow_windows = true\n", ""),
    "templated-windows": _COMMON + _QUICK + 'batchsandbox_template_file = "@HERE@/windows.yaml"\n',
    "templated-agent": _COMMON
    + _AGENT
    + _QUICK
    + '[agent_sandbox]\ntemplate_file = "@HERE@/agent.yaml"\nshutdown_policy = "Retain"\n'
    + _EGRESS
    + _STORAGE,
    "isolated": _COMMON + _QUICK + '[secure_runtime]\ntype = "gvisor"\nk8s_runtime_class = "sandboxed"\n' + _EGRESS,
    "wildcard": _COMMON + _gateway("*.sb.example.com", "wildcard"),
    "uri": _COMMON + _gateway("gw.example.com:8443/base", "uri"),
    "header": _COMMON + _gateway("gw.example.com", "header"),
    "tenants": _COMMON.replace('api_key = "@KEY@"\n', "") + "[tenants]\n",
    "service": _COMMON.replace('api_key = "@KEY@"\n', "") + "@TENANTS@",
    "unkeyed": _COMMON + _gateway("gw.example.com", "header", ""),
}
"""Each carries the key of `servers`, but for what an area says."""

TENANTS = {"a": ("a", KEY), "b": ("b", "key-b1"), "c": ("a", "key-c1")}
"""Of the configuration `tenants`: name to what the namespace has behind the configured one's name, and key. The requests
of the corpus are tenant a's where they do not say another key."""


def tenants_file(namespace):
    """The file of the tenants of a server with this namespace."""
    rows = (
        f'[[tenants]]\nname = "{name}"\nnamespace = "{namespace}-{place}"\napi_keys = ["{key}"]\n'
        for name, (place, key) in TENANTS.items()
    )
    return "\n".join(rows)


def area(name, config="batch"):
    """Registers the function below as an area of the name `kubernetes-NAME`."""

    def register(walk):
        walk.config = config
        AREAS[f"kubernetes-{name}"] = walk
        return walk

    return register


for found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"kube.{found.name}")
