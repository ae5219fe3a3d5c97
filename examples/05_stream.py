"""Read events with `async for` while the flow that publishes them is running."""

import asyncio

from eventflow import bus, flow, task


@task
async def step(number: int) -> int:
    """Take one step."""
    await asyncio.sleep(0.01)
    return number


@flow
async def walk() -> int:
    """Take three steps."""
    return sum([await step(number) for number in range(3)])


async def main() -> None:
    """Start the flow, and read its events until it has ended."""
    async with bus.stream() as events:
        walking = asyncio.create_task(walk())
        async for event in events:
            print(event.sequence, event.type)
            if event.run_type == "flow" and event.to_state.is_final():
                break

        print(await walking, "with", events.dropped, "events dropped")


if __name__ == "__main__":
    asyncio.run(main())
