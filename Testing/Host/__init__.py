"""A stand-in for the Slicer application, for tests: real MRML and logics, and Qt with the manners of PythonQt.

`startScene()` is enough for what needs no Qt; `startApplication()` adds it, before or after, in the same process. Only
the wheels of the extra `scene` are needed, and only when one of the two is called.
"""

from __future__ import annotations

from Testing.Host.renderProbe import canRender
from Testing.Host.slots import slotErrors

__all__ = ["canRender", "slotErrors", "startApplication", "startScene"]


def startScene():
    """Give `slicer` its `mrmlScene`, `app` and `modules`, and `slicer.i18n`, `slicer.parameterNodeWrapper`,
    `slicer.ScriptedLoadableModule` and `slicer.packaging`; returns the scene, the same one at every call."""
    from Testing.Host.scene import startScene

    return startScene()


def startApplication():
    """Make `qt`, `ctk` and the widgets of `slicer` importable, too; returns `slicer.app`, the same one at every call.
    The scene stays the same."""
    from Testing.Host.qtApplication import startApplication

    return startApplication()
