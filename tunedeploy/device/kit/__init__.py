"""The parity kit: the test that checks a bundle anywhere, shipped in it as `parity/test_parity.py`."""
