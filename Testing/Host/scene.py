"""Real MRML in a plain Python process: a scene, the module logics on it, and what the application hangs on `slicer`."""

from __future__ import annotations

import contextlib
import functools

import slicer
import vtk  # all of it: the classes of Slicer look for their implementations among what is imported

from Testing.Host import slicerPython
from Testing.Host.application import SceneApplication

LOGICS = {
    "colors": "vtkSlicerColorLogic",
    "cropvolume": "vtkSlicerCropVolumeLogic",
    "data": "vtkSlicerDataModuleLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "models": "vtkSlicerModelsLogic",
    "plots": "vtkSlicerPlotsLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "sequences": "vtkSlicerSequencesLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "tables": "vtkSlicerTablesLogic",
    "terminologies": "vtkSlicerTerminologiesModuleLogic",
    "texts": "vtkSlicerTextsLogic",
    "transforms": "vtkSlicerTransformLogic",
    "units": "vtkSlicerUnitsLogic",
    "volumerendering": "vtkSlicerVolumeRenderingLogic",
    "volumes": "vtkSlicerVolumesLogic",
}
"""`slicer.modules.<name>` -> class of its logic."""

LOGIC_NAMES = {"colors": "Colors", "transforms": "Transforms"}
"""Names under which other logics ask for these, where the class's own name is not it."""


class Module:
    """`slicer.modules.volumes` and its like: a name and a logic."""

    def __init__(self, name: str, logic):
        self.name = name
        self._logic = logic

    def logic(self):
        return self._logic


class Modules:
    """`slicer.modules`."""

    def __getattr__(self, name):
        raise AttributeError(f"there is no module '{name}' here")


@functools.cache
def startScene():
    """Give `slicer` its `mrmlScene`, `app` and `modules`, and Slicer's own Python files, once in a process.

    Returns:
        The scene. It is the same one at every call.
    """
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerApplicationLogic()
    slicer.mrmlScene = scene
    slicer.app = SceneApplication(logic)
    slicer.modules = Modules()
    logic.SetTemporaryPath(slicer.app.temporaryPath)
    slicer.app.dataLogics = _addDataIo(scene, logic)
    logic.SetMRMLScene(scene)
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    with _silently():
        for name, className in LOGICS.items():
            setattr(slicer.modules, name, Module(name, _addLogic(name, className, scene, logic)))
        colors = slicer.modules.colors.logic()
        logic.SetColorLogic(colors)
        colors.AddDefaultColorNodes()
    slicerPython.install()
    return scene


def _addLogic(name: str, className: str, scene, applicationLogic):
    logic = getattr(slicer, className)()
    logic.SetMRMLApplicationLogic(applicationLogic)
    logic.SetMRMLScene(scene)
    ownName = className.removeprefix("vtkSlicer").removesuffix("Logic").removesuffix("Module")
    applicationLogic.SetModuleLogic(LOGIC_NAMES.get(name, ownName), logic)
    return logic


def _addDataIo(scene, applicationLogic) -> tuple:
    """Scene bundles (.mrb) are read and written through these logics; the caller keeps them alive."""
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLScene(scene)
    remote.SetMRMLApplicationLogic(applicationLogic)
    remote.GetCacheManager().SetRemoteCacheDirectory(slicer.app.temporaryPath)
    data = slicer.vtkDataIOManagerLogic()
    data.SetMRMLApplicationLogic(applicationLogic)
    data.SetAndObserveDataIOManager(remote.GetDataIOManager())
    remote.AddDataIOToScene()
    return remote, data


@contextlib.contextmanager
def _silently():
    """Keep the logics from complaining about terminology and colour files, which only the application brings."""
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    try:
        yield
    finally:
        vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_INFO)
