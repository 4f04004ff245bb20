"""Undo: what is written into a segmentation can be taken back in the Segment Editor that shows it."""

from __future__ import annotations

from typing import Any

import slicer


def saveForUndo(segmentationNode: Any) -> None:
    """Let every Segment Editor that shows the segmentation remember it as it is now.

    The Segment Editor may be that of its own module or part of another one's panel. Where none is open, nor a main
    window, nothing is to be done.
    """
    scene = segmentationNode.GetScene()
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentEditorNode", scene) if scene else ()
    if not any(node.GetSegmentationNode() is segmentationNode for node in nodes):
        return  # without a look at all widgets of the application
    for editor in slicer.util.findChildren(className="qMRMLSegmentEditorWidget"):
        if editor.segmentationNode() is segmentationNode:
            editor.saveStateForUndo()
