"""Certificates for tests, signed by a CA that is made with them, as files."""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path

import trustme


class Authority:
    """A CA and its files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.folder = folder
        self.ca_file = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.ca_file)

    def issue(self, file: str, *names: str, common: str | None = None, until: datetime | None = None) -> str:
        """A file with a certificate for the names, and its key. Written beside and moved, as renewals do."""
        leaf = self._ca.issue_cert(*names, common_name=common, not_after=until)
        path = self.folder / file
        beside = path.with_suffix(".new")
        leaf.private_key_and_cert_chain_pem.write_to_path(str(beside))
        beside.replace(path)
        return str(path)

    def server(self, file: str = "server.pem", **more: datetime) -> str:
        """The certificate of a server on this machine."""
        return self.issue(file, "localhost", "127.0.0.1", **more)

    def context(self, client_file: str | None = None) -> ssl.SSLContext:
        """That of a client which trusts this CA."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if client_file is not None:
            context.load_cert_chain(client_file)
        return context
