"""`python -m convgpu` is the `convgpu` command."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
