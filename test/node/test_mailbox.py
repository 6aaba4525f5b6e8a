"""The mailbox hands over the newest item only and loses none without counting it."""

from __future__ import annotations

import threading
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from iup_pose_ros.node.mailbox import FrameCounter, FrameCounts, Mailbox


@given(st.lists(st.booleans(), max_size=40))
def test_consumer_gets_the_newest_item_and_the_rest_is_counted(is_take):
    counter = FrameCounter()
    mailbox: Mailbox[Any] = Mailbox(counter)
    waiting, taken, put = None, 0, 0
    for take in is_take:
        if take and waiting is not None:
            assert mailbox.take() == waiting
            waiting, taken = None, taken + 1
        elif not take:
            mailbox.put(put)
            waiting, put = put, put + 1
    mailbox.close()
    assert mailbox.take() is None
    assert counter.counts().dropped_busy == put - taken


def test_closing_wakes_a_waiting_consumer():
    mailbox: Mailbox[Any] = Mailbox(FrameCounter())
    taken = []
    consumer = threading.Thread(target=lambda: taken.append(mailbox.take()))
    consumer.start()
    mailbox.close()
    consumer.join(timeout=10.0)
    assert taken == [None]


def test_closed_mailbox_drops_and_counts():
    counter = FrameCounter()
    mailbox: Mailbox[Any] = Mailbox(counter)
    mailbox.close()
    mailbox.put("late")
    assert mailbox.take() is None
    assert counter.counts() == FrameCounts(dropped_busy=1)


def test_consumer_in_another_thread_ends_with_the_last_item():
    counter = FrameCounter()
    mailbox: Mailbox[Any] = Mailbox(counter)
    taken = []
    last_seen = threading.Event()

    def consume():
        while (item := mailbox.take()) is not None:
            taken.append(item)
            if item == 2000:
                last_seen.set()

    consumer = threading.Thread(target=consume)
    consumer.start()
    for item in range(1, 2001):
        mailbox.put(item)
    assert last_seen.wait(timeout=10.0)
    mailbox.close()
    consumer.join(timeout=10.0)
    assert taken == sorted(set(taken))
    assert len(taken) + counter.counts().dropped_busy == 2000


def test_counts_of_many_threads_add_up():
    counter = FrameCounter()

    def count():
        for _ in range(500):
            counter.add(received=1, processed=1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.counts() == FrameCounts(received=2000, processed=2000)
