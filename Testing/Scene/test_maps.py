"""Maps are volumes beside the scan, in fixed colors, and still know what they are in a loaded scene."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import slicer
from CFSegmenterUI import maps, provenance
from CFSegmenterUI.provenance import Provenance
from CFSegmenterUI.volumes import ijkToRas

from CFSegmenterLib.own_structures import own_structure
from CFSegmenterLib.structures import Vocabulary
from Testing.Scene.scans import GEOMETRIES, SHAPE, TRANSFORMS, addSequence, addTransform, addVolume, put, showFrame

VALUES = np.linspace(-1, 1, int(np.prod(SHAPE)), dtype=np.float32).reshape(SHAPE)


def voxelsOf(node):
    return slicer.util.arrayFromVolume(node).T


def drawn(node):
    """(I, J, K, 4) what a slice view gets to see of a map: red, green, blue, opacity, 0 to 255."""
    from vtk.util import numpy_support

    connection = node.GetDisplayNode().GetImageDataConnection()
    connection.GetProducer().Update()
    image = connection.GetProducer().GetOutputDataObject(connection.GetIndex())
    return (
        numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
        .reshape(*SHAPE[::-1], 4)
        .transpose(2, 1, 0, 3)
        .copy()
    )


def similarityScales(scene):
    """The color nodes of the class that are ours and of this kind of map."""
    nodes = slicer.util.getNodesByClass("vtkMRMLProceduralColorNode", scene)
    return [node for node in nodes if "CFSegmenter similarity" in node.GetName()]


def hierarchyOf(scene):
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


@pytest.mark.parametrize(("geometry", "kind"), list(itertools.product(("oblique", "left-handed"), TRANSFORMS)))
def test_a_map_has_the_volume_s_grid_and_transform(scene, geometry, kind):
    volume = addVolume(scene, affine=GEOMETRIES[geometry])
    put(volume, addTransform(scene, kind))
    node = maps.writeMap(volume, VALUES, "liver", "similarity")
    np.testing.assert_array_equal(voxelsOf(node), VALUES)
    assert voxelsOf(node).dtype == np.float32
    np.testing.assert_allclose(ijkToRas(node), GEOMETRIES[geometry], atol=1e-9)
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()


def test_a_map_of_the_same_title_and_kind_takes_the_place_of_the_old_one(scene):
    volume, other = addVolume(scene, name="CTChest"), addVolume(scene, name="other")
    liver = maps.writeMap(volume, VALUES, "liver", "similarity")
    assert liver.GetName() == "liver similarity (CTChest)"
    liver.SetName("the user's name")
    spleen = maps.writeMap(volume, VALUES, "spleen", "similarity")
    maps.writeMap(other, VALUES, "liver", "similarity")
    transform = addTransform(scene, "linear")
    put(volume, transform)
    assert maps.writeMap(volume, -VALUES, "liver", "similarity") is liver
    np.testing.assert_array_equal(voxelsOf(liver), -VALUES)
    assert liver.GetParentTransformNode() is transform
    assert liver.GetName() == "the user's name"
    assert maps.mapsOf(volume) == [liver, spleen]
    assert [maps.titleOf(node) for node in maps.mapsOf(volume)] == ["liver", "spleen"]
    assert maps.kindOf(volume) is None


def test_a_map_says_what_made_it_last_and_nothing_where_that_is_not_known(scene):
    volume = addVolume(scene)
    node = maps.writeMap(volume, VALUES, "liver", "similarity", made=Provenance("general", "1", "2026-11-25"))
    assert provenance.readFrom(node) == Provenance("general", "1", "2026-11-25")
    maps.writeMap(volume, VALUES, "liver", "similarity", made=Provenance("own", "7", "2026-11-26"))
    assert provenance.readFrom(node) == Provenance("own", "7", "2026-11-26")
    assert provenance.readFrom(volume) == Provenance("", "", "")


def test_a_map_knows_the_frame_that_it_was_made_of_in_a_loaded_scene_too(scene, tmp_path):
    volume, browser = addSequence(scene, {}, {}, {})
    assert maps.frameOf(maps.writeMap(addVolume(scene), VALUES, "liver", "similarity")) is None
    showFrame(browser, 1)
    node = maps.writeMap(volume, VALUES, "liver", "similarity")
    assert maps.frameOf(node) == 1 and not maps.isOfAnotherFrame(node)
    showFrame(browser, 2)
    assert maps.isOfAnotherFrame(node)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    browser = scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode")
    (node,) = maps.mapsOf(browser.GetProxyNode(browser.GetMasterSequenceNode()))
    assert maps.isOfAnotherFrame(node)
    showFrame(browser, 1)
    assert not maps.isOfAnotherFrame(node)
    showFrame(browser, 2)
    assert maps.writeMap(maps.volumeOf(node), VALUES, "liver", "similarity") is node
    assert maps.frameOf(node) == 2, "it was made anew"


def test_maps_lie_in_one_folder_beside_the_volume(scene):
    hierarchy, volume = hierarchyOf(scene), addVolume(scene, name="CTChest")
    study = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume) or hierarchy.CreateItem(study, volume), study)
    nodes = [maps.writeMap(volume, VALUES, title, "similarity") for title in ("liver", "spleen")]
    nodes.append(maps.writeMap(volume, VALUES, "margin", "margin"))
    (folder,) = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in nodes}
    assert hierarchy.GetItemName(folder) == "CFSegmenter maps of CTChest"
    assert hierarchy.GetItemParent(folder) == study


def test_similarity_is_drawn_on_a_scale_from_minus_one_to_one_whatever_is_in_the_map(scene):
    volume = addVolume(scene)
    whole = drawn(maps.writeMap(volume, VALUES, "liver", "similarity"))
    weak = drawn(maps.writeMap(volume, VALUES * 0.1, "spleen", "similarity"))
    blue, red = whole[0, 0, 0], whole[-1, -1, -1]
    assert blue[2] > 2 * blue[0]
    assert red[0] > 2 * red[2]
    assert weak[..., :3].min() > 200  # near 0 everything is pale
    assert len(similarityScales(scene)) == 1
    display = maps.mapsOf(volume)[0].GetDisplayNode()
    assert display.GetInterpolate()
    assert not display.GetAutoWindowLevel()


def test_below_the_threshold_nothing_is_drawn(scene):
    node = maps.writeMap(addVolume(scene), VALUES, "liver", "similarity")
    assert (drawn(node)[..., 3] == 255).all()
    maps.showThreshold(node, 0.3)
    np.testing.assert_array_equal(drawn(node)[..., 3] == 255, np.float32(0.3) <= VALUES)
    maps.showThreshold(node, 1.5)
    assert not drawn(node)[..., 3].any()
    maps.showThreshold(node, None)
    assert (drawn(node)[..., 3] == 255).all()


def test_two_models_may_give_a_structure_of_their_own_different_colors(scene):
    names = ["background", "a lump"]
    for color in ([255, 0, 0], [0, 0, 255]):
        vocabulary = Vocabulary.load().knowing([own_structure({"name": "a lump", "color": color})])
        given = [0.0] * 4
        assert maps.classColors(scene, names, vocabulary).GetColor(1, given)
        np.testing.assert_allclose(given[:3], np.array(color) / 255, atol=0.01)


def test_the_best_class_has_the_structure_s_color_and_background_is_not_seen(scene):
    vocabulary, volume, names = Vocabulary.load(), addVolume(scene), ["background", "liver", "left kidney", "a lump"]
    colors = maps.classColors(scene, names, vocabulary)
    assert maps.classColors(scene, names, vocabulary) is colors
    assert maps.classColors(scene, names[:2], vocabulary) is not colors
    best = (np.arange(np.prod(SHAPE)) % 4).astype(np.uint16).reshape(SHAPE)
    node = maps.writeMap(volume, best, "best class", "best", colors)
    np.testing.assert_array_equal(voxelsOf(node), best)
    picture = drawn(node)
    for value in (1, 2):
        assert {tuple(color) for color in picture[best == value][:, :3]} == {vocabulary.find(names[value]).color}
    assert not picture[best == 0][:, 3].any()
    maps.showThreshold(node, 0.5)  # a class is not more or less


def test_a_legend_is_shown_for_a_map_and_those_of_other_volumes_stay(scene):
    volume = addVolume(scene)
    volume.CreateDefaultDisplayNodes()
    node = maps.writeMap(volume, VALUES, "liver", "similarity")
    logic = slicer.modules.colors.logic()
    own = logic.AddDefaultColorLegendDisplayNode(volume)
    maps.showLegend(node)
    legend = logic.GetColorLegendDisplayNode(node)
    assert legend.GetVisibility()
    assert legend.GetTitleText() == "similarity\nliver"
    legend.SetTitleText("the user's title")
    maps.hideLegends(scene)
    assert not legend.GetVisibility()
    assert own.GetVisibility()
    maps.showLegend(node)
    assert legend.GetVisibility() and legend.GetTitleText() == "the user's title"


def test_the_legend_of_the_best_class_names_the_classes_that_occur(scene):
    names = ["background", "liver", "left kidney", "spleen"]
    best = np.zeros(SHAPE, np.uint8)
    best[0, 0, 0], best[-1, -1, -1] = 3, 1
    array, left = maps.occurring(best, names)
    assert left == ["background", "liver", "spleen"]
    assert [left[number] for number in array.ravel()] == [names[number] for number in best.ravel()]
    assert maps.occurring(np.full(SHAPE, 2, np.uint8), names)[1] == ["background", "left kidney"]
    volume = addVolume(scene)
    node = maps.writeMap(volume, array, "best class", "best", maps.classColors(scene, left, Vocabulary.load()))
    maps.showLegend(node)
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(node)
    assert legend.GetUseColorNamesForLabels() and legend.GetLabelFormat() == "%s"
    colors = node.GetDisplayNode().GetColorNode()
    assert [colors.GetColorName(number) for number in range(colors.GetNumberOfColors())] == left


def test_a_loaded_scene_knows_its_maps_and_draws_them_alike(scene, tmp_path):
    volume = addVolume(scene, affine=GEOMETRIES["oblique"], name="CTChest")
    node = maps.writeMap(volume, VALUES, "liver", "similarity")
    maps.showThreshold(node, 0.25)
    before = drawn(node)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    volume = slicer.util.getNode("CTChest")
    (node,) = maps.mapsOf(volume)
    assert (maps.titleOf(node), maps.kindOf(node)) == ("liver", "similarity")
    np.testing.assert_array_equal(drawn(node)[..., :3], before[..., :3])
    maps.showThreshold(node, 0.25)
    np.testing.assert_array_equal(drawn(node), before)
    assert maps.writeMap(volume, VALUES, "liver", "similarity") is node
    assert len(similarityScales(scene)) == 1
