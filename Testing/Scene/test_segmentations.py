"""Masks become segments voxel for voxel, and what the user made is never touched."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import slicer
import vtk
from CFSegmenterUI import foundIn, labelmaps, segmentations
from CFSegmenterUI.segmentations import maskOf, newSegmentation, ownSegments, writeSegments

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.structures import Vocabulary
from Testing.Scene.scans import (
    GEOMETRIES,
    SHAPE,
    TRANSFORMS,
    addSequence,
    addTransform,
    addVolume,
    put,
    showFrame,
    toWorld,
)

MADE = segmentations.Provenance("general", "3", "2026-08-01")
VOCABULARY = Vocabulary.load()


def write(node, volume, masks, provenance=MADE):
    return writeSegments(node, volume, masks, provenance, VOCABULARY).segments


def block(*corners, shape=SHAPE):
    """A mask of the box between two corners, the second one left out."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(*corners, strict=True))] = True
    return mask


def paint(node, volume, name, mask):
    """A segment as the Segment Editor makes it: on the first layer, unless another segment would be painted over."""
    segmentID = node.GetSegmentation().AddEmptySegment("", name)
    box = labelmaps.boxOf(mask)
    image = labelmaps.imageOf(mask[box].astype(np.uint8), box, segmentations.ijkToRas(volume))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(image, node, segmentID, logic.MODE_REPLACE)
    return segmentID


def tagsOf(node, segmentID):
    segment, value = node.GetSegmentation().GetSegment(segmentID), vtk.reference("")
    names = ("Model", "Version", "Structure", "Prompt", "Date")
    return {name: str(value) for name in names if segment.GetTag(f"CFSegmenter.{name}", value)}


def exported(node, segmentID, volume):
    """A segment on the volume's grid as Slicer itself exports it, (I, J, K) bool."""
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentID, volume).T != 0


def layerOf(node, segmentID):
    return node.GetSegmentation().GetSegment(segmentID).GetRepresentation(labelmaps.representationName())


@pytest.mark.parametrize(("geometry", "kind"), list(itertools.product(GEOMETRIES, TRANSFORMS)))
def test_masks_come_back_voxel_for_voxel_wherever_the_scan_lies(scene, geometry, kind):
    volume = addVolume(scene, affine=GEOMETRIES[geometry])
    put(volume, addTransform(scene, kind))
    random = np.random.default_rng(1)
    masks = {name: random.random(SHAPE) < 0.4 for name in ("liver", "spleen")}  # they overlap
    node = newSegmentation(scene, volume)

    segments = write(node, volume, masks)

    for name, mask in masks.items():
        np.testing.assert_array_equal(maskOf(node, segments[name], volume), mask)
        np.testing.assert_array_equal(exported(node, segments[name], volume), mask)


@pytest.mark.parametrize(
    ("geometry", "kind"), [("oblique", "nested"), ("left-handed", "none"), ("axial", "non-linear")]
)
def test_a_voxel_of_a_segment_is_where_the_scan_s_voxel_is(scene, geometry, kind):
    volume = addVolume(scene, affine=GEOMETRIES[geometry])
    put(volume, addTransform(scene, kind))
    node = newSegmentation(scene, volume)
    segments = write(node, volume, {"liver": block((5, 3, 2), (6, 4, 3))})

    image = layerOf(node, segments["liver"])
    assert image.GetExtent() == (5, 5, 3, 3, 2, 2)  # no more is kept than there is
    matrix, place = vtk.vtkMatrix4x4(), [0.0, 0.0, 0.0]
    image.GetImageToWorldMatrix(matrix)
    node.TransformPointToWorld(matrix.MultiplyPoint((5, 3, 2, 1))[:3], place)
    np.testing.assert_allclose(place, toWorld(volume, (5, 3, 2)), atol=1e-6)


def test_a_new_segmentation_is_the_volume_s_in_place_transform_and_grid(scene):
    volume, hierarchy = addVolume(scene), slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    put(volume, addTransform(scene, "linear"))
    study = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume) or hierarchy.CreateItem(study, volume), study)
    node = newSegmentation(scene, volume)
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume
    assert node.GetName() == "scan segmentation"
    assert node.GetDisplayNode() is not None


