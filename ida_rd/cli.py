"""The command ``ida-rd``."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ida_rd.core.errors import UserError, did_you_mean, exit_with_line

__all__ = ["main"]

EXAMPLES = {
    "score": """\
examples:
  ida-rd score --hr photos --lr my_lr                       how good are these LR images?
  ida-rd score --hr photos --lr mine=a --lr theirs=b        two sets, compared image by image
  ida-rd score --hr photos --downscaler dpid --downscaler nearest
  ida-rd score --hr photos --lr my_lr --upscaler srflow --samples 5 --distortion lpips-alex --strict""",
    "list": """\
examples:
  ida-rd list                  all methods
  ida-rd list distort          of one stage
  ida-rd list --json""",
    "weights": """\
examples:
  ida-rd weights verify                          what is here, and is it what it should be?
  ida-rd weights fetch torchvision.alexnet       download and verify""",
    "check": """\
examples:
  ida-rd check downscale/pick --set offset=1
  ida-rd check upscale/flow --factor 4
  ida-rd check distort/structural --set metric=fsim""",
    "compare": """\
examples:
  ida-rd compare main > summary.md               then put it into the pull request""",
    "publish": """\
examples:
  ida-rd publish my-benchmark
  ida-rd publish my-benchmark --without-images   where the images may not be shown""",
    "verify": """\
examples:
  ida-rd verify my-benchmark
  ida-rd verify my-benchmark --rerun 2 --images /where/the/HR/images/are""",
    "power": """\
