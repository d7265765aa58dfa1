"""
Which network addresses may be called; the half of the guard that knows the ranges. Pure.

Ranges: the IANA special-purpose address registries (RFC 6890 and its updates). Of IPv6 only
global unicast, 2000::/3, is taken at all, and the NAT64 form of public IPv4.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

import msgspec

from marketbell.errors import InvalidError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

ADDRESSES: Final = 64
"""A name with more addresses than this is refused: no receiver has them, a prober may."""


def _ranges(table: dict[str, str]) -> tuple[tuple[Network, str], ...]:
    return tuple((ipaddress.ip_network(text), word) for text, word in table.items())


# The first range that holds an address names it, so a part stands before its whole.
_SPECIAL_V4: Final = _ranges(
    {
        "0.0.0.0/8": "unspecified",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "carrier-grade NAT",
        "127.0.0.0/8": "loopback",
        "169.254.0.0/16": "link-local",
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "protocol assignment",
        "192.0.2.0/24": "documentation",
        "192.88.99.0/24": "6to4 relay",
        "192.168.0.0/16": "private",
        "198.18.0.0/15": "benchmarking",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "255.255.255.255/32": "broadcast",
        "240.0.0.0/4": "reserved",
    }
)
_SPECIAL_V6: Final = _ranges(
    {
        "::/128": "unspecified",
        "::1/128": "loopback",
        "::/96": "IPv4-compatible",
        "64:ff9b:1::/48": "local NAT64",
        "100::/64": "discard",
        "100:0:0:1::/64": "dummy prefix",
        "2001::/32": "Teredo",
        "2001:2::/48": "benchmarking",
        "2001:10::/28": "ORCHID",
        "2001:20::/28": "ORCHID",
        "2001::/23": "protocol assignment",
        "2001:db8::/32": "documentation",
        "2002::/16": "6to4",
        "3fff::/20": "documentation",
        "5f00::/16": "segment routing",
        "fc00::/7": "unique local",
        "fe80::/10": "link-local",
        "fec0::/10": "site-local",
        "ff00::/8": "multicast",
    }
)
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_ISATAP: Final = frozenset((0x0000_5EFE, 0x0200_5EFE))
_METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, OpenStack, Oracle, DigitalOcean and most others
        "169.254.169.253",  # AWS, its resolver
        "169.254.170.2",  # AWS ECS, task credentials
        "169.254.170.23",  # AWS EKS, pod credentials
        "169.254.42.42",  # Scaleway
        "169.254.0.23",  # Tencent
        "168.63.129.16",  # Azure: a public address that is answered by the host below
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle Classic
        "fd00:ec2::254",  # AWS
        "fd00:ec2::253",  # AWS, its resolver
        "fd00:ec2::23",  # AWS EKS, pod credentials
        "fd20:ce::254",  # Google
        "fd00:42::42",  # Scaleway
        "fe80::a9fe:a9fe",  # OpenStack
    )
)


class Networks(msgspec.Struct, frozen=True):
    """The networks that may be called although the guard would refuse them; none by default."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Networks:
        """
        The networks of CIDR texts such as `10.1.0.0/16`; a bare address counts as itself alone.

        Raises InvalidError for the field `allow_networks` and the place of the first bad text.
        """
        networks = []
        for place, text in enumerate(texts):
            try:
                networks.append(ipaddress.ip_network(text.strip()))
            except ValueError as error:
                raise InvalidError(
                    ("allow_networks", place),
                    f"{text!r} is not a network: {error}. Write it as 10.1.0.0/16 or fd12::/48.",
                ) from None
        return cls(tuple(networks))

    def __contains__(self, address: Address) -> bool:
        """Whether one of the networks holds the address."""
        return any(address in network for network in self.networks)

    def names(self, address: Address) -> bool:
        """Whether the address stands here by itself, as a /32 or /128."""
        return any(
            network.num_addresses == 1 and network.network_address == address
            for network in self.networks
        )


NO_NETWORKS: Final = Networks()


class _Fault(msgspec.Struct, frozen=True):
    word: str
    address: Address
    """The plain form: IPv4 for an IPv4-mapped address, without a zone id."""
    metadata: bool = False


def refusal(address: Address, allowed: Networks = NO_NETWORKS) -> str | None:
    """
    Why this address must not be called, such as `private 10.0.0.1`; None if it may be.

    A network of `allowed` that holds the address lifts the refusal. A cloud's metadata address
    is lifted only where it stands in `allowed` by itself: a wide private range that somebody
    allowed must not open the credentials of the machine. The NAT64 form of a public address is
    not refused, since a machine with IPv6 alone reaches every IPv4 receiver that way; 6to4,
    Teredo and IPv4-compatible addresses are refused whatever they carry.
    """
    fault = _fault(address)
    if fault is None:
        return None
    plain = fault.address
    if allowed.names(plain) if fault.metadata else plain in allowed:
        return None
    return f"{fault.word} {plain}"


def judge(addresses: Sequence[Address], allowed: Networks = NO_NETWORKS) -> str | None:
    """
    Why a name with these addresses must not be called; None if each of them may be.

    One refused address refuses the name: whoever answers with a public and a private one
    tries to get a request into the private network.
    """
    if len(addresses) > ADDRESSES:
        return f"more than {ADDRESSES} addresses"
    return next((why for address in addresses if (why := refusal(address, allowed))), None)


@lru_cache(maxsize=16_384)
def _fault(address: Address) -> _Fault | None:
    if isinstance(address, IPv4Address):
        return _fault_v4(address)
    if address.ipv4_mapped is not None:
        # The kernel calls the IPv4 address itself, so the mapped form is judged as that.
        return _fault_v4(address.ipv4_mapped)
    if address.scope_id is not None:
        address = IPv6Address(int(address))
    if address in _METADATA:
        return _Fault("cloud metadata", address, metadata=True)
    inner = _embedded(address)
    within = None if inner is None else _fault_v4(inner)
    word = _word(address)
    if within is not None:
        return _Fault(f"{word or 'ISATAP'} of {within.word}", address, within.metadata)
    return (
        None if word is None or (word == "NAT64" and inner is not None) else _Fault(word, address)
    )


def _fault_v4(address: IPv4Address) -> _Fault | None:
    if address in _METADATA:
        return _Fault("cloud metadata", address, metadata=True)
    word = next((word for network, word in _SPECIAL_V4 if address in network), None)
    return None if word is None else _Fault(word, address)


def _word(address: IPv6Address) -> str | None:
    """What an IPv6 address is; None for plain global unicast."""
    if address in _NAT64:
        return "NAT64"
    word = next((word for network, word in _SPECIAL_V6 if address in network), None)
    return word or (None if address in _GLOBAL_V6 else "reserved")


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a transition form carries, if it is one."""
    number = int(address)
    high, low = number >> 32, number & 0xFFFF_FFFF
    # RFC 6052 section 2.1, RFC 5214 section 6.1, RFC 4291 section 2.5.5.1.
    if address in _NAT64 or high & 0xFFFF_FFFF in _ISATAP or (high == 0 and low > 1):
        return IPv4Address(low)
    if address.teredo is not None:
        return address.teredo[1]
    return address.sixtofour
