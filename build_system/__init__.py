"""How the compiled modules are built: which of them, with what tools, by which commands. No part of the installation."""
