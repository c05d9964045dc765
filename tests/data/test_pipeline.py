import threading

import pytest

from dnachunk.inference.pipeline import write_behind

# Of what is waited for in another thread; nothing takes so long.
TIMEOUT_S = 60


def own_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("write-behind")]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert own_threads() == []


@pytest.mark.parametrize("most", [1, 3])
def test_items_are_written_in_order_and_few_wait(tmp_path, most):
    written, put_items = [], 0
    with write_behind(tmp_path / "out", written.append, most) as put:
        for item in range(20):
            put(item)
            put_items += 1
            assert put_items - len(written) <= most
    assert written == list(range(20))


def test_an_item_is_written_while_the_next_is_made(tmp_path):
    is_next_made, written = threading.Event(), []

    def write(item):
        assert is_next_made.wait(TIMEOUT_S)
        written.append(item)

    with write_behind(tmp_path / "out", write, 2) as put:
        put(1)
        assert written == []
        is_next_made.set()
        put(2)
    assert written == [1, 2]


@pytest.mark.parametrize("most", [1, 100])
def test_nothing_is_written_behind_what_could_not_be(tmp_path, most):
    written = []

    def write(item):
        if item == 3:
            raise OSError("the disk is full")
        written.append(item)

    def write_all():
        with write_behind(tmp_path / "out", write, most) as put:
            for item in range(20):
                put(item)

    with pytest.raises(OSError, match="the disk is full"):
        write_all()
    assert written == [0, 1, 2]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_stops_the_making_stops_the_writing(tmp_path, error):
    may_write, written = threading.Event(), []

    def write(item):
        may_write.wait(TIMEOUT_S)
        written.append(item)

    def stopped():
        with write_behind(tmp_path / "out", write, 10) as put:
            for item in range(5):
                put(item)
            may_write.set()
            raise error("stopped")

    with pytest.raises(error, match="stopped"):
        stopped()
    assert written == list(range(len(written)))


def test_a_stream_is_written_to_by_who_makes_the_items():
    threads = []
    with write_behind("-", lambda _: threads.append(threading.get_ident()), 2) as put:
        put(1)
        assert own_threads() == []
    assert threads == [threading.get_ident()]
