"""Reference page, "Delete a Cloud Run job when a flow crashes"."""
# The page's own code: the imports are changed, and an f-string broken over two lines is mended.
# It asks the `gcloud` on the PATH, for real, to delete a job that is named like the flow run.
# ruff: noqa: ANN001, ANN201, ASYNC221, D103, D202, D205, D209, D210, I001, S605, W291
# mypy: ignore-errors
# fmt: off
# exit status: 1

import os
from eventflow import flow, task
from eventflow.blocks.system import String
from eventflow.client import get_client
import eventflow.runtime

async def delete_cloud_run_job(flow, flow_run, state):
    """Flow run state change hook that deletes a Cloud Run Job if
    the flow run crashes."""

    # retrieve Cloud Run job name
    cloud_run_job_name = await String.load(
        name="noisy-flow-cloud-run-job"
    )

    # delete Cloud Run job
    delete_job_command = (
        f"yes | gcloud beta run jobs delete "
        f"{cloud_run_job_name.value} --region us-central1"
    )
    os.system(delete_job_command)

    # clean up the Cloud Run job string block as well
    async with get_client() as client:
        block_document = await client.read_block_document_by_name(
            "noisy-flow-cloud-run-job", block_type_slug="string"
        )
        await client.delete_block_document(block_document.id)

@task
def my_task_that_crashes():
    raise SystemExit("Crashing on purpose!")

@flow(on_crashed=[delete_cloud_run_job])
def crashing_flow():
    """Save the flow name (i.e. Cloud Run job name) as a 
    String block. It then executes a task that ends up crashing."""
    flow_name = eventflow.runtime.flow_run.name
    cloud_run_job_name = String(value=flow_name)
    cloud_run_job_name.save(
        name="noisy-flow-cloud-run-job", overwrite=True
    )

    my_task_that_crashes()

if __name__ == "__main__":
    crashing_flow()
