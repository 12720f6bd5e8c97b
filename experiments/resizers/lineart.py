"""Line art for ``content.py``: twelve kinds, each drawn by its own function, so that no two images are of one kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["FINE", "KINDS", "draw"]

FINE = 4  # lines are drawn so many times as large, and every pixel is the mean of what it covers
Point = tuple[float, float]


@dataclass(frozen=True)
class Sheet:
    """What is drawn on: `side` fine pixels square, with pens of two colours and one width."""

    image: ImageDraw.ImageDraw
    side: int
    ink: str
    accent: str
    width: int
    rng: np.random.Generator

    def line(self, points: Sequence[Point], *, accent: bool = False, times: float = 1) -> None:
        self.image.line(list(points), fill=self.accent if accent else self.ink, width=max(1, round(times * self.width)))

    def ring(self, x: float, y: float, radius: float, *, accent: bool = False, full: bool = False) -> None:
        colour, box = self.accent if accent else self.ink, (x - radius, y - radius, x + radius, y + radius)
        self.image.ellipse(box, outline=colour, fill=colour if full else None, width=self.width)

    def box(self, left: float, top: float, right: float, bottom: float, *, accent: bool = False) -> None:
        self.line([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], accent=accent)


def rays(sheet: Sheet) -> None:
    """Rays and rings, ever finer towards the centre."""
    middle = sheet.side // 2
    for k in range(72):
        angle = math.tau * k / 72
        sheet.line([(middle, middle), (middle + sheet.side * math.cos(angle), middle + sheet.side * math.sin(angle))])
    for radius in range(sheet.side // 16, middle, sheet.side // 18):
        sheet.ring(middle, middle, radius, accent=True)


def hatching(sheet: Sheet) -> None:
    """Bands of parallel lines of several pitches and slopes."""
    high = sheet.side // 4
    for band in range(4):
        pitch, slope = FINE * int(sheet.rng.integers(3, 9)), float(sheet.rng.uniform(-1.5, 1.5))
        for x in range(-2 * sheet.side, 2 * sheet.side, pitch):
            sheet.line([(x, band * high), (x + slope * high, (band + 1) * high - 1)])
        sheet.line([(0, band * high), (sheet.side, band * high)], accent=True, times=2)


def plot(sheet: Sheet) -> None:
    """Random walks on a grid."""
    for k in range(1, 12):
        at = k * sheet.side // 12
        sheet.line([(0, at), (sheet.side, at)], times=0.4)
        sheet.line([(at, 0), (at, sheet.side)], times=0.4)
    for k in range(3):
        heights = np.cumsum(sheet.rng.standard_normal(64)) * sheet.side / 40 + sheet.side / 2
        sheet.line([(k * sheet.side / 63, float(y)) for k, y in enumerate(heights)], accent=k > 0, times=1.5)


def figures(sheet: Sheet) -> None:
    """Outlines of polygons, over one another."""
    for _ in range(24):
        x, y = sheet.rng.integers(0, sheet.side, 2)
        radius, corners = sheet.rng.integers(sheet.side // 32, sheet.side // 6), int(sheet.rng.integers(3, 8))
        turn = float(sheet.rng.uniform(0, math.tau))
        angles = [turn + math.tau * k / corners for k in range(corners + 1)]
        points = [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
        sheet.line(points, accent=sheet.rng.random() < 0.3)


def contours(sheet: Sheet) -> None:
    """Height lines of two hills, as on a map."""
    for hill, (x, y) in enumerate(((0.32, 0.36), (0.7, 0.66))):
        waves = [(int(n), *(float(v) for v in sheet.rng.uniform(0, (0.16, math.tau)))) for n in (2, 3, 5)]
        for k in range(1, 11):
            points = []
            for a in np.linspace(0, math.tau, 181):
                radius = k * sheet.side / 34 * (1 + sum(high * math.sin(n * a + turn) for n, high, turn in waves))
                points.append((sheet.side * x + radius * math.cos(a), sheet.side * y + radius * math.sin(a)))
            sheet.line(points, accent=k % 5 == 0, times=1 + 0.3 * hill)


def plan(sheet: Sheet) -> None:
    """A floor plan: rooms that are halved again and again, with doors."""
    rooms = [(sheet.side * 0.05, sheet.side * 0.05, sheet.side * 0.95, sheet.side * 0.95)]
    for _ in range(18):
        rooms.sort(key=lambda room: (room[2] - room[0]) * (room[3] - room[1]))
        left, top, right, bottom = rooms.pop()
        share = float(sheet.rng.uniform(0.35, 0.65))
        if right - left > bottom - top:
            x = left + share * (right - left)
            rooms += [(left, top, x, bottom), (x, top, right, bottom)]
        else:
            y = top + share * (bottom - top)
            rooms += [(left, top, right, y), (left, y, right, bottom)]
    for left, top, right, bottom in rooms:
        sheet.box(left, top, right, bottom)
        size = min(right - left, bottom - top) * 0.4
        sheet.image.arc((left - size, top - size, left + size, top + size), 0, 90, fill=sheet.accent, width=sheet.width)


def tree(sheet: Sheet) -> None:
    """A tree, every branch of which forks."""
    tips = [(sheet.side / 2, sheet.side * 0.98, -math.pi / 2, sheet.side * 0.24)]
    for level in range(8):
        grown = []
        for x, y, angle, length in tips:
            end = (x + length * math.cos(angle), y + length * math.sin(angle))
            sheet.line([(x, y), end], accent=level > 5, times=2.5 / (1 + level / 2))
            for side in (-1, 1):
                turn = side * float(sheet.rng.uniform(0.2, 0.6))
                grown.append((*end, angle + turn, length * float(sheet.rng.uniform(0.66, 0.82))))
        tips = grown


def bars(sheet: Sheet) -> None:
    """A chart of bars with whiskers and ticks."""
    floor, left = sheet.side * 0.92, sheet.side * 0.08
    sheet.line([(left, sheet.side * 0.04), (left, floor), (sheet.side * 0.98, floor)], times=1.5)
    for k in range(40):
        y, tick = floor - k * sheet.side / 46, sheet.side * (0.03 if k % 5 == 0 else 0.015)
        sheet.line([(left - tick, y), (left, y)])
    for k in range(18):
        x, high = left + (k + 0.4) * sheet.side / 20.5, float(sheet.rng.uniform(0.1, 0.8)) * sheet.side
        sheet.box(x, floor - high, x + sheet.side / 32, floor, accent=k % 2 == 0)
        middle, reach = x + sheet.side / 64, float(sheet.rng.uniform(0.01, 0.06)) * sheet.side
        sheet.line([(middle, floor - high - reach), (middle, floor - high + reach)])


def loops(sheet: Sheet) -> None:
    """What a pen draws that is turned by two wheels."""
    wheels = [int(n) for n in sheet.rng.choice([5, 7, 9, 11, 13], 2, replace=False)]
    for k, n in enumerate(wheels):
        points = []
        for a in np.linspace(0, math.tau, 1440):
            radius = sheet.side * (0.3 + 0.16 * math.sin(n * 2.5 * a + k))
            points.append((sheet.side / 2 + radius * math.cos(2 * a), sheet.side / 2 + radius * math.sin(2 * a)))
        sheet.line(points, accent=k == 1)


def maze(sheet: Sheet) -> None:
    """Walls of a maze, one drawn at random from every post of a grid."""
    posts, turns = 24, ((0, 1), (1, 0), (0, -1), (-1, 0))
    step = sheet.side / (posts + 2)
    sheet.box(step, step, sheet.side - step, sheet.side - step, accent=True)
    for row in range(2, posts + 1):
        for column in range(2, posts + 1):
            x, y = turns[int(sheet.rng.integers(4))]
            sheet.line([(column * step, row * step), ((column + x) * step, (row + y) * step)])


def music(sheet: Sheet) -> None:
    """Staves with notes."""
    gap = sheet.side / 60
    for stave in range(6):
        top = sheet.side * (0.06 + 0.155 * stave)
        for k in range(5):
            sheet.line([(0, top + k * gap), (sheet.side, top + k * gap)], times=0.6)
        for k in range(16):
            x, y = (k + 0.6) * sheet.side / 16.4, top + gap * float(sheet.rng.integers(0, 9)) / 2
            sheet.ring(x, y, gap * 0.55, full=bool(sheet.rng.random() < 0.7), accent=stave == 3)
            sheet.line([(x + gap * 0.5, y), (x + gap * 0.5, y - 3.2 * gap)], accent=stave == 3)


def stippling(sheet: Sheet) -> None:
    """Dots, the denser the darker a ball is there."""
    middle, radius = sheet.side / 2, sheet.side * 0.44
    for x, y, chance in sheet.rng.random((9000, 3)) * (sheet.side, sheet.side, 1):
        far = math.hypot(x - middle, y - middle) / radius
        light = math.hypot(x - middle * 0.75, y - middle * 0.75) / (1.7 * radius)
        if far < 1 and chance < light:
            sheet.ring(float(x), float(y), sheet.width * 0.75, full=True, accent=light > 0.85)
    sheet.ring(middle, middle, radius)


KINDS: tuple[Callable[[Sheet], None], ...] = (
    rays, hatching, plot, figures, contours, plan, tree, bars, loops, maze, music, stippling,
)  # fmt: skip


def draw(kind: int, side: int, colours: tuple[str, str, str], rng: np.random.Generator) -> Image.Image:
    """Draw one of `KINDS`, antialiased by coverage.

    Parameters
    ----------
    kind : int
        Index into `KINDS`.
    side : int
        Of the image, in pixels.
    colours : tuple of str
        Paper, ink and accent.
    rng : Generator
        How fine the pen is, and all that the kind leaves to chance.

    Returns
    -------
    Image
        RGB.
    """
    paper, ink, accent = colours
    image = Image.new("RGB", (side * FINE, side * FINE), paper)
    width = int(rng.integers(1, 4)) * FINE // 2 + 1
    KINDS[kind](Sheet(ImageDraw.Draw(image), side * FINE, ink, accent, width, rng))
    cells = np.asarray(image, np.uint32).reshape(side, FINE, side, FINE, 3).sum(axis=(1, 3))
    return Image.fromarray(((cells + FINE**2 // 2) // FINE**2).astype(np.uint8))
