"""Some tests here ask Qt and Slicer what there is; all others read files only."""

from __future__ import annotations

from Testing.Host import startApplication
from Testing.Host.fixtures import collectAfter, scene

__all__ = ["scene"]

pytest_pycollect_makemodule = collectAfter(
    startApplication, "test_sample_data.py", "test_slicer_names.py", "test_ui_files.py"
)
