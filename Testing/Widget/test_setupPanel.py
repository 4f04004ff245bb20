"""The setup panel: real requirements files, and a pip that the test plays."""

import numpy as np
import pytest
import qt
import slicer
from CFSegmenterUI import setupPanel
from CFSegmenterUI.session import RunOptions, Session
from CFSegmenterUI.setupPanel import SetupPanel
from CFSegmenterUI.workerCommand import ownCommand

from CFSegmenterLib.structures import Vocabulary
from Testing.Widget.answeredWorker import RESOURCES, Link, click, enter, manifest, openPanel

ABSENT = "cfsegmenter_absent_package"
HELLO = {"protocol": 1, "version": "0.3", "device": "cuda", "precision": "16-mixed", "memory_free": 12.3e9}


class User:
    """Answers the panel's dialogs."""

    def __init__(self):
        self.folder, self.agrees, self.questions = "", True, []

    def chooseFolder(self):
        return self.folder

    def confirm(self, question):
        self.questions.append(question)
        return self.agrees


@pytest.fixture
def link():
    return Link()


@pytest.fixture
def user():
    return User()


@pytest.fixture
def pip(tmp_path, monkeypatch):
    """What was installed; installing puts a module of that name where Python finds it."""
    installed = []
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def ensure(requirements, **named):
        installed.extend(str(each) for each in requirements)
        (site / f"{ABSENT}.py").touch()

    monkeypatch.setattr(slicer.packaging, "pip_ensure", ensure)
    monkeypatch.setattr(slicer.packaging, "pip_install", lambda arguments, **named: ensure(arguments))
    return installed


@pytest.fixture
def requirements(tmp_path):
    path = tmp_path / "requirements.txt"
    path.write_text("numpy>=1\n")
    return path


@pytest.fixture
def missing(requirements):
    requirements.write_text(f"numpy>=1\n{ABSENT}>=1.4\n")


@pytest.fixture
def session(scene, link):
    return Session(scene, link, Vocabulary.load())


@pytest.fixture
def panel(session, user, requirements):
    def find(name):
        return str(requirements if name == "requirements.txt" else RESOURCES / name)

    panel = openPanel(SetupPanel, session, find, chooseFolder=user.chooseFolder, confirm=user.confirm)
    yield panel
    panel.cleanup()


def testNothingIsShownWhereNothingIsMissing(panel):
    assert not panel.isMissingSomething
    assert not panel.ui.installWidget.visible


def testSaysWhatIsMissingAndInstallsNothingByItself(missing, panel, pip):
    assert panel.isMissingSomething
    assert ABSENT in panel.ui.missingLabel.text
    assert "small" in panel.ui.sizeLabel.text
    assert "Nothing is installed before you click" in panel.ui.sizeLabel.text
    assert pip == []


def testInstallsAfterAClickAndAQuestion(missing, panel, pip, user, link):
    click(panel.ui.installButton)
    assert len(user.questions) == 1
    assert ABSENT in user.questions[0]
    assert f"{ABSENT}>=1.4" in pip
    assert not panel.ui.installWidget.visible
    assert panel.ui.installedLabel.text == "Everything is installed."
    assert link.verbs == ["models"]  # and the models panel fills


def testASecondClickStartsNoSecondInstallation(missing, panel, pip, user, monkeypatch):
    ensure, seen = slicer.packaging.pip_ensure, []

    def impatient(requirements, **named):
        slicer.app.processEvents()
        seen.append((panel.ui.installButton.enabled, panel.ui.wheelsButton.enabled, panel.ui.installedLabel.text))
        panel.setParameterNode(object())  # the user went to another module and came back
        seen.append(panel.ui.installButton.enabled)
        ensure(requirements, **named)

    monkeypatch.setattr(slicer.packaging, "pip_ensure", impatient)
    click(panel.ui.installButton)
    (*areEnabled, text), isEnabledAgain = seen
    assert not any((*areEnabled, isEnabledAgain))
    assert text.startswith("Installing.")
    assert panel.ui.installedLabel.text == "Everything is installed."


def testInstallsNothingWhenTheUserDeclines(missing, panel, pip, user):
    user.agrees = False
    click(panel.ui.installButton)
    assert pip == []
    assert panel.ui.installWidget.visible
    assert panel.ui.installedLabel.text == "Nothing was installed."


def testFailedInstallationIsOneSentence(missing, panel, user, monkeypatch):
    def fail(requirements, **named):
        raise RuntimeError("no network")

    monkeypatch.setattr(slicer.packaging, "pip_ensure", fail)
    click(panel.ui.installButton)
    assert "no network" in panel.ui.installedLabel.text
    assert panel.ui.installButton.enabled


def testInstallsFromAFolderOfWheels(missing, panel, pip, user, tmp_path):
    click(panel.ui.wheelsButton)
    assert user.questions == []  # the dialog was closed
    user.folder = str(tmp_path)
    click(panel.ui.wheelsButton)
    assert "holds no wheel files" in panel.ui.installedLabel.text
    (tmp_path / "absent-1.4-py3-none-any.whl").touch()
    click(panel.ui.wheelsButton)
    assert "--no-index" in pip
    assert str(tmp_path) in pip
    assert not panel.isMissingSomething


def testLooksAgainWhenTheUserComesBack(missing, panel, requirements):
    requirements.write_text("numpy>=1\n")
    panel.setParameterNode(None)
    assert panel.isMissingSomething
    panel.setParameterNode(object())
    assert not panel.isMissingSomething


