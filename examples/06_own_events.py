"""Publish events of your own on the same bus, each linked to the event that it follows."""

from eventflow import Event, StateTransition, bus, task


class InvoicePaid(Event):
    """A customer has paid."""

    invoice: int


@task
def collect(invoice: int) -> None:
    """Collect the money of an invoice."""
    print(f"Collecting invoice {invoice}.")


@bus.subscribe(definition=collect, state="Completed")
def book(event: StateTransition) -> None:
    """Publish a business event for a transition."""
    run = event.run
    assert run is not None, "a transition brings its live run along, within the process"
    bus.publish(InvoicePaid(invoice=run.parameters["invoice"]), follows=event)


@bus.subscribe(event_type=InvoicePaid)
def thank(event: InvoicePaid) -> None:
    """Thank the customer."""
    print(f"Thank you for paying invoice {event.invoice}.")
    assert InvoicePaid.model_validate_json(event.model_dump_json()) == event


if __name__ == "__main__":
    collect(7)
