"""Reference page, "A simple example"."""
# The page's own code: only the imports are changed.
# ruff: noqa: ANN001, ANN201, D103, I001
# mypy: ignore-errors
# fmt: off

from eventflow import flow

def my_success_hook(flow, flow_run, state):
    print("Flow run succeeded!")

@flow(on_completion=[my_success_hook])
def my_flow():
    return 42

my_flow()
