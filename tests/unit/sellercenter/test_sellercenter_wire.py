"""The Action API's wire, by itself: signatures, times, envelopes and posted XML."""

from __future__ import annotations

import contextlib
import json
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell.marketplace.sellercenter import envelope, signature, times
from marketbell.marketplace.sellercenter.envelope import Element, Format, Success
from marketbell.marketplace.sellercenter.errors import (
    MESSAGES,
    NEVER_GIVEN,
    ActionError,
    Detail,
)
from marketbell.marketplace.sellercenter.requests import anywhere, read_request, text_of

KEY = "b1bdb357ced10fe4e9a69840cdd4f0e9c03d77fe"
VECTOR = (
    b"Action=FeedList&Format=XML&Timestamp=2015-07-01T11%3A11%3A11%2B00%3A00"
    b"&UserID=look%40me.com&Version=1.0"
)
SIGNATURE = "3ceb8ed91049dfc718b0d2d176fb2ed0e5fd74f76c5971f34cdab48412476041"
"""Of the vector under the key, all three as the document prints them."""


# -- signatures -------------------------------------------------------------------------


def test_the_documents_own_vector() -> None:
    parameters = signature.read_query(VECTOR)
    assert signature.canonical(parameters) == VECTOR.decode()
    assert signature.sign(parameters, KEY) == SIGNATURE
    assert signature.is_signed({**parameters, "Signature": SIGNATURE}, KEY)
    assert signature.is_signed({**parameters, "Signature": SIGNATURE.upper()}, KEY)


@pytest.mark.parametrize(
    "query",
    [
        VECTOR.replace(b"%40", b"@").replace(b"%3A", b":"),
        VECTOR.replace(b"T11%3A11", b"T11%3a11"),
        b"&".join(reversed(VECTOR.split(b"&"))),
    ],
    ids=["bare", "lower-case hexadecimal", "another order"],
)
def test_it_is_what_the_query_means_that_is_signed(query: bytes) -> None:
    parameters = signature.read_query(query + b"&Signature=" + SIGNATURE.encode())
    assert signature.is_signed(parameters, KEY)


def test_plus_and_percent_20_are_both_a_space() -> None:
    plus, percent = (signature.read_query(query) for query in (b"Search=a+b", b"Search=a%20b"))
    assert plus == percent == {"Search": "a b"}
    assert signature.canonical(plus) == "Search=a%20b"


@pytest.mark.parametrize(
    "change",
    [
        {"Version": "1.1"},
        {"UserID": "look@me.com "},
        {"Extra": "1"},
        {"Signature": ""},
        {"Signature": SIGNATURE[:-1]},
        {"Signature": "é"},
    ],
)
def test_any_other_query_is_not_signed(change: dict[str, str]) -> None:
    parameters = {**signature.read_query(VECTOR), "Signature": SIGNATURE, **change}
    assert not signature.is_signed(parameters, KEY)


def test_another_key_signs_otherwise() -> None:
    assert signature.sign(signature.read_query(VECTOR), KEY[::-1]) != SIGNATURE


@pytest.mark.parametrize(
    ("query", "number"),
    [(b"a=%ff", 5), ("a=é".encode(), 5), (b"&".join([b"a=1"] * 101), 11)],
)
def test_what_is_no_query_is_refused(query: bytes, number: int) -> None:
    with pytest.raises(ActionError) as caught:
        signature.read_query(query)
    assert caught.value.number == number


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=8), st.binary(max_size=20))
def test_what_is_signed_says_which_parameters_there_were(
    parameters: dict[str, str], key: bytes
) -> None:
    try:
        "".join((*parameters, *parameters.values())).encode()
    except UnicodeEncodeError:
        return
    parameters.pop("Signature", None)
    signed = signature.canonical(parameters)
    assert signature.read_query(signed.encode()) == parameters
    secret = key.hex()
    given = {**parameters, "Signature": signature.sign(parameters, secret)}
    assert signature.is_signed(given, secret)


# -- times ------------------------------------------------------------------------------

AT = 1_465_317_309_000
"""2016-06-07T18:35:09+02:00."""


@pytest.mark.parametrize(
    "text",
    [
        "2016-06-07T18:35:09+02:00",
        "2016-06-07T18:35:09+0200",
        "2016-06-07T16:35:09Z",
        "2016-06-07T16:35:09.000Z",
        "2016-06-07 13:35:09-03:00",
    ],
)
def test_timestamps_as_callers_write_them(text: str) -> None:
    assert times.read_timestamp(text) == AT


