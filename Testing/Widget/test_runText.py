"""What is said of a run while it goes on, and when it is over."""

import types

import pytest


@pytest.mark.parametrize(
    ("what", "secondsLeft", "said"),
    [
        ("window 3 of 41", 12.0, "Encoding window 3 of 41, 12 s left"),
        ("sending 34 of 300 MB", 120.0, "Sending 34 of 300 MB, 2 min left"),
        ("still sending 34 of 300 MB", None, "Still sending what was cancelled: 34 of 300 MB"),
        ("deciding", None, "Deciding"),
    ],
)
def testProgressIsSaidInWords(application, what, secondsLeft, said):
    from CFSegmenterUI.runText import progressText

    assert progressText(what, secondsLeft) == said


def testWhatScansWereReadAsIsSaidOnceForAllFrames(application):
    from CFSegmenterUI.runText import resultText

    def result(protocol):
        said = {"kept": (), "missing": (), "milliliters": {"liver": 1.0}, "seconds": 1.0, "encoded": True}
        return types.SimpleNamespace(protocol=protocol, **said)

    assert resultText([result("abdomen CT")] * 2).startswith(
        "2 frames: 1 of 1 structures found in 2.0 s. Read as abdomen CT.\n"
    )
    assert "Read as abdomen CT, head MR." in resultText([result("abdomen CT"), result("head MR")])
    assert "Read as" not in resultText([result("")])
