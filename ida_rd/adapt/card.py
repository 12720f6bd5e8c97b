"""What lies beside adapted weights: a record, the same for the same weights; and a card for people, with the cost."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ida_rd.adapt.contract import find_adapter
from ida_rd.adapt.photographs import credit_rows
from ida_rd.adapt.work import described
from ida_rd.core.errors import printable

__all__ = ["card_text", "losses_text", "record_of"]

CREDITS = ("title", "author", "licence", "source")


def record_of(recipe: Mapping[str, Any], key: str, content: bytes, value: Mapping[str, Any]) -> dict[str, Any]:
    """What the weights are, and what they were made from; `key` is that of all that decides them."""
    folder = Path(recipe["images"]["path"]).expanduser()
    rows = credit_rows(folder, recipe["images"]["files"], recipe["exclude_licence"])
    images = [
        {"file": row["file"], "sha256": recipe["images"]["files"][row["file"]]}
        | {name: row[name] for name in CREDITS if row.get(name)}
        for row in rows
    ]
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "key": key,
        "adapted_to": described(recipe["downscaler"]),
        "factor": recipe["factor"],
        "method": recipe["method"],
        "from": recipe["weights"],
        "budget": recipe["budget"],
        "margin": recipe["reach"],
        "images": images,
        "images_too_small": recipe["small"],
        "losses": value["losses"],
        "skipped_steps": value["skipped"],
        **({"preset_heat": recipe["preset_settings"]["heat"]} if "heat" in recipe["preset_settings"] else {}),
    }


def card_text(name: str, record: Mapping[str, Any], value: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """The card of adapted weights, in Markdown."""
    budget, cost, to = record["budget"], value["cost"], record["adapted_to"]
    kinds = Counter(image.get("licence", "not stated") for image in record["images"])
    licences = ", ".join(f"{licence} ({count})" for licence, count in kinds.most_common())
    parameters = ", ".join(f"{key}: {value}" for key, value in (to.get("parameters") or {}).items())
    how = (
        "each photograph was downscaled whole, in one form"
        if record["margin"] is None
        else f"crops with a margin of {record['margin']} LR pixels"
    )
    energy = f"{budget['energy']:g} times the energy score beside the likelihood; " if budget.get("energy") else ""
    memory = f", {cost['peak_bytes'] / 1e9:.1f} GB at most" if cost["peak_bytes"] else ""
    lines = [
        f"# Adapted weights: {printable(name)}",
        "",
        f"Weights of `{record['method']}` x{record['factor']}, trained on to the LR images of one downscaler. They are"
        " not blind: a score by them says what this downscaler loses to a decoder that knows it, under this budget.",
        "",
        f"* **Adapted to**: method `{to['method']}`{f' ({printable(parameters)})' if parameters else ''}; {how}.",
        f"* **From**: {', '.join(f'`{key}` ({sha[:12]})' for key, sha in record['from'].items())}.",
        f"* **Budget**: {budget['steps']} steps of {budget['batch']} patches of {budget['patch']} x {budget['patch']};"
        f" {energy}rate {budget['rate']:g} to {budget['final_rate']:g}, {budget['warmup']} of the steps"
        f" warm-up; seed {budget['seed']}; {budget['precision']}.",
        f"* **Loss**: {losses_text(record)}; {record['skipped_steps']} steps left out (gradient not finite).",
        f"* **Training data**: {len(record['images'])} photographs, listed in the record beside this; licences: "
        f"{printable(licences)}. Left out as too small: {record['images_too_small']}.",
        f"* **Cost**: {cost['seconds']:g} s of one core{memory}, by"
        f" {', '.join(f'{key} {version}' for key, version in sorted(environment.items()) if key in SOFTWARE)}.",
        f"* sha256 `{record['sha256']}`.",
    ]
    return "\n".join(lines) + "\n"


def losses_text(record: Mapping[str, Any]) -> str:
    """How the losses fell, such as "3.012 to 2.914 bits per dimension": means over the first and last steps."""
    first, last = record["losses"][0], record["losses"][-1]
    words = find_adapter({"method": record["method"]}, where="adapt").LOSSES
    return ", ".join(f"{first[key]:.3f} to {last[key]:.3f} {text}" for key, text in words.items() if key in first)


SOFTWARE = ("torch", "numpy", "python")
