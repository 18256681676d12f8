"""A job of the workflow has one thread unless its rule asks for more; so have the tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