def test_a_segment_says_what_it_is_and_what_made_it(scene):
    volume = addVolume(scene)
    node = newSegmentation(scene, volume)
    masks = {"left kidney": block((1, 1, 1), (4, 4, 4)), "bright thing": block((5, 5, 5), (7, 7, 7))}
    prompts = {"bright thing": "painted example"}
    segments = writeSegments(node, volume, masks, MADE, VOCABULARY, prompts).segments
    assert segments == {"left kidney": "CFSegmenter_left_kidney", "bright thing": "CFSegmenter_bright_thing"}
    kidney = node.GetSegmentation().GetSegment(segments["left kidney"])
    assert kidney.GetName() == "left kidney"
    np.testing.assert_allclose(kidney.GetColor(), np.array(VOCABULARY.find("left kidney").color) / 255)
    assert kidney.GetTerminology() == VOCABULARY.find("left kidney").terminology_entry()
    said = {"Model": "general", "Version": "3", "Date": "2026-08-01"}
    assert tagsOf(node, segments["left kidney"]) == {**said, "Structure": "left kidney", "Prompt": "left kidney"}
    assert tagsOf(node, segments["bright thing"]) == {**said, "Structure": "bright thing", "Prompt": "painted example"}


def test_a_further_run_replaces_what_we_made_and_leaves_the_user_s_segments_on_the_same_layer(scene):
    volume = addVolume(scene)
    node = newSegmentation(scene, volume)
    first = write(node, volume, {"liver": block((0, 0, 0), (4, 4, 4))})["liver"]
    mine = {"tumor": block((5, 0, 0), (8, 3, 3)), "vessel": block((5, 4, 4), (9, 8, 7))}
    ids = {name: paint(node, volume, name, mask) for name, mask in mine.items()}
    assert layerOf(node, ids["tumor"]) is layerOf(node, first)  # as Slicer does it

    larger = block((2, 0, 0), (9, 8, 5))  # covers both in part
    second = write(node, volume, {"liver": larger, "spleen": block((0, 5, 0), (2, 8, 7))})

    assert second["liver"] == first
    np.testing.assert_array_equal(maskOf(node, first, volume), larger)
    for name, mask in mine.items():
        np.testing.assert_array_equal(maskOf(node, ids[name], volume), mask)
        np.testing.assert_array_equal(exported(node, ids[name], volume), mask)
        assert node.GetSegmentation().GetSegment(ids[name]).GetName() == name
    values = np.unique(labelmaps.arrayOf(layerOf(node, ids["tumor"])))
    assert len(values) == 3  # nothing of ours is left on the user's layer


def test_name_color_and_terminology_are_the_user_s_once_a_segment_is_made(scene):
    volume = addVolume(scene)
    node = newSegmentation(scene, volume)
    liver = write(node, volume, {"liver": block((0, 0, 0), (4, 4, 4))})["liver"]
    segment = node.GetSegmentation().GetSegment(liver)
    segment.SetName("Leber")
    segment.SetColor(0.1, 0.2, 0.3)
    segment.SetTerminology("user~SCT^1^A~SCT^2^B~^^~~^^~^^")
    mask = block((1, 1, 1), (6, 6, 6))
    assert write(node, volume, {"liver": mask}, segmentations.Provenance("mine", "4", "2026-08-02"))["liver"] == liver
    assert segment.GetName() == "Leber"
    np.testing.assert_allclose(segment.GetColor(), (0.1, 0.2, 0.3))
    assert segment.GetTerminology().startswith("user~")
    assert tagsOf(node, liver)["Version"] == "4"
    np.testing.assert_array_equal(maskOf(node, liver, volume), mask)


