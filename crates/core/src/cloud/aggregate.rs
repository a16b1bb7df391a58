//! Fewer and wider networks that cover exactly the same addresses.
