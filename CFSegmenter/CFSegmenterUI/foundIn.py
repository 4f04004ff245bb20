"""Which volume a segment of ours was found in, through whatever becomes of the nodes' IDs.

Slicer gives a node of a scene that is added another ID where its own is taken, and corrects the references between
nodes, but no tags of segments. So the tag names a role, under which the segmentation refers to the volume. Where it has
no such role, as one that was loaded from a file by itself, the volume is known by a mark of its own.
"""

from __future__ import annotations

import uuid
from typing import Any

import vtk

from . import provenance

TAG = provenance.PREFIX + "Volume"
"""In scenes of earlier versions it holds the volume's ID."""
MARK = provenance.PREFIX + "Mark"
"""Attribute of a volume. A copy of the volume has it, too: that is why it is asked last."""
ROLE = provenance.PREFIX + "FoundIn."
"""Begins the roles; the volume's mark follows."""


def write(segment: Any, segmentationNode: Any, volumeNode: Any) -> None:
    """Note on a segment which volume it was found in."""
    known = (role for role in _roles(segmentationNode) if segmentationNode.GetNodeReference(role) is volumeNode)
    role = next(known, None) or _newRole(segmentationNode, volumeNode)
    segment.SetTag(TAG, role)


def isOf(segment: Any, segmentationNode: Any, volumeNode: Any) -> bool:
    """Whether a segment of ours was found in a volume.

    Of an earlier version's it is known for sure only where the segmentation lies on the grid of that volume, too.
    """
    value = vtk.reference("")
    said = str(value) if segment.GetTag(TAG, value) else ""
    if said.startswith(ROLE):
        if segmentationNode.GetNodeReferenceID(said):
            return segmentationNode.GetNodeReference(said) is volumeNode
        return said == ROLE + (volumeNode.GetAttribute(MARK) or "")
    grid = segmentationNode.GetNodeReference(segmentationNode.GetReferenceImageGeometryReferenceRole())
    return (grid is None or grid is volumeNode) and said in ("", volumeNode.GetID())


def copyReferences(source: Any, target: Any) -> None:
    """Let a segmentation that holds the same segments as another one refer to the same volumes."""
    for role in _roles(source):
        target.SetNodeReferenceID(role, source.GetNodeReferenceID(role))


def _newRole(segmentationNode: Any, volumeNode: Any) -> str:
    if not volumeNode.GetAttribute(MARK):
        volumeNode.SetAttribute(MARK, uuid.uuid4().hex)
    role = ROLE + volumeNode.GetAttribute(MARK)
    if role in _roles(segmentationNode):  # of the volume that this one is a copy of
        role = ROLE + uuid.uuid4().hex
    segmentationNode.SetNodeReferenceID(role, volumeNode.GetID())
    return role


def _roles(segmentationNode: Any) -> list[str]:
    """Those under which it refers to volumes; of one that was deleted only the name is left, and does not count."""
    numbers = range(segmentationNode.GetNumberOfNodeReferenceRoles())
    names = [segmentationNode.GetNthNodeReferenceRole(number) for number in numbers]
    return [name for name in names if name.startswith(ROLE) and segmentationNode.GetNodeReferenceID(name)]
