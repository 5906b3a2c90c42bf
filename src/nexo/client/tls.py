"""TLS of the client: what a program says about it, the context made from that, and its faults in words."""

from __future__ import annotations

import ssl
from typing import Final

import msgspec

from nexo.errors import InvalidArgumentError


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """How a client uses TLS. Everything is optional.

    `ca_file` holds the CAs that may sign the server's certificate, in place of the system's; `cert_file` and
    `key_file` are a certificate of the client's own, for a server that asks (the key may be in `cert_file`);
    `server_hostname` is the name that the server's certificate must have, when it is not the host that is connected
    to. All files are PEM.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_hostname: str | None = None

    def context(self) -> ssl.SSLContext:
        """For handshakes. InvalidArgumentError when a file cannot be used."""
        if self.key_file and not self.cert_file:
            raise InvalidArgumentError("key_file needs cert_file, the certificate that the key belongs to")
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            raise InvalidArgumentError(
                f"ca_file {self.ca_file} holds no PEM certificates: {_words(error)}"
            ) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file:
            key_file = self.key_file or self.cert_file
            try:
                # Without a password, OpenSSL would ask for one at the terminal.
                context.load_cert_chain(self.cert_file, key_file, password="")
            except OSError as error:
                raise InvalidArgumentError(
                    f"no certificate in cert_file {self.cert_file} with an unencrypted key in {key_file}: {_words(error)}"
                ) from None
        return context


class Handshakes:
    """What a dialer needs for TLS: a context, and the name to look for in the server's certificate."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str) -> None:
        self.context = context
        self.server_hostname = server_hostname


def handshakes(tls: bool | ssl.SSLContext | Tls, host: str) -> Handshakes | None:
    """From what `connect` is given; None without TLS. InvalidArgumentError when a file cannot be used."""
    if tls is False:
        return None
    if isinstance(tls, ssl.SSLContext):
        return Handshakes(tls, host)
    settings = tls if isinstance(tls, Tls) else Tls()
    return Handshakes(settings.context(), settings.server_hostname or host)


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    return error.strerror or str(error)


UNANSWERED: Final = (
    "the server ended the TLS connection without a word: it may want a certificate of the client "
    "(cert_file, key_file), or one that its tls_client_ca_file has signed"
)
"""Event loops close a connection whose handshake failed without the alert that would say why."""
EXPIRED: Final = 10
NOT_YET_VALID: Final = 9
WRONG_NAME: Final = (62, 64)
"""OpenSSL's X509_V_ERR_… codes that have a remedy of their own; 62 is a host name, 64 an address."""


def tls_reason(error: ssl.SSLError) -> str:
    """Why a handshake failed, and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == EXPIRED:
            return "the server's certificate has expired: it must be renewed there"
        if error.verify_code == NOT_YET_VALID:
            return "the server's certificate is not valid yet: compare the clocks"
        if error.verify_code in WRONG_NAME:
            return (
                f"the server's certificate is for another name ({error.verify_message.rstrip('.')}): "
                "connect by a name that it has, or give that as server_hostname"
            )
        return (
            f"the server's certificate is from nobody whom this client trusts ({error.verify_message}): "
            "give its CA as ca_file"
        )
    reason = error.reason or str(error)
    if "CERTIFICATE_REQUIRED" in reason:
        return "the server wants a certificate of the client: give cert_file and key_file"
    if "UNKNOWN_CA" in reason or "BAD_CERTIFICATE" in reason:
        return "the server does not trust the client's certificate: have one signed by its tls_client_ca_file"
    if "WRONG_VERSION_NUMBER" in reason or "HANDSHAKE_FAILURE" in reason or "RECORD_LAYER_FAILURE" in reason:
        return (
            f"the server speaks no TLS at this port ({reason}): connect without it, or give it a certificate"
        )
    return f"TLS failed ({reason})"
