"""Everything that reads or writes other people's files: matrices, lists, runs, submissions."""
