"""The worker processes of one service: the numbers and limits they share, and how they query one another."""
