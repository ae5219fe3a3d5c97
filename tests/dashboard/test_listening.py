"""A port in use names the process that has it."""

from __future__ import annotations

import os
import sys

import pytest

from eventflow.dashboard.listening import listen
from eventflow.errors import ConfigurationError


def test_port_0_takes_a_free_one() -> None:
    with listen("127.0.0.1", 0) as first, listen("127.0.0.1", 0) as second:
        assert first.getsockname()[1] != second.getsockname()[1]


def test_a_port_in_use_names_the_process() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught:
            listen("127.0.0.1", port)
    assert f"Port {port} of 127.0.0.1 is in use" in str(caught.value)
    assert "--port 0" in str(caught.value)
    if sys.platform == "linux":
        assert f"process {os.getpid()} (" in str(caught.value)


def test_an_address_that_is_not_of_this_host_is_refused() -> None:
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(ConfigurationError, match=f"cannot listen on {host}, port 0"):
            listen(host, 0)
