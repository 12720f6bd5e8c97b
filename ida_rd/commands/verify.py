"""``ida-rd verify``."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ida_rd.commands._output import json_option, print_json

PLACE = 80
ABOUT = "verify a published bundle"
EXAMPLES = """\
examples:
  ida-rd verify my-benchmark
  ida-rd verify my-benchmark --signer allowed_signers
  ida-rd verify my-benchmark --rerun 2 --images /where/the/HR/images/are
  ida-rd verify my-benchmark --rerun 2 --file attributes.table.path=my/copy.csv

Exit code 2 if the bundle is refused, or fewer branches can be run again than were asked for."""


def _file(text: str) -> tuple[str, Path]:
    key, _, path = text.partition("=")
    if not key or not path:
        raise argparse.ArgumentTypeError(f"{text!r}: give a key of params.yaml, = and a path")
    return key, Path(path)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text}: give a number above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 10_000:
        raise argparse.ArgumentTypeError(f"{text}: give a number from 0 to 10000")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    json_option(parser)
    parser.add_argument("bundle", type=Path)
    parser.add_argument(
        "--signer",
        metavar="FILE[,IDENTITY]",
        help="refuse it unless one of these allowed signers signed it (a file as of ssh-keygen; see man ssh-keygen)",
    )
    parser.add_argument(
        "--rerun", type=_count, default=0, metavar="N", help="compute N random branches again from the images"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="your folder of the HR images")
    parser.add_argument(
        "--file",
        type=_file,
        action="append",
        default=[],
        metavar="KEY=PATH",
        help="your file in the place of one that params.yaml names; no path of the bundle is ever opened",
    )
    parser.add_argument(
        "--seed", type=int, help="seed of the draw; default: the system's randomness, and it is printed"
    )
    parser.add_argument(
        "--time-limit", type=_positive, default=3600, metavar="S", help="seconds for all branches (default: 3600)"
    )
    parser.add_argument(
        "--memory-limit", type=_positive, metavar="GIB", help="memory for it (default: four fifths of what is free)"
    )


def run(options: argparse.Namespace) -> None:
    from ida_rd.bundle.confine import IMAGES
    from ida_rd.bundle.folder import SIGNATURE, SUMS
    from ida_rd.bundle.rerun import rerun
    from ida_rd.bundle.signature import check_signature
    from ida_rd.bundle.verify import verify
    from ida_rd.core.errors import UserError, printable
    from ida_rd.named.recognise import benchmark_of

    files = dict(options.file) | ({} if options.images is None else {IMAGES: options.images})
    checked = verify(options.bundle)
    signed = None if options.signer is None else check_signature(checked.bundle, options.signer)
    benchmark = benchmark_of(checked)
    notes = [*checked.notes]
    if signed is None and SIGNATURE in checked.bundle.files:
        notes.append(f"it is signed ({SIGNATURE}), and by whom was not asked: see --signer")
    found = None
    if options.rerun:
        limit = None if options.memory_limit is None else int(options.memory_limit * 2**30)
        found = rerun(
            checked,
            options.rerun,
            seed=options.seed,
            files=files,
            time_limit_s=options.time_limit,
            memory_limit=limit,
        )
    if options.json:
        said: dict[str, Any] = {
            "branches": len(checked.results.branches),
            "checksums": checked.bundle.sha256(SUMS),
            "benchmark": benchmark,
            "not_verified": checked.unverified,
            "notes": notes,
            "signer": None if signed is None else asdict(signed),
            "rerun": None if found is None else asdict(found),
        }
        print_json(said)
    else:
        lines = [
            f"{options.bundle}: complete; {len(checked.results.branches)} branches,"
            " every summary follows from the rows",
            *([] if signed is None else [f"signed by {signed.identity} ({signed.key})"]),
            *([] if benchmark is None else [f"benchmark: {benchmark}"]),
            *(f"note: {note}" for note in notes),
            *(f"not verified: {what}" for what in checked.unverified),
            *(_told(found) if found is not None else []),
        ]
        print("\n".join(map(printable, lines)))
    if found is not None and found.missing:
        raise UserError(
            f"verify: {found.missing} fewer than the {options.rerun} branches asked for can be run again here"
            f" ({'; '.join(dict.fromkeys(found.left_out.values())) or 'there are no more'})"
        )


def _told(found: Any) -> list[str]:
    lines = [f"drawn with seed {found.seed}; repeat it by --seed {found.seed}"]
    for entry in found.branches:
        how = "same software and processor" if entry.same_software else "other software, processor or device"
        if entry.largest == 0:
            size = "the same to the last digit"
        else:
            size = (
                f"samples differ by up to {entry.largest:.2g} of the spread over images"
                f" (allowed {entry.tolerance.sample:g}), means by {abs(entry.shift):.2g}"
                f" (allowed {entry.tolerance.mean:g})"
            )
        lines.append(f"{entry.branch}: run again, {size}; {how}" + "".join(f"; {note}" for note in entry.notes))
    lines += [f"not run again: {name}: {why}" for name, why in found.left_out.items()]
    if found.unseen:
        lines.append(f"no branch was drawn of {', '.join(found.unseen)}: ask for more")
    return lines
