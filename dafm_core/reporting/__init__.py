"""The only writers of anything for people: terminal tables, files, pages."""
