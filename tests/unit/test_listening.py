"""Where a server listens: a host that is none is told by the setting's name."""

from __future__ import annotations

import pytest

from marketbell.errors import SettingsError
from marketbell.listening import listener


@pytest.mark.parametrize("host", ["nonexist.invalid", "x" * 64])
def test_a_host_that_names_no_address_is_told_by_its_setting(host: str) -> None:
    with pytest.raises(SettingsError) as refused:
        listener(host, 0)
    (fault,) = refused.value.faults
    assert fault.startswith(f"host: {host} names no address")
    assert "127.0.0.1" in fault


def test_a_port_of_zero_is_a_free_one() -> None:
    with listener("127.0.0.1", 0) as first, listener("localhost", 0) as second:
        assert first.getsockname()[1] != second.getsockname()[1]
