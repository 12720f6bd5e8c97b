"""What to cite lies beside the method."""

from __future__ import annotations

from pathlib import Path

import pytest

from ida_rd.bundle.derived import bibliography, citations
from ida_rd.core.errors import UserError
from ida_rd.core.methods import ENTRY, known_methods
from ida_rd.core.weights import catalogue
from ida_rd.distort.structural import Parameters

ENTRY_TEXT = "@misc{{{},\n  keywords = {{downscale/{}}},\n  year = {{2020}}\n}}\n"


def test_every_entry_is_the_source_of_something_that_is_here() -> None:
    known = {"all"} | {f"weights/{key}" for key in catalogue()}
    known |= {f"{stage}/{method}" for stage in ENTRY for method in known_methods(stage)}
    for entry in bibliography():
        for word in entry.keywords:
            assert word in known or word.rpartition("/")[0] in known, entry.key
        assert "keywords" not in entry.text
        assert entry.text.startswith("@")
        assert entry.text.endswith("}")


def test_entries_are_collected_from_all_rooms(tmp_path: Path) -> None:
    for room in ("one", "two"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "m.bib").write_text("% a comment\n\n" + ENTRY_TEXT.format(room, room))
    assert [(e.key, set(e.keywords)) for e in bibliography(tmp_path)] == [
        ("one", {"downscale/one"}),
        ("two", {"downscale/two"}),
    ]


def test_an_entry_that_is_there_twice_or_without_keywords_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.bib").write_text(ENTRY_TEXT.format("one", "a"))
    (tmp_path / "a" / "two.bib").write_text(ENTRY_TEXT.format("one", "b"))
    with pytest.raises(UserError, match=r"two\.bib: one is also in another"):
        bibliography(tmp_path / "a")
    (tmp_path / "a" / "two.bib").write_text("@misc{two,\n  year = {2020}\n}\n")
    with pytest.raises(UserError, match=r"two\.bib: two has no line of keywords"):
        bibliography(tmp_path / "a" / "..")


def test_what_is_cited_is_what_was_used() -> None:
    recipes = {
        "downscale/x4/a": {"stage": "downscale", "method": "dpid", "parameters": {"variant": "real"}},
        "upscale/x4/u": {"stage": "upscale", "method": "srflow", "parameters": {}, "weights": {"srflow.df2k_x4": "0"}},
        "distort": {
            "distortions": {
                "f": {"stage": "distort", "method": "structural", "parameters": {"metric": "fsim"}},
                "l": {
                    "stage": "distort",
                    "method": "lpips",
                    "parameters": {"backbone": "alex"},
                    "weights": {"torchvision.alexnet": "0"},
                },
            }
        },
    }
    text = citations(recipes, {"deepface": {"stage": "attributes", "method": "deepface", "parameters": {}}})
    found = [line.split("{")[1].rstrip(",") for line in text.splitlines() if line.startswith("@")]
    assert found == [
        "liang2024idard", "kastryulin2022piq", "krizhevsky2014weird", "lugmayr2020srflow", "serengil2026lightface",
        "weber2016dpid", "zhang2011fsim", "zhang2018lpips",
    ]  # fmt: skip
    assert "keywords" not in text
    assert text.count("{") == text.count("}")


def test_every_method_of_a_paper_can_be_cited() -> None:
    cited = {word for entry in bibliography() for word in entry.keywords}
    metrics = [str(value) for value in Parameters.model_fields["metric"].annotation.__args__]  # type: ignore[union-attr]
    for key in [
        *(f"downscale/{m}" for m in ("dpid", "perceptual", "l0", "bsrgan-type4", "bsrgan-fixed")),
        *(f"distort/structural/{metric}" for metric in metrics),
        *(f"attributes/{source}" for source in ("deepface", "ffhq-features", "image-statistics")),
        *(f"weights/{key}" for key, weight in catalogue().items() if not weight.file),
    ]:
        assert key in cited, key
