"""The loop that owns sockets: one for all loops and threads, begun late and ended whole."""

import asyncio
import contextvars
import logging
import subprocess
import sys
import threading
import time

import pytest

from valetkey.adapters.home import THREAD_NAME, HomeLoop

user = contextvars.ContextVar("user", default="nobody")


@pytest.fixture
def own():
    home = HomeLoop()
    yield home
    home.close()


def home_threads():
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


async def where():
    return threading.current_thread().name


async def running():
    return asyncio.get_running_loop()


def test_no_thread_before_the_first_work(own):
    assert home_threads() == []
    assert own.block(where) == THREAD_NAME
    assert [thread.daemon for thread in home_threads()] == [True]


async def test_all_loops_and_threads_share_one_home(own):
    here = await own.run(running)
    in_thread = await asyncio.to_thread(own.block, running)
    elsewhere = await asyncio.to_thread(asyncio.run, own.run(running))
    assert here is in_thread is elsewhere
    assert here is not asyncio.get_running_loop()


def test_many_threads_that_start_it_at_once_get_one(own):
    line = threading.Barrier(16)
    loops = []

    def begin():
        line.wait()
        loops.append(own.block(running))

    threads = [threading.Thread(target=begin) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loops) == 16
    assert len(set(loops)) == 1
    assert len(home_threads()) == 1


async def test_an_adopted_loop_is_home(own):
    assert own.adopt(asyncio.get_running_loop())
    assert await own.run(running) is asyncio.get_running_loop()
    assert await asyncio.to_thread(own.block, running) is asyncio.get_running_loop()
    assert home_threads() == []


async def test_a_home_that_runs_is_not_replaced(own):
    await own.run(where)
    assert not own.adopt(asyncio.get_running_loop())
    assert await own.run(where) == THREAD_NAME


def test_an_adopted_loop_that_ended_is_followed_by_a_thread(own):
    async def serve():
        own.adopt(asyncio.get_running_loop())
        return await own.run(where)

    assert asyncio.run(serve()) == threading.main_thread().name
    assert own.block(where) == THREAD_NAME


async def test_blocking_on_the_home_loop_is_refused_and_names_the_other_way(own):
    own.adopt(asyncio.get_running_loop())
    with pytest.raises(RuntimeError, match="await"):
        own.block(where)


async def test_work_at_home_may_hand_in_more_work(own):
    async def outer():
        return await own.run(where)

    assert await own.run(outer) == THREAD_NAME


@pytest.mark.parametrize("adopted", [True, False])
async def test_context_travels_there_and_what_it_sets_stays_there(own, adopted):
    if adopted:
        own.adopt(asyncio.get_running_loop())
    user.set("alice")

    async def read():
        seen = user.get()
        user.set("mallory")
        return seen

    assert await own.run(read) == "alice"
    assert user.get() == "alice"


def test_context_travels_with_block(own):
    async def read():
        return user.get()

    context = contextvars.copy_context()
    context.run(user.set, "bob")
    assert context.run(own.block, read) == "bob"


@pytest.mark.parametrize("adopted", [True, False])
async def test_an_error_reaches_who_waits(own, adopted):
    if adopted:
        own.adopt(asyncio.get_running_loop())

    async def fail():
        raise LookupError("this")

    with pytest.raises(LookupError, match="this"):
        await own.run(fail)
    if not adopted:
        with pytest.raises(LookupError, match="this"):
            await asyncio.to_thread(own.block, fail)


@pytest.mark.parametrize("adopted", [True, False])
async def test_cancelling_the_wait_does_not_cancel_the_work(own, adopted):
    if adopted:
        own.adopt(asyncio.get_running_loop())
    started, go, done = threading.Event(), threading.Event(), threading.Event()

    async def rotate():
        started.set()
        await asyncio.to_thread(go.wait)
        done.set()

    waiting = asyncio.create_task(own.run(rotate))
    await asyncio.to_thread(started.wait)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    assert await asyncio.to_thread(done.wait, 10)


def test_work_outlives_the_loop_that_asked_for_it(own, caplog):
    started, go, done = threading.Event(), threading.Event(), threading.Event()

    async def save():
        started.set()
        await asyncio.to_thread(go.wait)
        done.set()

    async def ask():
        waiting = asyncio.create_task(own.run(save))
        await asyncio.to_thread(started.wait)
        waiting.cancel()

    asyncio.run(ask())
    go.set()
    assert done.wait(10)
    assert own.block(where) == THREAD_NAME  # and the home goes on
    assert caplog.records == []


@pytest.mark.parametrize("adopted", [True, False])
async def test_background_work_runs_and_its_failure_is_logged_by_type_only(own, adopted, caplog):
    if adopted:
        own.adopt(asyncio.get_running_loop())
    failed = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record):
            failed.set()

    async def fail():
        raise LookupError("canary-in-the-message")

    listener = Listener()
    logging.getLogger().addHandler(listener)  # after the one that caplog reads
    try:
        own.spawn(fail)
        assert await asyncio.to_thread(failed.wait, 10)
    finally:
        logging.getLogger().removeHandler(listener)
    assert [record.getMessage() for record in caplog.records] == ["work in the background failed with LookupError"]
    assert "canary" not in caplog.text


def test_closing_cancels_what_runs_and_leaves_no_thread(own):
    started, cancelled, closed = threading.Event(), threading.Event(), threading.Event()

    async def hang():
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def keep_a_generator():
        async def numbers():
            try:
                yield 1
            finally:
                closed.set()

        kept.append(numbers())
        await anext(kept[0])

    kept = []
    own.block(keep_a_generator)
    own.spawn(hang)
    assert started.wait(10)
    loop = own.block(running)
    own.close()
    assert cancelled.is_set()
    assert closed.is_set()
    assert loop.is_closed()
    assert home_threads() == []
    own.close()


