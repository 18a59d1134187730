"""The same results sooner, in bounded memory: fast selection, search, networks, streams."""
