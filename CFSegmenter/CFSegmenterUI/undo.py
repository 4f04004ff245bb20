"""Undo: what is written into a segmentation can be taken back in the Segment Editor that shows it."""

from __future__ import annotations

from typing import Any

import slicer


def saveForUndo(segmentationNode: Any) -> None:
    """Let every Segment Editor that shows the segmentation remember it as it is now.

    The Segment Editor may be that of its own module or part of another one's panel. The panel of a module that is not
    shown, as that of the Segment Editor is not while ours is, has no parent: so all windows are looked through.
    """
    scene = segmentationNode.GetScene()
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentEditorNode", scene) if scene else ()
    if not any(node.GetSegmentationNode() is segmentationNode for node in nodes):
        return  # without a look at all widgets of the application
    for window in filter(None, slicer.app.topLevelWidgets()):
        for editor in slicer.util.findChildren(window, className="qMRMLSegmentEditorWidget"):
            if editor.segmentationNode() is segmentationNode:
                editor.saveStateForUndo()
