from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.files.nifti import write_labels_nifti
from CFSegmenterLib.files.reading import read_volume
from CFSegmenterLib.files.seg_nrrd import SegmentLayer, write_seg_nrrd
from CFSegmenterLib.files.writing import write_atomically, write_json, write_text
from Testing.Library.files.scans import SHAPE


def test_json_keeps_its_order_its_letters_and_its_last_line_break(tmp_path):
    write_json(tmp_path / "a.json", {"z": 1, "a": "Läsion", "n": np.float32(0.5), "m": np.arange(2)})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{\n  "z": 1,\n  "a": "Läsion",\n  "n": 0.5,\n  "m": [\n    0,\n    1\n  ]\n}\n'
    assert json.loads(text)["n"] == 0.5


@pytest.mark.parametrize("bad", [float("nan"), np.float32("inf"), object(), {1, 2}])
def test_json_that_nobody_could_read_is_not_written(tmp_path, bad):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", {"value": bad})
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}


@pytest.mark.parametrize("name", ["a.nii.gz", "b.seg.nrrd", "c.v1.json", "no-ending", "x" * 240 + ".nii.gz"])
def test_the_unfinished_file_stands_beside_the_final_one_with_its_ending(tmp_path, name):
    with write_atomically(tmp_path / name) as partial:
        assert partial.parent == tmp_path and partial.name != name and partial.name.startswith(".")
        assert partial.name.endswith(name[-10:])
        partial.write_text("done")
        written = partial.stat().st_ino
        assert not (tmp_path / name).exists()
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "done"
    assert (tmp_path / name).stat().st_ino == written, "renamed, not copied"


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    with write_atomically(tmp_path / "a") as one, write_atomically(tmp_path / "a") as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "a").read_text() == "one", "the one that ends last"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(failure), write_atomically(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise failure
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_what_else_the_caller_stumbles_over_is_not_called_a_failure_to_write(tmp_path):
    with pytest.raises(FileNotFoundError), write_atomically(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        (tmp_path / "other").read_text()
    assert list(tmp_path.iterdir()) == []


WRITING = """
import sys, time
from CFSegmenterLib.files.writing import write_atomically
try:
    with write_atomically(sys.argv[1]) as partial, partial.open("wb") as file:
        file.write(b"half")
        file.flush()
        print("ready", flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_writer_that_is_killed_leaves_nothing_under_the_final_name(tmp_path, how):
    final = tmp_path / "a.nii.gz"
    command = [sys.executable, "-c", WRITING, str(final)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        writer.send_signal(how)
        writer.wait(timeout=30)
    assert not final.exists()
    left = list(tmp_path.iterdir())
    assert left == [] if how == signal.SIGINT else all(p.name.startswith(".") for p in left)


DISK_FULL = """
import resource, sys
from pathlib import Path
import numpy as np
import nibabel, slicerio
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.files.nifti import write_labels_nifti, write_map_nifti
from CFSegmenterLib.files.seg_nrrd import SegmentLayer, write_seg_nrrd
from CFSegmenterLib.files.writing import write_json
folder = Path(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 250, size=(50, 50, 50)).astype(np.uint8)
segment = SegmentLayer("a", "a", (1, 2, 3), "", 1, noise % 2)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
for write in (
    lambda: write_labels_nifti(folder / "a.nii.gz", noise, np.eye(4)),
    lambda: write_labels_nifti(folder / "a.nii", noise, np.eye(4)),
    lambda: write_map_nifti(folder / "a.nii.gz", noise, np.eye(4), ""),
    lambda: write_seg_nrrd(folder / "a.seg.nrrd", [segment], np.eye(4)),
    lambda: write_json(folder / "a.json", list(range(5000))),
):
    try:
        write()
        print("written")
    except UserError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_disk_that_takes_no_more_is_said_and_leaves_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-c", DISK_FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    sentences = done.stdout.splitlines()
    assert len(sentences) == 5
    assert all("cannot be written (file too large): free some space" in sentence for sentence in sentences)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def nobody(tmp_path) -> Iterator[None]:
    """Act as a user without rights: root may write anywhere."""
    if sys.platform == "win32":
        pytest.skip("permissions of POSIX")
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder in which one may look, and not write; not in pytest's own, which nobody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        yield Path(folder)
        Path(folder).chmod(0o755)


def test_a_folder_that_may_not_be_written_to_is_said(locked, nobody):
    with pytest.raises(UserError, match=r"cannot be written to '.*' \(permission denied\): choose a folder"):
        write_text(locked / "a.txt", "x")
    with pytest.raises(UserError, match="permission denied"):
        write_labels_nifti(locked / "a.nii.gz", np.zeros(SHAPE, np.uint8), np.eye(4))
    segment = SegmentLayer("a", "a", (1, 2, 3), "", 1, np.ones(SHAPE, np.uint8))
    with pytest.raises(UserError, match="permission denied"):
        write_seg_nrrd(locked / "a.seg.nrrd", [segment], np.eye(4))
    assert list(locked.iterdir()) == []


def test_a_file_that_may_not_be_read_is_said(tmp_path, request):
    (tmp_path / "a.nii.gz").write_bytes(b"x")
    (tmp_path / "a.nii.gz").chmod(0)
    request.getfixturevalue("nobody")
    with pytest.raises(UserError, match=r"cannot be opened \(permission denied\)"):
        read_volume(tmp_path / "a.nii.gz")


def test_a_folder_that_is_not_there_or_is_no_folder_is_said(tmp_path):
    with pytest.raises(UserError, match=r"There is no folder '.*missing'.*create it first"):
        write_text(tmp_path / "missing" / "a.txt", "x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="There is no folder"):
        write_text(tmp_path / "file" / "a.txt", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="is a folder, and a file of that name"):
        write_text(tmp_path / "folder", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
