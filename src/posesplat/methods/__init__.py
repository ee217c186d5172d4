"""The commands' methods, each a short composition of the pieces below."""
