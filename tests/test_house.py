"""The house rules that can be tests: who imports whom, how long a file is, how many arguments a function takes."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SOURCE = sorted((ROOT / "src" / "lamina").rglob("*.py"))
ORDER = [
    {"ops"}, {"core"}, {"layers"}, {"models"}, {"interop", "tasks", "data", "speech"}, {"train"},
    {"compress", "deploy"}, {"compare", "reproduce", "bench"}, {"cli"},
]  # fmt: skip
RANK = {name: i for i, names in enumerate(ORDER) for name in names}


def _targets(path):
    """The top-level packages of lamina that a file imports, functions' inner imports included."""
    package = path.relative_to(ROOT / "src").parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            stem = ".".join(p for p in (base, node.module or "") if p)
            names = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (n.split(".")[1] for n in names if n.startswith("lamina.") and n.count("."))


@pytest.mark.parametrize("path", SOURCE, ids=lambda p: str(p.relative_to(ROOT)))
def test_nobody_imports_upward(path):
    here = path.relative_to(ROOT / "src" / "lamina").parts[0]
    rank = RANK.get(here, len(ORDER))
    upward = sorted({t for t in _targets(path) if RANK.get(t, -1) > rank})
    assert not upward, f"{here} imports {upward}"


@pytest.mark.parametrize("path", [*SOURCE, *sorted((ROOT / "tests").glob("*.py"))], ids=lambda p: p.name)
def test_a_file_holds_one_idea(path):
    assert path.read_text().count("\n") <= 400


@pytest.mark.parametrize("path", SOURCE, ids=lambda p: str(p.relative_to(ROOT)))
def test_functions_are_short_and_take_few_arguments(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            assert len(arguments) <= 13, f"{node.name} takes {len(arguments)} arguments"
            assert (node.end_lineno or 0) - node.lineno <= 80, f"{node.name} is too long"