def test_a_segment_whose_tag_was_removed_and_a_copy_of_one_of_ours_are_the_user_s(scene):
    volume = addVolume(scene)
    node = newSegmentation(scene, volume)
    segmentation, old, new = node.GetSegmentation(), block((0, 0, 0), (4, 4, 4)), block((2, 2, 2), (6, 6, 6))
    liver, spleen = write(node, volume, {"liver": old, "spleen": old}).values()
    segmentation.GetSegment(liver).RemoveTag("CFSegmenter.Structure")
    copy = slicer.vtkSegment()
    copy.DeepCopy(segmentation.GetSegment(spleen))
    segmentation.AddSegment(copy, "backup", liver)  # before the original

    segments = write(node, volume, {"liver": new, "spleen": new})

    assert segments["liver"] != liver
    assert segments["spleen"] == spleen
    for segmentID in (liver, "backup"):
        np.testing.assert_array_equal(maskOf(node, segmentID, volume), old)
    for segmentID in segments.values():
        np.testing.assert_array_equal(maskOf(node, segmentID, volume), new)


def correct(node, segmentID, change):
    """Change the voxels of a segment as an effect of the Segment Editor does."""
    array = labelmaps.arrayOf(layerOf(node, segmentID))
    value = node.GetSegmentation().GetSegment(segmentID).GetLabelValue()
    change(array, value)
    layerOf(node, segmentID).Modified()


def test_a_segment_that_was_corrected_by_hand_is_kept(scene):
    volume = addVolume(scene)
    node = newSegmentation(scene, volume)
    masks = {"liver": block((1, 1, 1), (4, 4, 4)), "spleen": block((5, 5, 2), (8, 7, 5))}
    segments = write(node, volume, masks)

    def cut(array, value):
        array[0, 0, 0] = 0

    correct(node, segments["liver"], cut)
    corrected = maskOf(node, segments["liver"], volume)
    assert corrected.sum() == 26

    written = writeSegments(node, volume, {name: block((0, 0, 0), (9, 8, 7)) for name in masks}, MADE, VOCABULARY)

    assert written.kept == ("liver",) and list(written.segments) == ["spleen"]
    np.testing.assert_array_equal(maskOf(node, segments["liver"], volume), corrected)
    assert maskOf(node, segments["spleen"], volume).all()
    nothing = {"liver": np.zeros(SHAPE, bool)}
    assert writeSegments(node, volume, nothing, MADE, VOCABULARY) == segmentations.Written({}, ("liver",))
    np.testing.assert_array_equal(maskOf(node, segments["liver"], volume), corrected)


def test_a_segment_that_was_emptied_by_hand_is_found_anew(scene):
    volume = addVolume(scene)
    node = newSegmentation(scene, volume)
    mask = block((1, 1, 1), (4, 4, 4))
    liver = write(node, volume, {"liver": mask})["liver"]

    def empty(array, value):
        array[array == value] = 0

    correct(node, liver, empty)
    assert write(node, volume, {"liver": mask}) == {"liver": liver}
    np.testing.assert_array_equal(maskOf(node, liver, volume), mask)


def test_a_correction_is_known_after_saving_and_loading_and_what_was_not_corrected_too(scene, tmp_path):
    volume = addVolume(scene, affine=GEOMETRIES["oblique"])
    masks = {"liver": block((2, 3, 1), (4, 6, 3)), "spleen": block((5, 3, 1), (8, 6, 3))}
    node = newSegmentation(scene, volume)
    segments = write(node, volume, masks)

    def cut(array, value):
        array[tuple(np.argwhere(array == value)[0])] = 0

    correct(node, segments["liver"], cut)
    corrected = maskOf(node, segments["liver"], volume)
    assert slicer.util.saveNode(node, str(tmp_path / "saved.seg.nrrd"))
    loaded = slicer.util.loadSegmentation(str(tmp_path / "saved.seg.nrrd"))
    written = writeSegments(loaded, volume, dict.fromkeys(masks, block((0, 0, 0), (6, 6, 6))), MADE, VOCABULARY)
    assert written.kept == ("liver",) and list(written.segments) == ["spleen"]
    np.testing.assert_array_equal(maskOf(loaded, segments["liver"], volume), corrected)


