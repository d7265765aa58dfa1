"""Which URLs and addresses the guard lets through."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from marketbell.delivery.addresses import ADDRESSES
from marketbell.delivery.netguard import (
    BAD_PORTS,
    NO_NETWORKS,
    URL_BYTES,
    Networks,
    Target,
    check_url,
    judge,
    refusal,
)
from marketbell.errors import InvalidError

LOOPBACK = Networks.parse(["127.0.0.0/8", "::1"])

REFUSED = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "unspecified",
    "10.0.0.0": "private",
    "10.255.255.255": "private",
    "100.64.0.1": "carrier-grade NAT",
    "100.127.255.255": "carrier-grade NAT",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "169.254.0.1": "link-local",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "protocol assignment",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4 relay",
    "192.168.255.255": "private",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "198.51.100.1": "documentation",
    "203.0.113.255": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.254": "reserved",
    "255.255.255.255": "broadcast",
    "169.254.169.254": "cloud metadata",
    "169.254.170.2": "cloud metadata",
    "168.63.129.16": "cloud metadata",
    "100.100.100.200": "cloud metadata",
    "192.0.0.192": "cloud metadata",
    "fd00:ec2::254": "cloud metadata",
    "fd20:ce::254": "cloud metadata",
    "fe80::a9fe:a9fe": "cloud metadata",
    "::": "unspecified",
    "::1": "loopback",
    "::2": "IPv4-compatible of unspecified",
    "::10.0.0.1": "IPv4-compatible of private",
    "::8.8.8.8": "IPv4-compatible",
    "::ffff:10.0.0.1": "private",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:169.254.169.254": "cloud metadata",
    "::ffff:0:10.0.0.1": "reserved",
    "64:ff9b::10.0.0.1": "NAT64 of private",
    "64:ff9b::127.0.0.1": "NAT64 of loopback",
    "64:ff9b::169.254.169.254": "NAT64 of cloud metadata",
    "64:ff9b:1::1": "local NAT64",
    "64:ff9b:1:ffff::8.8.8.8": "local NAT64",
    "100::1": "discard",
    "100:0:0:1::1": "dummy prefix",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "Teredo of documentation",
    "2001::1": "Teredo of reserved",
    "2001:2::1": "benchmarking",
    "2001:10::1": "ORCHID",
    "2001:20::1": "ORCHID",
    "2001:1::1": "protocol assignment",
    "2001:1ff:ffff::1": "protocol assignment",
    "2001:db8::1": "documentation",
    "2002:a00:1::1": "6to4 of private",
    "2002:7f00:1::": "6to4 of loopback",
    "2002:808:808::1": "6to4",
    "3fff::1": "documentation",
    "3fff:fff:ffff::1": "documentation",
    "4000::1": "reserved",
    "5f00::1": "segment routing",
    "fc00::1": "unique local",
    "fdff:ffff::1": "unique local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "febf::1": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "2a00:1450::5efe:10.0.0.1": "ISATAP of private",
    "2a00:1450::200:5efe:192.168.0.1": "ISATAP of private",
}
PUBLIC = (
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a00:1450::5efe:8.8.8.8",
    "2620:4f:8000::1",
)


@pytest.mark.parametrize(("text", "word"), REFUSED.items())
def test_a_special_address_is_refused_by_its_name(text: str, word: str) -> None:
    why = refusal(ip_address(text))
    assert why is not None
    assert why.rpartition(" ")[0] == word


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_let_through(text: str) -> None:
    assert refusal(ip_address(text)) is None


def addresses_v4() -> SearchStrategy[IPv4Address]:
    """Any address, and many next to the borders of the ranges."""
    borders = [ip_address(text) for text in (*REFUSED, *PUBLIC) if ":" not in text]
    near = st.builds(
        lambda border, step: IPv4Address((int(border) + step) % 2**32),
        st.sampled_from(borders),
        st.integers(-2, 2),
    )
    return st.one_of(near, st.ip_addresses(v=4))


@given(addresses_v4())
def test_no_ipv4_address_is_let_through_that_the_standard_library_calls_special(
    address: IPv4Address,
) -> None:
    if refusal(address) is None:
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_is_let_through_that_the_standard_library_calls_special(
    address: IPv6Address,
) -> None:
    if refusal(address) is None and address.ipv4_mapped is None:
        assert address.is_global or address in Networks.parse(["64:ff9b::/96"])
        assert not address.is_multicast


@given(addresses_v4())
def test_what_is_refused_as_ipv4_is_refused_in_every_form_of_ipv6(address: IPv4Address) -> None:
    number = int(address)
    teredo = (0x20010000 << 96) | (0x08080808 << 64) | (number ^ 0xFFFFFFFF)
    forms = {
        "mapped": IPv6Address((0xFFFF << 32) | number),
        "compatible": IPv6Address(number),
        "NAT64": IPv6Address((0x64FF9B << 96) | number),
        "6to4": IPv6Address((0x2002 << 112) | (number << 80) | 1),
        "Teredo": IPv6Address(teredo),
        "ISATAP": IPv6Address((0x2A001450 << 96) | (0x5EFE << 32) | number),
    }
    passes = {form for form, inner in forms.items() if refusal(inner) is None}
    assert passes == ({"mapped", "NAT64", "ISATAP"} if refusal(address) is None else set())


def test_an_allowed_network_lifts_the_refusal_of_its_addresses_alone() -> None:
    allowed = Networks.parse(["10.1.0.0/16", " fd12::/48 "])
    assert refusal(ip_address("10.1.2.3"), allowed) is None
    assert refusal(ip_address("::ffff:10.1.2.3"), allowed) is None
    assert refusal(ip_address("fd12::5"), allowed) is None
    assert refusal(ip_address("10.2.0.1"), allowed) == "private 10.2.0.1"
    assert refusal(ip_address("64:ff9b::10.1.2.3"), allowed) is not None


def test_a_metadata_address_is_lifted_only_by_its_own_name() -> None:
    metadata = ip_address("169.254.169.254")
    for wide in (["169.254.0.0/16"], ["0.0.0.0/0"], ["169.254.169.254/31"]):
        assert refusal(metadata, Networks.parse(wide)) == "cloud metadata 169.254.169.254"
    assert refusal(metadata, Networks.parse(["169.254.169.254"])) is None
    assert refusal(ip_address("fd00:ec2::254"), Networks.parse(["fd00::/8"])) is not None
    assert refusal(ip_address("fd00:ec2::254"), Networks.parse(["fd00:ec2::254/128"])) is None
    nat64 = ip_address("64:ff9b::169.254.169.254")
    assert refusal(nat64, Networks.parse(["64:ff9b::/96"])) is not None


def test_one_refused_address_refuses_the_name() -> None:
    addresses = [ip_address(text) for text in ("8.8.8.8", "2606:4700::1111", "10.0.0.1")]
    assert judge(addresses[:2]) is None
    assert judge(addresses) == "private 10.0.0.1"
    assert judge(addresses, Networks.parse(["10.0.0.0/8"])) is None


def test_a_name_with_too_many_addresses_is_refused() -> None:
    addresses = [IPv4Address(0x08080000 + step) for step in range(ADDRESSES + 1)]
    assert judge(addresses[:-1]) is None
    assert judge(addresses) == f"more than {ADDRESSES} addresses"


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "private", "", "fe80::/64%1"])
def test_a_network_that_is_none_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(InvalidError) as error:
        Networks.parse(["127.0.0.1", text])
    assert error.value.field == ("allow_networks", 1)
    assert repr(text) in error.value.detail


# URLs


def check(url: str, *, https_only: bool = False, allowed: Networks = NO_NETWORKS) -> Target:
    return check_url(url, https_only=https_only, allowed=allowed)


TAKEN = {
    "https://example.com": Target(True, "example.com", 443, "example.com", "/"),
    "HTTPS://EXAMPLE.com/A": Target(True, "example.com", 443, "example.com", "/A"),
    "http://example.com/": Target(False, "example.com", 80, "example.com", "/"),
    "https://example.com:443/": Target(True, "example.com", 443, "example.com", "/"),
    "https://example.com:80/": Target(True, "example.com", 80, "example.com:80", "/"),
    "http://example.com:8080?a=b": Target(False, "example.com", 8080, "example.com:8080", "/?a=b"),
    "https://example.com?": Target(True, "example.com", 443, "example.com", "/?"),
    "https://a_b.example-x.com/": Target(True, "a_b.example-x.com", 443, "a_b.example-x.com", "/"),
    "https://8.8.8.8/x": Target(True, "8.8.8.8", 443, "8.8.8.8", "/x"),
    "https://[2606:4700:0:0::1111]:8443/": Target(
        True, "2606:4700::1111", 8443, "[2606:4700::1111]:8443", "/"
    ),
    "https://1e100.net/": Target(True, "1e100.net", 443, "1e100.net", "/"),
    "https://pardavėjas.lt/": Target(
        True, "xn--pardavjas-lib.lt", 443, "xn--pardavjas-lib.lt", "/"
    ),
    "https://xn--fa-hia.de/": Target(True, "xn--fa-hia.de", 443, "xn--fa-hia.de", "/"),
    "https://e.com/a%2fb/../c//d?t=%7E&q={x}|\"'&e=a@b:c": Target(
        True, "e.com", 443, "e.com", "/a%2fb/../c//d?t=%7E&q={x}|\"'&e=a@b:c"
    ),
    "https://e.com/ž?q=€": Target(True, "e.com", 443, "e.com", "/%C5%BE?q=%E2%82%AC"),
    "https://e.com/?next=https://f.com/": Target(
        True, "e.com", 443, "e.com", "/?next=https://f.com/"
    ),
}


@pytest.mark.parametrize(("url", "target"), TAKEN.items())
def test_a_good_url_is_taken_apart(url: str, target: Target) -> None:
    assert check(url) == target


BROKEN = {
    "": "begin with https://",
    "example.com/": "begin with https://",
    "ftp://example.com/": "begin with https://",
    "file:///etc/passwd": "begin with https://",
    "javascript:alert(1)": "begin with https://",
    "http:/example.com": "begin with https://",
    "https:example.com": "begin with https://",
    "https://": "is not a host name",
    "https:///path": "is not a host name",
    "https://?q": "is not a host name",
    "https://user@example.com/": "user name or password",
    "https://user:pass@example.com/": "user name or password",
    "https://example.com@10.0.0.1/": "user name or password",
    "https://example.com/#top": "fragment",
    "https://example.com/#": "fragment",
    " https://example.com/": "whitespace",
    "https://example.com/a b": "whitespace",
    "https://example.com/\t": "whitespace",
    "https://exam\nple.com/": "whitespace",
    "https://example.com/\r\nX: y": "whitespace",
    "https://example.com/\0": "whitespace",
    "https://example.com/\x7f": "whitespace",
    "https://example.com/\u2028": "whitespace",
    "https://example.com/\u00a0": "whitespace",
    "https://example.com\\@10.0.0.1/": "backslash",
    "https://example.com/\ud800": "surrogate",
    "https://example.com:/": "port",
    "https://example.com:0/": "port",
    "https://example.com:65536/": "port",
    "https://example.com:080/": "port",
    "https://example.com:+80/": "port",
    "https://example.com:８０/": "port",
    "https://example.com:80:80/": "port",
    "https://[2606:4700::1111]8443/": "port",
    "https://2606:4700::1111/": "brackets",
    "https://[2606:4700::1111/": "not an IPv6 address",
    "https://[::g]/": "not an IPv6 address",
    "https://[8.8.8.8]/": "not an IPv6 address",
    "https://[]/": "not an IPv6 address",
    "https://[fe80::1%25eth0]/": "zone id",
    "https://[fe80::1%eth0]/": "zone id",
    "https://2130706433/": "four decimal parts",
    "https://0x7f000001/": "four decimal parts",
    "https://0X7F.1/": "four decimal parts",
    "https://017700000001/": "four decimal parts",
    "https://127.1/": "four decimal parts",
    "https://127.0.1/": "four decimal parts",
    "https://0177.0.0.1/": "four decimal parts",
    "https://127.0.0.01/": "four decimal parts",
    "https://127.0.0.1./": "four decimal parts",
    "https://1.2.3.4.5/": "four decimal parts",
    "https://256.1.1.1/": "four decimal parts",
    "https://1.2.3.0x4/": "four decimal parts",
    "https://example.0x/": "four decimal parts",
    "https://example.123/": "four decimal parts",
    "https://127.0.0.1/": "loopback 127.0.0.1",
    "https://１２７.０.０.１/": "loopback 127.0.0.1",
    "https://127。0。0。1/": "loopback 127.0.0.1",
    "https://10.1.2.3:8443/": "private 10.1.2.3",
    "https://169.254.169.254/latest/": "cloud metadata",
    "https://[::1]/": "loopback",
    "https://[::ffff:7f00:1]/": "loopback 127.0.0.1",
    "https://[64:ff9b::a00:1]/": "NAT64 of private",
    "https://localhost/": "loopback",
    "https://LOCALHOST:8080/": "loopback",
    "https://shop.localhost/": "loopback",
    "https://localhost./": "ends in a dot",
    "https://example.com./": "ends in a dot",
    "https://example..com/": "is not a host name",
    "https://.example.com/": "is not a host name",
    "https://-example.com/": "is not a host name",
    "https://example-.com/": "is not a host name",
    "https://exam%70le.com/": "is not a host name",
    "https://exa;mple.com/": "is not a host name",
    "https://exa*mple.com/": "is not a host name",
    "https://℀.com/": "is not a host name",
    "https://faß.de/": "xn-- form",
    "https://FAẞ.de/": "xn-- form",
    "https://νίκος.gr/": "xn-- form",
    "https://😀.example/": "xn-- form",
    "https://" + "a" * 64 + ".com/": "is not a host name",
    "https://" + "é" * 64 + ".com/": "xn-- form",
    "https://" + "a." * 126 + "ab/": "is not a host name",
    "https://example.com/" + "a" * URL_BYTES: "bytes long",
    "https://example.com/" + "€" * (URL_BYTES // 3): "bytes long",
}


@pytest.mark.parametrize(("url", "clause"), BROKEN.items())
def test_a_bad_url_is_refused_with_the_reason(url: str, clause: str) -> None:
    with pytest.raises(InvalidError) as error:
        check(url)
    assert error.value.field == ("body", "url")
    assert clause in error.value.detail


@pytest.mark.parametrize("port", sorted(BAD_PORTS - {0}))
def test_a_port_of_another_protocol_is_refused(port: int) -> None:
    with pytest.raises(InvalidError, match="another protocol"):
        check(f"https://example.com:{port}/")


def test_the_longest_url_and_the_longest_host_are_taken() -> None:
    url = "https://example.com/"
    assert check(url + "a" * (URL_BYTES - len(url))).target.endswith("a")
    host = ".".join(["a" * 63] * 3 + ["b" * 61])
    assert check(f"https://{host}/").host == host


def test_allowed_networks_open_literal_addresses_and_localhost() -> None:
    assert check("http://127.0.0.1:8080/", allowed=LOOPBACK).host == "127.0.0.1"
    assert check("http://[::1]:8080/", allowed=LOOPBACK).host_header == "[::1]:8080"
    assert check("http://localhost:8080/", allowed=LOOPBACK).port == 8080
    with pytest.raises(InvalidError, match="private"):
        check("http://192.168.0.1/", allowed=LOOPBACK)


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://example.com/", True),
        ("http://example.com/", False),
        ("http://8.8.8.8/", False),
        ("http://127.0.0.1:9000/", True),
        ("http://[::1]:9000/", True),
        ("http://localhost:9000/", True),
        ("http://shop.localhost:9000/", True),
        ("http://receiver:9000/", False),
        ("https://receiver:9000/", True),
    ],
)
def test_plain_http_of_an_https_dialect_needs_a_host_that_is_surely_allowed(
    url: str, good: bool
) -> None:
    if good:
        check(url, https_only=True, allowed=LOOPBACK)
    else:
        with pytest.raises(InvalidError, match="https"):
            check(url, https_only=True, allowed=LOOPBACK)


PATH = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#\\"), max_size=300
)


@given(PATH, PATH)
@example("a%2Fb", "token=%20+&x=[1]")
def test_path_and_query_stay_byte_for_byte(path: str, query: str) -> None:
    assert check(f"https://example.com/{path}?{query}").target == f"/{path}?{query}"


PIECES = st.sampled_from(
    [
        *("http", "https", "://", "//", "/", "?", "#", "@", ":", "[", "]", "%", ".", "..", "-"),
        *("example.com", "localhost", "127.0.0.1", "0x7f", "017", "::1", "80", "22", "99999"),
        *(
            "ß",
            "é",
            "１",
            "。",
            "\u200d",
            "\u0130",
            "℀",
            "\r\n",
            "\0",
            "\t",
            " ",
            "\\",
            "xn--",
            "_",
        ),
    ]
)


def taken(url: str) -> Target | None:
    """The target of a URL, None if it is refused."""
    try:
        return check(url)
    except InvalidError as error:
        return None if error.field == ("body", "url") else pytest.fail(f"{error.field}")


@given(st.one_of(st.text(), st.lists(PIECES, max_size=12).map("".join)))
def test_any_text_is_refused_for_its_url_or_becomes_a_target_that_can_stand_in_a_head(
    url: str,
) -> None:
    for text in (url, f"https://{url}"):
        target = taken(text)
        if target is None:
            continue
        assert 1 <= target.port <= 65_535
        assert target.port not in BAD_PORTS
        for part in (target.host, target.host_header, target.target):
            assert part.isascii()
            assert part.isprintable()
            assert " " not in part
        scheme = "https" if target.tls else "http"
        assert check(f"{scheme}://{target.host_header}{target.target}") == target
