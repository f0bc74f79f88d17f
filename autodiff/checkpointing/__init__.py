"""Planners: what is computed when. One file a family; each is a pure function from a program to a schedule."""

from autodiff.checkpointing.store_all import StoreAll

__all__ = ["StoreAll"]
