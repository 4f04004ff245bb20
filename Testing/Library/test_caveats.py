"""What is told with an answer: that a scan or a structure is not of the kind that the model learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from CFSegmenterLib.encoding import Encoding
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.grid import ModelGrid
from CFSegmenterLib.model import SourceRecord
from Testing.Library.painted import a_plain_model, a_protocol, an_affine

CT, MR = a_protocol("neck CT", "ct"), a_protocol("abdomen MR T2", "mr-t2")
NAMES = ("liver", "spleen", "mandible")


def a_source(name, modality, structures):
    return SourceRecord(
        name=name, modality=modality, licence="CC0", structures=tuple(structures), training_cases=1, validation_cases=0
    )


def an_encoding(protocol=CT, shape=(25, 25, 25)):
    model = a_plain_model(
        NAMES,
        protocols=(CT, MR),
        sources=(a_source("abdomen", "mr-t2", NAMES[:2]), a_source("neck", "ct", NAMES[2:])),
    )
    affine = an_affine((4.0, 4.0, 4.0))
    return Encoding(
        model, protocol, ModelGrid.fit(shape, affine, (4, 4, 4)), affine, np.zeros((*shape, 16), np.float16)
    )


def test_of_a_scan_and_structures_that_were_taught_nothing_is_told():
    assert an_encoding(CT).caveats(["mandible"]) == ()
    assert an_encoding(MR).caveats(["liver", "spleen"]) == ()


def test_structures_of_another_kind_of_scan_are_named():
    (told,) = an_encoding(CT).caveats(["spleen", "mandible", "Liver"])
    assert told.startswith("Spleen, liver: learned in MR T2 scans only, while this scan is read as 'neck CT'")
    (told,) = an_encoding(MR).caveats()
    assert told.startswith("Mandible: learned in CT scans only")


def test_several_homes_are_said_in_one_sentence():
    encoding = an_encoding(CT)
    sources = (
        a_source("a", "mr-t2", ["liver"]),
        a_source("b", "mr-cine", ["spleen"]),
        a_source("c", "mr-t1", ["liver"]),
    )
    manifest = encoding.model.manifest.model_copy(update={"sources": sources})
    encoding.model = replace(encoding.model, manifest=manifest)
    (told,) = encoding.caveats(["liver", "spleen"])
    assert told.startswith("Liver, spleen: learned in MR T2, MR CINE and MR T1 scans only")


def test_where_they_are_many_they_are_counted(monkeypatch):
    monkeypatch.setattr("CFSegmenterLib.caveats.MOST_NAMED", 1)
    (told,) = an_encoding(CT).caveats()
    assert told.startswith("2 of the 3 structures: learned in MR T2 scans only")


@pytest.mark.parametrize(("shape", "size"), [((12, 25, 25), "48 x 100 x 100"), ((25, 25, 51), "100 x 100 x 204")])
def test_a_scan_of_another_size_is_told_of(shape, size):
    (told,) = an_encoding(CT, shape).caveats(["mandible"])
    assert told.startswith(f"The scan measures {size} mm, and those that 'neck CT' was learned from about 100 x 100 x")


def test_a_structure_that_was_never_taught_is_refused():
    with pytest.raises(UserError, match="not taught 'pancreas'"):
        an_encoding(CT).caveats(["pancreas"])
