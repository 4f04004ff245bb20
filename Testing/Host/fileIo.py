"""Reading and writing of files for `slicer.util.loadVolume`, `saveNode` and their kin.

Stands in for the core IO manager; every file is read and written by the real logics and storage nodes.
"""

from __future__ import annotations

from pathlib import Path

import slicer
import vtk

FILE_TYPES = {
    "ColorTableFile": (".ctbl", ".txt"),
    "MarkupsFile": (".json", ".fcsv"),
    "ModelFile": (".vtk", ".vtp", ".stl", ".ply", ".obj"),
    "SceneFile": (".mrml", ".mrb"),
    "SegmentationFile": (".seg.nrrd", ".seg.nhdr", ".seg.vtm"),
    "SequenceFile": (".seq.nrrd", ".seq.nhdr", ".seq.mrb"),
    "TableFile": (".csv", ".tsv"),
    "TransformFile": (".h5", ".tfm", ".mat"),
}
"""Kind of file -> how such names end; everything else is a volume."""

WRITERS = {
    "vtkMRMLColorNode": "ColorTableFile",
    "vtkMRMLMarkupsNode": "MarkupsFile",
    "vtkMRMLModelNode": "ModelFile",
    "vtkMRMLSegmentationNode": "SegmentationFile",
    "vtkMRMLSequenceNode": "SequenceFile",
    "vtkMRMLTableNode": "TableFile",
    "vtkMRMLTextNode": "TextFile",
    "vtkMRMLTransformNode": "TransformFile",
    "vtkMRMLVolumeNode": "VolumeFile",
}

VOLUME_OPTIONS = {"labelmap": (1, False), "center": (2, False), "singleFile": (4, False)}
VOLUME_OPTIONS |= {"autoWindowLevel": (8, True), "discardOrientation": (16, False)}
"""Property of a volume to load -> its bit in the options of vtkSlicerVolumesLogic, and what it is by itself."""


class CoreIOManager:
    """What `slicer.util` asks of qSlicerCoreIOManager."""

    def fileType(self, fileName) -> str:
        """The kind of file that a name belongs to; the longest ending decides."""
        name = str(fileName).lower()
        fitting = [(len(end), kind) for kind, ends in FILE_TYPES.items() for end in ends if name.endswith(end)]
        return max(fitting)[1] if fitting else "VolumeFile"

    def fileWriterFileType(self, node, extension="") -> str:
        return next((kind for className, kind in WRITERS.items() if node.IsA(className)), "NoFile")

    def registeredFileReaderCount(self, fileType) -> int:
        return int(fileType == "VolumeFile" or fileType in FILE_TYPES)

    def loadNodes(self, fileType, properties, collection=None, messages=None) -> bool:
        """Read a file; its node is added to `collection`."""
        path = Path(properties["fileName"])
        if not path.exists():
            if messages:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"File not found: {path}")
            return False
        if fileType == "SceneFile":
            return self.loadScene(path, properties.get("clear", False))
        node = READERS[fileType](str(path), properties, messages)
        if node is not None and collection is not None:
            collection.AddItem(node)
        return node is not None

    def loadScene(self, fileName, clear=True, messages=None) -> bool:
        """Read a scene or a scene bundle."""
        scene = slicer.mrmlScene
        if str(fileName).lower().endswith(".mrb"):
            return bool(scene.ReadFromMRB(str(fileName), clear))
        scene.SetURL(str(fileName))
        return bool(scene.Connect() if clear else scene.Import())

    def saveNodes(self, fileType, properties, messages=None) -> bool:
        """Write the scene, or the node with ID `nodeID`."""
        if fileType == "SceneFile":
            return self._saveScene(Path(properties["fileName"]))
        fileName = str(properties["fileName"])
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        storage = node.GetStorageNode()
        if storage is None or storage.GetSupportedFileExtension(fileName, False, True) == "":
            node.AddDefaultStorageNode(fileName)
            storage = node.GetStorageNode()
        storage.SetFileName(fileName)
        if "useCompression" in properties:
            storage.SetUseCompression(bool(properties["useCompression"]))
        return bool(storage.WriteData(node))

    @staticmethod
    def _saveScene(path: Path) -> bool:
        scene = slicer.mrmlScene
        ending = path.suffix.lower()
        if ending == ".mrb":
            return bool(scene.WriteToMRB(str(path)))
        if ending == ".mrml":
            scene.SetURL(str(path))
            scene.SetRootDirectory(str(path.parent))
            return bool(scene.Commit(str(path)))
        return bool(slicer.app.applicationLogic().SaveSceneToSlicerDataBundleDirectory(str(path), None))


def _readVolume(fileName: str, properties: dict, messages):
    bits = [bit for name, (bit, normally) in VOLUME_OPTIONS.items() if properties.get(name, normally)]
    volume = _logic("volumes").AddArchetypeVolume(fileName, properties.get("name") or _volumeName(fileName), sum(bits))
    if volume is not None and properties.get("show", True):
        _showVolume(volume)
    return volume


def _volumeName(fileName: str) -> str:
    name = Path(fileName).name
    endings = (".nii.gz", ".seg.nrrd", Path(fileName).suffix)
    ending = next((one for one in endings if one and name.lower().endswith(one.lower())), "")
    return name[: len(name) - len(ending)]


def _showVolume(volume) -> None:
    application = slicer.app.applicationLogic()
    selection = application.GetSelectionNode()
    if volume.IsA("vtkMRMLLabelMapVolumeNode"):
        selection.SetActiveLabelVolumeID(volume.GetID())
    else:
        selection.SetActiveVolumeID(volume.GetID())
    application.PropagateVolumeSelection(0)


def _readSegmentation(fileName: str, properties: dict, messages):
    colors = slicer.mrmlScene.GetNodeByID(properties.get("colorNodeID") or "")
    autoOpacities = bool(properties.get("autoOpacities", True))
    name = properties.get("name") or ""
    return _logic("segmentations").LoadSegmentationFromFile(fileName, autoOpacities, name, colors, messages)


def _readSequence(fileName: str, properties: dict, messages):
    return _logic("sequences").AddSequence(fileName, messages)


def _readTransform(fileName: str, properties: dict, messages):
    return _logic("transforms").AddTransform(fileName, slicer.mrmlScene)


def _readColors(fileName: str, properties: dict, messages):
    return _logic("colors").LoadColorFile(fileName, properties.get("name") or "")


def _readModel(fileName: str, properties: dict, messages):
    return _logic("models").AddModel(fileName, slicer.vtkMRMLStorageNode.CoordinateSystemLPS, messages)


def _readTable(fileName: str, properties: dict, messages):
    return _logic("tables").AddTable(fileName)


def _readMarkups(fileName: str, properties: dict, messages):
    nodeId = _logic("markups").LoadMarkups(fileName, properties.get("name") or "")
    return slicer.mrmlScene.GetNodeByID(nodeId or "")


READERS = {
    "ColorTableFile": _readColors,
    "MarkupsFile": _readMarkups,
    "ModelFile": _readModel,
    "SegmentationFile": _readSegmentation,
    "SequenceFile": _readSequence,
    "TableFile": _readTable,
    "TransformFile": _readTransform,
    "VolumeFile": _readVolume,
}


def _logic(module: str):
    return getattr(slicer.modules, module).logic()
