"""Everything through the package itself."""

import prefect
import prefect.states
from prefect import context as ctx


@prefect.task(name="add")
def add(x: int, y: int = 1) -> prefect.State[int]:
    prefect.get_run_logger().debug("adding")
    return prefect.states.Completed(data=x + y)


@prefect.flow
def main() -> int:
    with prefect.tags("a"), prefect.context.tags("b"):
        future = add.submit(1)
        prefect.futures.wait([future])
        mapped = add.map([1, 2], y=prefect.unmapped(5))
    print(prefect.runtime.flow_run.name == ctx.get_run_context().flow_run.name)
    print(mapped.result())

    return future.result()


if __name__ == "__main__":
    print(main())

# prints:
# True
# [6, 7]
# 2