def test_milliseconds_count() -> None:
    assert times.read_timestamp("2016-06-07T16:35:09.894Z") == AT + 894
    assert times.read_timestamp("2016-06-07T16:35:09.894123456Z") == AT + 894


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2016-06-07", "2016-06-07T16:35:09", "2016-13-07T16:35:09Z", "1465317309",
     "2016-06-07T16:35:09+25:00", "0001-01-01T00:00:00+14:00x"],
)  # fmt: skip
def test_what_is_no_timestamp(text: str) -> None:
    assert times.read_timestamp(text) is None


def test_the_window_is_the_same_on_both_sides() -> None:
    window = 900_000
    assert times.is_current(AT - window, AT, window)
    assert times.is_current(AT + window, AT, window)
    assert not times.is_current(AT - window - 1, AT, window)
    assert not times.is_current(AT + window + 1, AT, window)


def test_times_that_are_answered() -> None:
    berlin, santiago = times.zone_of("Europe/Berlin"), times.zone_of("America/Santiago")
    assert times.head_time(AT, berlin) == "2016-06-07T18:35:09+0200"
    assert times.head_time(AT, santiago) == "2016-06-07T12:35:09-0400"
    assert times.plain_time(AT + 999, berlin) == "2016-06-07 18:35:09"
    with pytest.raises(ValueError, match="Mars"):
        times.zone_of("Mars/Olympus")


def test_filters_may_leave_out_offset_and_time() -> None:
    berlin = times.zone_of("Europe/Berlin")
    assert times.read_filter("2016-06-07 18:35:09", berlin) == AT
    assert times.read_filter("2016-06-07T16:35:09Z", berlin) == AT
    midnight = times.read_filter("2016-06-07", berlin)
    assert midnight is not None
    assert times.plain_time(midnight, berlin) == "2016-06-07 00:00:00"
    assert times.read_filter("7.6.2016", berlin) is None


# -- envelopes --------------------------------------------------------------------------


def both(root: Element) -> tuple[str, object]:
    return envelope.write(root, Format.XML).decode(), json.loads(envelope.write(root, Format.JSON))


def test_an_empty_success() -> None:
    xml, answer = both(envelope.success("FeedList", Success(response_type="Feed"), "T"))
    assert xml == (
        '<?xml version="1.0" encoding="UTF-8"?><SuccessResponse><Head><RequestId/>'
        "<RequestAction>FeedList</RequestAction><ResponseType>Feed</ResponseType>"
        "<Timestamp>T</Timestamp></Head><Body/></SuccessResponse>"
    )
    head = {"RequestId": "", "RequestAction": "FeedList", "ResponseType": "Feed", "Timestamp": "T"}
    assert answer == {"SuccessResponse": {"Head": head, "Body": ""}}


@pytest.mark.parametrize(
    ("count", "shown"), [(0, ""), (1, {"Feed": "0"}), (3, {"Feed": ["0", "1", "2"]})]
)
def test_json_collapses_lists_of_one_and_of_none(count: int, shown: object) -> None:
    body = [Element("Feed", str(number)) for number in range(count)]
    _, answer = both(envelope.success("FeedList", Success(body=body), "T"))
    assert isinstance(answer, dict)
    assert answer["SuccessResponse"]["Body"] == shown


def test_head_has_parameters_and_a_count_where_there_are_some() -> None:
    xml, answer = both(
        envelope.success("X", Success(parameters={"FeedID": "a&b"}, total_count=0), "T")
    )
    assert "<RequestParameters><FeedID>a&amp;b</FeedID></RequestParameters>" in xml
    assert xml.index("<TotalCount>0</TotalCount>") < xml.index("</Head>")
    assert isinstance(answer, dict)
    assert answer["SuccessResponse"]["Head"]["TotalCount"] == "0"


def test_a_failure_with_and_without_details() -> None:
    xml, answer = both(envelope.failure("X", ActionError(1, "Version")))
    assert xml == (
        '<?xml version="1.0" encoding="UTF-8"?><ErrorResponse><Head><RequestAction>X'
        "</RequestAction><ErrorType>Sender</ErrorType><ErrorCode>1</ErrorCode><ErrorMessage>"
        "E001: Parameter Version is mandatory</ErrorMessage></Head><Body/></ErrorResponse>"
    )
    assert isinstance(answer, dict)
    assert answer["ErrorResponse"]["Body"] == ""
    details = [Detail(field="F", message=str(number)) for number in range(60)]
    _, answer = both(envelope.failure("X", ActionError(6, "", *details)))
    assert isinstance(answer, dict)
    assert answer["ErrorResponse"]["Head"]["ErrorType"] == "Platform"
    assert len(answer["ErrorResponse"]["Body"]["ErrorDetail"]) == 50


