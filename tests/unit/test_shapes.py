"""What is said of a name or a list that is not taken: in good words, with what null means there."""

from __future__ import annotations

import pytest

from marketbell.control import endpoint_change
from marketbell.control.endpoint_change import EndpointChange
from marketbell.control.shapes import VERSION_MAX, check_channels, check_tags, check_uid
from marketbell.errors import InvalidError


@pytest.mark.parametrize(
    ("text", "prefix", "name", "told"),
    [
        ("a b", "app_", "uid", "A uid is 1 to 256 characters"),
        ("app_1", "app_", "uid", "A uid may not begin with 'app_'"),
        ("a b", "msg_", "eventId", "An eventId is 1 to 256 characters"),
        ("msg_1", "msg_", "eventId", "An eventId may not begin with 'msg_'"),
        ("a b", "msg_", "event_id", "An event_id is 1 to 256 characters"),
    ],
)
def test_a_name_is_called_by_its_field(text: str, prefix: str, name: str, told: str) -> None:
    with pytest.raises(InvalidError) as error:
        check_uid(text, prefix, ("body", name))
    assert error.value.detail.startswith(told)


def test_what_null_means_is_told_of_a_list_that_is_empty() -> None:
    with pytest.raises(InvalidError, match="send 1 to 5, or null for none"):
        check_channels((), ("body", "channels"), 5)
    with pytest.raises(InvalidError, match="send 1 to 10, or null for every channel"):
        endpoint_change.channels(EndpointChange(channels=()), None)
    with pytest.raises(InvalidError, match="send 1 to 10, or null for none"):
        check_tags((), ("body", "tags"))


def test_a_version_has_a_bound_of_its_own() -> None:
    assert endpoint_change.version(EndpointChange(version=VERSION_MAX), None) == VERSION_MAX
    for version in (0, VERSION_MAX + 1):
        with pytest.raises(InvalidError, match=f"A version is 1 to {VERSION_MAX}"):
            endpoint_change.version(EndpointChange(version=version), None)
