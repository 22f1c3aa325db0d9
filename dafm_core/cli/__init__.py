"""The command line: one module per command, each parses, makes one core call and prints."""
