"""Transports: where raw rows are kept in order until every reader has seen them."""
