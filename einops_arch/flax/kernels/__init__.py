"""Faster forms of layers on CPUs, each equal to the plain one."""
