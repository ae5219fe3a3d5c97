"""Task runners: where submitted tasks run, and how many at once."""

import threading

import prefect.task_runners as runners
from prefect import flow, task
from prefect.task_runners import ConcurrentTaskRunner, ThreadPoolTaskRunner  # both are threads

running = threading.Semaphore(2)
together = threading.Barrier(2, timeout=30)


@task
def bounded(i: int) -> bool:
    free = running.acquire(blocking=False)
    if i < 2:
        together.wait()
    running.release()
    return free


@task
def where() -> bool:
    return threading.current_thread() is threading.main_thread()


@flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
def two_at_once():
    return all(bounded.map(range(8)).result())


@flow(task_runner=ConcurrentTaskRunner())
def elsewhere():
    return where.submit().result(), where()


@flow(task_runner=runners.ThreadPoolTaskRunner(max_workers=1))
def one():
    futures = [where.submit() for _ in range(3)]
    return [future.result() for future in futures]


if __name__ == "__main__":
    print(two_at_once(), elsewhere(), one())

# prints:
# True (False, True) [False, False, False]
