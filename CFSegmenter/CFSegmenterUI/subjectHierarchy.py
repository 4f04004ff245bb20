"""Where nodes stand in the subject hierarchy, and what it knows of a scan.

In the application a node has its place from the beginning; without its plug-ins a place is made when it is needed.
"""

from __future__ import annotations

from typing import Any

import slicer


def modalityOf(node: Any) -> str | None:
    """The DICOM modality of what the node was loaded from, or None."""
    hierarchy = _hierarchyOf(node)
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    if not item:
        return None
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return hierarchy.GetItemAttribute(item, name) or None


def placeBeside(node: Any, volumeNode: Any) -> None:
    """Put a node where the volume is: into the same study, or folder."""
    hierarchy = _hierarchyOf(node)
    _place(hierarchy, node, _parentOf(hierarchy, volumeNode))


def placeInFolder(node: Any, volumeNode: Any, name: str) -> None:
    """Put a node into the folder of that name beside the volume, made if it is not there."""
    hierarchy = _hierarchyOf(node)
    parent = _parentOf(hierarchy, volumeNode)
    folder = hierarchy.GetItemChildWithName(parent, name) or hierarchy.CreateFolderItem(parent, name)
    _place(hierarchy, node, folder)


def _hierarchyOf(node: Any) -> Any:
    scene = node.GetScene()
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene) if scene else None


def _parentOf(hierarchy: Any, node: Any) -> int:
    item = hierarchy.GetItemByDataNode(node)
    return hierarchy.GetItemParent(item) if item else hierarchy.GetSceneItemID()


def _place(hierarchy: Any, node: Any, parent: int) -> None:
    item = hierarchy.GetItemByDataNode(node)
    if not item:
        hierarchy.CreateItem(parent, node)
    elif hierarchy.GetItemParent(item) != parent:
        hierarchy.SetItemParent(item, parent)
