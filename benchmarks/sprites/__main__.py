"""`python -m benchmarks.sprites`."""

import sys

from benchmarks.sprites.benchmark import main

if __name__ == "__main__":
    main(sys.argv[1:])
