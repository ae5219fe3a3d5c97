"""Caching: by the inputs, by a key of one's own, and refreshed."""

from datetime import timedelta

from prefect import flow, task
from prefect.tasks import task_input_hash

calls = []


@task(cache_key_fn=task_input_hash, cache_expiration=timedelta(days=1))
def expensive(x):
    calls.append(x)
    return x * 2


@task(cache_key_fn=lambda context, parameters: parameters["day"])
def daily(day, verbose):
    calls.append(day)
    return day


@flow
def pipeline():
    print(expensive(1), expensive(1), expensive(2))
    print(daily("mon", verbose=True), daily("mon", verbose=False))
    print(expensive.with_options(refresh_cache=True)(1), calls)
    print(expensive(1, return_state=True).name)


if __name__ == "__main__":
    pipeline()

# prints:
# 2 2 4
# mon mon
# 2 [1, 2, 'mon', 1]
# Cached
