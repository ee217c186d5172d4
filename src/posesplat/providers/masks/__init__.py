"""Which pixels of a frame may be used."""
