"""Who imports whom in the package: read from the source, and drawn into ARCHITECTURE.md.

    python scripts/imports.py          draws the picture anew

An import inside a function counts as well as one at the top; one for the type checker alone does not.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "fiftyone_honeyimage"
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
#: Modules of the package's own folder that are drawn
ALONE = ("", "demo", "__main__")
BEGIN, END = "<!-- drawn by scripts/imports.py -->\n", "<!-- end -->\n"

Graph = dict[str, set[str]]


def read_imports(root: Path = ROOT) -> Graph:
    """Module → the package's modules that it imports; names without the package's own."""
    files = {_name(path, root): path for path in sorted((root / PACKAGE).rglob("*.py"))}
    return {name: set(_targets(name, path, files)) - {name} for name, path in files.items()}


def find_circle(graph: Graph) -> list[str]:
    """Modules that import each other in a ring; empty if there is none."""
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def by_folder(graph: Graph) -> Graph:
    """Folder → the folders that it imports from."""
    folders: Graph = defaultdict(set)
    for name, targets in graph.items():
        folders[folder_of(name)] |= {folder_of(target) for target in targets}
    return {name: targets - {name} for name, targets in sorted(folders.items())}


def folder_of(name: str) -> str:
    """The folder in which a module lies, or the module itself in the package's own folder."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] in ("core", "dataset") else parts[0]


def draw(graph: Graph) -> str:
    """The folders as a Mermaid picture; an arrow goes to what is imported, and is left out where others imply it."""
    folders = {
        folder: targets for folder, targets in by_folder(_packages_only(graph)).items() if targets
    }
    lines = ["```mermaid", "flowchart TB", "  package[fiftyone_honeyimage]", "  sdk[SDK]"]
    for group in ("core", "dataset"):
        members = sorted({n for n in _all(folders) if n.startswith(f"{group}.")})
        lines.append(f"  subgraph {group}")
        lines += [f"    {_id(name)}[{name.removeprefix(group + '.')}]" for name in members]
        lines.append("  end")
    for name, targets in sorted(folders.items()):
        implied = set().union(*(_reach(folders, target) for target in targets))
        lines += [f"  {_id(name)} --> {_id(target)}" for target in sorted(targets - implied)]
    return "\n".join([*lines, "```", ""])


def drawn_into(text: str, graph: Graph) -> str:
    """ARCHITECTURE.md with the picture of these imports."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + draw(graph) + END + rest.partition(END)[2]


def _packages_only(graph: Graph) -> Graph:
    """Without the modules that lie in no folder of their own, and that many use."""
    loose = {name for name in graph if name not in ALONE and not _is_in_folder(name, graph)}
    return {name: targets - loose for name, targets in graph.items() if name not in loose}


def _is_in_folder(name: str, graph: Graph) -> bool:
    parts = name.split(".")
    depth = 2 if parts[0] in ("core", "dataset") else 1
    is_folder = any(other.startswith(f"{name}.") for other in graph)
    return len(parts) > depth or (len(parts) == depth and is_folder)


def _all(folders: Graph) -> set[str]:
    return set(folders).union(*folders.values())


def _reach(folders: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(folders.get(start, ()))
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += folders.get(name, ())
    return seen


def _id(name: str) -> str:
    return name.replace(".", "_").strip("_") or "package"


def _name(path: Path, root: Path) -> str:
    parts = path.relative_to(root / PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(name: str, path: Path, files: dict[str, Path]) -> Iterator[str]:
    here = name.split(".") if name else []
    folder = here if path.name == "__init__.py" else here[:-1]
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            if node.level > len(folder) + 1:
                raise ImportError(f"{path}:{node.lineno} imports from outside of the package")
            base = folder[: len(folder) - node.level + 1] + (node.module or "").split(".")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            base = (node.module or "").split(".")[1:]
        else:
            continue
        module = ".".join(part for part in base if part)
        for alias in node.names:
            one = f"{module}.{alias.name}".lstrip(".")
            yield one if one in files else module


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _nodes(node)


def main() -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    ARCHITECTURE.write_text(drawn_into(text, read_imports()), encoding="utf-8")


if __name__ == "__main__":
    main()
