"""Print the rooms of the package and who imports whom, from the imports themselves; draw them with ``--picture``.

Usage: python docs/rooms.py [--picture docs/rooms.svg]

A room is a folder or a file directly in ``fastnmf/``. A room stands on the floor above everything that it imports.
"""

import argparse
import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "fastnmf"
FACE = {"__init__", "__main__"}  # they hand names on, and are no rooms


def modules():
    """Return the files of the package by dotted name; a folder's ``__init__`` has the name of the folder."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ("fastnmf", *path.relative_to(PACKAGE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path, known):
    """Return the dotted names of the modules of the package that a file imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fastnmf":
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name in known else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in known}
    return found - {"fastnmf"}


def room_of(name):
    """Return the room of a dotted module name, such as ``core`` for ``fastnmf.core.iterate``."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of_files():
    """Return dotted name of a file -> dotted names that it imports."""
    files = modules()
    return {name: imports(path, files) for name, path in files.items()}


def graph(files):
    """Return room -> rooms that it imports, without the faces, from the result of `imports_of_files`."""
    found = {room_of(name): set() for name in files if room_of(name) not in FACE}
    for name, imported in files.items():
        if room_of(name) not in FACE:
            found[room_of(name)] |= {room_of(other) for other in imported} - {room_of(name)} - FACE
    return found


def floors(arrows):
    """Return node -> floor, counted from 0.

    Raises
    ------
    ValueError
        Nodes that import each other in a circle.
    """
    found, left = {}, dict(arrows)
    while left:
        ready = [node for node, below in left.items() if all(other in found for other in below)]
        if not ready:
            raise ValueError(f"These import each other in a circle: {', '.join(sorted(left))}.")
        for node in ready:
            found[node] = 1 + max((found[other] for other in left[node]), default=-1)
        for node in ready:
            del left[node]
    return found


def show(arrows):
    """Return the rooms by floor, from the top, as text."""
    of = floors(arrows)
    lines = [
        f"{len(arrows)} rooms on {max(of.values()) + 1} floors, {sum(map(len, arrows.values()))} arrows, no circle"
    ]
    for floor in range(max(of.values()), -1, -1):
        for room in sorted(room for room in of if of[room] == floor):
            lines.append(f"floor {floor}  {room:<10} imports {', '.join(sorted(arrows[room])) or 'nothing of ours'}")
    return "\n".join(lines)


def picture(arrows):
    """Return the rooms and their arrows as SVG: floors from the top down, arrows point at what is imported."""
    of, by_floor = floors(arrows), defaultdict(list)
    for room in sorted(arrows):
        by_floor[of[room]].append(room)
    height, width, top = 74, 760, max(of.values())
    place = {}
    for floor, rooms in by_floor.items():
        for i, room in enumerate(rooms):
            place[room] = (width * (i + 1) / (len(rooms) + 1), 40 + height * (top - floor))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height * top + 80}" font-family="sans-serif">'
    ]
    parts.append(
        '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    )
    parts.append('<path d="M0 0 L8 4 L0 8 z" fill="#557"/></marker></defs>')
    parts.append(f'<rect width="{width}" height="{height * top + 80}" fill="white"/>')
    for room, below in sorted(arrows.items()):
        for other in sorted(below):
            (x, y), (u, v) = place[room], place[other]
            bend = 0 if of[room] - of[other] == 1 else 60 * (1 if (x + u) / 2 >= width / 2 else -1)
            parts.append(
                f'<path d="M{x:.0f} {y + 15:.0f} Q{(x + u) / 2 + bend:.0f} {(y + v) / 2:.0f} {u:.0f} {v - 16:.0f}" '
                'fill="none" stroke="#557" stroke-opacity="0.55" marker-end="url(#a)"/>'
            )
    for room, (x, y) in place.items():
        parts.append(
            f'<rect x="{x - 48:.0f}" y="{y - 15:.0f}" width="96" height="30" rx="6" fill="#eef2fb" stroke="#557"/>'
        )
        parts.append(f'<text x="{x:.0f}" y="{y + 5:.0f}" font-size="14" text-anchor="middle">{room}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main():
    """Print the rooms, and draw them where a picture is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    found = graph(imports_of_files())
    print(show(found))
    if arguments.picture is not None:
        arguments.picture.write_text(picture(found), encoding="utf-8")
        print(f"Drawn in {arguments.picture}")


if __name__ == "__main__":
    main()