texts = st.text(st.characters(codec="utf-8"), max_size=20)
trees = st.recursive(
    texts,
    lambda below: st.lists(st.builds(Element, st.sampled_from("AbC"), below), max_size=4),
    max_leaves=20,
)


@given(trees)
def test_both_forms_say_the_same(value: envelope.Value) -> None:
    xml, answer = both(Element("Root", value))
    assert isinstance(answer, dict)
    read = ElementTree.fromstring(xml)
    assert read.tag == "Root"
    assert folded(read) == cleaned(answer["Root"])


def folded(element: ElementTree.Element) -> object:
    """What XML says, in the form that JSON is to have; whitespace between elements would show."""
    if not len(element):
        return element.text or ""
    assert element.text is None
    found: dict[str, list[object]] = {}
    for below in element:
        assert below.tail is None
        found.setdefault(below.tag, []).append(folded(below))
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def cleaned(answer: object) -> object:
    """Without what XML cannot hold."""
    if isinstance(answer, dict):
        return {name: cleaned(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return [cleaned(value) for value in answer]
    assert isinstance(answer, str)
    return "".join(
        char if char in "\t\n\r" or (ord(char) >= 32 and ord(char) not in (0xFFFE, 0xFFFF))
        else "\ufffd"
        for char in answer
    )  # fmt: skip


# -- posted XML -------------------------------------------------------------------------

WEBHOOK = "<Request><Webhook><CallbackUrl>{}</CallbackUrl>{}</Webhook></Request>"


def refused(body: bytes) -> int:
    with pytest.raises(ActionError) as caught:
        read_request(body)
    return caught.value.number


@pytest.mark.parametrize(
    "events",
    [
        "<Events><Event>a</Event><Event>b</Event></Events>",
        "<Events><Events><Event>a</Event><Event> b </Event></Events></Events>",
        "<Events><Events><Event>a</Event></Events><Events><Event>b</Event></Events></Events>",
    ],
)
def test_events_are_found_at_any_depth(events: str) -> None:
    found = read_request(WEBHOOK.format("https://x/", events).encode()).find("Webhook/Events")
    assert found is not None
    assert list(anywhere(found, "Event")) == ["a", "b"]


@pytest.mark.parametrize(
    "url",
    [
        "https://x/?a=1&amp;b=2",
        "https://x/?a=1&b=2",
        "<![CDATA[https://x/?a=1&b=2]]>",
        "\n  https://x/?a=1&#38;b=2\n",
        "https://x/?a=1&#x26;b=2",
    ],
)
def test_an_ampersand_may_stand_bare(url: str) -> None:
    root = read_request(WEBHOOK.format(url, "").encode())
    assert text_of(root.find("Webhook/CallbackUrl")) == "https://x/?a=1&b=2"


def test_cdata_beside_a_bare_ampersand_stays_as_it_is() -> None:
    root = read_request(b"<Request><A><![CDATA[x & y]]></A><B>p & q</B></Request>")
    assert (text_of(root.find("A")), text_of(root.find("B"))) == ("x & y", "p & q")


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE r [<!ENTITY a "b">]><Request>&a;</Request>',
        b'<!DOCTYPE r SYSTEM "file:///etc/passwd"><Request/>',
        b"<!DOCTYPE r><Request>a & b</Request>",
        b"<Request>&a;</Request>",
        b"<Request>&nbsp;</Request>",
        b"<Request>",
        b"<Other/>",
        b"{}",
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="utf-7"?><Request/>',
        b'<?xml version="1.0" encoding="klingon"?><Request/>',
        b"<Request>" + b"<a>" * 40 + b"</a>" * 40 + b"</Request>",
    ],
)
def test_what_is_no_request_is_e005(body: bytes) -> None:
    assert refused(body) == 5


def test_namespaces_mean_nothing() -> None:
    root = read_request(b'<Request xmlns="urn:x" xmlns:y="urn:y"><y:A>1</y:A></Request>')
    assert text_of(root.find("A")) == "1"


def test_an_empty_body_is_e030() -> None:
    assert refused(b"") == refused(b" \r\n ") == 30


def test_too_many_elements_are_e011() -> None:
    assert refused(b"<Request>" + b"<a/>" * 200_001 + b"</Request>") == 11


@given(st.binary(max_size=200))
def test_nothing_posted_raises_anything_else(body: bytes) -> None:
    for whole in (body, b"<Request>" + body + b"</Request>"):
        with contextlib.suppress(ActionError):
            assert read_request(whole).tag == "Request"


# -- errors -----------------------------------------------------------------------------


def test_every_error_names_its_own_number() -> None:
    for number, text in MESSAGES.items():
        assert text.startswith(f"E{number:03}: ")
    assert MESSAGES.keys() > NEVER_GIVEN
