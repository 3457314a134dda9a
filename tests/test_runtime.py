"""Work shared out among threads and processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from threading import Event

import pytest

from vidface.runtime import in_processes, in_threads, map_ordered


def test_work_comes_back_in_order_and_an_error_at_its_place() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.05 / (number + 1))
        return 10 // (number - 7) if number == 7 else number

    done = map_ordered(slow_first, ((number,) for number in range(100)), workers=3)
    assert [next(done) for _ in range(7)] == list(range(7))
    with pytest.raises(ZeroDivisionError):
        next(done)


def test_few_tasks_are_begun_before_they_are_taken() -> None:
    taken = []

    def tasks() -> Iterator[tuple[int]]:
        for number in range(10**6):
            taken.append(number)
            yield (number,)

    with closing(map_ordered(abs, tasks(), workers=3)) as done:
        assert [next(done) for _ in range(10)] == list(range(10))
        assert len(taken) <= 10 + 2 * 3


def test_threads_end_with_the_body_that_takes_their_results() -> None:
    begun, ended = Event(), []

    def task(number: int) -> None:
        if number:
            begun.set()
            time.sleep(0.05)
            ended.append(number)

    with pytest.raises(KeyError), closing(map_ordered(task, zip(range(100)), workers=1)) as done:
        next(done)
        assert begun.wait(30)
        raise KeyError
    assert ended == [1]


def test_an_error_in_one_thread_stops_all() -> None:
    taken = []

    def jobs() -> Iterator[int]:
        for job in range(10**6):
            taken.append(job)
            yield job

    def work(own: Iterator[int]) -> None:
        for job in own:
            if job == 50:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_threads(work, jobs(), 3)
    assert len(taken) < 10**6


def test_every_job_is_done_once() -> None:
    parts = in_threads(list, range(1000), 4)
    assert sorted(job for part in parts for job in part) == list(range(1000))


def slow_last(number: int) -> tuple[int, int]:
    time.sleep(0.2 / number)
    return number, os.getpid()


def test_processes_give_results_in_order_and_raise_what_was_raised() -> None:
    found = list(in_processes(slow_last, ((number,) for number in range(1, 20)), workers=2))
    assert [number for number, _ in found] == list(range(1, 20))
    assert os.getpid() not in {pid for _, pid in found}
    with pytest.raises(ZeroDivisionError):
        list(in_processes(slow_last, ((number,) for number in (1, 0, 2)), workers=2))
