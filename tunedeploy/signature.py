"""Sign a bundle's manifest with an ed25519 key, and check who signed: 64 bytes in manifest.sig beside it.

The signature is of the manifest's bytes as they are, so `openssl pkeyutl -verify -rawin` reads it too.
"""

from pathlib import Path
from typing import Any

from tunedeploy import atomic
from tunedeploy.errors import RunError
from tunedeploy.inside import inside
from tunedeploy.manifest import MANIFEST, SIGNATURE, read_bytes

CURE = "'openssl genpkey -algorithm ed25519' makes one"


def sign(folder: Path, key: Path) -> Path:
    """Write a bundle's manifest.sig.

    Args:
        folder: the bundle's.
        key: a private ed25519 key without a password, a PEM file.

    Raises:
        RunError: the key cannot be used.
    """
    signature: bytes = _key(key, private=True).sign(read_bytes(folder))
    atomic.write_bytes(folder / SIGNATURE, signature)
    return folder / SIGNATURE


def public_key(path: Path) -> Any:
    """The public ed25519 key of a PEM file.

    Raises:
        RunError: the key cannot be used.
    """
    return _key(path, private=False)


def flaw(folder: Path, manifest: bytes, key: Any) -> str | None:
    """Why the signature of a manifest does not hold for a public key; None where it does."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(inside(folder, SIGNATURE).read_bytes(), manifest)
    except RunError as error:
        return str(error)
    except InvalidSignature:
        return f"{MANIFEST} was not signed with that key, or was changed since"
    return None


def _key(path: Path, *, private: bool) -> Any:
    kind = "private" if private else "public"
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ModuleNotFoundError as error:
        raise RunError("signatures need the package 'cryptography'; pip install 'tunedeploy[sign]'") from error
    try:
        content = path.read_bytes()
        loaded: Any = (
            serialization.load_pem_private_key(content, password=None)
            if private
            else serialization.load_pem_public_key(content)
        )
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: the key has a password
        raise RunError(f"{path}: is not a {kind} key in PEM without a password; {CURE}") from error
    if not isinstance(loaded, ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey):
        raise RunError(f"{path}: is not an ed25519 key; {CURE}")
    return loaded
