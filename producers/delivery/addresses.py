"""Which addresses a webhook may have: a name is resolved, and every address that it has is looked at.

Without it, whoever may name a webhook could have this host speak to services that trust it (server-side
request forgery): a database on the loopback, a cloud's metadata service.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import SplitResult, urlsplit

import httpx

from shared.errors import SettingsError

MAX_URL = 2000
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052


class RefusedAddress(Exception):
    """The host has an address that no webhook may have."""


class UnknownName(Exception):
    """The host has no address."""


def resolved(host: str, port: int, *, private: bool) -> list[str]:
    """All addresses of a host. Raises `UnknownName`, and `RefusedAddress` if but one is not permitted."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: a name that no host can have
        raise UnknownName from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    if not all(permitted(each, private=private) for each in addresses):
        raise RefusedAddress
    return addresses


def permitted(address: str, *, private: bool) -> bool:
    """Whether a webhook may have this address: a public one, or also one of a house's own if `private`.

    Link-local (there lie clouds' metadata services), multicast and reserved ones never.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):  # IPv4 in another dress
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if ip.is_site_local:  # fec0::/10, once what fd00::/8 is now (RFC 3879); Python calls it global
            return private
        ip = inner or ip
    if ip.is_loopback:
        return private
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved:
        return False
    return private or ip.is_global


def check(url: str, *, private: bool) -> None:
    """Whether events may be sent there. Raises `SettingsError` with what is wrong and what to do."""
    try:
        httpx.URL(url)  # first: what it refuses, nobody can be sent to
        parts = urlsplit(url)
    except (httpx.InvalidURL, ValueError):
        raise SettingsError("that is no URL: is the port a number, and all else escaped (%XX)?") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.fragment or len(url) > MAX_URL:
        raise SettingsError(f"a webhook is an address such as https://host/path, at most {MAX_URL} long")
    if parts.username is not None:
        raise SettingsError("no user or password in a webhook's address: it is signed instead")
    if parts.scheme == "http" and not private:
        raise SettingsError("a webhook needs https:// (http:// in a house's own network: --allow-private)")
    try:
        resolved(parts.hostname, port_of(parts), private=private)
    except UnknownName:
        raise SettingsError(f"{parts.hostname} has no address: is the name right?") from None
    except RefusedAddress:
        raise SettingsError(
            f"{parts.hostname} has an address that is no public one: --allow-private lets events go to "
            "private and loopback addresses, and nothing lets them go to link-local or reserved ones"
        ) from None


def port_of(parts: SplitResult) -> int:
    """The port that is meant. Raises `SettingsError` where it is none."""
    try:
        return parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise SettingsError("a port is a number up to 65535") from None
