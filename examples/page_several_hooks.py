"""Reference page, "Use multiple state change hooks"."""
# The page's own code, with the import, the function and the calls that it leaves out.
# ruff: noqa: ANN001, ANN201, D103, I001
# mypy: ignore-errors
# fmt: off

from eventflow import task

def my_success_hook(task, task_run, state):
    print("Task run succeeded!")

def my_failure_hook(task, task_run, state):
    print("Task run failed!")

def my_succeed_or_fail_hook(task, task_run, state):
    print("If the task run succeeds or fails, this hook runs.")

@task(
    on_completion=[my_success_hook, my_succeed_or_fail_hook],
    on_failure=[my_failure_hook, my_succeed_or_fail_hook]
)
def my_task(number):
    return 42 / number

if __name__ == "__main__":
    my_task(1)
    my_task(0, return_state=True)
