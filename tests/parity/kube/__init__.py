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


CONFIGS = {
    "batch": _COMMON,
    "agent": _COMMON + 'workload_provider = "agent-sandbox"\n',
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
