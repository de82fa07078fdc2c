"""Builds the compiled modules: it says which, with what tools and by which commands. It is not installed."""
