"""The package that Slicer's build makes: CMake's lists against the files on disk, and what the index asks for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.Extension.sources import LIBRARY, MODULE, ROOT, cmake_set, files

EXTENSION = ROOT / "CMakeLists.txt"
ENTRY = ROOT / "CFSegmenter.json"

METADATA = ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS")
REQUIRED_KEYS = {"$schema", "category", "scm_url"}
OTHER_KEYS = {"scm_revision", "scm_type", "build_dependencies", "build_subdirectory", "enabled", "tier"}
"""Of the schema of catalog entries, version 1.0.1; it allows no others."""

STAND_IN_FOR_SLICER = """
set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/use.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/nothing.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/nothing.cmake)
"""
STAND_IN_FOR_ITS_MACROS = """
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR ${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
function(ctkMacroCompilePythonScript)
  cmake_parse_arguments(MY "NO_INSTALL_SUBDIR" "TARGET_NAME;DESTINATION_DIR;INSTALL_DIR" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(file IN LISTS MY_SCRIPTS MY_RESOURCES)
    configure_file(${CMAKE_CURRENT_SOURCE_DIR}/${file} ${MY_DESTINATION_DIR}/${file} COPYONLY)
  endforeach()
  install(DIRECTORY ${MY_DESTINATION_DIR}/ DESTINATION ${MY_INSTALL_DIR})
endfunction()
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MY "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  ctkMacroCompilePythonScript(TARGET_NAME ${MY_NAME} SCRIPTS ${MY_SCRIPTS} RESOURCES ${MY_RESOURCES}
    DESTINATION_DIR ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
    INSTALL_DIR ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR} NO_INSTALL_SUBDIR)
endfunction()
"""


def metadata(name: str) -> str:
    """A value of the extension's metadata, read as the index reads it: one line, one pair of quotes."""
    found = re.findall(rf'(?m)^set\(EXTENSION_{name} "([^"\n]+)"\)$', EXTENSION.read_text(encoding="utf-8"))
    assert len(found) == 1, f"EXTENSION_{name} must be set once, on one line"
    return found[0]


# --- Lists and files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cmake", "variable", "folder", "pattern"),
    [
        (MODULE / "CMakeLists.txt", "MODULE_PYTHON_SCRIPTS", MODULE, "*.py"),
        (MODULE / "CMakeLists.txt", "MODULE_PYTHON_RESOURCES", MODULE, "Resources/**/*"),
        (LIBRARY / "CMakeLists.txt", "LIBRARY_PYTHON_SCRIPTS", LIBRARY, "*.py"),
    ],
    ids=["scripts of the module", "resources of the module", "scripts of the library"],
)
def test_cmake_lists_exactly_the_files_on_disk(cmake: Path, variable: str, folder: Path, pattern: str) -> None:
    listed = cmake_set(cmake, variable)
    assert sorted(listed) == files(folder, pattern)
    assert len(listed) > 1


def test_cmake_lists_exactly_the_vocabulary_and_the_shipped_models() -> None:
    resources = ROOT / "Resources"
    wanted = ["structures.json", *(f"Models/{name}" for name in files(resources / "Models"))]
    assert sorted(cmake_set(LIBRARY / "CMakeLists.txt", "LIBRARY_RESOURCES")) == sorted(wanted)


def test_what_the_wheel_takes_from_resources_travels_with_the_extension_too() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    taken = re.findall(r'"Resources/([^"]+)" = "CFSegmenterLib/resources/\1"', text)
    listed = cmake_set(LIBRARY / "CMakeLists.txt", "LIBRARY_RESOURCES")
    assert taken
    assert all(any(name == each or name.startswith(f"{each}/") for each in taken) for name in listed)
    assert all(any(name == each or name.startswith(f"{each}/") for name in listed) for each in taken)


def test_the_wheel_holds_the_library_and_its_resources_and_nothing_else() -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel")
    held = {file.distribution_path for file in wheel.WheelBuilder(str(ROOT)).recurse_included_files()}
    scripts = {f"CFSegmenterLib/{name}" for name in files(LIBRARY, "*.py")}
    resources = cmake_set(LIBRARY / "CMakeLists.txt", "LIBRARY_RESOURCES")
    assert held == scripts | {f"CFSegmenterLib/resources/{name}" for name in resources}


