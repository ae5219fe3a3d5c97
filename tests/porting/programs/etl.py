"""ETL: orders from a shop's API, cleaned with pandas, and written to a file."""

import os
from pathlib import Path

import httpx
import pandas as pd

from prefect import flow, get_run_logger, task
from prefect.tasks import exponential_backoff

SHOP_URL = os.environ["SHOP_URL"]


@task(
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=0.001),  # seconds
    retry_jitter_factor=0.1,
    log_prints=False,
)
def extract(page: int) -> list[dict]:
    response = httpx.get(f"{SHOP_URL}/orders", params={"page": page})
    response.raise_for_status()

    return response.json()


@task(name="Clean orders")
def transform(orders: list[dict]) -> pd.DataFrame:
    frame = pd.DataFrame(orders)
    frame = frame[frame["amount"] > 0]

    return frame


@task
def load(frame: pd.DataFrame, path: Path) -> int:
    path.write_text("\n".join(str(row) for row in frame.to_dict("records")))

    return len(frame)


@flow(name="Orders", flow_run_name="orders-until-{pages}")
def etl(pages: int = 2) -> float:
    logger = get_run_logger()
    orders = []
    for page in range(pages):
        orders += extract(page)
    frame = transform(orders)
    rows = load(frame, Path("orders.txt"))
    logger.info("%s rows", rows)

    return float(frame["amount"].sum())


if __name__ == "__main__":
    print(etl(pages="2"))  # converted, as it is annotated
    print(Path("orders.txt").read_text())

# prints:
# 17.5
# {'id': 1, 'amount': 10.0}
# {'id': 3, 'amount': 7.5}
