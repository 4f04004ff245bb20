"""Sections of the module's panel."""

from __future__ import annotations

import ctk
import qt


def addSection(layout, title: str, collapsed: bool = False):
    """Add a collapsible section to the panel and return it; what goes into it goes into its layout."""
    section = ctk.ctkCollapsibleButton()
    section.text = title
    section.collapsed = collapsed
    inner = qt.QVBoxLayout(section)
    inner.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(section)
    return section