def test_what_was_found_in_another_scan_is_not_replaced(scene):
    prior, followUp = addVolume(scene), addVolume(scene, affine=GEOMETRIES["oblique"])
    node = newSegmentation(scene, prior)
    mask = block((1, 1, 1), (4, 4, 4))
    first = write(node, prior, {"liver": mask})["liver"]
    second = write(node, followUp, {"liver": ~mask})["liver"]
    assert second != first
    assert write(node, followUp, {"liver": mask}) == {"liver": second}  # its own is
    np.testing.assert_array_equal(maskOf(node, first, prior), mask)
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is prior


def test_the_segmentation_of_a_scan_is_the_one_that_holds_what_was_found_in_it_last(scene):
    prior, followUp = addVolume(scene), addVolume(scene)
    mask = block((1, 1, 1), (4, 4, 4))
    assert segmentations.segmentationOf(prior) is None
    nodes = [newSegmentation(scene, volume) for volume in (prior, prior, followUp)]
    paint(newSegmentation(scene, prior), prior, "mine", mask)  # nothing of ours
    for node, volume in zip(nodes, (prior, prior, followUp), strict=True):
        write(node, volume, {"liver": mask})
    assert segmentations.segmentationOf(prior) is nodes[1]
    assert segmentations.segmentationOf(followUp) is nodes[2]


def named(scene, name):
    return [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene) if node.GetName() == name]


def makeOld(node, volume, earlierID=None):
    """Segments as an earlier version left them, which noted the ID of their volume."""
    segmentation = node.GetSegmentation()
    for segmentID in ownSegments(node).values():
        segmentation.GetSegment(segmentID).SetTag("CFSegmenter.Volume", earlierID or volume.GetID())
    for number in range(node.GetNumberOfNodeReferenceRoles()):
        role = node.GetNthNodeReferenceRole(number)
        if role.startswith(foundIn.ROLE):
            node.RemoveNodeReferenceIDs(role)


def test_segments_of_a_scene_that_is_added_stay_those_of_their_scan_though_its_id_was_another_s(scene, tmp_path):
    mask = block((1, 1, 1), (4, 4, 4))
    volume = addVolume(scene, name="B")
    write(newSegmentation(scene, volume), volume, {"liver": mask})
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    identity = volume.GetID()
    scene.Clear(0)
    mine = addVolume(scene, name="A")
    assert mine.GetID() == identity
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    (theirs,) = named(scene, "B")
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene)
    assert theirs.GetID() != identity
    assert segmentations.segmentationOf(mine) is None and segmentations.segmentationOf(theirs) is node
    assert ownSegments(node, mine) == {} and list(ownSegments(node, theirs)) == ["liver"]
    second = write(node, mine, {"liver": ~mask})["liver"]
    first = ownSegments(node, theirs)["liver"]
    assert first != second
    np.testing.assert_array_equal(maskOf(node, first, theirs), mask)


def test_a_scene_that_is_added_to_itself_has_two_scans_with_their_own_segments(scene, tmp_path):
    mask = block((1, 1, 1), (4, 4, 4))
    volume = addVolume(scene, name="scan")
    node = newSegmentation(scene, volume)
    write(node, volume, {"liver": mask})
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    (copy,) = (each for each in named(scene, "scan") if each is not volume)
    assert segmentations.segmentationOf(volume) is node
    assert segmentations.segmentationOf(copy) not in (None, node)


def test_a_copy_of_a_scan_is_another_scan(scene):
    mask = block((1, 1, 1), (4, 4, 4))
    volume = addVolume(scene)
    node = newSegmentation(scene, volume)
    first = write(node, volume, {"liver": mask})["liver"]
    copy = slicer.modules.volumes.logic().CloneVolume(volume, "copy")
    copy.SetAttribute(foundIn.MARK, volume.GetAttribute(foundIn.MARK))  # as "Clone" under Data makes it
    assert ownSegments(node, copy) == {}
    second = write(node, copy, {"liver": ~mask})["liver"]
    assert second != first
    assert ownSegments(node, volume) == {"liver": first} and ownSegments(node, copy) == {"liver": second}