def test_who_waits_while_it_closes_is_told(own):
    started = threading.Event()
    errors = []

    async def hang():
        started.set()
        await asyncio.Event().wait()

    def wait():
        try:
            own.block(hang)
        except RuntimeError as error:
            errors.append(str(error))

    async def await_it():
        try:
            await own.run(hang)
        except RuntimeError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=wait), threading.Thread(target=asyncio.run, args=(await_it(),))]
    for thread in threads:
        started.clear()
        thread.start()
        assert started.wait(10)
    own.close()
    for thread in threads:
        thread.join(10)
    assert len(errors) == 2
    assert all("cancelled" in error for error in errors)


def test_work_that_will_not_end_does_not_hold_up_who_waits(own, monkeypatch, caplog):
    monkeypatch.setattr("valetkey.adapters.home.CLOSING_SECONDS", 0.05)
    started = threading.Event()
    errors = []

    async def stubborn():
        started.set()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    def wait():
        with pytest.raises(RuntimeError, match="cancelled") as told:
            own.block(stubborn)
        errors.append(told)

    thread = threading.Thread(target=wait)
    thread.start()
    assert started.wait(10)
    own.close()
    thread.join(10)
    assert len(errors) == 1


def test_it_opens_again_after_closing(own):
    first = own.block(running)
    own.close()
    assert own.block(running) is not first


async def test_closing_an_adopted_loop_cancels_our_work_and_nothing_else(own):
    own.adopt(asyncio.get_running_loop())
    theirs = asyncio.create_task(asyncio.Event().wait())
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang():
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    own.spawn(hang)
    await started.wait()
    own.close()
    await ended.wait()
    assert not theirs.done()
    theirs.cancel()
    with pytest.raises(RuntimeError, match="closing"):
        await asyncio.to_thread(own.block, where)
    assert own.adopt(asyncio.get_running_loop())
    assert await asyncio.to_thread(own.block, running) is asyncio.get_running_loop()


async def test_the_home_thread_cannot_end_itself(own):
    async def end():
        own.close()

    with pytest.raises(RuntimeError, match="another thread"):
        await own.run(end)


def test_an_exit_in_work_ends_the_work_and_not_the_home(own):
    async def leave():
        sys.exit(7)

    with pytest.raises(SystemExit) as left:
        own.block(leave)
    assert left.value.code == 7
    assert own.block(where) == THREAD_NAME


def test_an_interrupted_wait_cancels_the_work(own, monkeypatch):
    cancelled = threading.Event()
    started = threading.Event()

    async def hang():
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    def interrupted(outcome, timeout=None):
        assert started.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr("concurrent.futures.Future.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        own.block(hang)
    assert cancelled.wait(10)


FORK = """
import asyncio, os, sys, threading
from valetkey.adapters.home import HomeLoop

home = HomeLoop()
async def where():
    return os.getpid()

assert home.block(where) == os.getpid()
child = os.fork()
if child == 0:
    answered = []
    thread = threading.Thread(target=lambda: answered.append(home.block(where)), daemon=True)
    thread.start()
    thread.join(10)
    home.close()
    os._exit(0 if answered == [os.getpid()] else 3)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert home.block(where) == os.getpid()  # the parent's home was left alone
home.close()
sys.exit(status)
"""


def test_a_forked_child_has_a_home_of_its_own():
    done = subprocess.run([sys.executable, "-c", FORK], timeout=50, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_script_that_never_closes_ends():
    program = (
        "from valetkey.adapters.home import HomeLoop\n"
        "import asyncio\n"
        "home = HomeLoop()\n"
        "home.spawn(lambda: asyncio.sleep(600))\n"
        "async def one(): return 1\n"
        "print(home.block(one))\n"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], timeout=50, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")
    assert time.monotonic() - began < 30


def test_importing_it_starts_nothing():
    program = "import threading, valetkey.adapters.home; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", program], timeout=50, capture_output=True, check=True)
    assert done.stdout == b"1\n"


@pytest.mark.requirement("B4.script")
def test_what_runs_by_itself_begins_with_the_first_work_and_ends_when_it_is_told():
    told, ended = threading.Event(), threading.Event()

    async def upkeep():
        told.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    own = HomeLoop()
    own.on_start(upkeep)
    own.quiet()
    assert not told.is_set()
    own.on_start(upkeep)
    assert own.block(say_nothing) is None
    assert told.wait(5)
    own.quiet()
    assert ended.is_set()
    assert own.block(say_nothing) is None, "other work goes on"
    own.close()


def test_what_runs_by_itself_and_fails_is_told_and_harms_nobody(caplog):
    failed = threading.Event()

    async def upkeep():
        failed.set()
        raise ValueError("a secret")

    own = HomeLoop()
    own.on_start(upkeep)
    own.block(say_nothing)
    assert failed.wait(5)
    own.block(say_nothing)
    own.close()
    assert "ValueError" in caplog.text
    assert "a secret" not in caplog.text


@pytest.mark.requirement("B4.script")
async def test_what_runs_by_itself_runs_on_an_adopted_loop_too():
    loops = []
    begun = asyncio.Event()

    async def upkeep():
        loops.append(asyncio.get_running_loop())
        begun.set()
        await asyncio.Event().wait()

    for order in ("before", "after"):
        own = HomeLoop()
        if order == "before":
            own.on_start(upkeep)
        assert own.adopt(asyncio.get_running_loop())
        if order == "after":
            own.on_start(upkeep)
        async with asyncio.timeout(5):
            await begun.wait()
        begun.clear()
        own.quiet()
        await asyncio.sleep(0)
        own.close()
    assert loops == [asyncio.get_running_loop()] * 2


async def say_nothing() -> None:
    pass
