"""Play what can go wrong between a call and its backend, at random, for as many rounds as wanted."""
