"""The worker handles the newest item only and loses none without counting it."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iup_pose_ros.node.latest_frame_worker import LatestFrameWorker
from iup_pose_ros.node.monitor import FrameCounts, Monitor

PATIENCE = 10.0


def fail(error):
    raise error


class SlowConsumer:
    """Takes one item at a time, when it is told to."""

    def __init__(self):
        self.monitor = Monitor()
        self.taken = []
        self._busy, self._go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.worker = LatestFrameWorker(self._handle, lambda: self.monitor.count(dropped_busy=1), fail)

    @property
    def dropped(self):
        return self.monitor.counts.dropped_busy

    def _handle(self, item):
        self.taken.append(item)
        self._busy.release()
        assert self._go_on.acquire(timeout=PATIENCE)

    def is_busy(self):
        """Wait until the consumer has an item in hand."""
        return self._busy.acquire(timeout=PATIENCE)

    def finish(self):
        """Let the consumer take the next item."""
        self._go_on.release()


@pytest.fixture
def consumer():
    return SlowConsumer()


@given(st.lists(st.booleans(), max_size=20))
def test_newest_item_is_handled_and_the_rest_is_counted(is_finish):
    consumer = SlowConsumer()
    consumer.worker.put(0)
    assert consumer.is_busy()
    expected, waiting, put = [0], None, 1
    for finish in is_finish:
        if finish and waiting is not None:
            consumer.finish()
            assert consumer.is_busy()
            expected, waiting = [*expected, waiting], None
        elif not finish:
            consumer.worker.put(put)
            waiting, put = put, put + 1
    consumer.finish()
    if waiting is not None:
        assert consumer.is_busy()
        expected.append(waiting)
        consumer.finish()
    consumer.worker.stop()
    assert consumer.taken == expected
    assert consumer.dropped == put - len(expected)


def test_stopping_wakes_a_waiting_worker_and_later_items_are_dropped(consumer):
    consumer.worker.stop()
    consumer.worker.put("late")
    assert consumer.taken == []
    assert consumer.monitor.counts == FrameCounts(dropped_busy=1)


def test_stopping_waits_for_the_item_in_hand_and_drops_the_one_that_waits(consumer):
    consumer.worker.put("in hand")
    assert consumer.is_busy()
    consumer.worker.put("waiting")
    stopper = threading.Thread(target=consumer.worker.stop)
    stopper.start()
    assert stopper.is_alive()
    consumer.finish()
    stopper.join(timeout=PATIENCE)
    assert not stopper.is_alive()
    assert (consumer.taken, consumer.dropped) == (["in hand"], 1)


def test_cleared_item_is_dropped_and_counted(consumer):
    consumer.worker.put("in hand")
    assert consumer.is_busy()
    consumer.worker.put("waiting")
    consumer.worker.clear()
    consumer.finish()
    consumer.worker.stop()
    assert (consumer.taken, consumer.dropped) == (["in hand"], 1)


def test_many_items_are_handled_in_order_or_dropped():
    monitor, taken, last_seen = Monitor(), [], threading.Event()

    def handle(item):
        taken.append(item)
        if item == 2000:
            last_seen.set()

    worker = LatestFrameWorker(handle, lambda: monitor.count(dropped_busy=1), fail)
    for item in range(1, 2001):
        worker.put(item)
    assert last_seen.wait(timeout=PATIENCE)
    worker.stop()
    assert taken == sorted(set(taken))
    assert len(taken) + monitor.counts.dropped_busy == 2000


def test_counts_of_many_threads_add_up():
    monitor = Monitor()

    def count():
        for _ in range(500):
            monitor.on_image()
            monitor.count(processed=1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert monitor.counts == FrameCounts(received=2000, processed=2000)
    monitor.reset_counts()
    assert monitor.counts == FrameCounts()


def test_an_item_that_raises_is_reported_and_the_next_one_handled():
    errors: list[Exception] = []
    handled = threading.Event()

    def handle(item):
        if item == "bad":
            raise ValueError(item)
        handled.set()

    worker = LatestFrameWorker(handle, lambda: None, errors.append)
    worker.put("bad")
    while not errors:
        handled.wait(0.01)
    worker.put("good")
    assert handled.wait(PATIENCE)
    worker.stop()
    assert [str(error) for error in errors] == ["bad"]
