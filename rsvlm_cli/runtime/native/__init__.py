"""The native operators: C++ sources, and what compiles them."""
