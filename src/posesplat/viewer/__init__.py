"""Results to look at in three dimensions, in a browser, with viser."""