@pytest.mark.skipif(not all(map(shutil.which, ("cmake", "make", "cc", "c++"))), reason="no CMake or no compiler")
def test_the_installed_library_finds_its_vocabulary_and_its_model(tmp_path: Path) -> None:
    slicer = tmp_path / "slicer"
    slicer.mkdir()
    (slicer / "SlicerConfig.cmake").write_text(STAND_IN_FOR_SLICER, encoding="utf-8")
    (slicer / "use.cmake").write_text(STAND_IN_FOR_ITS_MACROS, encoding="utf-8")
    (slicer / "nothing.cmake").touch()
    build, installed = tmp_path / "build", tmp_path / "installed"
    _cmake("-S", ROOT, "-B", build, f"-DSlicer_DIR={slicer}", "-DBUILD_TESTING=OFF")
    _cmake("--install", build, "--prefix", installed)

    modules = installed / "lib" / "qt-scripted-modules"
    assert [path.name for path in modules.glob("*.py")] == ["CFSegmenter.py"]  # Slicer takes each for a module
    assert (modules / "Resources" / "requirements.txt").is_file()
    program = (
        f"import sys; sys.path.insert(0, {str(modules)!r})\n"
        "import CFSegmenterLib\n"
        "from CFSegmenterLib.resources import resource_path\n"
        "from CFSegmenterLib.structures import Vocabulary\n"
        "assert CFSegmenterLib.__file__.startswith(sys.path[0]), CFSegmenterLib.__file__\n"
        "assert Vocabulary.load().find('LKidney').name == 'left kidney'\n"
        "weights = resource_path('Models', 'general', 'weights.safetensors')\n"
        "assert str(weights).startswith(sys.path[0]), weights\n"
    )
    subprocess.run([sys.executable, "-I", "-B", "-c", program], check=True, timeout=60, cwd=tmp_path)


def _cmake(*arguments: object) -> None:
    done = subprocess.run(["cmake", *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


# --- What the index of extensions asks for ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", METADATA)
def test_metadata_stand_on_one_line_each(name: str) -> None:
    assert metadata(name).strip() == metadata(name)


def test_the_extension_has_one_name_everywhere() -> None:
    text = EXTENSION.read_text(encoding="utf-8")
    (project,) = re.findall(r"(?m)^project\((\w+)\)$", text)
    assert project == ENTRY.stem == "CFSegmenter"
    assert not project.startswith("Slicer")
    assert cmake_set(MODULE / "CMakeLists.txt", "MODULE_NAME") == [project]


def test_commands_stand_in_the_order_that_slicer_needs() -> None:
    text = EXTENSION.read_text(encoding="utf-8")
    order = (
        "cmake_minimum_required(",
        "project(",
        "set(EXTENSION_",
        "find_package(Slicer REQUIRED)",
        "include(${Slicer_USE_FILE})",
        "add_subdirectory(CFSegmenterLib)",
        "add_subdirectory(CFSegmenter)",
        "## NEXT_MODULE",
        "include(${Slicer_EXTENSION_GENERATE_CONFIG})",
        "include(${Slicer_EXTENSION_CPACK})",
    )
    places = [text.index(command) for command in order]
    assert places == sorted(places)


def test_the_catalog_entry_has_the_keys_of_its_schema_and_unix_line_ends() -> None:
    data = ENTRY.read_bytes()
    entry = json.loads(data)
    assert REQUIRED_KEYS <= set(entry) <= REQUIRED_KEYS | OTHER_KEYS
    assert entry["$schema"].endswith("/slicer-extension-catalog-entry-schema-v1.0.1.json#")
    assert entry["category"] == "Segmentation"
    assert entry["tier"] in range(1, 6)
    assert b"\r" not in data
    assert data.endswith(b"}\n")


def test_catalog_entry_and_cmake_agree_on_home_and_dependencies() -> None:
    entry = json.loads(ENTRY.read_text(encoding="utf-8"))
    assert entry["build_dependencies"] == metadata("DEPENDS").split()
    home = re.fullmatch(r"https://github\.com/([\w-]+/Slicer\w+)\.git", entry["scm_url"])
    assert home, entry["scm_url"]
    assert metadata("HOMEPAGE") == f"https://github.com/{home[1]}"
    pictures = [metadata("ICONURL"), *metadata("SCREENSHOTURLS").split()]
    for url in pictures:
        start = f"https://raw.githubusercontent.com/{home[1]}/{entry['scm_revision']}/"
        assert url.startswith(start)
        assert url.endswith(".png")
        assert (ROOT / url.removeprefix(start)).is_file(), url


def test_the_package_carries_our_licence_and_readme() -> None:
    for variable, name in (("EXTENSION_LICENSE_FILE", "LICENSE"), ("EXTENSION_README_FILE", "README.md")):
        assert cmake_set(EXTENSION, variable) == [f"${{CMAKE_CURRENT_SOURCE_DIR}}/{name}"]
        assert (ROOT / name).is_file()


def test_the_icon_is_a_square_png_of_128_pixels() -> None:
    header = (MODULE / "Resources" / "Icons" / "CFSegmenter.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert [int.from_bytes(header[at : at + 4]) for at in (16, 20)] == [128, 128]
