"""What Redis URLs say, and what they may not say."""

from __future__ import annotations

import pytest

from treadle.backends.redis.address import SCHEMES, Node, parse
from treadle.errors import InvalidOption, UnknownOption


def test_a_plain_url() -> None:
    address = parse("redis://jobs:p%40ss@cache.internal:6380/3?durability=everysec&patience=2.5")
    assert address.nodes == (Node("cache.internal", 6380),)
    assert (address.user, address.password, address.db) == ("jobs", "p@ss", 3)
    assert (address.durability, address.patience, address.tls) == ("everysec", 2.5, False)
    assert address.kind == "server"


@pytest.mark.parametrize(
    ("url", "node"),
    [
        ("redis://", Node("localhost", 6379)),
        ("redis://one", Node("one", 6379)),
        ("valkey://one:1", Node("one", 1)),
        ("redis://[::1]:7/2", Node("::1", 7)),
    ],
)
def test_what_is_not_said_is_usual(url: str, node: Node) -> None:
    assert parse(url).nodes == (node,)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme(scheme: str) -> None:
    path = "/primary" if scheme.endswith("sentinel") else ""
    address = parse(f"{scheme}://one:1{path}")
    assert address.tls is scheme.startswith(("rediss", "valkeys"))
    assert address.kind == (scheme.partition("+")[2] or "server")


def test_sentinels_and_clusters_have_several_nodes() -> None:
    address = parse("redis+sentinel://u:p@one,two:1/main/4?sentinel_password=s")
    assert address.nodes == (Node("one", 26379), Node("two", 1))
    assert (address.primary, address.db, address.sentinel_password) == ("main", 4, "s")
    assert parse("redis+cluster://one,two:1").nodes == (Node("one", 6379), Node("two", 1))


def test_no_password_is_shown() -> None:
    address = parse("redis+sentinel://u:hush@one,two/main?sentinel_password=secret")
    for text in (address.url, repr(address), str(address)):
        assert "hush" not in text
        assert "secret" not in text


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://one/x", "write redis://localhost:6379/0"),
        ("redis://one/0/1", "has a path that says nothing"),
        ("redis+sentinel://one", "name-of-the-primary"),
        ("redis+cluster://one/1", "a cluster has only 0"),
        ("redis://one:99999", "where host:port should be"),
        ("redis://one,two", "where host:port should be"),
        ("redis://one?durability=allways", "memory or everysec or fsync or replica"),
        ("redis://one?patience=0", "seconds above 0"),
        ("redis://one?replicas=2", "durability=replica"),
        ("redis://one?tls_ca=x", "write rediss://"),
        ("redis://one?max_failed=-1", "a whole number from 0"),
        ("http://one", "is no Redis URL"),
    ],
)
def test_what_cannot_work_is_refused(url: str, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        parse(url)


def test_an_unknown_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownOption, match="did you mean 'durability'"):
        parse("redis://one?durabilty=fsync")


def test_words_of_the_driver_are_known() -> None:
    with pytest.raises(UnknownOption, match="did you mean 'tls_ca'"):
        parse("rediss://one?ssl_ca_certs=authority.pem")
