from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.memory import memory_for
from CFSegmenterLib.worker.client import COMMAND, WorkerClient
from Testing.Library.painted import a_plain_model, an_affine, painted_encoding

linux = pytest.mark.skipif(sys.platform != "linux", reason="a process that gets no more memory: limits of Linux")

ASKING = """
import resource
import numpy as np
import psutil
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.segmenter import Segmenter
from CFSegmenterLib.volume import Volume
from Testing.Library.painted import a_plain_model, painted_encoding

model, side = a_plain_model(), 120
affine = np.diag([0.4, 0.4, 0.4, 1.0])
encoding = painted_encoding(model, np.ones((12, 12, 12), int), (side,) * 3, affine, (4.0, 4.0, 4.0))
segmenter = Segmenter(model, "cpu", "32-true")
large = Volume(np.ones((side,) * 3, np.uint8), np.diag([4.0, 4.0, 4.0, 1.0]), "mr-t2")
large.array[0] = 0
painted = np.ones((side,) * 3, bool)
for ask in (
    lambda: segmenter.encode(large),
    lambda: encoding.segment(["liver"]),
    encoding.best,
    encoding.margin,
    lambda: encoding.similarity("liver"),
    lambda: encoding.prototype_from(painted),
):
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (1 << 20), -1))
    try:
        ask()
    except UserError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
print(encoding.segment(["liver"]).voxels("liver"))
"""


@linux
def test_what_finds_no_memory_says_so_and_answers_once_there_is_some():
    # On one thread, since threads take address space, too.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", ASKING], capture_output=True, text=True, env=environment, cwd=root)
    assert done.returncode == 0, done.stderr
    *sentences, voxels = done.stdout.splitlines()
    asked = ("to encode", "to segment", "to segment", "to measure", "for a similarity map", "to look at the painted")
    assert len(sentences) == len(asked), sentences
    for sentence, what in zip(sentences, asked, strict=True):
        assert sentence.startswith(f"There is too little memory {what}"), sentences
        assert sentence.endswith("close other programs, crop the image, or resample it to larger voxels.")
    assert int(voxels) == 120**3


@linux
def test_the_worker_says_it_and_lives_on(a_model_folder, a_small_volume):
    import resource

    import psutil

    request = {"key": "a", "model": str(a_model_folder), "affine": a_small_volume.affine.tolist(), "modality": "mr-t2"}
    large = np.zeros((256, 256, 256), np.uint8)
    large[100:] = 1
    with WorkerClient([*COMMAND, "--device", "cpu"]) as worker:
        worker.ask("encode", request, {"image": a_small_volume.array})
        limit = psutil.Process(worker.pid).memory_info().vms + (250 << 20)
        resource.prlimit(worker.pid, resource.RLIMIT_AS, (limit, -1))
        with pytest.raises(UserError, match="too little memory to encode this volume: close other programs"):
            worker.ask("encode", {**request, "key": "b"}, {"image": large})
        assert worker.ask("similarity", {"key": "a", "structure": "liver"}).arrays["map"].shape == a_small_volume.shape


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you ..."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you ..."),
        RuntimeError("std::bad_alloc"),
        RuntimeError("itk::ERROR: ImportImageContainer: Failed to allocate memory for image."),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
    ],
)
def test_every_library_s_way_to_say_it_becomes_the_sentence(error):
    with pytest.raises(UserError, match="is too little memory to see: close other programs"), memory_for("to see"):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("memory")])
def test_a_defect_keeps_its_traceback(error):
    with pytest.raises(type(error)) as kept, memory_for("to see"):
        raise error
    assert kept.value is error


def test_a_structure_is_made_whole_later_when_memory_ran_out_meanwhile(monkeypatch):
    model = a_plain_model(one_piece=("liver",))
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[1:6, 1:6, 1:6] = labels[9:11, 9:11, 9:11] = 1
    encoding = painted_encoding(model, labels, labels.shape, an_affine((4.0, 4.0, 4.0)), (4.0, 4.0, 4.0))

    def fails(mask):
        raise MemoryError

    with monkeypatch.context() as patch, pytest.raises(UserError, match="too little memory"):
        patch.setattr("CFSegmenterLib.encoding.largest_piece", fails)
        encoding.segment(["liver"])
    assert encoding.segment(["liver"]).voxels("liver") == 125
