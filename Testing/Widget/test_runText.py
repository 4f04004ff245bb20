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


def result(protocol, *caveats):
    said = {"kept": (), "missing": (), "milliliters": {"liver": 1.0}, "seconds": 1.0, "encoded": True}
    return types.SimpleNamespace(protocol=protocol, caveats=caveats, **said)


def testWhatScansWereReadAsIsSaidOnceForAllFrames(application):
    from CFSegmenterUI.runText import resultText

    assert resultText([result("abdomen CT")] * 2).startswith(
        "2 frames: 1 of 1 structures found in 2.0 s. Read as abdomen CT.\n"
    )
    assert "Read as abdomen CT, head MR." in resultText([result("abdomen CT"), result("head MR")])
    assert "Read as" not in resultText([result("")])


def testWhyAnAnswerMayNotBeTrustedIsSaidOnceForAllFrames(application):
    from CFSegmenterUI.runText import resultText

    told = "Liver: learned in MR T2 scans only."
    assert resultText([result("neck CT", told), result("neck CT", told)]).splitlines()[-1] == told
