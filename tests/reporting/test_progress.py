"""Where nobody watches, progress is a line a minute with the time that is left."""

from dafm_core.reporting.progress import ProgressLines


def test_a_line_a_minute_says_how_far_it_is_and_how_long_the_rest_takes(capsys):
    now = 0.0
    report = ProgressLines(clock=lambda: now)
    for done in range(1001):
        now = float(done)  # a step a second
        report("queries", done, 1000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1000 // 60
    assert lines[0] == "dafm: queries: 60 of 1,000 (6 %), 15 min left"
    assert lines[-1] == "dafm: queries: 960 of 1,000 (96 %), under a minute left"


def test_what_is_quick_says_nothing_and_a_new_stage_is_timed_on_its_own(capsys):
    now = 0.0
    report = ProgressLines(clock=lambda: now)
    report("a", 0, 2)
    now = 100.0
    report("a", 2, 2)
    report("b", 0, 4)
    now = 170.0
    report("b\x1b", 1, 0)
    report("b", 1, 4)
    now = 240.0
    report("b", 2, 4)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "dafm: a: 2 of 2 (100 %)",
        "dafm: b\\x1b: 1 of 0",
        "dafm: b: 2 of 4 (50 %), 2 min left",
    ]
