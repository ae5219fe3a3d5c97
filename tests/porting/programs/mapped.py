"""Mapped tasks: futures in, futures out, and what must not be mapped over."""

from prefect import allow_failure, flow, task, unmapped
from prefect.futures import PrefectFuture, as_completed


@task
def square(x: int) -> int:
    if x == 3:
        raise ValueError("three")
    return x * x


@task
def describe(value, *, words: list[str]) -> str:
    return f"{words[0]} {value}"


@task
def reduce(values: list) -> int:
    return sum(value for value in values if isinstance(value, int))


@flow
def pipeline(n: int) -> int:
    squares = square.map(range(n))
    first: PrefectFuture[int] = squares[1]
    first.wait()
    print(describe.map(squares[:3], words=unmapped(["it is"])).result())
    lost = [future for future in as_completed(squares) if future.state.is_failed()]
    print(len(lost), repr(squares.result(raise_on_failure=False)[3]))

    return reduce.submit(allow_failure(squares), wait_for=[first]).result()


if __name__ == "__main__":
    print(pipeline(5))

# prints:
# ['it is 0', 'it is 1', 'it is 4']
# 1 ValueError('three')
# 21
