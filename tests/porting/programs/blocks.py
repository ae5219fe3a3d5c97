"""Blocks: saved under a name and loaded again, in sync and in async code."""

import asyncio

import prefect
from prefect.blocks.core import Block
from prefect.blocks.system import JSON, Secret
from pydantic import SecretStr


class Warehouse(Block):
    """Where the tables are."""

    _block_type_name = "Warehouse"

    host: str
    port: int = 5432
    password: SecretStr

    def url(self) -> str:
        return f"postgresql://{self.host}:{self.port}"


@prefect.task
def connect(name: str) -> str:
    warehouse = Warehouse.load(name)
    return f"{warehouse.url()} {warehouse.password}"


@prefect.flow
async def use():
    secret = await Secret.load("token")
    limits = await JSON.load("limits")
    return secret.get(), limits.value, connect("main")


if __name__ == "__main__":
    Warehouse(host="db", password="hunter2").save("main", overwrite=True)
    Secret(value="s3cret").save("token")
    JSON(value={"rows": 10}).save("limits")
    print(asyncio.run(use()))
    print(prefect.blocks.system.Secret.load("token").get())

# prints:
# ('s3cret', {'rows': 10}, 'postgresql://db:5432 **********')
# s3cret
