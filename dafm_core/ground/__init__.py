"""Words that every room uses: ids, ragged rows, scales, groups, files. No domain in here."""
