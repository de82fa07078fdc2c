"""How the compiled modules are built: which, with what tools, by which commands. It is not installed."""
