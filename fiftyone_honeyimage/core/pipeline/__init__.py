"""Verifying from files alone: what a ledger, its folder and a suspect are enough for, without FiftyOne."""
