"""What is read from a volume node is what Slicer shows: the same voxels, at the same place."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import slicer
from CFSegmenterUI import volumes

from CFSegmenterLib.errors import UserError
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


@pytest.mark.parametrize(("geometry", "kind"), list(itertools.product(GEOMETRIES, TRANSFORMS)))
def test_voxels_and_their_places_are_those_of_the_node(scene, geometry, kind):
    array = np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)
    node = addVolume(scene, array, GEOMETRIES[geometry])
    put(node, addTransform(scene, kind))

    data = volumes.readVolume(node)

    np.testing.assert_array_equal(data.array, array)
    for ijk in ((0, 0, 0), (8, 7, 6), (2, 5, 1)):
        inFrame = volumes.worldToVolume(node, toWorld(node, ijk))
        np.testing.assert_allclose((data.affine @ [*ijk, 1])[:3], inFrame, atol=1e-3)
        if kind != "non-linear":
            np.testing.assert_allclose(inFrame, toWorld(node, ijk), atol=1e-6)  # the frame is the world


def test_a_transform_that_shears_is_not_followed(scene):
    node, transform = addVolume(scene), addTransform(scene, "linear")
    sheared = np.eye(4)
    sheared[0, 2] = 0.2
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(sheared))
    put(node, transform)
    data = volumes.readVolume(node)
    np.testing.assert_allclose(data.affine, GEOMETRIES["axial"], atol=1e-9)
    place = volumes.worldToVolume(node, toWorld(node, (3, 2, 5)))
    np.testing.assert_allclose(place, (data.affine @ [3, 2, 5, 1])[:3], atol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_the_number_type_stays_and_the_node_keeps_its_own_voxels(scene, dtype):
    node = addVolume(scene, np.ones(SHAPE, dtype))
    data = volumes.readVolume(node)
    assert data.array.dtype == dtype
    data.array[...] = 7
    assert slicer.util.arrayFromVolume(node).max() == 1


def test_what_cannot_be_segmented_is_said_in_a_sentence(scene):
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    colors = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    slicer.util.updateVolumeFromArray(colors, np.zeros((4, 5, 6, 3), np.uint8))
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "skull")
    for node, said in (
        (None, "No volume is chosen"),
        (labels, "labels holds labels"),
        (empty, "empty holds no voxels"),
        (colors, "photo has several values"),
        (model, "skull is not a volume"),
    ):
        with pytest.raises(UserError, match=said):
            volumes.readVolume(node)


def test_the_modality_is_told_by_dicom_or_by_hounsfield_units(scene):
    dicom, units, unknown = addVolume(scene), addVolume(scene), addVolume(scene)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(dicom) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), dicom)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    entry = slicer.vtkCodedEntry()
    entry.SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    units.SetVoxelValueUnits(entry)
    assert [volumes.readVolume(node).modality for node in (dicom, units, unknown)] == ["mr", "ct", None]


def test_the_key_changes_with_voxels_geometry_and_transform_and_with_nothing_else(scene):
    node = addVolume(scene, name="Doe^Jane")
    node.CreateDefaultDisplayNodes()
    keys = [volumes.volumeKey(node)]

    def changes():
        keys.append(volumes.volumeKey(node))
        return keys[-1] not in keys[:-1]

    node.SetName("other")
    node.GetDisplayNode().SetWindowLevelMinMax(0, 10)
    assert not changes()
    assert volumes.readVolume(node).key == keys[0]
    slicer.util.arrayFromVolume(node)[0, 0, 0] += 1
    slicer.util.arrayFromVolumeModified(node)
    assert changes()
    node.SetOrigin(1, 2, 3)
    assert changes()
    transform = addTransform(scene, "linear")
    put(node, transform)
    assert changes()
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([2.0, 2, 2, 1])))
    assert changes()
    assert volumes.volumeKey(addVolume(scene)) not in keys


def aSequence(scene):
    """A volume node that shows one of three frames; frame n is filled with n."""
    return addSequence(scene, *({"array": np.full(SHAPE, number, np.int16)} for number in range(3)))


def test_a_frame_is_read_without_selecting_it(scene):
    node, browser = aSequence(scene)
    put(node, addTransform(scene, "linear"))
    frame = volumes.readVolume(node, 2)
    assert frame.array.max() == 2
    np.testing.assert_allclose(frame.affine, volumes.readVolume(node).affine)
    assert browser.GetSelectedItemNumber() == 0
    assert slicer.util.arrayFromVolume(node).max() == 0
    assert frame.key == volumes.volumeKey(node, 2) != volumes.volumeKey(node, 1)
    with pytest.raises(UserError, match="no frame 4"):
        volumes.readVolume(node, 3)


def test_the_key_of_a_frame_is_the_same_whichever_is_shown_and_changes_with_its_voxels(scene):
    node, browser = aSequence(scene)
    key = volumes.volumeKey(node, 1)
    for shown in (1, 2, 1):
        showFrame(browser, shown)
        assert volumes.shownFrame(node) == shown
        assert volumes.volumeKey(node, 1) == key
    item = volumes.frameNode(node, 1)
    slicer.util.arrayFromVolume(item)[0, 0, 0] += 1
    slicer.util.arrayFromVolumeModified(item)
    assert volumes.volumeKey(node, 1) != key


def test_a_volume_without_a_sequence_is_one_frame(scene):
    node = addVolume(scene)
    aSequence(scene)
    assert volumes.frameCount(node) == 1
    assert volumes.shownFrame(node) is None
    assert volumes.frameNode(node, 0) is node
    assert volumes.frameCount(None) == 1
