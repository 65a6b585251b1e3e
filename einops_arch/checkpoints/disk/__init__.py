"""Bytes on disk: destinations that are whole or untouched, positional reads, buffers."""
