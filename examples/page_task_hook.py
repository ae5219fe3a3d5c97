"""Reference page, "Create task run state change hooks": the signature of a task's hook."""
# The page's own code, with the imports, the function and the call that it leaves out.
# ruff: noqa: ANN201, D103, D205, I001
# mypy: ignore-errors
# fmt: off
# exit status: 1

from eventflow import State, Task, TaskRun, task

def my_task_hook(task: Task, task_run: TaskRun, state: State):
    """This is the required signature for a task run state change
    hook. This hook can only be passed into tasks.
    """

# pass hook as a list of callables
@task(on_failure=[my_task_hook])
def my_task():
    raise ValueError("oops!")

if __name__ == "__main__":
    my_task()
