"""Settings: by name in the environment, and as objects."""

import os

os.environ["PREFECT_API_URL"] = "https://flows.example.com"
os.environ.setdefault('PREFECT_LOGGING_LEVEL', "ERROR")

from prefect import flow  # noqa: E402
from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: E402


@flow
def linked():
    return f"{PREFECT_API_URL.value()}/runs"


if __name__ == "__main__":
    print(linked())
    with temporary_settings({PREFECT_API_URL: "http://localhost:4200"}):
        print(linked())

# prints:
# https://flows.example.com/runs
# http://localhost:4200/runs
