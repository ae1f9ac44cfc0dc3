"""What a user names on the command line: file.py:name or package.module:name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from lamina.core.config import UserError

__all__ = ["line", "load"]


def load(where: str, example: str) -> Any:
    """The module of a file.py or of package.module; UserErrors say how a target is written, with the example's name."""
    path = Path(where)
    if not where:
        raise UserError(f"which file or module? write path/to/file.py:{example} or package.module:{example}")
    try:
        if path.suffix != ".py" and "/" not in where:
            sys.path.insert(0, "")  # modules of the current folder, as python -m finds them
            return importlib.import_module(where)
        if not path.is_file():
            raise UserError(f"{where}: no such file")
        sys.path.insert(0, str(path.resolve().parent))  # what the file imports from beside it
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise UserError(f"{where}: not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
        return module
    except UserError:
        raise
    except ModuleNotFoundError as error:
        if error.name in (where, where.split(".")[0]):
            raise UserError(f"no module {where!r}; a file is written path/to/file.py:{example}") from None
        raise UserError(f"{where}: needs {error.name!r}, which is not installed") from error
    except Exception as error:
        raise UserError(f"{where}: importing it raises {type(error).__name__}: {line(error)}") from error


def line(error: Exception) -> str:
    """What an exception says, on one line."""
    return " ".join(str(error).split())
