"""One-way imports, short functions and one atomic write, all read from the source by ast."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

READERS = tuple(f"datasets.{name}" for name in ("catalog", "decode", "file_warnings", "io", "raster", "raster_reader"))

ALLOWED = {
    "utils": (),
    "datasets": ("utils",),
    "models": ("utils",),
    "compute_results": ("datasets.catalog", "datasets.io", "datasets.file_warnings", "utils"),
    "inference": ("models", *READERS, "utils"),
    "training": ("models", "datasets", "compute_results.protocols", "utils"),
}
"""What each package may import besides itself."""

SCRIPTS = ("train", "getsmaps", "hubconf")
TOOLS = ("tools", "benchmarks")
LONGEST = 60
"""Lines of a function, its signature and docstring included."""

RENAMES = {
    "utils/files.py": "the one atomic write",
    "tools/make_sample.py": "a folder that appears when it is complete",
    "tools/qgis/sral_saliency.py": "it runs in the Python of QGIS, which lacks utils.files",
    "inference/export/exporter.py": "checked files move into utils.files.atomic_path",
}
"""Files that may rename, and what for."""


@cache
def sources() -> dict[str, ast.Module]:
    """Every Python file but the tests, by its path from the root."""
    folders = (*ALLOWED, *TOOLS)
    paths = [*ROOT.glob("*.py"), *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(paths)}


def module_name(path: str) -> str:
    """Return the dotted name of a file: `models/hosts/__init__.py` is `models.hosts`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the dotted name of everything that a file imports, inside functions too."""
    name = module_name(path)
    package = name if path.endswith("__init__.py") else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def within(name: str, packages: tuple[str, ...]) -> bool:
    """Return whether a dotted name is one of the packages or lies in one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def listed(offenders: list[str]) -> str:
    """Return the offenders one a line, for pytest to print."""
    return "\n" + "\n".join(offenders)


def test_packages_import_downward() -> None:
    offenders = []
    for path, tree in sources().items():
        package = path.partition("/")[0]
        if package not in ALLOWED:
            continue
        for line, name in imports(path, tree):
            ours = within(name, (*ALLOWED, *TOOLS, *SCRIPTS))
            if ours and not within(name, (package, *ALLOWED[package])):
                offenders.append(f"{path}:{line} imports {name}")
    assert not offenders, listed(offenders)


def test_nothing_imports_a_script_or_a_tool() -> None:
    offenders = [
        f"{path}:{line} imports {name}"
        for path, tree in sources().items()
        for line, name in imports(path, tree)
        if within(name, SCRIPTS) or any(within(name, (tool,)) and not path.startswith(f"{tool}/") for tool in TOOLS)
    ]
    assert not offenders, listed(offenders)


def test_imports_have_no_circle() -> None:
    modules = {module_name(path) for path in sources()}
    graph: dict[str, set[str]] = {}
    for path, tree in sources().items():
        this = module_name(path)
        named = (name if name in modules else name.rpartition(".")[0] for _, name in imports(path, tree))
        graph[this] = {name for name in named if name in modules and name != this}
    while removed := {module for module, imported in graph.items() if not imported & graph.keys()}:
        graph = {module: imported for module, imported in graph.items() if module not in removed}
    assert not graph, listed(
        [f"{this} imports {', '.join(sorted(named & graph.keys()))}" for this, named in graph.items()]
    )


def test_functions_are_short() -> None:
    offenders = []
    for path, tree in sources().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LONGEST:
                    offenders.append(f"{path}:{node.lineno} {node.name}: {lines} lines, at most {LONGEST}")
    assert not offenders, listed(offenders)


def test_test_modules_do_not_import_one_another() -> None:
    offenders = []
    for file in sorted((ROOT / "tests").rglob("*.py")):
        path = file.relative_to(ROOT).as_posix()
        for line, name in imports(path, ast.parse(file.read_text())):
            if any(part.startswith("test_") for part in name.split(".")):
                offenders.append(f"{path}:{line} imports {name}: move it to tests/helpers.py")
    assert not offenders, listed(offenders)


def renames(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that rename a file: os.replace, os.rename, shutil.move, Path.replace and Path.rename."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = ast.unparse(node.func)
            of_module = called in ("os.replace", "os.rename", "shutil.move")
            # Paths take one argument, strings two. OpenVINO's nodes have a one-argument replace of their own.
            of_path = node.func.attr in ("replace", "rename") and len(node.args) == 1 and not node.keywords
            if of_module or (of_path and not called.endswith(".output(0).replace")):
                yield node.lineno


def test_one_atomic_write() -> None:
    offenders = [
        f"{path}:{line} renames a file: write by utils.files"
        for path, tree in sources().items()
        if path not in RENAMES
        for line in renames(tree)
    ]
    assert not offenders, listed(offenders)
