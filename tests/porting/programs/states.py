"""States: returned by hand, asked for, and those of other runs."""

from prefect import flow, task
from prefect.states import Completed, Failed


@task
def ok():
    return 1


@task
def bad():
    raise ValueError("bad")


@flow
def by_hand(n: int):
    if n > 1:
        return Failed(message="too many")
    return Completed(message="enough", data=n)


@flow
def one_failure_is_enough():
    good = ok.submit()
    return bad.submit(), good


@flow
def tolerant():
    state = bad(return_state=True)
    if state.is_failed():
        return Completed(message="never mind")


if __name__ == "__main__":
    state = by_hand(1, return_state=True)
    print(state.message, state.is_completed(), state.result())
    print(by_hand(2, return_state=True))
    print(one_failure_is_enough(return_state=True).message)
    print(tolerant(return_state=True).message)

# prints:
# enough True 1
# Failed('too many')
# 1/2 states failed.
# never mind
