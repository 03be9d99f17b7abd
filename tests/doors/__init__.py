"""What comes in from outside, made up at random: nothing crashes, hangs or passes silently.

Each door gets some 200 cases; `make soak-doors` gives each 10,000, and new ones every time.
"""
