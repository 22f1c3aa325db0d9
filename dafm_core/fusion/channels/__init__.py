"""What a learned fusion sees of a candidate, and the shell that such fusions share."""
