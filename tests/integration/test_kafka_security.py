"""A broker that asks for TLS, and for a name and a password."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from crawling.exceptions import ConfigError, Unavailable
from crawling.service.config import load_settings
from crawling.service.kafka import KafkaReader, kafka_config
from crawling.service.kafka_sender import KafkaSender
from tests.servers.certificates import make_certificates
from tests.servers.kafka_server import kafka_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.kafka_server import KafkaServer

LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


@contextmanager
def secure_broker(folder: Path, address: str = "127.0.0.1") -> Iterator[KafkaServer]:
    """Run a broker with a listener for TLS and one that wants a login as well."""
    make_certificates(folder, address)
    chain = (folder / "server.key").read_text() + (folder / "server.pem").read_text()
    (folder / "keystore.pem").write_text(chain)
    options = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "keystore.pem"),
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.login.plain.sasl.jaas.config": f'{LOGIN} user_fleet="secret";',
    }
    listeners = {"TLS": "SSL", "LOGIN": "SASL_SSL"}
    with kafka_server(folder, listeners, options) as broker:
        yield broker


def settings(folder: Path, port: int, **more: str) -> dict[str, Any]:
    given = {
        "KAFKA_HOSTS": f"127.0.0.1:{port}",
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SSL_CAFILE": str(folder / "ca.pem"),
        **more,
    }
    return load_settings([f"{name}={value}" for name, value in given.items()])


def login(password: str) -> dict[str, str]:
    return {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "fleet",
        "KAFKA_SASL_PASSWORD": password,
    }


async def sent_and_read(config: Any) -> bytes | None:
    sender = KafkaSender(config)
    await sender.open()
    await sender.send("demo.crawled_firehose", b"page")
    await sender.close()
    reader = KafkaReader(config, ["demo.crawled_firehose"], None)
    await reader.open()
    found = await reader.poll(1, 10.0)
    await reader.close()
    return found[0].value


async def test_pages_go_over_tls_and_with_a_login(kafka_folder: Path) -> None:
    with secure_broker(kafka_folder) as broker:
        over_tls = kafka_config(settings(kafka_folder, broker.ports["TLS"]))
        assert await sent_and_read(over_tls) == b"page"

        with_login = settings(kafka_folder, broker.ports["LOGIN"], **login("secret"))
        assert await sent_and_read(kafka_config(with_login)) == b"page"

        wrong = kafka_config(settings(kafka_folder, broker.ports["LOGIN"], **login("guess")))
        with pytest.raises(Unavailable, match="uthentication failed") as refused:
            await KafkaSender(wrong).open()
    assert "guess" not in f"{refused.value} {wrong}"


async def test_a_broker_with_the_certificate_of_another_host_is_refused(
    kafka_folder: Path,
) -> None:
    with secure_broker(kafka_folder, address="127.0.0.2") as broker:
        config = kafka_config(settings(kafka_folder, broker.ports["TLS"]))

        with pytest.raises(Unavailable, match="certificate verify failed"):
            await KafkaSender(config).open()


async def test_what_cannot_be_is_named_with_its_setting(tmp_path: Path) -> None:
    """No file of certificates, and a login for which the library is not made."""
    config = kafka_config(settings(tmp_path, 1))
    with pytest.raises(ConfigError, match="KAFKA_SSL_CAFILE"):
        await KafkaSender(config).open()

    kerberos = {**login("secret"), "KAFKA_SASL_MECHANISM": "GSSAPI"}
    make_certificates(tmp_path)
    with pytest.raises(ConfigError, match="KAFKA_SASL_MECHANISM"):
        await KafkaSender(kafka_config(settings(tmp_path, 1, **kerberos))).open()
