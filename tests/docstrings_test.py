"""Ruff asks for the docstrings of modules, classes and functions, and here is what it cannot."""

import functools
import importlib
import inspect
import pkgutil

import wna_tf

METHODS = (property, classmethod, staticmethod, functools.cached_property)


def methods(cls):
    """Yields the public methods and properties of a class that override nothing, by name."""
    for name, member in vars(cls).items():
        is_method = inspect.isfunction(member) or isinstance(member, METHODS)
        overrides = any(hasattr(base, name) for base in cls.__bases__)
        if is_method and not overrides and not name.startswith("_"):
            yield name, member


def test_a_public_method_that_overrides_nothing_says_what_it_does():
    found, silent = 0, []
    for info in pkgutil.walk_packages(wna_tf.__path__, "wna_tf."):
        for name, cls in inspect.getmembers(importlib.import_module(info.name), inspect.isclass):
            if cls.__module__ == info.name and not name.startswith("_"):
                for method, member in methods(cls):
                    found += 1
                    if not member.__doc__:
                        silent.append(f"{info.name}.{name}.{method}")
    assert found > 50
    assert not silent
