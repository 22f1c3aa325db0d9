"""Single queries: who was right, and why a fusion chose what it chose."""
