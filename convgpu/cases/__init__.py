"""Named problems per family, run by the tests of every backend and by the benches; and how far off is wrong."""
