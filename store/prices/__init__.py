"""Keep price lists in the store, and carry what repricing calls does to the sums."""
