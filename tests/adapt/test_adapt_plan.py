"""Plan with adapted upscalers: mistakes are one line, and a run without any is planned as ever."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import MINE, ROOT, SMALL, stage_here
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from training_photos import TINY, recipe_of, write_photos

from ida_rd.adapt.stage import adapt_to_file
from ida_rd.bundle.claims import claims_of
from ida_rd.bundle.publish import publish
from ida_rd.core.errors import UserError
from ida_rd.core.files import sha256_file
from ida_rd.core.methods import open_method
from ida_rd.core.recipes import check_user_files, identity
from ida_rd.core.tensors import read_tensors
from ida_rd.core.weights import locate
from ida_rd.plan.schema import RunParameters
from ida_rd.plan.stage import make_recipes
from ida_rd.upscale.recipe import own_files, unit_identity, with_adapted
from ida_rd.upscale.work import problem_of

WITH: dict[str, Any] = yaml.safe_load(SMALL) | {
    "adapted": {"tuned": {"method": "flow", "heat": 0.9, "adapt": {"images": "training", **TINY}}}
}


@pytest.fixture
def here(tmp_path: Path, astronaut: NDArray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Test photographs and training photographs in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MINE)
    Path("photos").mkdir()
    for i in range(4):
        Image.fromarray(astronaut[i * 64 : i * 64 + 64, 100:164]).save(f"photos/photo-{i}.png")
    write_photos(Path("training"))
    return tmp_path


def _plan(parameters: dict[str, Any]) -> dict[str, Any]:
    return make_recipes(RunParameters.model_validate(parameters), download=False)


def test_a_branch_knows_its_weights_its_budget_and_that_it_is_matched(here: Path) -> None:
    recipes = _plan(WITH)
    branch = recipes["upscale/x4/tuned/bicubic"]
    assert branch["adapted"]["path"] == "data/adapt/x4/tuned/bicubic.safetensors"
    assert branch["adapted"]["budget"]["steps"] == 3
    assert "code" not in branch["adapted"]  # what trains reaches a branch by the weights alone
    adapting = recipes["adapt/x4/tuned/bicubic"]
    assert adapting["downscaler"]["parameters"]["filter"] == "bicubic"
    assert "ida_rd/training/losses.py" in adapting["code"]
    known = recipes["aggregate"]["upscalers"]["x4/tuned"]
    assert (known["blind"], known["matched"], known["marks"]) == (False, True, ["not blind", "matched"])
    assert recipes["aggregate"]["recipes"]["upscale/x4/tuned/mine"]["adapted"]["budget"] == adapting["budget"]
    assert {one["upscaler"] for one in recipes["aggregate"]["branches"]} == {"flow-compact", "tuned"}


def test_an_adapted_decoder_stands_beside_the_blind_one_of_its_kind_alone(here: Path) -> None:
    """Same weights, same heat, however it is written; trainings that differ by their seed are one family."""
    adapt = WITH["adapted"]["tuned"]["adapt"]
    heat = WITH["adapted"]["tuned"].get("heat")

    def matched(adapted: dict[str, Any], **upscalers: Any) -> list[tuple[str, list[str]]]:
        recipes = _plan(WITH | {"adapted": adapted, "upscalers": upscalers})
        assert recipes["report"].get("matched") == recipes["aggregate"].get("matched")
        return [(one["blind"], one["adapted"]) for one in recipes["aggregate"].get("matched", [])]

    two = {"a": {"method": "flow", "heat": heat, "adapt": adapt}, "b": {"method": "flow", "heat": heat, "adapt": adapt}}
    two["b"] = two["b"] | {"adapt": adapt | {"seed": 1}}
    plain = {"method": "flow", "heat": heat}
    assert matched(two, blind=plain) == [("blind", ["a", "b"])]
    assert matched(two, blind=plain | {"heat": 0.5}) == []
    longer = {"c": {"method": "flow", "heat": heat, "adapt": adapt | {"steps": 9}}}
    assert matched(two | longer, blind=plain, hot=plain | {"heat": 1.2}) == [("blind", ["a", "b"]), ("blind", ["c"])]
    assert matched({"a": {"method": "flow", "heat": 1.0, "adapt": adapt}}, blind={"method": "flow"}) == [
        ("blind", ["a"])
    ]


def test_one_downscaler_more_or_another_changes_no_other_branch(here: Path) -> None:
    before, changed = _plan(WITH), copy.deepcopy(WITH)
    changed["downscalers"]["bicubic"]["filter"] = "box"
    after = _plan(changed)
    differ = {path for path in before if before[path] != after[path]}
    assert differ == {"downscale/x4/bicubic", "adapt/x4/tuned/bicubic", "aggregate", "report"}


def test_a_run_without_adapted_upscalers_has_the_recipes_that_it_had(here: Path) -> None:
    """Their text has no word of it: what was computed before stays, and so do the results of a bundle."""
    without: dict[str, Any] = yaml.safe_load(SMALL)
    for parameters in (without, without | {"adapted": {}}):
        recipes = _plan(parameters)
        assert not [path for path in recipes if path.startswith("adapt")]
        assert "adapted" not in recipes["report"]["parameters"]
        assert "adapted" not in json.dumps(recipes).replace("core/adapted.py", "")
    # The recipe of the branch that ships, part by part: none of its code is new.
    assert not [name for name in recipes["upscale/x4/flow-compact/bicubic"]["code"] if "adapt" in name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": "nowhere"}, "adapted.tuned.adapt.images: nowhere is not a folder"),
        ({"images": "empty"}, "adapted.tuned.adapt.images: empty holds no .jpg or .png file"),
        ({"patch": 128}, "none of the 2 photographs in training has 152 x 152 pixels"),
        ({"patch": 30}, "adapted.tuned.adapt.patch: is 30, which factor 4 does not divide"),
        ({"stepz": 3}, "adapted.tuned.adapt.stepz: unknown key; did you mean 'steps'"),
        ({"steps": 0}, "adapted.tuned.adapt.steps: input should be greater than or equal to 1"),
        ({"steps": True}, "adapted.tuned.adapt.steps: give a whole number"),
        ({"fold": "3/2"}, "adapted.tuned.adapt.fold: write which part is left out of how many, such as 1/2"),
        ({"exclude_licence": "CC"}, "exclude-licence 'CC' cannot be obeyed"),
        ({"precision": "half"}, "adapted.tuned.adapt.precision: input should be 'float32' or 'bfloat16'"),
        ({"energy": float("nan")}, "adapted.tuned.adapt.energy"),
    ],
)
def test_mistakes_in_adapt_are_one_line(here: Path, change: dict[str, Any], message: str) -> None:
    Path("empty").mkdir()
    parameters = copy.deepcopy(WITH)
    parameters["adapted"]["tuned"]["adapt"] |= change
    Path("params.yaml").write_text(yaml.safe_dump(parameters, sort_keys=False))
    done = stage_here("plan", cwd=here)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert (done.returncode, len(lines)) == (2, 1), done.stderr
    assert message in lines[0]


@pytest.mark.parametrize(
    ("section", "entry", "message"),
    [
        ("adapted", {"method": "spandrel", "path": "x.pth", "adapt": {"images": "training"}},
         "adapted.it.adapt: an upscaler of method spandrel has no training here and cannot be adapted; these can:"),
        ("adapted", {"method": "flow"}, "adapted.it.adapt: is missing: give the training photographs"),
        ("adapted", {"method": "flow", "adapt": "training"}, "adapted.it.adapt: give a mapping of keys to values"),
        ("adapted", {"method": "flow", "het": 1, "adapt": {"images": "training"}}, "adapted.it.het: unknown key"),
        ("upscalers", {"method": "flow", "adapt": {"images": "training"}},
         "upscalers.it.adapt: an upscaler that is adapted stands in the section `adapted`"),
    ],
)  # fmt: skip
def test_mistaken_entries_are_one_line(here: Path, section: str, entry: dict[str, Any], message: str) -> None:
    parameters = copy.deepcopy(WITH)
    parameters[section]["it"] = entry
    with pytest.raises(UserError) as error:
        _plan(parameters)
    assert message in str(error.value)


def test_a_factor_of_two_networks_and_a_name_in_both_sections_are_refused(here: Path) -> None:
    with pytest.raises(UserError, match=r"adapted\.tuned: factor 16: one network is adapted, and there are .* 4, 8"):
        _plan(WITH | {"factors": [16]})
    with pytest.raises(ValueError, match="tuned is also in upscalers: give one of them another name"):
        RunParameters.model_validate(WITH | {"upscalers": {"tuned": {"method": "flow"}}})


def test_a_folder_needs_lr_images_of_the_training_photographs(here: Path) -> None:
    parameters = copy.deepcopy(WITH)
    parameters["downscalers"] = {"theirs": {"method": "folder", "path": "lr"}}
    Path("lr").mkdir()
    for i in range(4):
        Image.new("RGB", (16, 16)).save(f"lr/photo-{i}.png")
    with pytest.raises(
        UserError, match=r"adapted\.tuned\.adapt\.lr: is missing: downscaler theirs is a folder"
    ) as error:
        _plan(parameters)
    assert "\n" not in str(error.value)
    adapt = parameters["adapted"]["tuned"]["adapt"]
    adapt["lr"] = "made/{downscaler}/x{factor}"
    folder = Path("made/theirs/x4")
    folder.mkdir(parents=True)
    Image.new("RGB", (36, 34)).save(folder / "t0.png")
    with pytest.raises(UserError, match=r"has no LR image of 1 training photographs \(t1\)"):
        _plan(parameters)
    Image.new("RGB", (36, 35)).save(folder / "t1.png")
    with pytest.raises(UserError, match=r"t1\.png is 36 x 35 pixels, and its photograph 144 x 136 is not 4 times that"):
        _plan(parameters)
    Image.new("RGB", (36, 34)).save(folder / "t1.png")
    recipe = _plan(parameters)["adapt/x4/tuned/theirs"]
    assert set(recipe["lr"]["files"]) == {"t0.png", "t1.png"}
    assert "files" not in recipe["downscaler"]  # those are of the test images


def test_weights_that_stand_beside_no_blind_decoder_are_not_published(here: Path) -> None:
    """Weights of `ida-rd adapt`, by their path: nothing in a run says what their training was."""
    Path("data/plan").mkdir(parents=True)
    out = here / "box.safetensors"
    adapt_to_file(recipe_of(Path("training"), {"method": "resample", "filter": "box"}), out, None)
    by_path = yaml.safe_load(SMALL) | {"upscalers": {"mine": {"method": "flow", "path": str(out)}}}
    Path("data/plan/aggregate.json").write_text(json.dumps(_plan(by_path)["aggregate"]))
    with pytest.raises(UserError, match="publish: mine has weights of `ida-rd adapt`, and a bundle does not hold"):
        publish(here, here / "bundle", images=False)
    assert not Path("bundle").exists()


def test_what_a_bundle_claims_of_an_adapted_decoder_is_what_plan_wrote(here: Path) -> None:
    recipe = _plan(WITH)["aggregate"]
    claims = claims_of(RunParameters.model_validate(WITH), {})
    assert [branch.record() for branch in claims.branches] == recipe["branches"]
    path = "upscale/x4/tuned/mine"
    assert claims.methods[path]["adapted"] == recipe["recipes"][path]["adapted"]
    assert claims.upscalers["x4/tuned"] == json.loads(json.dumps(recipe["upscalers"]["x4/tuned"]))
    assert any(what.startswith("adapted.tuned: its weights") for what in claims.unknown)


def test_a_training_may_begin_from_a_file_of_ones_own(here: Path) -> None:
    """It is a file of the recipe; a branch has the trained weights in its place, and stands beside that file's flow."""
    shutil.copyfile(locate("flow-compact.x4").path, here / "own.safetensors")
    parameters = copy.deepcopy(WITH)
    parameters["upscalers"]["own"] = {"method": "flow", "heat": 0.9, "path": "own.safetensors"}
    parameters["adapted"]["tuned"]["path"] = "own.safetensors"
    recipes = _plan(parameters)
    branch = recipes["upscale/x4/tuned/bicubic"]
    base = {"own.safetensors": sha256_file(here / "own.safetensors")}
    assert (branch["files"], branch["weights"]) == (base, {})
    assert [one["blind"] for one in recipes["aggregate"]["matched"]] == ["own"]
    claims = claims_of(RunParameters.model_validate(parameters), {})
    assert claims.weights["upscale/x4/tuned/bicubic"] == set()

    path = here / branch["adapted"]["path"]
    path.parent.mkdir(parents=True)
    shipped = read_tensors(locate("flow-compact.x4").path)
    save_file(shipped.tensors(), path, metadata={**shipped.metadata, "note": "another file"})
    path.with_suffix(".json").write_text(json.dumps({"sha256": sha256_file(path)}))
    whole = with_adapted(branch, here)
    assert (whole["files"], whole["weights"]) == ({}, {"flow-compact.x4": sha256_file(path)})
    method = open_method(whole)
    check_user_files(method, whole, own_files(method, 4, whole["weights"]))


def test_the_schema_of_editors_knows_adapted_upscalers() -> None:
    import jsonschema

    schema = json.loads((ROOT / "docs/params.schema.json").read_text())
    jsonschema.validate(WITH, schema)
    wrong = copy.deepcopy(WITH)
    wrong["adapted"]["tuned"]["adapt"]["stepz"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def test_samples_go_by_the_content_of_the_weights_and_not_by_where_they_are(here: Path) -> None:
    branch = _plan(WITH)["upscale/x4/tuned/bicubic"]
    found = []
    for root, content in (("one", b"a"), ("two", b"a"), ("three", b"b")):
        path = here / root / branch["adapted"]["path"]
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        path.with_suffix(".json").write_text(json.dumps({"sha256": sha256_file(path)}))
        whole = with_adapted(branch, here / root)
        assert whole["parameters"]["path"] == str(path)
        assert problem_of(whole).adapted == path
        found.append(unit_identity(whole))
    assert found[0] == found[1] != found[2]
    plain = _plan(WITH)["upscale/x4/flow-compact/bicubic"]
    assert with_adapted(plain, here) is plain
    assert unit_identity(plain) == identity(plain)
