"""What grades notebooks that were handed in: reading them, confining them, judging them."""
