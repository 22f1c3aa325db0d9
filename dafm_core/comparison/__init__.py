"""Learned against static against single: rows, audits and a verdict."""
