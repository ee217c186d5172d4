"""Typed wrappers over the compiled loops."""
