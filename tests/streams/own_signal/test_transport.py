"""The credentials of the environment as Faust has them."""

import ssl

from faust.types.auth import AuthProtocol, SASLMechanism

from feedmill.streams.own_signal.transport import broker_credentials

SASL = {
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_plain_username": "reader",
    "sasl_plain_password": "secret",
}


def test_without_security_there_are_none() -> None:
    assert broker_credentials({}) is None
    assert broker_credentials({"security_protocol": "PLAINTEXT"}) is None


def test_tls_checks_the_broker() -> None:
    found = broker_credentials({"security_protocol": "SSL"})
    assert found.protocol is AuthProtocol.SSL
    assert found.context.verify_mode is ssl.CERT_REQUIRED


def test_a_password_goes_over_the_protocol_that_is_asked_for() -> None:
    plain = broker_credentials({"security_protocol": "SASL_PLAINTEXT", **SASL})
    assert plain.protocol is AuthProtocol.SASL_PLAINTEXT
    secured = broker_credentials({"security_protocol": "SASL_SSL", **SASL})
    assert secured.protocol is AuthProtocol.SASL_SSL
    assert secured.mechanism is SASLMechanism.SCRAM_SHA_512
    assert (secured.username, secured.password) == ("reader", "secret")
    assert secured.ssl_context.verify_mode is ssl.CERT_REQUIRED
