"""Whether a node is fit to have slots, by what came of what it asked."""

from __future__ import annotations

import contextlib

import pytest

from marketbell.delivery.fitness import Fitness, Work

BOUND = 10.0


class Case:
    """A fitness on a clock of the test's."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.fitness = Fitness(lambda: self.now_s, BOUND)

    def ask(self, *, good: bool, work: Work = Work.CLAIMS) -> bool:
        """Something is asked, and answered or not; whether it is fit then."""
        with contextlib.suppress(OSError), self.fitness.asking(work):
            if not good:
                raise OSError
        return self.fitness.look()

    def keep_asking(self, seconds: float, *, good: bool) -> bool:
        """As much every second for a while; whether it is fit at the end."""
        fit = self.fitness.fit
        for _ in range(int(seconds)):
            self.now_s += 1
            fit = self.ask(good=good)
        return fit


def test_who_asks_for_nothing_stays_fit() -> None:
    case = Case()
    case.now_s += 1_000_000
    assert case.fitness.look()


def test_one_failure_and_one_answer_in_time_leave_it_fit() -> None:
    case = Case()
    assert case.ask(good=False)
    case.now_s += BOUND - 1
    assert case.ask(good=True)
    case.now_s += BOUND
    assert case.fitness.look()


def test_failing_for_the_bound_makes_it_unfit_and_the_first_answer_fit() -> None:
    case = Case()
    case.ask(good=False)
    assert case.keep_asking(BOUND - 1, good=False)
    assert not case.keep_asking(1, good=False)
    assert case.keep_asking(1, good=True)


def test_what_hangs_counts_as_what_fails() -> None:
    case = Case()
    with case.fitness.asking(Work.RECORDS):
        case.now_s += BOUND
        assert not case.fitness.look()
    assert case.fitness.look()


def test_one_kind_of_work_that_fails_is_enough() -> None:
    case = Case()
    case.ask(good=False, work=Work.RECORDS)
    assert not case.keep_asking(BOUND, good=True)
    assert not case.keep_asking(5, good=True)
    assert case.ask(good=True, work=Work.RECORDS)


def test_the_rest_after_standing_down_grows_with_each_relapse_and_begins_anew() -> None:
    case = Case()
    for rest in (10, 20, 40, 80, 160, 320, 600, 600):
        case.ask(good=False)
        assert not case.keep_asking(BOUND, good=False)
        case.fitness.stand_down()
        case.fitness.stand_down()
        assert not case.keep_asking(rest, good=True)
        assert case.keep_asking(1, good=True)
    assert case.keep_asking(10 * 600, good=True)
    assert not case.keep_asking(BOUND + 1, good=False)
    case.fitness.stand_down()
    assert not case.keep_asking(BOUND, good=True)
    assert case.keep_asking(1, good=True)


def test_a_failure_begins_the_rest_anew() -> None:
    case = Case()
    case.keep_asking(BOUND + 1, good=False)
    case.fitness.stand_down()
    case.keep_asking(BOUND - 1, good=True)
    case.keep_asking(1, good=False)
    assert not case.keep_asking(BOUND, good=True)
    assert case.keep_asking(1, good=True)


def test_what_was_taken_and_could_not_be_served_counts_no_more_once_it_stands_down() -> None:
    case = Case()
    case.ask(good=False, work=Work.SLOTS)
    case.now_s += BOUND
    assert not case.fitness.look()
    case.fitness.stand_down()
    assert case.keep_asking(BOUND + 1, good=True)


def test_time_in_which_all_was_away_does_not_count() -> None:
    case = Case()
    case.ask(good=False)
    case.now_s += 100 * BOUND
    case.fitness.begin_anew()
    assert case.fitness.look()
    assert case.keep_asking(BOUND - 1, good=False)
    assert not case.keep_asking(1, good=False)


@pytest.mark.parametrize("work", list(Work))
def test_what_goes_wrong_is_raised(work: Work) -> None:
    with pytest.raises(OSError), Case().fitness.asking(work):  # noqa: PT011 - any will do
        raise OSError


def test_what_is_not_asked_again_makes_nobody_unfit() -> None:
    case = Case()
    assert case.ask(good=False)
    case.fitness.leave_off(Work.CLAIMS)
    case.now_s += BOUND
    assert case.fitness.look()


def test_who_is_unfit_does_not_recover_by_asking_no_more() -> None:
    case = Case()
    assert not case.keep_asking(BOUND + 1, good=False)
    case.fitness.leave_off(Work.CLAIMS)
    assert not case.ask(good=True, work=Work.RECORDS)
