"""What asv times across commits. asv imports every module here, on each measured interpreter."""
