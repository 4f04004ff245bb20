from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from CFSegmenterLib.errors import Cancelled, UserError
from CFSegmenterLib.grid import ModelGrid
from CFSegmenterLib.report import write_report
from CFSegmenterLib.volume import Volume
from Testing.Library.painted import ORGANS, a_plain_model, an_affine, painted_encoding

SPACING = (4.0, 4.0, 4.0)
SHAPE = (20, 16, 12)


def organs() -> np.ndarray:
    """Indices of prototypes: three organs and no spleen; the left kidney reaches the edge."""
    indices = np.zeros(SHAPE, dtype=int)
    indices[12:18, 8:14, 5:10] = 1
    indices[13:16, 3:6, 2:5] = 2
    indices[3:6, 3:6, 0:4] = 3
    return indices


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.cells: list[str] = []
        self.captions: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "figcaption":
            self.captions.append("")

    def handle_data(self, data):
        self.words.append(data)
        if self.captions:
            self.captions[-1] += data
        if self.cells:
            self.cells[-1] += data

    def handle_endtag(self, tag):
        if tag == "table":
            self.table, self.cells = self.cells, []

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def row(self, name: str, width: int) -> list[str]:
        start = self.table.index(name)
        return self.table[start : start + width]

    def all(self, tag: str) -> list[dict]:
        return [attrs for found, attrs in self.tags if found == tag]


def a_case(names=ORGANS, indices=None, affine=None, modality="mr-t2", spacing=SPACING, **said):
    """(encoding, volume, indices on the volume's grid)."""
    model = a_plain_model(names, **said)
    indices = organs() if indices is None else indices
    affine = an_affine(spacing, origin=(-30, 20, 100)) if affine is None else affine
    array = (100 + 80 * indices + np.random.default_rng(0).normal(0, 5, indices.shape)).astype(np.float32)
    encoding = painted_encoding(model, indices, indices.shape, affine, spacing)
    return encoding, Volume.checked(array, affine, modality), indices


def the_report(folder, names=ORGANS, **said):
    encoding, volume, _ = a_case()
    path = write_report(
        folder, encoding, encoding.segment(names), volume, **{"title": "A test", "seconds": 12.34, **said}
    )
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def a_page(tmp_path_factory) -> Page:
    return the_report(tmp_path_factory.mktemp("report"))


def test_the_report_is_one_file_that_needs_nothing_from_outside(a_page):
    assert a_page.all("script") == a_page.all("link") == a_page.all("iframe") == []
    for tag, attrs in a_page.tags:
        for name, value in attrs.items():
            assert not name.startswith("on"), f"<{tag} {name}>"
            assert name not in ("src", "href", "srcset", "action") or value.startswith("data:image/png;base64,")


