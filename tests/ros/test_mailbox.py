# SPDX-License-Identifier: Apache-2.0
"""One slot, one worker: the newest frame wins, orders are never lost, nothing kills the worker."""

from __future__ import annotations

import threading

from esam3_ros.mailbox import Mailbox, Worker
from tests.ros.conftest import PATIENCE, wait_for


def test_a_newer_frame_overwrites_one_that_was_not_taken():
    mailbox: Mailbox[int] = Mailbox()
    assert [mailbox.put(frame) for frame in range(5)] == [False, True, True, True, True]
    assert mailbox.take() == 4
    assert not mailbox.put(5)
    assert mailbox.counts() == (6, 4)


def test_orders_come_before_frames_and_in_their_sequence():
    mailbox: Mailbox[str] = Mailbox()
    done: list[str] = []
    mailbox.put("frame")
    mailbox.order(lambda: done.append("first"))
    mailbox.order(lambda: done.append("second"))
    mailbox.take()()
    mailbox.take()()
    assert done == ["first", "second"] and mailbox.take() == "frame"


def test_a_closed_mailbox_gives_nothing_and_takes_nothing():
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put(1)
    mailbox.close()
    assert not mailbox.put(2)
    mailbox.order(lambda: None)
    assert mailbox.take() is None and mailbox.take() is None


def test_a_slow_worker_always_works_on_the_newest_frame():
    worked: list[int] = []
    taken, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def work(frame: int) -> None:
        worked.append(frame)
        taken.release()
        assert go_on.acquire(timeout=PATIENCE)

    worker = Worker(work, lambda error: None)
    for start in range(0, 200, 10):
        for frame in range(start, start + 10):  # while it works on another
            worker.mailbox.put(frame)
            if frame == 0:
                assert taken.acquire(timeout=PATIENCE)
        go_on.release()
        assert taken.acquire(timeout=PATIENCE)
    go_on.release()
    assert worker.stop(PATIENCE)
    assert worked == [0, *range(9, 200, 10)]
    assert worker.mailbox.counts() == (200, 200 - len(worked))


def test_the_worker_survives_exceptions_of_frames_and_orders():
    errors: list[Exception] = []
    done: list[int] = []

    def work(frame: int) -> None:
        done.append(1 // frame)

    worker = Worker(work, errors.append)
    worker.mailbox.put(0)
    wait_for(lambda: len(errors) == 1)
    worker.mailbox.order(lambda: [][1])
    wait_for(lambda: len(errors) == 2)
    worker.mailbox.put(1)
    wait_for(lambda: done == [1])
    assert worker.alive and worker.stop(PATIENCE) and not worker.alive


def test_run_waits_for_the_order_and_stop_for_the_work_in_hand():
    busy, release = threading.Event(), threading.Event()

    def work(frame: int) -> None:
        busy.set()
        release.wait(PATIENCE)

    worker = Worker(work, lambda error: None)
    worker.mailbox.put(1)
    assert busy.wait(PATIENCE)
    assert not worker.run(lambda: None, timeout=0.05)  # busy
    assert not worker.stop(timeout=0.05)
    release.set()
    assert worker.stop(PATIENCE)
