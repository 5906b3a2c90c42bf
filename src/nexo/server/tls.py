"""The server's certificate: its files as a context for handshakes, when it expires, and who a client's names.

Owns how TLS is set up: TLS 1.2 or later, OpenSSL's own choice of ciphers, ALPN http/1.1 for those who ask. Knows no
connection; when files are read again is decided by reloading.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from nexo.errors import ConfigError

log: Final = logging.getLogger("nexo.tls")

HANDSHAKE: Final = 0x16
"""The first byte of a TLS connection: a record of type handshake (RFC 8446, 5.1)."""
WARN_DAYS: Final = 14
"""A certificate that ends sooner is warned about: a renewal that works has replaced it by then."""
DAY_SECONDS: Final = 24 * 60 * 60.0


class Certificates:
    """The certificate of one server, as it was last read. Raises ConfigError when it cannot be read at first.

    `context` is for new connections, those that stand go on with the one they have. `expires_at` is in seconds
    since 1970; `error` is why the latest attempt to read it again failed, "" when it did not.
    """

    def __init__(self, cert_file: str, key_file: str, client_ca_file: str, client_certs: str) -> None:
        self._cert_file = cert_file
        self._key_file = key_file or cert_file
        self._client_ca_file = client_ca_file
        self._client_certs = client_certs
        self._warned_at = 0.0
        self.context: ssl.SSLContext
        self.expires_at = 0.0
        self.error = ""
        self.load()

    @property
    def paths(self) -> list[str]:
        """The files it is in."""
        return [path for path in (self._cert_file, self._key_file, self._client_ca_file) if path]

    def load(self) -> None:
        """Read the files; ConfigError, and what was read before stays, when they do not fit."""
        try:
            context = self._context()
            expires_at = not_after(self._cert_file)
        except ConfigError as error:
            self.error = str(error)
            raise
        self.context = context
        self.expires_at = expires_at
        self.error = ""
        self._warned_at = 0.0
        self.warn(time.time())

    def warn(self, now: float) -> None:
        """Say, once a day, that the certificate ends soon; `now` in seconds since 1970."""
        left = self.expires_at - now
        if left < WARN_DAYS * DAY_SECONDS and now - self._warned_at >= DAY_SECONDS:
            self._warned_at = now
            when = datetime.fromtimestamp(self.expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
            if left <= 0:
                log.warning(
                    "the certificate in %s has expired on %s: clients refuse it", self._cert_file, when
                )
            else:
                log.warning("the certificate in %s expires on %s: renew it", self._cert_file, when)

    def _context(self) -> ssl.SSLContext:
        for path in self.paths:
            check_readable(path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # Without a password, OpenSSL would ask for one at the terminal.
            context.load_cert_chain(self._cert_file, self._key_file, password="")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                reason = (
                    f"the key in {self._key_file} does not belong to the certificate in {self._cert_file}"
                )
            else:
                reason = f"no certificate in {self._cert_file} with an unencrypted key in {self._key_file}, both PEM"
            raise ConfigError(f"{reason} ({error.reason or error})") from None
        if self._client_ca_file:
            try:
                context.load_verify_locations(self._client_ca_file)
            except ssl.SSLError as error:
                text = f"no PEM certificates in tls_client_ca_file {self._client_ca_file}"
                raise ConfigError(f"{text} ({error.reason or error})") from None
            required = self._client_certs == "required"
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        return context


def check_readable(path: str) -> None:
    """ConfigError that names the file when it cannot be read."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from None


def not_after(cert_file: str) -> float:
    """When the first certificate of a PEM file ends, in seconds since 1970. ConfigError when there is none."""
    text = Path(cert_file).read_text(encoding="latin-1")
    start = text.find(ssl.PEM_HEADER)
    end = text.find(ssl.PEM_FOOTER, start)
    try:
        if start < 0 or end < 0:
            raise ValueError("no certificate")
        return _end_of_validity(ssl.PEM_cert_to_DER_cert(text[start : end + len(ssl.PEM_FOOTER)]))
    except (ValueError, IndexError) as error:
        raise ConfigError(f"no PEM certificate in {cert_file} ({error})") from None


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start of the content and end of the DER element at a place (ITU-T X.690, 8.1)."""
    length = der[at + 1]
    start = at + 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[at + 2 : start], "big")
    return der[at], start, start + length


def _end_of_validity(der: bytes) -> float:
    """`notAfter` of a certificate (RFC 5280, 4.1): the second time in the fifth field, the version not counted."""
    at = _element(der, _element(der, 0)[1])[1]  # Certificate, tbsCertificate
    tag, _, end = _element(der, at)
    if tag == 0xA0:  # the version, which old certificates leave out
        at = end
    for _ in range(3):  # serial number, signature algorithm, issuer
        at = _element(der, at)[2]
    first = _element(der, at)[1]
    tag, start, end = _element(der, _element(der, first)[2])
    form = "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ"
    return datetime.strptime(der[start:end].decode("ascii"), form).replace(tzinfo=UTC).timestamp()


def certificate_name(transport: asyncio.BaseTransport) -> str:
    """Whom a client's verified certificate names: its common name, else its first other name; "" for none."""
    certificate: dict[str, Any] = transport.get_extra_info("peercert") or {}
    for part in certificate.get("subject", ()):
        for kind, value in part:
            if kind == "commonName" and value:
                return str(value)
    for _, value in certificate.get("subjectAltName", ()):
        if value and isinstance(value, str):
            return value
    return ""
