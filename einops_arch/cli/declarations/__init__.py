"""The arguments and options of each command, with its help; what it does stands in `commands/`."""
