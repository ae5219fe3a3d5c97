"""What a notification says of a run and of its state."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from eventflow import flow, task
from eventflow.notifications import Notification
from eventflow.notifications.texts import FIELDS, check_template, span
from eventflow.states import Failed
from eventflow.testing import isolated

told: list[Notification] = []


def note(definition: Any, run: Any, state: Any) -> None:
    told.append(Notification.of(definition, run, state))


def notification(definition: Any, *args: object) -> Notification:
    """Run a flow or a task; return what is told of its end."""
    told.clear()
    with isolated():
        definition(*args, return_state=True)

    return told[-1]


def raising(error: Any) -> Any:
    raise error


def test_it_says_what_failed_and_where() -> None:
    """The text has a line for each fact that is known."""
    work = task(on_end=[note], name="work", retries=2, tags=["b", "a"])(raising)
    with_facts = notification(work, ValueError("bad\nrow"))
    line = inspect.getsourcelines(raising)[1] + 1
    assert with_facts.title == f"Task {with_facts.run_name}: Failed"
    assert with_facts.text.splitlines() == [
        "ValueError: bad row",
        f"at tests/notifications/test_texts.py:{line}",
        f"attempt 3 of 3, after {with_facts.duration}",
        "tags: a, b",
        f"http://127.0.0.1:4200/task-runs/task-run/{with_facts.run_id}",
    ]


def test_the_page_of_a_flow_run_is_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTFLOW_API_URL", "https://flows.example.com")
    made = notification(flow(on_end=[note], name="etl")(lambda: 1))
    assert made.link == f"https://flows.example.com/flow-runs/flow-run/{made.run_id}"
    assert made.title == f"Flow etl/{made.run_name}: Completed"
    assert (made.error, made.where, made.kind) == ("", "", "success")


def test_a_run_that_has_not_begun_has_no_duration() -> None:
    work = task(name="work", retries=1)(lambda: 1)
    work.on("Pending")(note)
    made = notification(work)
    assert (made.state_name, made.duration, made.kind) == ("Pending", "", "info")
    assert made.summary == made.link


def test_secrets_are_masked_unless_that_is_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    @task(on_end=[note])
    def log_in(password: str) -> None:
        raise ValueError(f"{password} is wrong")

    assert notification(log_in, "hunter2").error == "ValueError: ******** is wrong"
    monkeypatch.setenv("EVENTFLOW_MASK_SECRETS", "false")
    assert notification(log_in, "hunter2").error == "ValueError: hunter2 is wrong"


def test_a_state_made_by_hand_is_told_by_its_message() -> None:
    made = notification(
        flow(on_end=[note])(lambda: Failed(name="Rejected", message="too few rows"))
    )
    assert (made.state_name, made.error) == ("Rejected", "too few rows")


def test_control_characters_are_shown_escaped() -> None:
    """In every fact: nobody's terminal or mail is to be steered by a name or an error."""
    work = task(on_end=[note], name="a\x1b]0;b\u202e", tags=["\r"])(raising)
    made = notification(work, ValueError("\x1b[2J"))
    text = made.title + made.formatted(None) + made.formatted("{name}{tags}{run_name}")
    assert not any(character in text for character in "\x1b\u202e\r")
    assert "\\x1b[2J" in text


def test_no_fact_mentions_anybody() -> None:
    """What a template says itself does."""
    work = task(on_end=[note], name="@here", tags=["@all"])(raising)
    made = notification(work, ValueError("@everyone, me@example.com")).with_log(["@channel: hi"])
    text = made.formatted("@here {text}{title}")
    assert [word for word in ("@everyone", "@all", "@channel") if word in text] == []
    assert text.count("@here") == 1
    assert "@\u200beveryone, me@example.com" in text


def test_an_error_whose_text_is_not_available_is_told_of() -> None:
    class Mute(ValueError):
        def __str__(self) -> str:
            raise OSError

    made = notification(task(on_end=[note])(raising), Mute())
    assert "its text is not available" in made.error


def test_a_template_may_name_every_field() -> None:
    made = notification(task(on_end=[note], name="work")(raising), ValueError("bad row"))
    template = "|".join(f"{{{name}}}" for name in FIELDS)
    check_template(template)
    assert made.formatted(template).split("|")[0] == made.title
    assert made.formatted("{attempt:>3}|{error!r}") == "  1|'ValueError: bad row'"
    with pytest.raises(ValueError, match="expected '}'"):
        check_template("{name")


def test_a_template_that_gives_no_text_is_an_error() -> None:
    made = notification(task(on_end=[note])(raising), ValueError("bad row"))
    with pytest.raises(TypeError, match="must return a string"):
        made.formatted(lambda _: None)  # type: ignore[arg-type, return-value]


def test_what_is_alike_has_the_same_error_at_the_same_line() -> None:
    work = task(on_end=[note], name="work")(raising)
    first = notification(work, ValueError("row 1"))
    assert notification(work, ValueError("row 2")).likeness == first.likeness
    assert notification(work, TypeError("row 1")).likeness != first.likeness
    other = task(on_end=[note], name="other")(raising)
    assert notification(other, ValueError("row 1")).likeness != first.likeness


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(60, "1 minute"), (300, "5 minutes"), (90, "1 min 30 s"), (0.5, "500 ms")],
)
def test_a_span_of_minutes_is_told_in_minutes(seconds: float, words: str) -> None:
    assert span(seconds) == words
