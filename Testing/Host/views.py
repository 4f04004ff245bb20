"""Slice and 3D views without a screen, drawn by the real displayable managers.

Ask `canRender()` before: VTK ends the process where it finds no OpenGL library.
"""

from __future__ import annotations

import types

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

SLICE_MANAGERS = (
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
)

THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLVolumeRenderingDisplayableManager",
)

SLICE_ORIENTATIONS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}


class View:
    """A window that is never shown, with a renderer for the displayable managers."""

    def __init__(self, factoryClass, managers: tuple[str, ...], size: tuple[int, int]):
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()
        factory = factoryClass.GetInstance()
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for name in managers:
            if hasattr(slicer, name) and not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.SetRenderer(self.renderer)
        self.managers.Initialize(factory, self.renderer)

    def picture(self) -> np.ndarray:
        """What the view shows: (rows from the top, columns, RGB), uint8."""
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.SetInputBufferTypeToRGB()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        colors = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
        return colors.reshape(height, width, 3)[::-1].copy()

    def close(self) -> None:
        """Let go of the window, and take the view's own nodes out of the scene, where closing the scene keeps them."""
        self.managers.SetMRMLDisplayableNode(None)
        self.interactor.SetRenderWindow(None)
        self.window.Finalize()
        self.logic.SetMRMLScene(None)
        for node in self.ownNodes():
            slicer.mrmlScene.RemoveNode(node)


class SliceView(View):
    """One slice view."""

    def __init__(self, name: str = "Red", orientation: str = "Axial", size: tuple[int, int] = (500, 500)):
        super().__init__(slicer.vtkMRMLSliceViewDisplayableManagerFactory, SLICE_MANAGERS, size)
        application = slicer.app.applicationLogic()
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application)
        application.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetMappedInLayout(1)
        self.node.SetOrientation(orientation)
        self.composite = self.logic.GetSliceCompositeNode()
        self.managers.SetMRMLDisplayableNode(self.node)
        self.node.SetDimensions(*size, 1)
        self._addImage()

    def _addImage(self) -> None:
        """The slice itself, in a renderer below the managers' one, so that translucent fills blend over it."""
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self.mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        background = vtk.vtkRenderer()
        background.AddViewProp(actor)
        self.window.SetNumberOfLayers(max(2, self.window.GetNumberOfLayers()))  # a manager may have asked for more
        background.SetLayer(0)
        self.renderer.SetLayer(1)
        self.window.AddRenderer(background)

    def show(self, background=None, foreground=None, opacity: float = 0.5, label=None) -> None:
        """Show volumes and fit the view to the background."""
        self.composite.SetBackgroundVolumeID(background.GetID() if background else None)
        self.composite.SetForegroundVolumeID(foreground.GetID() if foreground else None)
        self.composite.SetForegroundOpacity(opacity)
        self.composite.SetLabelVolumeID(label.GetID() if label else None)
        self.logic.FitSliceToBackground()
        self.node.UpdateMatrices()

    def ownNodes(self) -> tuple:
        return (self.composite, self.node)

    def picture(self) -> np.ndarray:
        connection = self.logic.GetImageDataConnection()
        if connection:
            self.mapper.SetInputConnection(connection)
            connection.GetProducer().Update()
        return super().picture()

    def close(self) -> None:
        slicer.app.applicationLogic().GetSliceLogics().RemoveItem(self.logic)
        super().close()


class ThreeDView(View):
    """One 3D view."""

    def __init__(self, name: str = "1", size: tuple[int, int] = (500, 500)):
        super().__init__(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, THREE_D_MANAGERS, size)
        application = slicer.app.applicationLogic()
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(application)
        self.logic.SetMRMLScene(slicer.mrmlScene)
        application.GetViewLogics().AddItem(self.logic)
        self.node = self.logic.AddViewNode(name)
        self.node.SetMappedInLayout(1)
        self.managers.SetMRMLDisplayableNode(self.node)
        self.renderer.SetBackground(0.76, 0.76, 0.91)
        self.renderer.SetBackground2(0.45, 0.47, 0.75)
        self.renderer.SetGradientBackground(True)

    def ownNodes(self) -> tuple:
        return (self.node,)

    def reset(self) -> None:
        """Look at everything that is shown, without the box around it."""
        boxVisible = self.node.GetBoxVisible()
        self._showBox(False)
        bounds = [0.0] * 6
        self.renderer.ComputeVisiblePropBounds(bounds)
        if bounds[0] <= bounds[1]:
            self.renderer.ResetCamera(bounds)
        else:
            self.renderer.ResetCamera()
        self._showBox(boxVisible)
        self.renderer.ResetCameraClippingRange()

    def _showBox(self, visible) -> None:
        self.node.SetBoxVisible(visible)
        self.node.SetAxisLabelsVisible(visible)

    def close(self) -> None:
        slicer.app.applicationLogic().GetViewLogics().RemoveItem(self.logic)
        super().close()


class LayoutManager:
    """What `slicer.util` and a module ask of the layout manager: three slice views, and a 3D view if wanted.

    It gives itself to `slicer.app`, until `close()`.
    """

    tableViewCount = plotViewCount = 0

    def __init__(self, size: tuple[int, int] = (400, 400), withThreeDView: bool = True):
        self.slices = {name: SliceView(name, orientation, size) for name, orientation in SLICE_ORIENTATIONS.items()}
        self.threeDViews = [ThreeDView("1", size)] if withThreeDView else []
        slicer.app.setLayoutManager(self)

    def sliceViewNames(self):
        return tuple(self.slices)

    def sliceWidget(self, name):
        view = self.slices.get(name)
        return view and types.SimpleNamespace(
            fitSliceToBackground=view.logic.FitSliceToBackground,
            mrmlSliceCompositeNode=lambda: view.composite,
            mrmlSliceNode=lambda: view.node,
            sliceLogic=lambda: view.logic,
            sliceView=lambda: types.SimpleNamespace(forceRender=view.picture, renderWindow=lambda: view.window),
        )

    @property
    def threeDViewCount(self):
        return len(self.threeDViews)

    def threeDWidget(self, index):
        view = self.threeDViews[index]
        inside = types.SimpleNamespace(
            forceRender=view.picture, renderWindow=lambda: view.window, resetFocalPoint=view.reset
        )
        return types.SimpleNamespace(mrmlViewNode=lambda: view.node, threeDView=lambda: inside)

    def mrmlSliceLogics(self):
        return slicer.app.applicationLogic().GetSliceLogics()

    def resetThreeDViews(self):
        for view in self.threeDViews:
            view.reset()

    def resetSliceViews(self):
        for view in self.slices.values():
            view.logic.FitSliceToAll()

    def close(self) -> None:
        """Close all views; the application has no layout again."""
        for view in [*self.slices.values(), *self.threeDViews]:
            view.close()
        slicer.app.setLayoutManager(None)
