"""Define and minimise objectives: problems, losses, penalties, updates, starts, and the iteration that uses them."""
