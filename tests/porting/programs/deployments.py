"""Deployments, work pools and an integration: what has no counterpart stays as it is."""

from datetime import timedelta

from prefect import flow, serve, task
from prefect.blocks.notifications import MicrosoftTeamsWebhook, SlackWebhook
from prefect.cache_policies import INPUTS
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.runtime import deployment, flow_run
from prefect.variables import Variable
from prefect_aws import S3Bucket


@task(cache_policy=INPUTS, persist_result=True)
def upload(name: str):
    S3Bucket.load("data").upload_from_path(name)


@task
async def ask(name: str) -> str:
    return Variable.get(name)


@flow(result_storage="s3-bucket/results", retries=1)
async def nightly():
    upload("report.csv")
    print(deployment.name, flow_run.parent_deployment_id)
    future = ask.submit("region")
    print(future.result())
    state = await other(return_state=True)
    await state.result()
    await SlackWebhook.load("alerts").notify("done")
    async with get_client() as client:
        await client.create_flow_run_from_deployment("id")


@flow
async def other():
    run_deployment("nightly/prod", timeout=0)


if __name__ == "__main__":
    nightly.serve(name="nightly", cron="0 3 * * *")
    serve(nightly.to_deployment(name="a"), other.to_deployment(name="b"))
    nightly.deploy(
        name="prod",
        work_pool_name="kubernetes",
        image="registry.example.com/nightly:1",
    )
    flow.from_source(
        source="https://github.com/example/flows",
        entrypoint="flows.py:nightly",
    ).deploy(name="remote", work_pool_name="managed", interval=timedelta(hours=1))
