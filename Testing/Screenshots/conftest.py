"""Fixtures of the pictures' tests: the tiny model and the drawn source of the library's tests."""

from Testing.Library.conftest import a_model_folder, a_small_source  # noqa: F401 - pytest finds them by their names here
