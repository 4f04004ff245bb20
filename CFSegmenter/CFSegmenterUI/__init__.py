"""What runs inside Slicer: the scene, the panels, and the link to the worker. Never imports torch."""
