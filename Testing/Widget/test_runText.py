"""What is said of a run while it goes on."""

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