examples:
  ida-rd power bicubic lanczos                   after a pilot run: how many images tell them apart?
  ida-rd power dpid l0 --power 0.9 --distortion fsim""",
}


def _score(options: argparse.Namespace) -> None:
    from ida_rd.scoring import score

    given: dict[str, Any] = {}
    for text in options.lr:
        name, _, folder = text.rpartition("=")
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise UserError(f"--lr {folder}: is no folder; give the folder of your LR images")
        _add(given, name or _name(path), path, "--lr")
    factor = options.factor or (_factor(options.hr, next(iter(given.values()))) if given else 4)
    names = options.downscaler if options.downscaler is not None else (["bicubic"] if given else [])
    for name in names:
        _add(given, name, name, "--downscaler")
    if not given:
        raise UserError("score: give LR images (--lr) or downscalers (--downscaler)")
    result = score(
        given,
        options.hr,
        factor=factor,
        upscaler=options.upscaler,
        samples=options.samples,
        distortions=options.distortion or ("lpips-alex", "fsim", "psnr"),
        seed=options.seed,
        missing_weights="error" if options.strict else "skip",
    )
    if options.save:
        result.save(options.save)
    if options.json:
        _print_json(
            {"skipped": result.skipped} | {name: _records(getattr(result, name)) for name in ("scores", "differences")}
        )
        return
    print(result.markdown())
    if len(given) > 1:
        print(result.differences_markdown())


def _add(given: dict[str, Any], name: str, value: Any, option: str) -> None:
    if name in given:
        raise UserError(f"{option}: {name} is there twice; name them: --lr NAME=FOLDER")
    given[name] = value


def _name(path: Path) -> str:
    from ida_rd.core.methods import NAME

    name = path.resolve().name.lower()
    return name if NAME.fullmatch(name) else "mine"


def _factor(hr: Path, lr: Path) -> int:
    """The scale factor of two folders, from the first image that both have."""
    from ida_rd.core.images import image_files, read_image

    big, small = image_files(hr, what="--hr"), image_files(lr, what="--lr")
    common = [name for name in big if name in small]
    if not common:
        raise UserError(f"{lr}: no image has the name of one in {hr}; LR and HR images pair by name")
    height, width = read_image(big[common[0]]).shape[:2]
    h, w = read_image(small[common[0]]).shape[:2]
    factor = round(height / h)
    if (h * factor, w * factor) != (height, width) or factor < 2:
        raise UserError(
            f"{common[0]}: {width} x {height} is no whole multiple of {w} x {h}; see --factor and crop the HR images"
        )
    return factor


def _list(options: argparse.Namespace) -> None:
    from ida_rd.inventory import methods, weights

    found = [m for m in methods() if options.stage in (None, m["stage"])]
    states = {entry["id"]: entry for entry in weights()}
    if options.json:
        _print_json([m | {"weights": {key: states[key] for key in m["weights"]}} for m in found])
        return
    stage = None
    for method in found:
        if method["stage"] != stage:
            stage = method["stage"]
            print(f"\n{stage}")
        print(f"  {method['method']}: {method['about']}")
        for name, entry in method["parameters"].items():
            default = "needed" if entry["required"] else f"default {json.dumps(entry['default'])}"
            print("; ".join(filter(None, [f"      {name}: {entry['type']}, {default}", entry["description"]])))
        for key in method["weights"]:
            print(f"      weights {key}: {states[key]['state']}; {states[key]['licence']}")


def _weights(options: argparse.Namespace) -> None:
    from ida_rd.inventory import weights

    fetch = options.action == "fetch"
    if fetch and not options.id:
        raise UserError("weights fetch: name the weights; `ida-rd weights verify` lists them")
    found = weights(options.id or None, download=fetch)
    if options.json:
        _print_json(found)
    else:
        for entry in found:
            detail = entry.get("path") or entry["problem"]
            note = "" if entry["state"] != "present" or entry["checked"] else " (no published hash to compare with)"
            print(f"{entry['state']:8} {entry['id']}{note}\n         {entry['licence']}\n         {detail}")
    bad = [entry for entry in found if entry["state"] == "wrong" or (entry["state"] == "missing" and options.id)]
    if bad:
        raise UserError(f"weights {bad[0]['id']}: {bad[0]['problem']}")


def _check(options: argparse.Namespace) -> None:
    from ida_rd.core.methods import ENTRY, find_method
    from ida_rd.distort.check import check_distortion
    from ida_rd.downscale.check import check_downscaler
    from ida_rd.engine.device import device_name
    from ida_rd.upscale.check import check_upscaler

    stage, _, name = options.method.partition("/")
    checked = [stage for stage in ENTRY if stage != "attributes"]
    if stage not in checked or not name:
        raise UserError(f"check {options.method}: write STAGE/METHOD; {did_you_mean(stage, checked)}")
    module = find_method(stage, name, where="check")
    parameters = _settings(options.set)
    if stage == "downscale":
        model = getattr(module, "Parameters", None)
        if model is not None:
            from ida_rd.core.methods import validate

            parameters = validate(model, parameters, where="--set").model_dump()
        check_downscaler(module, parameters)
    elif stage == "upscale":
        check_upscaler(module, parameters, options.factor, device=device_name())
    else:
        check_distortion(module, parameters, device=device_name())
    print(f"{options.method}: keeps its contract")


def _settings(texts: list[str]) -> dict[str, Any]:
    import yaml

    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: write KEY=VALUE")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UserError(f"--set {text}: {value!r} is not a value as in params.yaml") from None
    return found


def _doctor(options: argparse.Namespace) -> None:
    from ida_rd.inventory import health

    rows = health()
    if options.json:
        _print_json(rows)
    else:
        width = max(len(row["what"]) for row in rows)
        for row in rows:
            print(f"{row['state']:8} {row['what']:{width}}  {row['detail']}")
    if bad := [row["what"] for row in rows if row["state"] == "wrong"]:
        raise UserError(f"doctor: {', '.join(bad)}: see above")


def _compare(options: argparse.Namespace) -> None:
    from ida_rd.compare import compare, comparison_markdown

    found = compare(Path.cwd(), options.revision)
    if options.json:
        _print_json(
            {
                "changes": _records(found.changes),
                "added": found.added,
                "removed": found.removed,
                "causes": found.causes,
            }
        )
        return
    print(comparison_markdown(found, options.level), end="")


def _publish(options: argparse.Namespace) -> None:
    from ida_rd.bundle.publish import publish

    results = publish(Path.cwd(), options.out, images=not options.without_images)
    for name, reason in results.skipped.items():
        print(f"warning: {name} was skipped, because {reason}", file=sys.stderr)
    if results.uncommitted_changes:
        print("warning: files differ from the commit: commit them first, so that others can have them", file=sys.stderr)
    print(f"{options.out}: {len(results.branches)} branches; check it with: ida-rd verify {options.out}")


def _verify(options: argparse.Namespace) -> None:
    from ida_rd.bundle.rerun import rerun
    from ida_rd.bundle.verify import verify

    results = verify(options.bundle)
    found = rerun(options.bundle, options.rerun, seed=options.seed, images=options.images) if options.rerun else []
    if options.json:
        _print_json({"branches": len(results.branches), "rerun": found})
        return
    print(f"{options.bundle}: whole; {len(results.branches)} branches, every summary follows from the rows")
    for entry in found:
        how = "same software" if entry["same_software"] else "other software or device"
        note = f"; {entry['differs']}" if entry["differs"] else ""
        size = f"largest difference {entry['largest']:.3g}, allowed {entry['tolerance']:g}"
        print(f"{entry['branch']}: run again, {size} ({how}{note})")


def _power(options: argparse.Namespace) -> None:
    from ida_rd.sizing import plan_size, sizing_markdown

    for option in ("power", "level"):
        if not 0 < getattr(options, option) < 1:
            raise UserError(f"--{option} {getattr(options, option)}: give a number between 0 and 1")
    plan = plan_size(
        Path.cwd(),
        options.a,
        options.b,
        upscaler=options.upscaler,
        factor=options.factor,
        distortion=options.distortion,
        power=options.power,
        level=options.level,
    )
    _print_json(plan) if options.json else print(sizing_markdown(plan), end="")


def _records(table: Any) -> list[dict[str, Any]]:
    """Rows of a DataFrame as plain values, in full precision; a missing number is null."""
    rows = table.to_dict("records")
    return [{key: None if value != value else value for key, value in row.items()} for row in rows]


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ida-rd", description="IDA-RD: how much does an image downscaler lose? (Liang et al., CVPR 2024)"
    )
    parser.add_argument("--version", action="version", version=f"ida-rd {importlib.metadata.version('ida-rd')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], about: str, *, as_json: bool = True
    ) -> argparse.ArgumentParser:
        found = commands.add_parser(
            name,
            help=about,
            description=about,
            epilog=EXAMPLES.get(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        found.set_defaults(run=run)
        if as_json:
            found.add_argument("--json", action="store_true", help="print JSON, for programs")
        return found

    p = command("score", _score, "score LR images, or downscalers, on a folder of HR images")
    p.add_argument("--hr", type=Path, required=True, metavar="DIR", help="folder of HR images, two at least")
    p.add_argument("--lr", action="append", default=[], metavar="[NAME=]DIR", help="LR images, named as the HR images")
    p.add_argument(
        "--downscaler",
        action="append",
        metavar="NAME",
        help="a downscaler of this project to score too: bicubic, dpid, ... (beside --lr: bicubic, if none is named)",
    )
    p.add_argument("--factor", type=int, help="scale factor (from the sizes of --lr, else 4)")
    p.add_argument("--upscaler", default="flow", help="flow, srflow, ... (flow)")
    p.add_argument("--samples", type=int, default=3, metavar="K", help="reconstructions an image (3)")
    p.add_argument("--distortion", action="append", metavar="NAME", help="lpips-alex, fsim, psnr, ... (these three)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--strict", action="store_true", help="fail where weights of a distortion are missing")
    p.add_argument("--save", type=Path, metavar="DIR", help="write all tables there")

    p = command("list", _list, "list the methods, their parameters, weights and licences")
    p.add_argument("stage", nargs="?", choices=["attributes", "downscale", "upscale", "distort"])

    p = command("weights", _weights, "fetch or verify weight files")
    p.add_argument("action", choices=["fetch", "verify"])
    p.add_argument("id", nargs="*", help="ids, as `ida-rd weights verify` lists them")

    p = command("check", _check, "run the contract that a method must keep, on yours too", as_json=False)
    p.add_argument("method", metavar="STAGE/METHOD")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter")
    p.add_argument("--factor", type=int, default=4, help="scale factor, for upscalers (4)")

    command("doctor", _doctor, "look at the environment, device, cache and weights")

    p = command("compare", _compare, "compare this run with that of another git revision, as Markdown")
    p.add_argument("revision", help="branch, tag or commit")
    p.add_argument("--level", type=float, default=0.05, help="beyond noise below this corrected p (0.05)")

    p = command("publish", _publish, "write a bundle of the finished run that others can verify", as_json=False)
    p.add_argument("out", type=Path, metavar="OUT")
    p.add_argument("--without-images", action="store_true", help="leave out the page and whatever shows images")

    p = command("verify", _verify, "verify a published bundle")
    p.add_argument("bundle", type=Path)
    p.add_argument("--rerun", type=int, default=0, metavar="N", help="compute N random branches anew from the images")
    p.add_argument("--images", type=Path, metavar="DIR", help="the HR images, where they are another folder here")
    p.add_argument("--seed", type=int, default=0, help="of the random choice")

    p = command("power", _power, "from a finished run: how many images and samples tell two downscalers apart?")
    p.add_argument("a")
    p.add_argument("b")
    p.add_argument("--upscaler")
    p.add_argument("--factor", type=int)
    p.add_argument("--distortion")
    p.add_argument("--power", type=float, default=0.8, help="probability of seeing the difference (0.8)")
    p.add_argument("--level", type=float, default=0.05, help="level of the test (0.05)")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit code 0, or 2 with one line that says what is wrong."""
    options = _parser().parse_args(arguments)
    exit_with_line(lambda: options.run(options))


if __name__ == "__main__":
    main()
