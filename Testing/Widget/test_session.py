"""What the session does when its worker goes while it is being asked."""

import sys

import pytest
from CFSegmenterUI.session import Session
from CFSegmenterUI.workerLink import WorkerLink

from CFSegmenterLib.errors import Cancelled
from CFSegmenterLib.structures import Vocabulary


@pytest.fixture
def link():
    """To a worker that never says who it is."""
    link = WorkerLink(lambda: [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"])
    yield link
    link.stop()


def testLookingForModelsEndsWhenTheWorkerIsStoppedMeanwhile(scene, link, process):
    session, heard = Session(scene, link, Vocabulary.load(), lambda: ["/home/me/models"]), []
    task = session.refreshModels(heard.append, done=heard.append, cancelled=lambda: heard.append("cancelled"))
    process(until=lambda: link.isRunning)
    link.stop()
    process(until=lambda: not task.isActive)
    assert task.isCancelled
    assert heard == ["cancelled"]
    with pytest.raises(Cancelled):
        session.wait(task)
    again = session.refreshModels()
    session.stop()
    process(until=lambda: not again.isActive)
