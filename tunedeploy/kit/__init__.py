"""The parity kit: golden inputs and outputs that travel with a bundle, and the test that checks them anywhere."""