def test_segments_of_an_earlier_version_are_gone_on_with_where_they_lie_on_the_grid_of_the_scan(scene):
    mask = block((1, 1, 1), (4, 4, 4))
    volume, another = addVolume(scene), addVolume(scene)
    node = newSegmentation(scene, volume)
    first = write(node, volume, {"liver": mask})["liver"]
    makeOld(node, volume)
    assert ownSegments(node, volume) == {"liver": first} and ownSegments(node, another) == {}
    makeOld(node, volume, another.GetID())  # which was the volume's before the scene was added to another one
    assert ownSegments(node, another) == {}, "it lies on another's grid"
    makeOld(node, volume)
    assert write(node, volume, {"liver": ~mask}) == {"liver": first}
    assert ownSegments(node, volume) == {"liver": first}


def test_what_is_no_longer_found_goes_only_where_it_was_asked_for(scene):
    volume = addVolume(scene)
    node = newSegmentation(scene, volume)
    some, nothing = block((0, 0, 0), (4, 4, 4)), np.zeros(SHAPE, bool)
    write(node, volume, {"liver": some, "spleen": block((5, 5, 5), (7, 7, 7))})
    assert write(node, volume, {"liver": nothing, "pancreas": nothing}) == {}
    assert ownSegments(node) == {"spleen": "CFSegmenter_spleen"}
    np.testing.assert_array_equal(maskOf(node, "CFSegmenter_spleen", volume), block((5, 5, 5), (7, 7, 7)))


def test_structures_that_do_not_overlap_share_a_layer_from_run_to_run(scene):
    volume = addVolume(scene)
    node = newSegmentation(scene, volume)
    mine = paint(node, volume, "mine", block((8, 7, 6), (9, 8, 7)))
    masks = {f"part {n}": block((n, 0, 0), (n + 1, 8, 5)) for n in range(6)}
    masks["across"] = block((1, 1, 1), (5, 2, 2))
    names = list(masks)
    segments = write(node, volume, {name: masks[name] for name in names[:4]})
    segments |= write(node, volume, {name: masks[name] for name in names[4:]})
    segments |= write(node, volume, {"part 2": masks["part 2"]})

    assert len({layerOf(node, segments[name]).GetAddressAsString("") for name in names[:6]}) == 1
    assert node.GetSegmentation().GetNumberOfLayers() == 3  # the user's, ours, and what lies across
    assert layerOf(node, mine) is not layerOf(node, segments["part 0"])
    for name, mask in masks.items():
        np.testing.assert_array_equal(maskOf(node, segments[name], volume), mask)


def test_the_user_s_segments_are_not_moved_for_a_volume_under_another_transform(scene):
    volume = addVolume(scene)
    node = newSegmentation(scene, volume)
    mask = block((0, 0, 0), (4, 4, 4))
    write(node, volume, {"liver": mask})
    transform = addTransform(scene, "linear")
    put(volume, transform)
    assert write(node, volume, {"liver": mask})  # only ours is in it: it goes along
    assert node.GetTransformNodeID() == volume.GetTransformNodeID()
    mine = paint(node, volume, "mine", mask)
    put(volume, None)
    with pytest.raises(UserError, match="not under the same transform as scan"):
        write(node, volume, {"liver": ~mask})
    put(volume, transform)
    for segmentID in (mine, ownSegments(node)["liver"]):
        np.testing.assert_array_equal(maskOf(node, segmentID, volume), mask)


def test_masks_of_another_grid_are_refused(scene):
    volume = addVolume(scene)
    node = newSegmentation(scene, volume)
    with pytest.raises(UserError, match="scan has changed"):
        write(node, volume, {"liver": np.ones((2, 2, 2), bool)})


