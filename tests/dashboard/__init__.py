"""One browser for all tests of this folder: see conftest.py."""
