"""What holds for all tests."""

import os

# Tests run in several processes; more threads than cores make small networks many times slower. Set before torch is
# imported, and inherited by the commands that tests run.
os.environ.setdefault("OMP_NUM_THREADS", "1")
