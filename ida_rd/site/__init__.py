"""A static site of several bundles: a leaderboard for each thing that can be compared, and a page per bundle."""
