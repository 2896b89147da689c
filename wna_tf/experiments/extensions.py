"""Python files of the user's own, which register rules, data sets, models and diagnostics."""

import importlib
import importlib.util
import pathlib
import sys
import traceback
from collections.abc import Iterable

from wna_tf import files


def load(names: Iterable[str]) -> None:
    """Imports files or modules, each once.

    Args:
        names: Paths of files, which end with ".py", or names of modules, such as "lab.rules", that
            are installed or found from the working directory.

    Raises:
        ValueError: If one is not there, cannot be imported, or has the name of another module.
    """
    for name in names:
        path = files.expand(name).absolute() if name.endswith(".py") else None
        if path is not None and not path.is_file():
            raise ValueError(f"Expected a file to import. Received: --import={name}: no such file")
        try:
            if path is not None:
                _load_file(path)
            else:
                _find_from(pathlib.Path.cwd())
                importlib.import_module(name)
        except _Taken:
            raise ValueError(
                "Expected a file whose name no other module has. "
                f"Received: --import={name}: there is {sys.modules[pathlib.Path(name).stem]}"
            ) from None
        except (Exception, SystemExit) as error:  # Of every kind: it is the user's code.
            raise ValueError(
                "Expected a file or a module that can be imported. "
                f"Received: --import={name}: {_place(error)}{type(error).__name__}: {error}"
            ) from error


def absolute(name: str) -> str:
    """Returns what `load` takes, for processes that have another working directory."""
    return str(files.expand(name).absolute()) if name.endswith(".py") else name


class _Taken(Exception):  # noqa: N818 - what the name is
    """Another module has the name of a file."""


def _load_file(path: pathlib.Path) -> None:
    """Imports a file as the module of its name, as Python would from its directory."""
    known = sys.modules.get(path.stem)
    if known is not None:
        if pathlib.Path(getattr(known, "__file__", None) or "").absolute() != path:
            raise _Taken
        return
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # Python knows what to do with ".py".
    _find_from(path.parent)
    sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise


def _find_from(directory: pathlib.Path) -> None:
    """Lets modules be found in a directory, behind all others."""
    if str(directory) not in sys.path:
        sys.path.append(str(directory))


def _place(error: BaseException) -> str:
    """Returns the file and the line of an error in the user's code."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: "
    ours = str(pathlib.Path(__file__).parents[1])
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((ours, "<frozen importlib"))
        and pathlib.Path(frame.filename).parent.name != "importlib"
    ]
    return f"{frames[-1].filename}, line {frames[-1].lineno}: " if frames else ""
