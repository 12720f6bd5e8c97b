"""What all upscalers by diffusion can be told."""

from __future__ import annotations

import pytest

from ida_rd.core.methods import find_method
from ida_rd.upscale.diffusion.parameters import DiffusionParameters

METHODS = ("sr3", "resshift", "ldm", "diffbir", "stablesr")


@pytest.mark.parametrize("name", METHODS)
def test_batch_and_licence_are_the_same_everywhere(name: str) -> None:
    fields = find_method("upscale", name, where="u").Parameters.model_fields
    for key, field in DiffusionParameters.model_fields.items():
        assert fields[key].description == field.description
        assert fields[key].metadata == field.metadata
        assert fields[key].default is None


def test_no_more_samples_go_together_than_there_are() -> None:
    assert [DiffusionParameters(batch=b).together(5) for b in (None, 1, 4, 8)] == [1, 1, 4, 5]
