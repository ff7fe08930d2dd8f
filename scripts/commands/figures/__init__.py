"""Commands about what was used: reports, prices, proofs, imports."""
