"""Measurements on recorded traffic: how right usage and counts are."""
