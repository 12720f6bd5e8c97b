"""Where the time of a run went: a small table beside the page, and not in it.

The page is an output, and two equal runs write the same one; what they took differs. So the table lies in
``.ida-rd/`` beside the times themselves, as a picture that the page shows on demand where it finds it, and as text. A
picture runs nothing: the folder may have come from somebody else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from html import escape

from ida_rd.core.errors import UserError, printable
from ida_rd.core.files import write_text
from ida_rd.core.project import Project
from ida_rd.core.typeset import markdown_table
from ida_rd.engine.times import Cost, costs, read_times

__all__ = ["HEAD", "time_rows", "times_markdown", "times_svg", "write_times"]

STAGES = ("attributes", "downscale", "adapt", "upscale", "distort", "surprise")  # in the order in which they run
APART = ("adapt", "upscale", "surprise")  # whose methods differ so much that each has a row
HEAD = ("stage", "computed", "from the store", "K", "seconds each", "loading", "wall", "workers", "memory")
LINE, PAD, LETTER = 24, 12, 7.6  # pixels of the picture


def write_times(project: Project) -> None:
    """Write ``.ida-rd/times.svg`` and ``times.md``; nothing where no times are known, or they cannot be written."""
    rows = time_rows(costs(read_times(project.times)))
    if not rows or project.state.is_symlink():
        return
    with suppress(UserError):
        write_text(project.state / "times.svg", times_svg(rows))
        write_text(project.state / "times.md", times_markdown(rows))


def time_rows(found: dict[tuple[str, str], Cost]) -> list[list[str]]:
    """Cells below `HEAD`: one row per stage, of its branches together; per method where stages have costly ones."""
    groups: dict[tuple[str, str], list[Cost]] = {}
    for stage in STAGES:
        for (of, branch), cost in found.items():
            if of == stage:
                groups.setdefault((stage, branch.partition("/")[0] if stage in APART else ""), []).append(cost)
    return [_row(" ".join(filter(None, key)), group) for key, group in groups.items()]


def _row(title: str, group: list[Cost]) -> list[str]:
    calls = [took for cost in group for took in cost.calls]
    units = sum(cost.units for cost in group)
    memory = [most for took in calls for most in (took.memory, took.gpu_memory) if most]
    workers = max(took.workers for took in calls)
    threads = max((took.threads for took in calls if took.threads), default=None)
    devices = sorted({took.device for took in calls})
    return [
        title,
        str(units),
        str(sum(cost.calls[-1].stored for cost in group)),
        ", ".join(sorted({str(took.samples) for took in calls if took.samples is not None}, key=int)),
        f"{sum(cost.each_s * cost.units for cost in group) / units:.3g}",
        duration(sum(took.load_s for took in calls)),
        duration(sum(cost.wall_s for cost in group)),
        f"{workers} x {threads} threads, {', '.join(devices)}" if threads else f"{workers}, {', '.join(devices)}",
        f"{max(memory) / 1e9:.2g} GB" if memory else "",
    ]


def duration(seconds: float) -> str:
    """Set seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"


def times_markdown(rows: Iterable[Sequence[str]]) -> str:
    """The table as text."""
    return "# Where the time went\n\n" + "\n".join(markdown_table(HEAD, rows)) + f"\n\n{ABOUT}\n"


ABOUT = (
    "As each stage and branch was computed last. Seconds each: of one worker for one image (adapt: one training), with"
    " all K samples or all distances. Loading: of every branch, before its first image. Wall: from the first image to"
    " the last, with loading. The start of each stage's program is in no column."
    " Memory: the most that any one process, or a GPU, has had. What was taken from the store"
    " cost nothing and is in no other column."
)


def times_svg(rows: Sequence[Sequence[str]]) -> str:
    """The table as a picture, in the colours of whoever looks."""
    table = [HEAD, *rows]
    widths = [LETTER * max(len(row[i]) for row in table) + 2 * PAD for i in range(len(HEAD))]
    width, height = sum(widths), LINE * len(table) + PAD
    cells = []
    for y, row in enumerate(table):
        for i, text in enumerate(row):
            kind = ' class="h"' if y == 0 else ""
            place = f'x="{sum(widths[:i]) + PAD:.0f}" y="{LINE * (y + 1) - 7}"'
            cells.append(f"<text {place}{kind}>{escape(printable(text))}</text>")
        cells.append(f'<path d="M0 {LINE * (y + 1)}H{width:.0f}"/>')
    style = (
        "text{font:13px system-ui,sans-serif;fill:#1a1a1a}.h{font-weight:600}path{stroke:#dcdcd8}"
        "@media(prefers-color-scheme:dark){text{fill:#e8e8e6}path{stroke:#3b3b3b}}"
    )
    size = f'width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}"'
    body = "\n".join(cells)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{style}</style>\n{body}\n</svg>\n'
