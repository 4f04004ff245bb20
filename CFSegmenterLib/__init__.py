"""CFSegmenterLib: a classifier-free network that segments any structure it has been taught.

The package imports nothing heavy by itself, so that 3D Slicer can import it at start-up; torch and the readers of
image files are imported by the rooms that need them, when they are needed.
"""

__version__ = "0.1.0"
