"""What reviewers ask for beyond the core's metrics: the field's other metrics, and how sure they are."""