def test_the_style_of_the_report_fetches_nothing(tmp_path):
    the_report(tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    assert "url(" not in style and "@import" not in style
    assert "prefers-color-scheme: dark" in style
    assert "http:" not in text and "https:" not in text


def test_every_picture_is_sound_and_described(a_page):
    pictures = a_page.all("img")
    assert len(pictures) >= 3 + 3 + 2  # slices, maps, margins
    for attrs in pictures:
        image = Image.open(io.BytesIO(base64.b64decode(attrs["src"].partition(",")[2])))
        image.load()
        assert image.format == "PNG" and image.size == (int(attrs["width"]), int(attrs["height"]))
        assert len(attrs["alt"]) > 10
    described = " ".join(attrs["alt"] for attrs in pictures)
    for word in ("axial", "coronal", "sagittal", "similarity", "margin"):
        assert word in described


def test_the_table_holds_volume_similarity_and_code(a_page):
    expected = {
        "liver": (6 * 6 * 5, "10200004"),
        "right kidney": (3 * 3 * 3, "64033007"),
        "left kidney": (36, "64033007"),
    }
    for name, (voxels, code) in expected.items():
        row = a_page.row(name, 4)
        assert float(re.match(r"[\d.]+", row[1])[0]) == pytest.approx(voxels * 0.064, abs=0.06)
        assert row[2] == "1.00"
        assert f"SCT {code}" in row[3]
    assert "Left" in a_page.row("left kidney", 4)[3] and "Right" in a_page.row("right kidney", 4)[3]


def test_a_structure_that_was_not_found_says_so(a_page):
    assert a_page.row("spleen", 3) == ["spleen", "not found", "–"]


def test_a_structure_at_the_edge_is_marked(a_page):
    assert a_page.row("left kidney", 2)[1].endswith("ml†")
    assert a_page.row("liver", 2)[1].endswith("ml")
    assert "reaches the edge of the image" in a_page.text


def test_the_colors_are_those_of_the_vocabulary(a_page):
    from CFSegmenterLib.structures import Vocabulary

    swatches = [attrs["style"] for attrs in a_page.all("span") if attrs.get("class") == "swatch"]
    for name in ORGANS:
        assert "background:rgb({},{},{})".format(*Vocabulary.load().find(name).color) in swatches


def test_the_model_is_named_with_its_licence_and_what_it_may_be_used_for(a_page):
    for said in ("painted, version 1", "abdomen (MR-T2)", "CC0", "For research only", "not a medical device", "12.3 s"):
        assert said in a_page.text
    assert "drawn: 3 training cases" in a_page.text


def test_the_title_is_the_callers_and_is_never_taken_for_html(tmp_path):
    title = '<script>alert("1")</script> & <b>Ärger</b>'
    page = the_report(tmp_path, title=title)
    assert page.all("script") == page.all("b") == []
    assert "alert" in page.text and "Ärger" in page.text


def test_names_from_a_model_are_never_taken_for_html(tmp_path):
    names = ("liver", '<img src="x">')
    encoding, volume, _ = a_case(names, np.minimum(organs(), 2), name="<i>m</i>", licence='"<u>')
    path = write_report(tmp_path, encoding, encoding.segment(), volume, title="t", seconds=1)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.all("i") == page.all("u") == []
    assert all("src" in attrs and attrs["src"].startswith("data:") for attrs in page.all("img"))
    assert page.row('<img src="x">', 4)[3] == "–", "no code is known of it"


def test_the_truth_adds_dice(tmp_path):
    indices = organs()
    shifted = np.roll(indices == 1, 1, axis=0)
    page = the_report(tmp_path, truth={"liver": shifted, "Kidney, right": indices == 2, "spleen": np.zeros(SHAPE)})
    assert page.row("liver", 4)[3] == f"{5 / 6:.3f}"
    assert page.row("right kidney", 4)[3] == "1.000"
    assert page.row("left kidney", 4)[3] == "–" and page.row("spleen", 4)[3] == "–"
    assert "Dice" in page.text and "Dashed" in page.text


def test_without_a_truth_there_is_no_word_of_one(a_page):
    assert "Dice" not in a_page.text and "Dashed" not in a_page.text


def test_the_truth_is_drawn_on_the_slices(tmp_path):
    plain = the_report(tmp_path / "plain").all("img")
    compared = the_report(tmp_path / "compared", truth={"liver": np.roll(organs() == 1, 3, axis=1)}).all("img")
    assert len(plain) == len(compared)
    changed = [one["src"] != other["src"] for one, other in zip(plain, compared, strict=True)]
    assert sum(changed) >= 3


def test_maps_are_of_the_largest_structures_one_of_each_pair(a_page):
    maps = [attrs["alt"] for attrs in a_page.all("img") if "similarity" in attrs["alt"]]
    assert [alt.rpartition("with ")[2] for alt in maps] == ["liver", "left kidney"]


def test_maps_can_be_chosen_also_of_what_was_not_segmented(tmp_path):
    page = the_report(tmp_path, ["liver"], similarity_structures=["Spleen", "kidney_right"])
    maps = [attrs["alt"] for attrs in page.all("img") if "similarity" in attrs["alt"]]
    assert [alt.rpartition("with ")[2] for alt in maps] == ["spleen", "right kidney"]
    assert "spleen" not in page.table, "it was not asked for"
    assert not [a for a in the_report(tmp_path, similarity_structures=[]).all("img") if "similarity" in a["alt"]]


def test_the_first_map_that_is_asked_for_is_on_the_overview(tmp_path):
    pictures = []
    for number, names in enumerate((["liver", "right kidney"], ["right kidney", "liver"], ["liver"])):
        the_report(tmp_path / str(number), similarity_structures=names)
        pictures.append((tmp_path / str(number) / "overview.png").read_bytes())
    assert pictures[0] == pictures[2] != pictures[1]


def test_thick_slices_are_not_shown_from_the_side_on_the_overview(tmp_path):
    widths = []
    for thickness in (4.0, 40.0):
        encoding, volume, _ = a_case(spacing=(4.0, 4.0, thickness))
        write_report(tmp_path, encoding, encoding.segment(), volume, title="t", seconds=1)
        widths.append(Image.open(tmp_path / "overview.png").width / Image.open(tmp_path / "overview.png").height)
    assert widths[0] > 1.2 * widths[1]


def test_of_a_stack_of_thick_slices_more_is_shown_from_above_and_less_from_the_side(tmp_path):
    shown = {}
    for thickness in (4.0, 40.0):
        encoding, volume, _ = a_case(spacing=(4.0, 4.0, thickness))
        segmentation = encoding.segment()
        page = Page(write_report(tmp_path, encoding, segmentation, volume, title="t", seconds=1).read_text("utf-8"))
        slices = [attrs["alt"] for attrs in page.all("img") if "with the outlines of" in attrs["alt"]]
        shown[thickness] = [sum(alt.startswith(p) for alt in slices) for p in ("axial", "coronal", "sagittal")]
    assert shown[4.0][0] == 3 and shown[4.0][1] >= 1
    assert shown[40.0] == [6, 1, 1]


def test_pictures_come_closer_where_the_structures_fill_little_of_the_image_and_say_so(tmp_path, a_page):
    assert "around the structures" not in a_page.text
    indices = np.zeros((60, 60, 60), dtype=int)
    indices[30:34, 30:34, 30:34] = 1
    encoding, volume, _ = a_case(indices=indices)
    page = Page(write_report(tmp_path, encoding, encoding.segment(), volume, title="t", seconds=1).read_text("utf-8"))
    assert "The pictures show the part of the image around the structures." in page.text
    assert "slice 33 of 60" in page.text, "slices keep their numbers"


def test_the_two_sides_of_a_structure_share_an_entry_below_a_picture(a_page):
    captions = " ".join(a_page.captions)
    assert "left and right kidney" in captions
    assert "right kidney" in captions, "a slice or a map that shows one side names it"
    assert [row for row in a_page.table if "kidney" in row] == ["right kidney", "left kidney"]


def test_a_map_of_an_unknown_structure_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(UserError, match="was not taught 'pancreas'"):
        the_report(tmp_path / "report", similarity_structures=["pancreas"])
    assert not (tmp_path / "report").exists()


def test_the_folder_holds_the_report_and_a_picture_for_elsewhere_and_nothing_half_written(tmp_path):
    folder = tmp_path / "deep" / "report"
    the_report(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["index.html", "overview.png"]
    Image.open(folder / "overview.png").load()


def test_an_older_report_is_replaced_and_other_files_stay(tmp_path):
    (tmp_path / "index.html").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    assert "A test" in the_report(tmp_path).text
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_answered_in_a_sentence(tmp_path):
    (tmp_path / "taken").write_text("a file")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "report"):
        with pytest.raises(UserError, match="taken"):
            the_report(folder)


def test_a_cancelled_report_leaves_nothing(tmp_path):
    for patience in range(4):
        with pytest.raises(Cancelled):
            the_report(tmp_path / "report", progress=lambda done, *_, n=patience: done < n)
    assert not (tmp_path / "report").exists()


def test_progress_counts_up_to_its_end(tmp_path):
    said = []
    the_report(tmp_path, progress=lambda *step: bool(said.append(step[:2])) or True)
    assert said == [(n, said[0][1]) for n in range(said[0][1] + 1)]


def test_a_report_is_made_where_nothing_was_found(tmp_path):
    encoding, volume, _ = a_case(indices=np.zeros(SHAPE, dtype=int))
    page = Page(write_report(tmp_path, encoding, encoding.segment(), volume, title="t", seconds=0).read_text("utf-8"))
    assert page.text.count("not found") == 4
    assert page.all("img")


def test_a_report_is_made_where_nothing_was_asked_for(tmp_path):
    encoding, volume, _ = a_case()
    page = Page(write_report(tmp_path, encoding, encoding.segment([]), volume, title="t", seconds=0).read_text("utf-8"))
    assert "0 structures" in page.text and page.all("img")


def test_structures_that_overlap_are_all_in_the_report(tmp_path):
    encoding, volume, indices = a_case()
    segmentation = encoding.segment(["kidney", "left kidney"])
    page = Page(write_report(tmp_path, encoding, segmentation, volume, title="t", seconds=75).read_text("utf-8"))
    both, left = (float(re.match(r"[\d.]+", page.row(name, 2)[1])[0]) for name in ("kidney", "left kidney"))
    assert both == pytest.approx(0.064 * ((indices == 2) | (indices == 3)).sum(), abs=0.06)
    assert left == pytest.approx(0.064 * (indices == 3).sum(), abs=0.06)
    assert "1 min 15 s" in page.text


def test_an_oblique_anisotropic_left_handed_scan_is_reported(tmp_path):
    affine = an_affine((3.0, 7.7, 2.0), (2, 0, 1), (-1, 1, 1), degrees=(12, -20, 9), origin=(50, -60, 70))
    shape = (14, 9, 22)
    grid = ModelGrid.fit(shape, affine, SPACING)
    painted = np.zeros(grid.shape, dtype=int)
    painted[tuple(slice(n // 3, 2 * n // 3) for n in grid.shape)] = 1
    model = a_plain_model()
    encoding = painted_encoding(model, painted, shape, affine, SPACING)
    array = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    page = Page(
        write_report(
            tmp_path, encoding, encoding.segment(["liver"]), Volume.checked(array, affine), title="t", seconds=1
        ).read_text("utf-8")
    )
    found = float(re.match(r"[\d.]+", page.row("liver", 2)[1])[0])
    assert found == pytest.approx((painted == 1).sum() * abs(np.linalg.det(grid.affine[:3, :3])) / 1000, rel=0.25)


def test_no_path_of_a_file_gets_into_the_report(a_segmenter, a_small_file, tmp_path):
    from CFSegmenterLib.files.reading import read_volume

    volume = read_volume(a_small_file, modality="mr-t2")
    encoding = a_segmenter.encode(volume)
    path = write_report(tmp_path / "out", encoding, encoding.segment(), volume, title="Liver and kidneys", seconds=1)
    text = path.read_text(encoding="utf-8")
    assert a_small_file.name not in text and str(tmp_path) not in text
