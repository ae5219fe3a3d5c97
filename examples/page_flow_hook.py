"""Reference page, "Create flow run state change hooks": the signature of a flow's hook."""
# The page's own code, with the imports, the function and the call that it leaves out.
# ruff: noqa: ANN201, D103, D205, I001
# mypy: ignore-errors
# fmt: off

from eventflow import Flow, FlowRun, State, flow

def my_flow_hook(flow: Flow, flow_run: FlowRun, state: State):
    """This is the required signature for a flow run state
    change hook. This hook can only be passed into flows.
    """

# pass hook as a list of callables
@flow(on_completion=[my_flow_hook])
def my_flow():
    return 42

if __name__ == "__main__":
    my_flow()