def test_a_segment_painted_on_another_grid_is_found_on_the_volume_s(scene):
    volume = addVolume(scene, affine=np.diag([1.0, 1, 1, 1]))
    finer = addVolume(scene, np.zeros((18, 16, 14), np.int16), np.diag([0.5, 0.5, 0.5, 1]))
    moved = addTransform(scene, "linear")
    matrix = np.eye(4)
    matrix[:3, 3] = (2, 0, 0)
    moved.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    put(finer, moved)
    node = newSegmentation(scene, finer)
    mine = paint(node, finer, "mine", block((2, 4, 4), (9, 11, 11), shape=(18, 16, 14)))
    # Voxels of the finer grid at 1.0 ... 4.0 mm along I, moved by 2 mm; 2.0 ... 5.0 mm along J and K.
    np.testing.assert_array_equal(maskOf(node, mine, volume), block((3, 2, 2), (7, 6, 6)))
    with pytest.raises(UserError, match="no longer in"):
        maskOf(node, "gone", volume)


def test_the_surface_in_3d_follows_a_further_run(scene):
    volume = addVolume(scene, affine=np.eye(4))
    node = newSegmentation(scene, volume)
    liver = write(node, volume, {"liver": block((1, 1, 1), (4, 4, 4)), "spleen": block((6, 6, 2), (8, 8, 5))})["liver"]
    assert node.CreateClosedSurfaceRepresentation()
    write(node, volume, {"liver": block((4, 1, 1), (8, 4, 4)), "heart": block((0, 5, 0), (2, 7, 4))})
    surface = vtk.vtkPolyData()
    assert node.GetClosedSurfaceRepresentation(liver, surface)
    assert surface.GetBounds()[0] > 3
    assert node.GetClosedSurfaceRepresentation("CFSegmenter_heart", surface)
    assert surface.GetBounds()[1] < 3


def test_a_saved_and_loaded_segmentation_is_gone_on_with(scene, tmp_path):
    volume = addVolume(scene, affine=GEOMETRIES["oblique"])
    masks = {"liver": block((2, 3, 1), (4, 6, 3)), "spleen": block((5, 3, 1), (8, 6, 3))}
    node = newSegmentation(scene, volume)
    write(node, volume, masks)
    paint(node, volume, "mine", block((3, 3, 1), (6, 6, 3)))
    assert slicer.util.saveNode(node, str(tmp_path / "saved.seg.nrrd"))
    loaded = slicer.util.loadSegmentation(str(tmp_path / "saved.seg.nrrd"))
    assert ownSegments(loaded) == {"liver": "CFSegmenter_liver", "spleen": "CFSegmenter_spleen"}
    mask = block((0, 0, 0), (6, 6, 6))
    assert list(write(loaded, volume, {"liver": mask}).values()) == ["CFSegmenter_liver"]
    np.testing.assert_array_equal(maskOf(loaded, "CFSegmenter_liver", volume), mask)
    np.testing.assert_array_equal(maskOf(loaded, "CFSegmenter_spleen", volume), masks["spleen"])
    mine = loaded.GetSegmentation().GetSegmentIdBySegmentName("mine")
    np.testing.assert_array_equal(maskOf(loaded, mine, volume), block((3, 3, 1), (6, 6, 3)))


def test_masks_of_a_frame_lie_where_the_frame_lies_whichever_is_shown(scene):
    volume, browser = addSequence(scene, *({"affine": GEOMETRIES[geometry]} for geometry in ("axial", "oblique")))
    node, mask = newSegmentation(scene, volume), block((1, 2, 3), (4, 5, 6))
    segments = writeSegments(node, volume, {"liver": mask}, MADE, VOCABULARY, frame=1).segments
    assert not np.array_equal(maskOf(node, segments["liver"], volume), mask)
    showFrame(browser, 1)
    np.testing.assert_array_equal(maskOf(node, segments["liver"], volume), mask)
    grids = [
        each.GetSegmentation().GetConversionParameter("Reference image geometry").rstrip(";").split(";")
        for each in (node, newSegmentation(scene, volume))
    ]
    np.testing.assert_allclose(*np.array(grids, float))
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volume