def testWorkerElsewhereNeedsNothingHere(missing, panel, link, user):
    click(openWorker(panel).commandLineEdit)
    enter(panel.ui.commandLineEdit, "ssh gpu-box cfsegmenter worker")
    assert ownCommand() == ["ssh", "gpu-box", "cfsegmenter", "worker"]
    assert not panel.ui.installWidget.visible
    assert link.stops == 1  # the next question starts the other one
    enter(panel.ui.commandLineEdit, "ssh gpu-box cfsegmenter worker")
    assert link.stops == 1


def testAnotherWorkerIsAskedForItsModels(panel, session, link):
    session.refreshModels()
    link.last.answer({"models": [{"folder": "/models/general", "manifest": manifest()}]})
    enter(openWorker(panel).commandLineEdit, "ssh gpu-box cfsegmenter worker")
    assert link.verbs == ["models", "models"]
    link.last.answer({"models": [{"folder": "/of/gpu-box/general", "manifest": manifest()}]})
    assert [model.folder for model in session.models] == ["/of/gpu-box/general"]


def testAWorkerElsewhereThatCannotBeAskedIsSaid(panel, link):
    enter(openWorker(panel).commandLineEdit, "ssh no-such-box cfsegmenter worker")
    link.last.refuse("The worker ended before it was ready.")
    assert panel.ui.testedLabel.text == "The worker ended before it was ready."


def testNoModelsAreAskedForWhereSomethingMustBeInstalledFirst(missing, panel, link):
    enter(openWorker(panel).commandLineEdit, "ssh gpu-box cfsegmenter worker")
    asked = len(link.questions)
    enter(panel.ui.commandLineEdit, "")
    assert panel.isMissingSomething
    assert len(link.questions) == asked


def testCommandIsRememberedFromOneSessionToTheNext(panel, session, requirements):
    enter(openWorker(panel).commandLineEdit, "python3 -m CFSegmenterLib worker")
    find = {"requirements.txt": str(requirements), "UI/SetupPanel.ui": str(RESOURCES / "UI/SetupPanel.ui")}
    another = openPanel(SetupPanel, session, find.get)
    assert another.ui.commandLineEdit.text == "python3 -m CFSegmenterLib worker"
    another.cleanup()


def testTestSaysWhoAnswers(panel, link):
    click(openWorker(panel).testButton)
    assert link.last.verb == "hello"
    assert link.last.message == {"protocol": 1}
    assert not panel.ui.testButton.enabled
    link.last.answer(HELLO)
    assert panel.ui.testedLabel.text == ("CFSegmenter 0.3 answers on cuda (16-mixed), with 12.3 GB of free memory.")
    assert panel.ui.testButton.enabled
    assert link.verbs == ["hello", "models"]


def testTestSaysWhyNobodyAnswers(panel, link):
    click(openWorker(panel).testButton)
    link.last.refuse("The worker could not be started, because 'shs' was not found.")
    assert panel.ui.testedLabel.text == "The worker could not be started, because 'shs' was not found."
    assert panel.ui.testButton.enabled


def testTestWaitsWhileTheWorkerIsBusy(panel, session, link):
    volume = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16))
    session.margin(volume, RunOptions("/models/general"))
    assert not openWorker(panel).testButton.enabled
    assert "busy" in panel.ui.testButton.toolTip
    link.last.giveUp()
    assert panel.ui.testButton.enabled


@pytest.fixture
def needed(session, requirements, monkeypatch):
    """The panel, and the reasons why others need the worker."""
    monkeypatch.setattr(setupPanel, "CHECK_MS", 1)
    reasons = []

    def find(name):
        return str(requirements if name == "requirements.txt" else RESOURCES / name)

    panel = openPanel(SetupPanel, session, find, isWorkerNeeded=lambda: bool(reasons))
    panel.setParameterNode(object())
    yield panel, reasons
    panel.cleanup()


def testWorkerIsNotStartedAnewWhileOthersNeedIt(needed, link, process):
    panel, reasons = needed
    ui = openWorker(panel)
    hints = ui.testButton.toolTip, ui.commandLineEdit.toolTip
    reasons.append("an update")
    process(lambda: not ui.testButton.enabled)
    assert not ui.commandLineEdit.enabled
    assert "would end with the worker" in ui.testButton.toolTip
    assert "would end with the worker" in ui.commandLineEdit.toolTip
    reasons.clear()
    process(lambda: ui.testButton.enabled)
    assert ui.commandLineEdit.enabled
    assert (ui.testButton.toolTip, ui.commandLineEdit.toolTip) == hints


def testAClickThatComesJustAfterOthersNeedTheWorkerIsHeeded(needed, link, process):
    panel, reasons = needed
    ui = openWorker(panel)
    panel.setParameterNode(None)  # nobody looks any more
    reasons.append("an update")
    click(ui.testButton)
    assert "would end with the worker" in ui.testedLabel.text
    enter(ui.commandLineEdit, "ssh gpu-box cfsegmenter worker")
    assert link.stops == 0 and link.questions == []
    assert ownCommand() == ["ssh", "gpu-box", "cfsegmenter", "worker"], "for the next start"


def openWorker(panel):
    panel.ui.workerCollapsibleButton.collapsed = False
    qt.QApplication.processEvents()
    return panel.ui
