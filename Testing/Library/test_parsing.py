from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from CFSegmenterLib.parsing import first_complaint


class Crop(BaseModel):
    """A model with something to get wrong at every depth."""

    sides: list[int]


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({}, "at 'sides': Field required"),
        ({"sides": [16, "wide", "high"]}, "at 'sides.1': Input should be a valid integer"),
        ([], "at 'the top': Input should be a valid dictionary"),
    ],
)
def test_the_first_thing_that_does_not_fit_is_said_with_its_place(said, complaint):
    with pytest.raises(ValidationError) as refused:
        Crop.model_validate(said)
    assert first_complaint(refused.value).startswith(complaint)
