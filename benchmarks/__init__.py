"""What is timed: the asv suite, the pyperf suite, and the speed and memory goals."""
