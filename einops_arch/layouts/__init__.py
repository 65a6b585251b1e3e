"""How a tensor of one framework lies relative to the other's: patterns, rules and what follows from them."""
