"""The picture of the house: rooms as boxes, a floor a row, and an arrow for each import that no other implies."""

from __future__ import annotations

from pathlib import Path

from imports import FLOORS, imports

__all__ = ["house_picture", "rooms_imports"]

SOURCE = Path(__file__).resolve().parents[2] / "src/actune"
WIDTH, ROW, BOX, GAP = 720, 62, 30, 14
LETTER = 8.2  # the width of a letter in a box


def rooms_imports(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """What each room imports of other rooms."""
    rooms = {room for floor in FLOORS for room in floor.split()}
    joined: dict[str, set[str]] = {room: set() for room in rooms}
    for module, targets in found.items():
        room = module.partition(".")[0]
        if room in rooms:
            joined[room] |= {t.partition(".")[0] for t in targets} & rooms - {room}
    return joined


def _implied(rooms: dict[str, set[str]], a: str, b: str) -> bool:
    """Whether a path over other rooms leads from a to b."""
    reached, waiting = set(), [c for c in rooms[a] if c != b]
    while waiting:
        room = waiting.pop()
        if room not in reached:
            reached.add(room)
            waiting += rooms[room]
    return b in reached


def house_picture() -> str:
    """The picture as SVG, which takes the page's colours."""
    rooms = rooms_imports(imports(SOURCE))
    places = _places()
    arrows = [(a, b) for a in sorted(rooms) for b in sorted(rooms[a]) if not _implied(rooms, a, b)]
    lines = "".join(_arrow(places[a], places[b]) for a, b in arrows)
    boxes = "".join(_box(room, *place) for room, place in places.items())
    height = ROW * len(FLOORS)
    return (
        f'<figure class="house"><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="The rooms of actune, a floor a row; '
        'imports go down"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>{lines}{boxes}</svg></figure>'
    )


def _places() -> dict[str, tuple[float, float, float]]:
    """The centre and width of each box; the highest floor is at the top."""
    found = {}
    for level, floor in enumerate(reversed(FLOORS)):
        names = floor.split()
        widths = [LETTER * len(name) + 26 for name in names]
        x = (WIDTH - sum(widths) - 3 * GAP * (len(names) - 1)) / 2
        for name, width in zip(names, widths, strict=True):
            found[name] = (x + width / 2, ROW * level + ROW / 2, width)
            x += width + 3 * GAP
    return found


def _box(room: str, x: float, y: float, width: float) -> str:
    files = len(list((SOURCE / room).rglob("*.py"))) if (SOURCE / room).is_dir() else 1
    kind = "room" if (SOURCE / room).is_dir() else "file"
    told = f"{room}/: {files} files" if kind == "room" else f"{room}.py"
    return (
        f'<g class="{kind}"><title>{told}</title><rect x="{x - width / 2:.1f}" y="{y - BOX / 2:.1f}" width="{width:.1f}" '
        f'height="{BOX}" rx="6"/><text x="{x:.1f}" y="{y + 5:.1f}" text-anchor="middle">{room}</text></g>'
    )


def _arrow(start: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    """From below one box to above another; one that passes other floors bends around the middle, to the side of its lower end."""
    (x1, y1, w1), (x2, y2, w2) = start, end
    if y1 == y2:
        side = 1 if x2 > x1 else -1
        return (
            f'<path class="arrow" marker-end="url(#tip)" d="M{x1 + side * w1 / 2:.1f} {y1:.1f}L{x2 - side * w2 / 2:.1f} {y2:.1f}"/>'
        )
    top, foot, floors = y1 + BOX / 2, y2 - BOX / 2, round((y2 - y1) / ROW)
    if floors == 1:
        return f'<path class="arrow" marker-end="url(#tip)" d="M{x1:.1f} {top:.1f}L{x2:.1f} {foot:.1f}"/>'
    side = -1 if x2 < WIDTH / 2 or (x2 == WIDTH / 2 and floors % 2) else 1
    away = WIDTH / 2 + side * min(330, 90 + 34 * floors)
    return (
        f'<path class="arrow" marker-end="url(#tip)" d="M{x1 + side * w1 / 4:.1f} {top:.1f}C{away:.1f} {top + ROW / 2:.1f} '
        f'{away:.1f} {foot - ROW / 2:.1f} {x2 + side * w2 / 4:.1f} {foot:.1f}"/>'
    )
