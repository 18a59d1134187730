"""A fitted model at work: predictions in a folder, explanations, exports, a page at the bench."""
