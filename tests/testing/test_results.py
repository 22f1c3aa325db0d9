import pytest

from dafm_core.testing.results import Battery, CheckFailed, NotApplicable, summarize


@pytest.fixture
def battery():
    battery = Battery(at_least=3)

    @battery.add("Holds.")
    def _holds(subject):
        assert subject == "subject"

    @battery.add("Does not hold.")
    def _broken(subject):
        raise CheckFailed("by 3")

    @battery.add("Says nothing.")
    def _silent(subject):
        raise NotApplicable("no reason")

    @battery.add("Raises.")
    def _raises(subject):
        raise KeyError("first line\nsecond line")

    return battery


def test_every_check_runs_whatever_the_others_end_in(battery):
    results = battery.run("subject")
    assert [(r.name, r.outcome) for r in results] == [
        ("holds", "passed"),
        ("broken", "failed"),
        ("silent", "not applicable"),
        ("raises", "failed"),
    ]
    assert [r.message for r in results[:3]] == ["", "by 3", "no reason"]
    assert results[3].message.startswith("raised KeyError")
    assert "\n" not in results[3].message


def test_the_summary_counts_what_ran(battery):
    line = "3 checks ran: 1 passed, 2 failed; 1 do not apply"
    assert summarize(battery.run("subject")) == line
    assert summarize([]) == "0 checks ran: 0 passed, 0 failed; 0 do not apply"


def test_a_check_called_alone_raises(battery):
    assert str(battery.checks[1]) == "broken"
    with pytest.raises(CheckFailed, match="by 3"):
        battery.checks[1]("subject")


def test_a_battery_that_says_too_little_is_a_failure(battery):
    assert [result.name for result in battery.run("subject")][-1] == "raises"
    battery.at_least = 4
    *checks, shortage = battery.run("subject")
    assert len(checks) == len(battery.checks)
    assert (shortage.name, shortage.outcome) == ("enough_checks", "failed")
    assert shortage.message == "3 of 4 did"
    line = "4 checks ran: 1 passed, 3 failed; 1 do not apply"
    assert summarize([*checks, shortage]) == line
