"""Types and shapes in annotations, checked while tests run, at a price that loops can bear.

`jaxtyping.install_import_hook` checks the same, but binds and checks what every call is given up to three times, where
no shape is named too, and compiles anew what `eat` is the first to import: together most of the suite's time. Here
beartype checks every call once, and an axis named in it has one size.
"""

import ast
import dataclasses
import functools
import importlib.machinery
import inspect
import sys
import typing
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from types import CodeType, ModuleType
from typing import Any

import jaxtyping
from beartype import beartype

PACKAGE = "eat"
DECORATOR = "_checked"


def install() -> None:
    """Check what `eat` defines; to be called before anything imports it."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        assert PACKAGE not in sys.modules
        sys.meta_path.insert(0, _Finder())


def checked(defined: Any) -> Any:
    """Return a function that checks its arguments and what it returns, or a dataclass that checks its fields."""
    if inspect.isclass(defined):
        if dataclasses.is_dataclass(defined) and "__init__" in vars(defined):
            defined.__init__ = checked(defined.__init__)
        return defined
    if not inspect.isfunction(defined):
        return defined
    defined.__annotations__ = {name: _resolved(hint, defined) for name, hint in defined.__annotations__.items()}
    once = beartype(defined)
    if not any(map(_names_axes, defined.__annotations__.values())):
        return once
    if inspect.isgeneratorfunction(defined):
        return jaxtyping.jaxtyped(defined, typechecker=beartype)  # its body runs after the call

    @functools.wraps(defined)
    def with_axes(*args: Any, **options: Any) -> Any:
        with jaxtyping.jaxtyped("context"):
            return once(*args, **options)

    return with_axes


def _resolved(hint: Any, function: Callable[..., Any]) -> Any:
    """Evaluate an annotation that is a string; what has no name yet stays unchecked."""
    if not isinstance(hint, str):
        return hint
    try:
        return typing.get_type_hints(_Annotated(hint), function.__globals__, include_extras=True)["value"]
    except Exception:
        return Any


class _Annotated:
    def __init__(self, hint: str) -> None:
        self.__annotations__ = {"value": hint}


def _names_axes(hint: Any) -> bool:
    is_array = inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray)
    return is_array or any(map(_names_axes, typing.get_args(hint)))


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.split(".")[0] != PACKAGE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Decorate every function and class; the result is not cached, since the cache knows a file's time alone."""

    def get_code(self, fullname: str) -> CodeType:
        tree = ast.parse(self.get_data(self.path))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):  # innermost: other decorators may hide annotations
                node.decorator_list.append(ast.copy_location(ast.Name(DECORATOR, ast.Load()), node))
            elif isinstance(node, ast.ClassDef):  # outermost: what @dataclass has made
                node.decorator_list.insert(0, ast.copy_location(ast.Name(DECORATOR, ast.Load()), node))
        return compile(tree, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)[DECORATOR] = checked
        super().exec_module(module)
