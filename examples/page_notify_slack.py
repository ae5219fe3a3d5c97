"""Reference page, "Send a notification when a flow run fails"."""
# The page's own code: the imports are changed, and `https://` before a whole URL is left out.
# Save the block first: SlackWebhook(url="https://hooks.slack.com/...").save("my-slack-webhook")
# ruff: noqa: ANN001, ANN201, D103, I001, UP034, W293
# mypy: ignore-errors
# fmt: off
# exit status: 1

from eventflow import flow
from eventflow.blocks.core import Block
from eventflow.settings import EVENTFLOW_API_URL

def notify_slack(flow, flow_run, state):
    slack_webhook_block = Block.load(
        "slack-webhook/my-slack-webhook"
    )
            
    slack_webhook_block.notify(
        (
            f"Your job {flow_run.name} entered {state.name} "
            f"with message:\n\n"
            f"See <{EVENTFLOW_API_URL.value()}/flow-runs/"
            f"flow-run/{flow_run.id}|the flow run in the UI>\n\n"
            f"Tags: {flow_run.tags}\n\n"
            f"Scheduled start: {flow_run.expected_start_time}"
        )
    )

@flow(on_failure=[notify_slack], retries=1)
def failing_flow():
    raise ValueError("oops!")

if __name__ == "__main__":
    failing_flow()
