"""Carry optimizer states between the frameworks."""
