"""The parity kit: the test that checks a bundle anywhere, which a bundle has as `parity/test_parity.py`."""
