"""Data sets and long recordings that do not fit into memory, and the processes that share them out."""
