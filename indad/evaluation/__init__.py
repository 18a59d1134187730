"""Beyond the core's metrics: the others of the field, and how sure each of them is."""
