"""What ``LICENCES.md`` says of weights: every file, with the terms under which it is used."""

from __future__ import annotations

from typing import Any

from ida_rd.bundle.derived import licences, weights_of

STYLES = "CC BY-NC 4.0, non-commercial (StyleGAN); trained on FFHQ. Karras, Laine, Aila, "
OWN = {"of-ann": ("a" * 64, "CC0"), "of-bob": ("b" * 64, "for research only")}


def _said(own: dict[str, tuple[str, str]]) -> list[str]:
    """Lines of the recipe of a run with the published generator, and with some of the user's own."""
    upscalers: dict[str, Any] = {"x4/published": {"licence": "", "weights": {"stylegan.synthesis": None}}}
    recipes: dict[str, Any] = {
        "distort": {"distortions": {}},
        "upscale/x4/published": {"weights": {"stylegan.synthesis": "c" * 64}, "parameters": {"licence": None}},
    }
    for name, (sha, terms) in own.items():
        upscalers[f"x4/{name}"] = {"licence": terms, "weights": {"stylegan.synthesis": f"{name}.pt"}}
        for downscaler in ("box", "bicubic"):  # as where the search asks for the downscaler
            recipes[f"upscale/x4/{name}/{downscaler}"] = {
                "weights": {"stylegan.synthesis": sha},
                "parameters": {"licence": terms},
            }
    recipe = {"upscalers": upscalers, "recipes": recipes, "attributes": {}, "images": {"source": "sample-photos"}}
    text = licences(recipe, weights_of(recipes))
    return [line for line in text.splitlines() if line.startswith("* stylegan")]


def test_files_that_share_an_id_are_named_each_with_its_own_terms() -> None:
    lines = _said(OWN)
    assert lines[0].startswith(f"* stylegan.synthesis (sha256 `{'c' * 64}`; published x4): {STYLES}")
    assert lines[1:] == [
        f"* stylegan.synthesis (sha256 `{sha}`; {name} x4): {terms}." for name, (sha, terms) in OWN.items()
    ]


def test_one_file_is_named_as_before() -> None:
    (line,) = _said({})
    assert line.startswith(f"* stylegan.synthesis (sha256 `{'c' * 64}`): {STYLES}")


def test_the_order_of_weights_in_a_run_is_not_that_of_the_text() -> None:
    """`publish` has them in the order of the run, `verify` in that of the sorted file: both write the same."""
    ids = ("irn-sigma.x4", "flow-compact.x4")
    distortions = {key: {"weights": {key: "a" * 64}} for key in ids}
    recipes: dict[str, Any] = {"distort": {"distortions": distortions}}
    recipe = {"upscalers": {}, "recipes": recipes, "attributes": {}, "images": {"source": "sample-photos"}}
    assert list(weights_of(recipes)) == list(ids)
    assert licences(recipe, weights_of(recipes)) == licences(recipe, sorted(ids))
