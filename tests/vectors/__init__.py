"""The native protocol as data: a table of frames and what a server answers to each."""
