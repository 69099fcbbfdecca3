"""What a source, sink, store and transport must do."""
