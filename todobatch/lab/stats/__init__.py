"""Everything that is computed from samples: estimates, evidence, verdicts and reasons."""
