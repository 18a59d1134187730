"""Parts drawn by program, with the defects and masks that they stand for; nothing to download."""
