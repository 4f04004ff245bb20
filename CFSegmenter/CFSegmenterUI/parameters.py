"""The parameter node: every choice the user makes, kept in the scene and saved with it.

The annotations are read while the program runs, so they are written as Python 3.9, that of Slicer 5.8, can read them;
a node's type takes None, too.
"""

from typing import Annotated

from slicer import vtkMRMLMarkupsFiducialNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper


@parameterNodeWrapper
class CFSegmenterParameterNode:
    """What is segmented, with which model, and what is being looked at.

    Attributes:
        targets: preferred names of the structures to segment.
        allFrames: segment every frame of the sequence that the volume is a frame of.
        model: folder of the active model; empty takes the shipped one.
        protocol: kind of scan, by the model's name for it; empty lets the scan decide.
        mapStructure: structure whose similarity map was asked for last.
        mapOpacity: of the map over the volume.
        threshold: similarity below which the map is not shown.
        shownMap: the map that lies over the volume in the slice views.
        showLegend: with a legend of its colors.
        probePoint: its first control point is probed.
        exampleSegment: ID of the painted segment in `exampleSegmentation`.
        caseSegmentation: what was painted on the volume that becomes a case.
        caseFolder, storeFolder, unlabelledFolder: where the worker finds cases, versions and old scans.
        updateBudget: how long an update may learn, as the worker reads it.
        updateLearningRate: a number; empty takes the default.
        updatePseudoLabels: where the model is sure of an old structure, its answer is learned like an annotation.
        updateSimilarityWeights: what it knew is kept with most force where an old structure is.
    """

    # A wrapper reads each field anew when it hears of a change, and VTK tells last of it who began to listen first: so
    # when a script changes the first or the last field with a wrapper of its own, panels may find the old value.
    updatePseudoLabels: bool = False
    inputVolume: vtkMRMLScalarVolumeNode
    outputSegmentation: vtkMRMLSegmentationNode
    targets: list[str]
    allFrames: bool = False
    model: str
    device: Annotated[str, Choice(["auto", "cpu", "cuda"]), Default("auto")]
    protocol: str
    mapStructure: str
    mapOpacity: Annotated[float, WithinRange(0.0, 1.0), Default(0.5)]
    threshold: Annotated[float, WithinRange(-1.0, 1.0), Default(0.3)]
    shownMap: vtkMRMLScalarVolumeNode
    showLegend: bool = True
    probePoint: vtkMRMLMarkupsFiducialNode
    exampleSegmentation: vtkMRMLSegmentationNode
    exampleSegment: str
    caseSegmentation: vtkMRMLSegmentationNode
    caseFolder: str
    storeFolder: str
    unlabelledFolder: str
    updateBudget: Annotated[str, Default("10min")]
    updateLearningRate: str
    updateSimilarityWeights: bool = False
