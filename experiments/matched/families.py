"""Do two families of decoders part the score alike?

    python families.py bsds500-test

Reads ``results/DATA``, the flow at its preset heat, and ``diffusion/results/DATA``, of the same photographs, and
writes ``diffusion/results/DATA/families.md``: S, S* and what is lost by both, and how alike they rank the
downscalers, with intervals over photographs that are drawn for both at once.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ida_rd.aggregate.comparisons import wide_by_photograph
from ida_rd.core.errors import UserError, exit_with_line
from ida_rd.core.files import write_text
from ida_rd.core.foreign import decoding
from ida_rd.core.readers import read_json, read_yaml
from ida_rd.core.tables import read_table
from ida_rd.core.typeset import interval, markdown_table, share
from ida_rd.study.judge import Setting

sys.path.append(str(Path(__file__).resolve().parents[1] / "decoders"))
from alike import tau_of  # type: ignore[import-not-found]

HERE = Path(__file__).resolve().parent
FOLDERS = {"flow": HERE, "diffusion": HERE / "diffusion"}


@dataclass(frozen=True)
class Family:
    """One family of decoders, by one distortion.

    Attributes
    ----------
    table : DataFrame
        Its rows of ``matched.csv``, by downscaler.
    s, s_star : DataFrame
        (P photographs, D downscalers), means by the blind decoder and by the adapted ones.
    """

    name: str
    label: str
    table: pd.DataFrame
    s: pd.DataFrame
    s_star: pd.DataFrame

    def lost(self, level: float) -> set[str]:
        """Downscalers that are shown to lose more than the control."""
        rows = self.table[(self.table.lost > 0) & (self.table.lost_p_holm < level)]
        return set(rows.index)


def family_of(name: str, data: str) -> tuple[dict[str, Family], Setting]:
    """Read the results of a family, by distortion, the leading one first."""
    folder = FOLDERS[name] / "results" / data
    hint = f"run `dvc repro` in {FOLDERS[name].relative_to(HERE.parents[1])}"
    with decoding(f"{folder}: is not what lost.py wrote", hint):
        preset = read_yaml(FOLDERS[name] / "matched.yaml", hint="restore it with git checkout")["preset"]
        setting = Setting.of_record(read_json(folder / "provenance.json", hint=hint))
        table = read_table(folder / "matched.csv", hint=hint)
        table = table[table.blind == preset]
        if table.empty:
            raise UserError(f"{folder}/matched.csv: nothing of {preset}: {hint}")
        images = read_table(folder / "images.csv", hint=hint)
        photographs = dict(zip(images.image_id, images.photograph.astype(str), strict=True))

        def by_photograph(upscalers: list[str], distortion: str) -> pd.DataFrame:
            mine = images[images.upscaler.isin(upscalers)]
            if mine.empty:
                raise UserError(f"{folder}/images.csv: nothing of {', '.join(upscalers)}: {hint}")
            return wide_by_photograph(mine.pivot_table(distortion, "image_id", "downscaler"), photographs)

        adapted = str(table.adapted.iloc[0]).split(", ")
        found = {
            one: Family(
                name,
                setting.label if one == setting.lead else one,
                table[table.distortion == one].set_index("downscaler"),
                by_photograph([preset], one),
                by_photograph(adapted, one),
            )
            for one in sorted(table.distortion.unique(), key=lambda one: (one != setting.lead, one))
        }
        return found, setting


def compare(first: Family, second: Family, setting: Setting) -> list[str]:
    """The text: a table, agreement, and which downscalers are lost by whom."""
    if set(first.s.index) != set(second.s.index) or first.label != second.label:
        raise UserError(
            f"{first.name} and {second.name} are not of the same photographs and distortion: run both on one data set"
        )
    pair = (first, second)
    names = [name for name in second.table.sort_values("s_star", kind="stable").index if name in first.table.index]
    rows = []
    for name in names:
        row: list[str] = [name]
        for one in pair:
            at = one.table.loc[name]
            row += [f"{at.s:.3g}", f"{at.s_star:.3g}"]
            row.append("control" if name == at.control else interval(at.lost, at.lost_low, at.lost_high, signed=True))
            row.append("-" if pd.isna(at.share) else share(at.share))
        rows.append(row)
    head: list[str | None] = [None]
    head += [f"{one.name}: {what}" for one in pair for what in ("S", "S*", "lost beyond the control", "share lost")]
    lines = [f"## {first.label}", "", f"{len(first.s)} photographs.", "", *markdown_table(head, rows), ""]
    for key, name in (("s", "S"), ("s_star", "S*")):
        tau = tau_of(getattr(first, key), getattr(second, key), setting)
        text = "is not defined" if tau.value is None else f"is {interval(tau.value, tau.low, tau.high, signed=True)}"
        lines.append(f"* Kendall's tau between the rankings by {name} {text}, over {tau.downscalers} downscalers.")
    by = {one.name: one.lost(setting.level) & set(names) for one in pair}
    both = by[first.name] & by[second.name]
    lines.append(
        f"* Lost beyond the control (p, corrected over the downscalers of a family, below {setting.level:.2g}) by both:"
        f" {_listed(both)}; by {first.name} alone: {_listed(by[first.name] - both)}; by {second.name} alone:"
        f" {_listed(by[second.name] - both)}."
    )
    return lines


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def main() -> None:
    if len(sys.argv) != 2:
        raise UserError("usage: python families.py DATA, the name of the results, such as bsds500-test")
    data = sys.argv[1]
    (first, setting), (second, _) = (family_of(name, data) for name in FOLDERS)
    pair = [next(iter(one.values())) for one in (first, second)]
    trained = ", ".join(f"{one.name} {len(str(one.table.adapted.iloc[0]).split(', '))}" for one in pair)
    lines = [
        f"# Do two families of decoders part the score alike? {data}",
        "",
        f"Trainings for each downscaler: {trained}. The spread of trainings is in the interval of what is lost where"
        " there are two, and in no interval of tau.",
    ]
    for name in first:
        if name not in second:
            raise UserError(f"{pair[1].name} has no {name}: run both with the same distortions")
        lines += ["", *compare(first[name], second[name], setting)]
    write_text(FOLDERS["diffusion"] / "results" / data / "families.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    exit_with_line(main)
