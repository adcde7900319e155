"""The asv suite; asv imports every module here on each measured interpreter."""
