"""The greedy protocol: what to run next, who wins, and why. Pure; knows no library."""
