"""A certificate with which the parts of SeaweedFS know each other: without one, their gRPC ports let anybody make a key to the store.

Run as a program with a folder, it makes one there.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

from cluster.services.process import write_private

_PARTS = ("master", "volume", "filer", "s3", "client", "msg_broker", "msg_agent", "admin", "worker", "mq")
_FROM, _UNTIL = datetime.datetime(2020, 1, 1), datetime.datetime(2120, 1, 1)
"""It never leaves its folder, and a wrong clock must not end a service."""


def make(folder: Path) -> None:
    """`security.toml` in the folder, which SeaweedFS reads when it starts there, and the key it names; what is there already stays."""
    if not (folder / "grpc.crt").exists():
        certificate, key = _self_signed()
        write_private(folder / "grpc.key", key)
        write_private(folder / "grpc.crt", certificate)
    lines = ["[grpc]", f'ca = "{folder}/grpc.crt"']
    for part in _PARTS:
        lines += [f"[grpc.{part}]", f'cert = "{folder}/grpc.crt"', f'key = "{folder}/grpc.key"']
    write_private(folder / "security.toml", "\n".join(lines) + "\n")


def _self_signed() -> tuple[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "s2l-services")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return (
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(serialization.Encoding.PEM, form, plain).decode(),
    )


if __name__ == "__main__":
    make(Path(sys.argv[1]).absolute())
