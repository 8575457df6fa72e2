"""Whether a bundle is the one that was built: its id, and an ed25519 signature, 64 bytes in manifest.sig beside it.

It signs the manifest's bytes as they are, so `openssl pkeyutl -verify -rawin` can verify it too.
"""

from pathlib import Path
from typing import Any

from tunedeploy.device.comparison import Comparison
from tunedeploy.device.inside import inside
from tunedeploy.device.integrity import entry
from tunedeploy.device.manifest import MANIFEST, SIGNATURE, bundle_id, read_bytes
from tunedeploy.errors import RunError, UsageError
from tunedeploy.run import atomic

SHORTEST_ID = 12  # hex digits: enough to tell a mix-up; against an attacker, who can search, take all 64
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


def identity(folder: Path, manifest: bytes, *, expect: str | None, key: Any) -> list[Comparison]:
    """The manifest is the one that is expected, and the one that was signed.

    Args:
        folder: the bundle's.
        manifest: the bytes of its manifest.
        expect: the bundle's id, or its beginning.
        key: the public key that must have signed it; None to skip that check.

    Raises:
        UsageError: `expect` is not an id.
    """
    comparisons = []
    if expect is not None:
        digits = expect.lower()
        if len(digits) < SHORTEST_ID or len(digits) > 64 or set(digits) - set("0123456789abcdef"):
            raise UsageError(f"--expect {expect}: is not an id; expected {SHORTEST_ID} to 64 hexadecimal digits")
        own = bundle_id(manifest)
        same = own.startswith(digits)
        comparisons.append(entry("bundle-id", MANIFEST, int(not same), "" if same else own))
    if key is not None:
        problem = flaw(folder, manifest, key)
        comparisons.append(entry("signature", SIGNATURE, int(problem is not None), problem or ""))
    return comparisons


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
