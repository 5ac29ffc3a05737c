"""The corpus, by area. An area is a function that walks through requests with a `Side`; it runs once for each server."""

import importlib
import pkgutil

AREAS = {}
"""All areas by name; each has the attribute `config`, a name of configs.ALL."""


def area(name, config="bridge"):
    """Registers the function below as an area."""

    def register(walk):
        walk.config = config
        AREAS[name] = walk
        return walk

    return register


for found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"areas.{found.name}")
