"""Trunks with a head: where models come from and how they are built, frozen and stored."""
